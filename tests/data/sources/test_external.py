"""Images made elsewhere: nothing without a declaration, and no generator that saw who it must not know."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from monai_cxraug.artifacts import write_json
from monai_cxraug.data.mixing import PROVENANCE_SCHEMA, MixedDataset
from monai_cxraug.data.pack import write_pack
from monai_cxraug.data.prepare import prepare
from monai_cxraug.data.pseudonyms import read_salt
from monai_cxraug.data.request import Request
from monai_cxraug.data.sources.declaration import read_declaration
from monai_cxraug.data.sources.listing import Listing
from monai_cxraug.errors import ConfigError, InputError, LabelError, LeakageError

DECLARATION = {"generator": "a diffusion model", "patients_seen": ["P000", "P001"], "seed": 7, "notes": "fine-tuned"}


@pytest.fixture
def images(write_pictures) -> Path:
    return write_pictures("1.png", "deep/2.png", "3.png", root="made")


@pytest.fixture
def declare(tmp_path: Path):
    def write(name: str = "d.json", **changes: object) -> str:
        (tmp_path / name).write_text(json.dumps({**DECLARATION, **changes}))
        return str(tmp_path / name)

    return write


def write_set(listing: Listing, folder: Path) -> Path:
    """Write a listing as ``prepare`` does, with black pictures."""
    manifest = listing.manifest([{}] * len(listing.rows))
    write_pack(folder, np.zeros((len(manifest), 8, 8), dtype=np.uint8), list(manifest["image"]))
    write_json(folder / "provenance.json", PROVENANCE_SCHEMA, listing.provenance)
    manifest.write(folder)
    return folder


def test_one_finding(list_all, images: Path, declare) -> None:
    listing = list_all("external", images, finding="Edema", declaration=declare())
    assert listing.findings == ("Edema",)
    assert_array_equal(listing.labels, np.ones((3, 1)))
    assert list(listing.rows) == [
        {"image": name, "split": "train", "source": "external"} for name in ("1.png", "3.png", "deep/2.png")
    ]
    told = listing.provenance
    assert (told["patients_seen"], told["finding"], told["seed"], told["n"]) == (["P000", "P001"], "Edema", 7, 3)
    assert told["generator"] == {"name": "a diffusion model"}
    assert len(told["declaration"]) == 64


def test_colour_is_an_option(list_all, images: Path, declare) -> None:
    given = {"finding": "Edema", "declaration": declare()}
    assert [list_all("external", images, **given, colour=colour).channels for colour in (True, False)] == [3, 1]


def test_the_vocabulary_of_a_real_manifest(list_all, images: Path, declare, make_set, tmp_path: Path, refuses) -> None:
    real = make_set(tmp_path / "real")
    listing = list_all("external", images, finding="Fibrosis", declaration=declare(), like=str(real))
    assert listing.findings == ("Edema", "Fibrosis", "Mass")
    assert_array_equal(listing.labels, [[np.nan, 1, np.nan]] * 3)
    with refuses(LabelError, real, "'Fibrsis'", "did you mean 'Fibrosis'?"):
        list_all("external", images, finding="Fibrsis", declaration=declare(), like=str(real))


def test_a_table_of_findings(list_all, images: Path, declare, tmp_path: Path, refuses) -> None:
    table = tmp_path / "t.csv"
    table.write_text("image,Edema,Mass\n1.png,1,0\ndeep/2.png,,1\ngone.png,1,\n")
    listing = list_all("external", images, labels=str(table), declaration=declare())
    assert_array_equal(listing.labels, [[1, 0], [np.nan, 1]])
    assert list(listing.missing) == ["gone.png"]
    table.write_text("image,Edema\n1.png,1\n3.png,0\n")
    with refuses(InputError, "line 3", "shows a finding"):
        list_all("external", images, labels=str(table), declaration=declare())


def test_a_generator_that_saw_who_is_judged(list_all, images: Path, declare, make_set, tmp_path: Path, refuses) -> None:
    real = make_set(tmp_path / "real")  # P000 to P003 train, P004 and P005 val, P006 and P007 test
    for patient in ("P004", "P007"):
        with refuses(LeakageError, "d.json", "training patients", repr(patient)):
            seen = ["P000", patient]
            list_all("external", images, finding="Edema", declaration=declare(patients_seen=seen), like=str(real))


def test_prepared_sets_mix_under_the_rules(images: Path, declare, make_set, tmp_path: Path) -> None:
    real = make_set(tmp_path / "real", side=8)
    options = {"finding": "Edema", "declaration": declare(), "like": str(real)}
    folder = prepare(Request("external", str(images), size=8, options=options), tmp_path / "made").parent
    document = json.loads((folder / "provenance.json").read_text())
    assert document["schema"] == PROVENANCE_SCHEMA
    found = MixedDataset(real, synthetic=[{"folder": folder, "n": 2}])
    assert {origin: n for origin, n in found.composition()["Edema"].items() if n} == {"real": 3, "external": 2}
    assert found.patients_seen() == sorted({"P000", "P001", "P002", "P003", *DECLARATION["patients_seen"]})


def test_a_generator_that_saw_a_patient_outside_of_the_fraction(
    list_all, images: Path, declare, make_set, tmp_path: Path, refuses
) -> None:
    real = make_set(tmp_path / "real", side=8)
    fraction = {"fraction": 0.5, "fraction_seed": 0}
    inside = MixedDataset(real, **fraction).parts[0].patients()
    outside = {"P000", "P001", "P002", "P003"} - inside
    for name, seen in (("inside", inside), ("outside", outside)):
        listing = list_all(
            "external", images, finding="Edema", declaration=declare(patients_seen=sorted(seen)), like=str(real)
        )
        write_set(listing, tmp_path / name)
    MixedDataset(real, synthetic=[tmp_path / "inside"], **fraction)
    with refuses(LeakageError, tmp_path / "outside", "only have seen training patients"):
        MixedDataset(real, synthetic=[tmp_path / "outside"], **fraction)


def test_salts(list_all, images: Path, declare, make_set, tmp_path: Path, refuses) -> None:
    salt = read_salt(tmp_path / "salt")
    hidden = [salt.patient(f"P{row // 2:03d}") for row in range(16)]
    real = make_set(tmp_path / "real", patient_id=hidden)
    document = json.loads(real.with_name("manifest.json").read_text())
    real.with_name("manifest.json").write_text(json.dumps({**document, "salt": salt.fingerprint}))
    options = {"finding": "Edema", "like": str(real)}
    good = list_all("external", images, declaration=declare(), salt=str(tmp_path / "salt"), **options)
    assert good.provenance["patients_seen"] == sorted(map(salt.patient, DECLARATION["patients_seen"]))
    assert good.provenance["salt"] == good.info["salt"] == salt.fingerprint
    with refuses(LeakageError, "d.json", "one salt"):
        list_all("external", images, declaration=declare(), **options)
    with refuses(LeakageError, "d.json", "one salt"):
        list_all("external", images, declaration=declare(), salt=str(tmp_path / "other"), **options)
    with refuses(LeakageError, "training patients"):
        seen = declare(patients_seen=["P006"])
        list_all("external", images, declaration=seen, salt=str(tmp_path / "salt"), **options)
    by_manifest = declare(patients_seen={"manifest": "real/manifest.csv", "split": "train"})
    listing = list_all("external", images, declaration=by_manifest, **options)
    assert listing.provenance["patients_seen"] == sorted(set(hidden[:8]))
    assert listing.provenance["salt"] == salt.fingerprint


def test_a_set_of_another_salt_is_not_mixed(list_all, images: Path, declare, make_set, tmp_path: Path, refuses) -> None:
    real = make_set(tmp_path / "real", side=8)  # of plain names
    seen = declare(patients_seen=["P006"])
    listing = list_all("external", images, finding="Edema", declaration=seen, salt=str(tmp_path / "salt"))
    folder = write_set(listing, tmp_path / "hidden")
    with refuses(LeakageError, folder, "one salt"):  # P006, a test patient, would not be recognised
        MixedDataset(real, findings=["Edema"], synthetic=[folder])


def test_patients_in_a_table_or_a_manifest(declare, make_set, tmp_path: Path, refuses) -> None:
    (tmp_path / "seen.csv").write_text("patient_id,other\n001,x\n002,y\n001,z\n")
    (tmp_path / "one.csv").write_text("pid\n7\n")
    assert read_declaration(Path(declare(patients_seen="seen.csv"))).patients_seen == ("001", "002")
    assert read_declaration(Path(declare(patients_seen="one.csv"))).patients_seen == ("7",)
    make_set(tmp_path / "real")
    declared = read_declaration(Path(declare(patients_seen={"manifest": "real", "split": "val"})))
    assert (declared.patients_seen, declared.salt) == (("P004", "P005"), None)
    with refuses(ConfigError, "patients_seen.splt", "did you mean 'split'?"):
        read_declaration(Path(declare(patients_seen={"manifest": "real", "splt": "val"})))
    with refuses(InputError, "none.csv"):
        read_declaration(Path(declare(patients_seen="none.csv")))
    assert read_declaration(Path(declare(patients_seen=[]))).patients_seen == ()


def test_yaml_is_as_good_and_tabs_in_json(tmp_path: Path) -> None:
    (tmp_path / "d.yaml").write_text('generator: StyleGAN\npatients_seen: ["1", "2"]\n')
    (tmp_path / "d.json").write_text('{\n\t"generator": "StyleGAN",\n\t"patients_seen": ["1", "2"]\n}')
    one, other = (read_declaration(tmp_path / name) for name in ("d.yaml", "d.json"))
    assert (one.generator, one.patients_seen) == (other.generator, other.patients_seen) == ("StyleGAN", ("1", "2"))


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("patients_seen: []", ConfigError, ("'generator'", "must name")),
        ("generator: ''\npatients_seen: []", ConfigError, ("'generator'",)),
        ("generator: x", LeakageError, ("patients_seen", "as text", "None")),
        ("generator: x\npatients_seen: [00012, 7]", LeakageError, ("as text", "[10, 7]")),
        ("generator: x\npatients_seen: ['']", LeakageError, ("as text",)),
        ("generator: x\npatients_seen: []\nsede: 1", ConfigError, ("'sede'", "did you mean 'seed'?")),
        ("generator: x\npatients_seen: {split: train}", ConfigError, ("needs 'manifest'",)),
        ("- a\n- b", InputError, ("keys and values", "list")),
        ("a: [", InputError, ("JSON or YAML",)),
        ("", InputError, ("keys and values",)),
    ],
)
def test_declarations_that_are_none(tmp_path: Path, refuses, text: str, kind, words) -> None:
    (tmp_path / "d.yaml").write_text(text)
    with refuses(kind, tmp_path / "d.yaml", *words):
        read_declaration(tmp_path / "d.yaml")


def test_options_that_cannot_be(list_all, images: Path, declare, tmp_path: Path, refuses) -> None:
    with refuses(ConfigError, "--declaration", "is required for source 'external'"):
        list_all("external", images, finding="Edema")
    with refuses(ConfigError, "either --finding or --labels", "neither"):
        list_all("external", images, declaration=declare())
    with refuses(ConfigError, "either --finding or --labels", "both"):
        list_all("external", images, declaration=declare(), finding="Edema", labels="t.csv")
    with refuses(InputError, "none.json"):
        list_all("external", images, declaration=str(tmp_path / "none.json"), finding="Edema")
    (tmp_path / "empty").mkdir()
    with refuses(InputError, tmp_path / "empty", "at least one listed image"):
        list_all("external", tmp_path / "empty", declaration=declare(), finding="Edema")
