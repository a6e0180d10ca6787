"""Label filters: rules against numbers worked out by hand, leaks refused, nothing half-written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from monai_cxraug.artifacts import file_hash
from monai_cxraug.bundle_config import run_stage
from monai_cxraug.data.manifest import Manifest, make_columns, read_manifest
from monai_cxraug.data.mixing import MixedDataset
from monai_cxraug.data.pack import to_unit, write_pack
from monai_cxraug.data.resampling import resize_area
from monai_cxraug.errors import ConfigError, CxrAugError, InputError, LabelError, LeakageError, StateError
from monai_cxraug.networks.classifiers import Classifier
from monai_cxraug.networks.weights import save_model
from monai_cxraug.resources import resource_root
from monai_cxraug.synthesis import screening as screening_module
from monai_cxraug.synthesis.samples import Samples
from monai_cxraug.synthesis.screening import Judge, Positives, Screening, cross_fit
from monai_cxraug.synthesis.synthetic_set import SyntheticSet

FINDINGS = ["Mass", "Edema", "Effusion"]
SEEN = [f"P{k}" for k in range(20)]


@pytest.fixture
def make_judge(tmp_path: Path) -> Callable[..., Path]:
    """Write a small classifier with random weights."""

    def make(
        seen: list[str], name: str = "judge", seed: int = 0, size: int = 16, jitter: float = 0, **about: object
    ) -> Path:
        torch.manual_seed(seed)
        network = Classifier(3, "small_cnn", channels=int(about.pop("channels", 1)))  # type: ignore[call-overload]
        with torch.no_grad():
            network.head.weight.mul_(40)
            network.head.weight.add_(jitter * torch.randn(network.head.weight.shape))
        about = {"findings": FINDINGS, "size": size, "patients_seen": seen, **about}
        save_model(tmp_path / name / "model.pt", "classifier", network.eval(), about)
        return tmp_path / name

    return make


@pytest.fixture
def real(tmp_path: Path) -> Path:
    """24 patients, an image each, all with Edema but every fourth; four of them in val."""
    rows = [
        {"image": f"{k}.png", "patient_id": f"P{k}", "split": "val" if k > 19 else "train", "source": "real"}
        for k in range(24)
    ]
    labels = np.array([[0, k % 4 != 0, np.nan] for k in range(24)], dtype=np.float32)
    pictures = np.random.default_rng(0).integers(0, 256, (24, 16, 16), dtype=np.uint8)
    write_pack(tmp_path / "real", pictures, [row["image"] for row in rows])
    return Manifest(make_columns(rows), tuple(FINDINGS), labels).write(tmp_path / "real")


def sample(generator: Path, out: Path, n: int = 12, **settings: object) -> dict:
    samples = Samples(generator, "Edema", n, 3, start=settings.pop("start", 0))  # type: ignore[arg-type]
    path = SyntheticSet(samples, out, **settings).run()  # type: ignore[arg-type]
    return json.loads((path.parent / "provenance.json").read_text())


def stored_images(generator: Path, out: Path, n: int) -> np.ndarray:
    """What the generator's sequence looks like without screening, uint8."""
    return np.load(SyntheticSet(Samples(generator, "Edema", n, 3), out).run().parent / "pack.npy")


def probabilities(judge: Path, images: np.ndarray) -> np.ndarray:
    """By the network alone."""
    document = torch.load(judge / "model.pt", weights_only=True)
    network = Classifier(**document["settings"]).eval()
    network.load_state_dict(document["weights"])
    with torch.no_grad():
        return network(torch.from_numpy(images)[:, None]).sigmoid().numpy().astype(np.float64)


# --- a judge ---


def test_a_judge_says_what_its_network_says(make_judge) -> None:
    images = np.random.default_rng(0).random((70, 32, 32), dtype=np.float32)
    judge = make_judge(["P0"])
    small = np.stack([resize_area(image, 16, 16) for image in images])
    expected = probabilities(judge, small)
    found = Judge(judge)(images, ["Effusion", "Mass"])
    assert_allclose(found, expected[:, [2, 0]], atol=1e-5)
    assert found.std() > 0.05  # the judge tells images apart
    flipped = Judge(make_judge([], "flips", flip_averaging=True))(images, FINDINGS)
    logit = [np.log(p / (1 - p)) for p in (expected, probabilities(judge, np.ascontiguousarray(small[:, :, ::-1])))]
    assert_allclose(flipped, 1 / (1 + np.exp(-(logit[0] + logit[1]) / 2)), atol=1e-4)


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ({"contrast": "equalise"}, "contrast equalise"),
        ({"channels": 3}, "1 channel .grey.; found 3"),
        ({"size": 32}, "32 px"),
    ],
)
def test_judges_that_cannot_judge(make_generator, make_judge, tmp_path: Path, about: dict, words: str) -> None:
    screening = Screening([make_judge([], **about)], ["Effusion"])
    with pytest.raises((StateError, ConfigError), match=words):
        sample(make_generator(SEEN), tmp_path / "out", screening=screening)
    assert not (tmp_path / "out").exists()


# --- rule A ---


def test_common_findings_are_rejected(make_generator, make_judge, tmp_path: Path) -> None:
    generator, judges = make_generator(SEEN), [make_judge(["J1"], "one"), make_judge(["J2", "P1"], "two", seed=1)]
    stored = stored_images(generator, tmp_path / "plain", 200)
    mean = np.mean([probabilities(judge, to_unit(stored)) for judge in judges], axis=0)
    limits = {"Effusion": float(np.quantile(mean[:, 2], 0.6)), "Mass": float(np.quantile(mean[:, 0], 0.8))}
    refused = {name: mean[:, k] >= limits[name] for k, name in ((2, "Effusion"), (0, "Mass"))}
    numbers = np.flatnonzero(~(refused["Effusion"] | refused["Mass"]))[:40]
    document = sample(generator, tmp_path / "out", 40, screening=Screening(judges, limits), png=True)
    assert list(read_manifest(tmp_path / "out")["image"]) == [f"Edema-3-{k:06d}" for k in numbers]
    assert_array_equal(np.load(tmp_path / "out" / "pack.npy"), stored[numbers])
    names = sorted(file.stem for file in (tmp_path / "out" / "png").iterdir())
    assert names == [f"Edema-3-{k:06d}" for k in numbers]
    drawn = numbers[-1] + 1
    assert (document["drawn"], document["accepted"], document["acceptance_rate"]) == (drawn, 40, 40 / drawn)
    assert document["rejected"] == {f"judged {name}": int(mask[:drawn].sum()) for name, mask in refused.items()}
    assert document["filters"] == [{"rule": "reject_common", "thresholds": limits}]
    assert [judge["sha256"] for judge in document["judges"]] == [file_hash(judge / "model.pt") for judge in judges]
    assert [judge["patients_seen"] for judge in document["judges"]] == [1, 2]
    assert document["patients_seen"] == sorted({*SEEN, "J1", "J2"})


def test_a_list_means_one_half() -> None:
    assert Screening(["x"], ["Effusion", "Mass"]).thresholds == {"Effusion": 0.5, "Mass": 0.5}
    assert Screening(["x"], ["Effusion"]).share is None
    assert Screening(["x"]).share == 0.75
    assert Screening(["x"], ["Effusion"], 0.9).share == 0.9


def test_the_answer_does_not_depend_on_blocks_or_start(make_generator, make_judge, tmp_path: Path, monkeypatch) -> None:
    generator, screening = make_generator(SEEN), Screening([make_judge([])], ["Effusion", "Mass"])
    assert sample(generator, tmp_path / "one", 30, screening=screening, cap=200)["rejected"]
    monkeypatch.setattr("monai_cxraug.synthesis.synthetic_set._JUDGED", 1)
    sample(generator, tmp_path / "two", 30, screening=screening, cap=200)
    for name in ("pack.npy", "manifest.csv", "provenance.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    names = list(read_manifest(tmp_path / "one")["image"])
    start = int(names[9][-6:]) + 1
    sample(generator, tmp_path / "rest", 20, screening=screening, start=start, cap=200)
    assert list(read_manifest(tmp_path / "rest")["image"]) == names[10:]


# --- rule B ---


def test_the_threshold_is_that_of_real_images_out_of_fold(make_judge) -> None:
    images = np.random.default_rng(2).random((9, 16, 16), dtype=np.float32)
    patients = np.array(["a", "a", "b", "b", "c", "c", "d", "d", "e"])
    paths = [make_judge(["a", "b"], "1"), make_judge(["c", "d"], "2", seed=1), make_judge(["e", "a"], "3", seed=2)]
    judged = [probabilities(path, images)[:, 1] for path in paths]
    judges = [Judge(path) for path in paths]
    by_hand = [
        np.mean([p[k] for p, judge in zip(judged, judges, strict=True) if patient not in judge.patients_seen])
        for k, patient in enumerate(patients)
    ]
    for share, reached in ((1.0, 9), (0.75, 7), (2 / 3, 6), (0.5, 5), (0.01, 1)):
        rule = cross_fit(judges, Positives(images, patients), "Edema", share)
        assert rule.threshold == pytest.approx(sorted(by_hand)[9 - reached], abs=1e-5)
        assert (np.array(by_hand) >= rule.threshold - 1e-6).sum() == reached
        assert (rule.positives, rule.share, rule.finding) == (9, share, "Edema")


def test_images_reach_what_real_ones_reach(make_generator, make_judge, real: Path, tmp_path: Path) -> None:
    generator = make_generator(SEEN)
    judges = [make_judge(SEEN[10:], "one"), make_judge(SEEN[:10], "two", jitter=0.3)]
    alike = SyntheticSet(Samples(generator, "Edema", 24, 8), tmp_path / "alike").run().parent
    (real.parent / "pack.npy").write_bytes((alike / "pack.npy").read_bytes())  # real images that look like the samples
    pictures = to_unit(np.load(real.parent / "pack.npy"))
    rows = [k for k in range(20) if k % 4]
    by_hand = [probabilities(judges[0 if k < 10 else 1], pictures[k : k + 1])[0, 1] for k in rows]
    least = np.sort(by_hand)[15 - 9]  # six tenths of fifteen
    stored = stored_images(generator, tmp_path / "plain", 400)
    mean = np.mean([probabilities(judge, to_unit(stored))[:, 1] for judge in judges], axis=0)
    numbers = np.flatnonzero(mean >= least)[:10]
    assert len(numbers) == 10
    screening = Screening(judges, accept_share=0.6)
    document = sample(generator, tmp_path / "out", 10, screening=screening, manifest=real, cap=40)
    assert list(read_manifest(tmp_path / "out")["image"]) == [f"Edema-3-{k:06d}" for k in numbers]
    (rule,) = document["filters"]
    assert rule.pop("threshold") == pytest.approx(least, abs=1e-5)
    assert rule == {"rule": "cross_fitted", "finding": "Edema", "share": 0.6, "positives": 15}
    lost = int(numbers[-1]) + 1 - 10
    assert document["rejected"] == {"Edema not probable enough": lost}
    assert lost
    assert document["memorisation_audit"]["images"] == 10


def test_a_judge_that_saw_a_held_out_patient_is_refused(make_generator, make_judge, real: Path, tmp_path: Path) -> None:
    for rules in ({"reject": ["Effusion"]}, {"accept_share": 0.5}):
        screening = Screening([make_judge(["P0"], "good"), make_judge(["P0", "P21"], "bad")], **rules)
        with pytest.raises(LeakageError, match=r"bad/model\.pt: a judge may only have seen training.*'P21'"):
            sample(make_generator(SEEN), tmp_path / "out", screening=screening, manifest=real)
    assert not (tmp_path / "out").exists()


def test_a_patient_that_all_judges_saw_is_refused(make_generator, make_judge, real: Path, tmp_path: Path) -> None:
    judges = [make_judge(SEEN[:12], "one"), make_judge(SEEN[10:], "two")]
    with pytest.raises(LeakageError, match=r"judges: each patient .* did not see it; found 2 of 15 .*'P10'"):
        sample(make_generator(SEEN), tmp_path / "out", screening=Screening(judges), manifest=real)
    sample(make_generator(SEEN), tmp_path / "out", screening=Screening(judges, ["Effusion"]), manifest=real, cap=400)


def test_mixing_refuses_what_a_judge_knew(make_generator, make_judge, real: Path, tmp_path: Path) -> None:
    """A set screened by a judge that saw an evaluation patient is refused even where no manifest was given."""
    screening = Screening([make_judge(["P22"])], {"Effusion": 1.0})
    sample(make_generator(SEEN), tmp_path / "out", 3, screening=screening)
    with pytest.raises(LeakageError, match="'P22'"):
        MixedDataset(real, findings=["Edema"], size=16, synthetic=[tmp_path / "out"])


# --- refusals ---


@pytest.mark.parametrize(
    ("settings", "kind", "words"),
    [
        ({"judges": []}, ConfigError, "judges: must list at least one"),
        ({"judges": "path"}, ConfigError, "judges: must list"),
        ({"reject": {"Effusion": 0}}, ConfigError, "reject 'Effusion': must be a number above 0"),
        ({"reject": {"Effusion": None}}, ConfigError, "reject 'Effusion'"),
        ({"reject": "Effusion"}, ConfigError, "reject: must list"),
        ({"accept_share": 1.5}, ConfigError, "accept_share: .*1.5"),
        ({"accept_share": True}, ConfigError, "accept_share"),
        ({"reject": ["Efusion"]}, LabelError, "'Efusion'.*did you mean 'Effusion'"),
        ({"reject": ["Edema"]}, ConfigError, "reject: may not hold the finding"),
        ({"accept_share": 0.5}, ConfigError, "manifest: the cross-fitted rule needs"),
        ({"judges": ["nowhere"], "reject": ["Mass"]}, InputError, "nowhere"),
    ],
)
def test_settings_that_are_refused(make_generator, make_judge, tmp_path: Path, settings, kind, words) -> None:
    generator, given = make_generator(SEEN), {"judges": [make_judge([])], **settings}
    with pytest.raises(CxrAugError, match=words) as caught:
        sample(generator, tmp_path / "out", screening=Screening(**given))
    assert type(caught.value) is kind
    assert not (tmp_path / "out").exists()


def test_no_positive_is_left(make_generator, make_judge, real: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a real training image of the generator that shows 'Edema'"):
        sample(make_generator(["P0"]), tmp_path / "out", screening=Screening([make_judge([])]), manifest=real)


def test_a_search_in_vain_ends_with_reasons_and_without_traces(make_generator, make_judge, tmp_path: Path) -> None:
    generator, judge = make_generator(SEEN), make_judge([])
    screening = Screening([judge], {"Effusion": 1e-12})
    calls: list[tuple[int, int]] = []
    with pytest.raises(StateError) as caught:
        sample(
            generator, tmp_path / "out", 9, screening=screening, cap=4, png=True, progress=lambda *d: calls.append(d)
        )
    said = "9 images must be accepted; found 0 of 36 drawn (0.0%); most often rejected: judged Effusion, 36 times"
    assert said in str(caught.value)
    assert "--cap" in str(caught.value)
    assert calls
    assert not (tmp_path / "out").exists()
    sample(generator, tmp_path / "out", 9)
    before = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    with pytest.raises(StateError):
        sample(generator, tmp_path / "out", 9, screening=screening, cap=2, png=True)
    assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == before


def test_without_acceptance_by_all_the_rest_is_unchanged(make_generator, make_judge, tmp_path: Path) -> None:
    """A judge that accepts everything changes nothing but the papers."""
    generator = make_generator(SEEN)
    sample(generator, tmp_path / "plain", 40, depth=16)
    screening = Screening([make_judge([])], {"Effusion": 1.0})
    sample(generator, tmp_path / "judged", 40, depth=16, screening=screening)
    for name in ("pack.npy", "pack.json", "manifest.csv", "manifest.json", "contact_sheet.png"):
        assert (tmp_path / "plain" / name).read_bytes() == (tmp_path / "judged" / name).read_bytes()


# --- by plain settings ---


def test_the_bundle_takes_plain_settings(make_generator, make_judge, real: Path, tmp_path: Path) -> None:
    config = resource_root() / "bundles" / "chest_xray_pggan" / "configs" / "inference.json"
    judges = [str(make_judge(SEEN[10:], "one")), str(make_judge(SEEN[:10], "two", seed=1))]
    settings = {
        "checkpoint": str(make_generator(SEEN)),
        "finding": "Edema",
        "n": 4,
        "device": "cpu",
        "output_dir": str(tmp_path / "out"),
        "manifest": str(real),
        "judges": judges,
        "reject": {"Effusion": 1.0},
        "accept_share": 1.0,
        "cap": 400,
    }
    run_stage([config], settings)
    document = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert [rule["rule"] for rule in document["filters"]] == ["reject_common", "cross_fitted"]
    with pytest.raises(ConfigError, match="judges"):
        run_stage([config], {**settings, "judges": []})
    run_stage([config], {**settings, "judges": [], "reject": None, "accept_share": None})
    assert json.loads((tmp_path / "out" / "provenance.json").read_text())["filters"] == []


def test_batches_change_nothing(make_judge, monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(0).random((10, 16, 16), dtype=np.float32)
    judge = Judge(make_judge([]))
    whole = judge(images, FINDINGS)
    monkeypatch.setattr(screening_module, "_BATCH", 3)
    assert_allclose(judge(images, FINDINGS), whole, atol=1e-6)
