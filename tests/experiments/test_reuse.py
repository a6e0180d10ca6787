"""Generators that bundles ship are taken instead of trained: the right ones, whole, and of training patients alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from monai_cxraug.artifacts import file_hash, load_json, write_json
from monai_cxraug.cli import main
from monai_cxraug.data.datasets import PackRows
from monai_cxraug.data.manifest import Manifest, read_manifest
from monai_cxraug.data.pack import Pack, write_pack
from monai_cxraug.errors import ConfigError, CxrAugError, InputError, LeakageError, StateError
from monai_cxraug.experiments.endpoint import endpoint_only, without_paths
from monai_cxraug.experiments.experiment import Experiment, make_experiment
from monai_cxraug.experiments.plan import Plan, read_plan
from monai_cxraug.experiments.planning import make_plan
from monai_cxraug.experiments.reuse import fetch
from monai_cxraug.experiments.shipped import SCHEMA
from monai_cxraug.experiments.stages import Hand
from monai_cxraug.experiments.work import Workshop
from monai_cxraug.networks.pggan import ProgressiveGenerator
from monai_cxraug.networks.weights import load_model, save_model
from tests.experiments.conftest import document, small_experiment

BUNDLE = "chest_xray_pggan"


def plan_of(experiment: Experiment, bundles: Path | None = None) -> Plan:
    manifests = {role: Path(str(spec.manifest)) for role, spec in experiment.data.roles().items()}
    return make_plan(experiment, manifests, bundles=bundles)


def ship_untrained(experiment: Experiment, bundles: Path) -> Path:
    """What a run of the experiment would ship, with networks at random; its folder."""
    plan, train = plan_of(experiment), experiment.data.train
    shop = Workshop(plan.experiment, plan.manifests, plan.classes)
    folder = bundles / BUNDLE / "models" / experiment.name
    entries = []
    for one in plan.generators:
        rows = PackRows(plan.manifests["train"], train.split, train.where, having=one.finding or None)
        about = {"finding": one.finding or None, "findings": list(plan.classes), "images": one.images}
        about |= {"manifest": rows.manifest.hash(), "images_seen": 64}
        seen = sorted(rows.part(one.fraction, one.seed).patients())
        network = ProgressiveGenerator(resolution=16, latent_size=8, fmap_base=32, fmap_max=8)
        path = folder / one.id / "model.pt"
        save_model(path, "pggan", network, {**about, "patients_seen": seen, "seed": one.seed}, half=True)
        work = shop.generator(one)
        own = {"settings": dict(work.settings), "overlays": list(work.overlays)}
        entries.append({"kind": "generator", "stage": asdict(one), "files": {"model.pt": file_hash(path)}, **own})
    index = {"experiment": without_paths(experiment).document(), "classes": list(plan.classes), "salt": None}
    write_json(folder / "shipped.json", SCHEMA, {**index, "models": entries})
    return folder


def change_index(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = load_json(folder / "shipped.json")
    change(content)
    write_json(folder / "shipped.json", content.pop("schema"), content)


def change_about(folder: Path, **changes: Any) -> None:
    """The first model says something else of itself, and the index agrees."""
    path = folder / load_json(folder / "shipped.json")["models"][0]["stage"]["id"] / "model.pt"
    model = load_model(path)
    save_model(path, model.kind, model.network, {**model.about, **changes}, half=True)
    change_index(folder, lambda content: content["models"][0]["files"].update({"model.pt": file_hash(path)}))


@pytest.fixture
def small(phantom_manifest: Path) -> Experiment:
    return small_experiment(phantom_manifest)


# --- which generator it is ---


@pytest.mark.parametrize("arm", ["gan", "conditional_gan", "gan+label_shuffled"])
def test_the_generators_of_the_experiment_are_found(phantom_manifest: Path, tmp_path: Path, arm: str) -> None:
    endpoint = {"arm": arm, "reference": "plain"}
    small = small_experiment(phantom_manifest, arms=["plain", arm], fractions=[0.5, 1.0], endpoint=endpoint)
    folder = ship_untrained(small, tmp_path)
    trained, reused = plan_of(endpoint_only(small)), plan_of(endpoint_only(small), tmp_path)
    assert len(reused.generators) == 2
    assert [one.seed for one in reused.generators] == [0, 1]
    for one, would in zip(reused.generators, trained.generators, strict=True):
        model = tmp_path / one.reused["file"]
        assert model == folder / would.id / "model.pt"
        assert one.reused["sha256"] == file_hash(model)
        assert one.key != would.key
    keys = {one.key for one in (*trained.synthetic, *trained.cells)}
    changed = [one for one in (*reused.synthetic, *reused.cells) if one.key not in keys]
    assert len(changed) == 4  # sets and cells that the file decides; plain cells stay what they were


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "another"}, "another: must hold the generators of 'another'; found none; leave --reuse-generators"),
        ({"seeds": [0, 5]}, r"Effusion \(gan\), fraction 1, seed 5; found .*seed 0, not 5"),
        ({"fractions": [0.5]}, r"fraction 0.5, seed 0; found .*fraction 1.0, not 0.5"),
        ({"findings": ["Mass"]}, r"Mass \(gan\).*finding 'Effusion', not 'Mass'"),
        ({"budget.generator.total_images": 96}, "total_images 64, not 96"),
        ({"budget.generator_recipe": "few_images"}, r"overlays \[\], not \['few_images'\]"),
    ],
)
def test_another_generator_is_none(small: Experiment, tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    ship_untrained(small, tmp_path)
    values = small.document()
    for name, value in changes.items():
        *parents, last = name.split(".")
        place = values
        for parent in parents:
            place = place[parent]
        place[last] = value
    with pytest.raises(InputError, match=words) as caught:
        plan_of(make_experiment(values, "x"), tmp_path)
    assert "\n" not in str(caught.value)


def test_one_that_learnt_from_other_images_is_none(small: Experiment, tmp_path: Path) -> None:
    folder = ship_untrained(small, tmp_path)
    change_about(folder, images=7)
    with pytest.raises(StateError, match=r"must have learnt from the \d+ images .* found 7 images"):
        plan_of(small, tmp_path)


# --- whose images it saw ---


def test_one_that_saw_a_judged_patient_is_refused(small: Experiment, phantom_manifest: Path, tmp_path: Path) -> None:
    table = read_manifest(phantom_manifest)
    for split, role in (("test", "test"), ("val", "validation")):
        folder = ship_untrained(small, tmp_path / role)
        seen = [*table.patients(table.rows("train")), sorted(table.patients(table.rows(split)))[0]]
        change_about(folder, patients_seen=sorted(seen))
        with pytest.raises(LeakageError, match=rf"may not have seen a patient of data\.{role}; found 1, for example"):
            plan_of(small, tmp_path / role)


def test_one_that_saw_anybody_outside_its_fraction_is_refused(phantom_manifest: Path, tmp_path: Path) -> None:
    half = small_experiment(phantom_manifest, fractions=[0.5])
    folder = ship_untrained(half, tmp_path)
    table = read_manifest(phantom_manifest)
    change_about(folder, patients_seen=sorted(table.patients(table.rows("train"))))
    with pytest.raises(LeakageError, match="only have seen training patients of this experiment, at its fraction"):
        plan_of(half, tmp_path)
    change_about(folder, patients_seen="P000001")
    with pytest.raises(LeakageError, match="must list the patients"):
        plan_of(half, tmp_path)


def test_names_hashed_by_another_key_are_refused(small: Experiment, tmp_path: Path) -> None:
    folder = ship_untrained(small, tmp_path)
    change_index(folder, lambda content: content.update(salt="0123456789abcdef"))
    with pytest.raises(StateError, match="hashed with the key of the training manifest"):
        plan_of(small, tmp_path)


# --- whether it is whole ---


def _cut(model: Path) -> None:
    model.write_bytes(model.read_bytes()[:-9])


@pytest.mark.parametrize(
    ("damage", "kind", "words"),
    [
        (Path.unlink, InputError, "a shipped model must have its files; found no file; fetch"),
        (_cut, StateError, "must be the file that was shipped"),
    ],
)
def test_a_damaged_file_is_refused_before_anything_is_trained(
    small: Experiment, tmp_path: Path, damage: Callable[[Path], None], kind: type[CxrAugError], words: str
) -> None:
    folder = ship_untrained(small, tmp_path)
    damage(next(folder.glob("*-s1-*/model.pt")))
    with pytest.raises(kind, match=words):
        plan_of(small, tmp_path)


def test_a_taken_generator_that_is_lost_is_not_trained(small: Experiment, tmp_path: Path) -> None:
    ship_untrained(small, tmp_path / "bundles")
    plan = plan_of(small, tmp_path / "bundles")
    with pytest.raises(StateError, match="start the run again with --reuse-generators"):
        Hand(plan, tmp_path / "run").do(plan.generators[0])
    fetch(plan, tmp_path / "run", tmp_path / "bundles")
    assert not Hand(plan, tmp_path / "run").do(plan.generators[0])


def test_whom_a_generator_may_have_seen_is_what_the_experiment_says(
    small: Experiment, phantom_manifest: Path, tmp_path: Path
) -> None:
    """Folds over train and val are trained on too: here the val patients are, and those of train are judged."""
    splits = {"train": "val", "test": "train"}
    data = {role: {"manifest": str(phantom_manifest), "split": split, "size": 16} for role, split in splits.items()}
    turned = small_experiment(phantom_manifest, data=data)
    ship_untrained(turned, tmp_path / "bundles")
    plan = plan_of(turned, tmp_path / "bundles")
    fetch(plan, tmp_path / "run", tmp_path / "bundles")
    assert Hand(plan, tmp_path / "run").do(plan.synthetic[0])
    spec = turned.data.train
    narrow = replace(
        plan, experiment=replace(turned, data=replace(turned.data, train=replace(spec, where={"sex": "F"})))
    )
    with pytest.raises(LeakageError, match="may only have seen training patients"):
        Hand(narrow, tmp_path / "run").do(plan.synthetic[1])


# --- the part of an experiment that its endpoint needs ---


def test_the_endpoint_keeps_two_arms_one_corner_and_every_seed() -> None:
    grid = {"arms": ["plain", "focal_loss", "duplicate_real", "gan"], "fractions": [0.1, 1.0], "ratios": [2.0, 1.0]}
    found = endpoint_only(make_experiment(document(**grid), "x"))
    assert (found.arms, found.fractions, found.ratios, found.seeds) == (["duplicate_real", "gan"], [1.0], [2.0], [0, 1])
    told = {"arm": "gan", "reference": "plain", "fraction": 0.1, "ratio": 1.0}
    found = endpoint_only(make_experiment(document(**{**grid, "endpoint": told}), "x"), [1])
    assert (found.arms, found.fractions, found.ratios, found.seeds) == (["plain", "gan"], [0.1], [1.0], [1])
    with pytest.raises(ConfigError, match="must be of the experiment; found 7; known: 1"):
        endpoint_only(found, [7])
    counts = {"findings": ["Effusion"], "top_up": {"finding": "Effusion", "real": [4, "all"]}}
    with pytest.raises(ConfigError, match="cannot be cut to its endpoint"):
        endpoint_only(make_experiment(document(**counts), "x"))


def test_a_published_experiment_names_no_folder() -> None:
    given = document(external={"Cardiomegaly": "/home/me/a", "Effusion": "b"})
    given["data"]["train"] = {"source": "nih", "images": "/home/me/nih.zip", "labels": "/home/me/x.csv", "salt": "/key"}
    given["budget"]["classifier"] = {"weights": "/home/me/w.pt"}
    found = without_paths(make_experiment(given, "x"))
    assert "/" not in str([found.document()[key] for key in ("data", "external", "budget")])
    assert found.data.train.images == "nih.zip"


# --- a whole run ---


def part_of(manifest: Path, folder: Path, split: str) -> Path:
    """One split as a set of its own, as somebody else would prepare it."""
    table = read_manifest(manifest)
    part: Manifest = table.select(table.rows(split))
    write_pack(folder, Pack(manifest.parent, table).batch(table.rows(split)), part["image"].tolist())
    return part.write(folder)


@pytest.mark.e2e
def test_the_endpoint_is_run_again_on_other_images(
    small: Experiment,
    small_run: Path,
    bundles: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("monai_cxraug.experiments.commands.resource_root", lambda: bundles.parent)
    monkeypatch.chdir(tmp_path)
    test = part_of(Path(str(small.data.train.manifest)), tmp_path / "unseen", "test")
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(replace(small, arms=["plain", "focal_loss", "gan"]).document()))
    words = ["run", "small.yaml", "--set", f"data.test={test}", "--reuse-generators"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "generators: 2 taken from chest_xray_pggan/models/small" in said
    assert "Generators were reused, not trained here: 2 files of chest_xray_pggan/models/small (SHA-256 " in said
    run = tmp_path / "runs" / "small_reused"
    plan, before, results = read_plan(run), read_plan(small_run), load_json(run / "results.json")
    assert sorted((cell.arm, cell.seed) for cell in plan.cells) == [("gan", 0), ("gan", 1), ("plain", 0), ("plain", 1)]
    assert plan.experiment.data.test == replace(
        small.data.test or small.data.train, split=None, size=64, manifest=str(test)
    )
    for one in plan.generators:
        taken = run / "generators" / one.id
        assert file_hash(taken / "model.pt") == one.reused["sha256"] == file_hash(bundles / one.reused["file"])
        assert {path.name for path in taken.iterdir()} == {".key", "model.pt", "run.json", "timing.json"}
        assert results["provenance"]["hashes"][f"generator {one.id}"] == one.reused["sha256"]
    assert results["reused"] == [{"id": one.id, **one.reused} for one in plan.generators]
    assert any(line.startswith("Generators were reused") for line in results["warnings"])
    assert "Generators were reused" in (run / "report" / "index.html").read_text()
    for cell, earlier in zip(plan.cells, before.cells, strict=True):  # what needs no generator is the same training
        same = file_hash(run / "cells" / cell.id / "model.pt") == file_hash(
            small_run / "cells" / earlier.id / "model.pt"
        )
        assert same == (cell.arm == "plain")
    assert main(words) == 0
    assert "done before" in (again := capsys.readouterr().out)
    assert again.count("done before") == len(list(plan.stages()))


def test_a_missing_generator_is_one_line_and_exit_status_2(
    small: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("monai_cxraug.experiments.commands.resource_root", lambda: tmp_path)
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(small.document()))
    out = tmp_path / "run"
    assert main(["run", str(tmp_path / "small.yaml"), "--reuse-generators", "--out", str(out)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "must hold the generators of 'small'; found none; leave --reuse-generators out" in line
    assert not out.exists()
