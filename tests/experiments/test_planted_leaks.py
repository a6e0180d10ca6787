"""Leaks planted on purpose: each is refused, or caught and said. What published work got wrong, tried here."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from monai_cxraug.artifacts import load_json, write_csv
from monai_cxraug.bundle_config import bundle_file, run_stage
from monai_cxraug.calibration import FitCalibration
from monai_cxraug.data.balancing import OverSampling
from monai_cxraug.data.datasets import PackDataset
from monai_cxraug.data.manifest import Manifest, read_manifest
from monai_cxraug.data.mixing import MixedDataset
from monai_cxraug.data.pack import Pack, write_pack
from monai_cxraug.data.prepare import prepare
from monai_cxraug.data.request import Request
from monai_cxraug.errors import InputError, LeakageError
from monai_cxraug.experiments.experiment import Experiment, make_experiment
from monai_cxraug.experiments.plan import Plan, read_plan
from monai_cxraug.experiments.planning import make_plan
from monai_cxraug.experiments.runner import Runner
from monai_cxraug.metrics.permutation import find_permutations
from monai_cxraug.networks.classifiers import Classifier
from monai_cxraug.networks.pggan import ProgressiveGenerator
from monai_cxraug.networks.weights import load_model, save_model
from monai_cxraug.predictions import Predictions, read_predictions
from monai_cxraug.synthesis.features import ClassifierFeatures
from monai_cxraug.synthesis.samples import Samples
from monai_cxraug.synthesis.screening import Screening
from monai_cxraug.synthesis.synthetic_set import SyntheticSet
from tests.experiments.conftest import document

FINDINGS = ("Cardiomegaly", "Effusion")
SMALL = {"architecture": "small_cnn", "steps": 3, "epoch_length": 3, "batch_size": 8}


@pytest.fixture
def manifest(phantom_manifest: Path) -> Manifest:
    return read_manifest(phantom_manifest)


def patients(manifest: Manifest, split: str) -> list[str]:
    return sorted(manifest.patients(manifest.rows(split)))


def rewritten(manifest: Manifest, folder: Path, change: Callable[[Manifest], Manifest]) -> Path:
    """The same pictures under a changed manifest."""
    shutil.copytree(manifest.path.parent, folder, dirs_exist_ok=True)
    return change(manifest).write(folder)


def part_of(manifest: Manifest, folder: Path, split: str) -> Path:
    """One split as a set of its own."""
    rows = manifest.rows(split)
    part = manifest.select(rows)
    write_pack(folder, Pack(manifest.path.parent, manifest).batch(rows), part["image"].tolist())
    return part.write(folder)


def tiny(manifests: dict[str, Path], **changes: Any) -> Experiment:
    """Two arms, one seed, three steps of a small network, on manifests that are there."""
    data = {
        role: {"manifest": str(path), "split": {"validation": "val"}.get(role, role), "size": 32}
        for role, path in manifests.items()
    }
    values = {
        "data": data,
        "arms": ["plain", "duplicate_real"],
        "seeds": [0],
        "budget": {"replicates": 100, "threads": 1, "classifier": SMALL},
        "endpoint": {"arm": "duplicate_real", "reference": "plain"},
    }
    return make_experiment(document(**{**values, **changes}), "planted")


def run(experiment: Experiment, folder: Path) -> tuple[Plan, dict[str, Any]]:
    results = load_json(Runner(experiment, folder, say=lambda line: None).execute())
    return read_plan(folder), results


def weights_of(plan: Plan, folder: Path) -> list[dict[str, torch.Tensor]]:
    cells = sorted(plan.cells, key=lambda cell: cell.arm)
    return [torch.load(folder / "cells" / one.id / "model.pt", weights_only=True)["weights"] for one in cells]


def answers_of(plan: Plan, folder: Path) -> list[Predictions]:
    cells = sorted(plan.cells, key=lambda cell: cell.arm)
    return [read_predictions(folder / "cells" / one.id / "predictions.csv") for one in cells]


# --- a generator fitted on test patients ---


def write_generator(folder: Path, seen: list[str]) -> Path:
    network = ProgressiveGenerator(resolution=32, latent_size=8, fmap_base=32, fmap_max=8)
    about = {
        "finding": "Effusion",
        "findings": list(FINDINGS),
        "patients_seen": seen,
        "manifest": "0" * 64,
        "images_seen": 64,
    }
    save_model(folder / "model.pt", "pggan", network, about)
    return folder


def test_a_generator_that_saw_a_test_patient_makes_no_set(manifest: Manifest, tmp_path: Path) -> None:
    seen = [*patients(manifest, "train"), patients(manifest, "test")[0]]
    generator = write_generator(tmp_path / "leaky", seen)
    with pytest.raises(LeakageError, match=f"only have seen training patients.*{seen[-1]}"):
        SyntheticSet(Samples(generator, "Effusion", 2, 0), tmp_path / "set", manifest.path).run()
    assert not (tmp_path / "set").exists()
    fine = write_generator(tmp_path / "fine", seen[:-1])
    SyntheticSet(Samples(fine, "Effusion", 2, 0), tmp_path / "set", manifest.path).run()


def test_its_set_is_refused_where_it_is_mixed_in(manifest: Manifest, tmp_path: Path) -> None:
    """A set that was made without naming the real manifest carries its patients along."""
    seen = [*patients(manifest, "train"), patients(manifest, "test")[0]]
    SyntheticSet(Samples(write_generator(tmp_path / "leaky", seen), "Effusion", 2, 0), tmp_path / "set").run()
    with pytest.raises(LeakageError, match=f"only have seen training patients.*{seen[-1]}"):
        MixedDataset(manifest.path, findings=FINDINGS, synthetic=[tmp_path / "set"])
    # also where the test patients stand in a manifest of their own
    train, test = (part_of(manifest, tmp_path / split, split) for split in ("train", "test"))
    assert len(MixedDataset(train, findings=FINDINGS, synthetic=[tmp_path / "set"])) == len(manifest.rows("train")) + 2
    with pytest.raises(LeakageError, match=f"only have seen training patients.*{seen[-1]}"):
        MixedDataset(train, findings=FINDINGS, synthetic=[tmp_path / "set"], held_out=[{"manifest": str(test)}])


@pytest.mark.e2e
def test_what_was_really_fitted_on_test_patients_is_refused(manifest: Manifest, tmp_path: Path) -> None:
    """Nothing is declared by hand: the generator's training writes down whom it saw."""
    files = [bundle_file("chest_xray_pggan", name) for name in ("train", "smoke")]
    settings = {"finding": "Effusion", "split": "test", "resolution": 32, "threads": 1, "seed": 0}
    places = {
        "bundle_root": str(files[0].parents[1]),
        "output_dir": str(tmp_path / "g"),
        "manifest": str(manifest.path),
    }
    run_stage(files, {**settings, **places})
    assert set(load_model(tmp_path / "g").about["patients_seen"]) <= set(patients(manifest, "test"))
    with pytest.raises(LeakageError, match="only have seen training patients"):
        SyntheticSet(Samples(tmp_path / "g", "Effusion", 2, 0), tmp_path / "set", manifest.path).run()
    SyntheticSet(Samples(tmp_path / "g", "Effusion", 2, 0), tmp_path / "set").run()
    with pytest.raises(LeakageError, match="only have seen training patients"):
        MixedDataset(manifest.path, synthetic=[tmp_path / "set"])


def test_images_made_elsewhere_must_say_whom_their_generator_saw(manifest: Manifest, tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    Image.fromarray(np.arange(1024, dtype=np.uint8).reshape(32, 32)).save(tmp_path / "made" / "one.png")
    declaration = tmp_path / "made.json"
    options = {"declaration": str(declaration), "finding": "Effusion", "like": str(manifest.path)}
    request = Request("external", str(tmp_path / "made"), size=32, options=options)
    for seen, words in (
        (patients(manifest, "test")[:1], "only have seen training patients"),
        ({"manifest": str(manifest.path)}, "only have seen training patients"),
        (None, "patients_seen"),
    ):
        declaration.write_text(json.dumps({"generator": "a diffusion model", "patients_seen": seen}))
        with pytest.raises(LeakageError, match=words):
            prepare(request, tmp_path / "external")
    declaration.write_text(json.dumps({"generator": "a diffusion model", "patients_seen": patients(manifest, "train")}))
    folder = prepare(request, tmp_path / "external").parent
    assert len(MixedDataset(manifest.path, synthetic=[folder])) == len(manifest.rows("train")) + 1


# --- oversampling before the split ---


def oversampled(manifest: Manifest) -> Manifest:
    """Some training images again, in the test split."""
    rows = manifest.rows("train")[:5]
    twice = manifest.select(np.concatenate([np.arange(len(manifest)), rows]))
    columns = {name: values.copy() for name, values in twice.columns.items()}
    columns["image"][-5:] = [f"again-{number}.png" for number in range(5)]
    columns["split"][-5:] = "test"
    return replace(twice, columns=columns)


def test_a_patient_on_both_sides_is_refused(manifest: Manifest, tmp_path: Path) -> None:
    path = rewritten(manifest, tmp_path / "twice", oversampled)
    with pytest.raises(LeakageError, match=r"a patient may be in one split only.*in train and test"):
        read_manifest(path)
    apart = {"train": manifest.path, "test": rewritten(manifest, tmp_path / "apart", all_in_test)}
    with pytest.raises(LeakageError, match="no training patient may be among the evaluation images"):
        make_plan(tiny(apart), apart)


def all_in_test(manifest: Manifest) -> Manifest:
    return replace(manifest, columns={**manifest.columns, "split": np.full(len(manifest), "test")})


def test_a_picture_on_both_sides_is_caught_under_any_name(manifest: Manifest, tmp_path: Path) -> None:
    """Copies that call themselves other patients: in a set of their own they are refused, by their content."""

    def disguise(one: Manifest) -> Manifest:
        names = np.array([f"nobody-{name}" for name in one["patient_id"]])
        return all_in_test(replace(one, columns={**one.columns, "patient_id": names}))

    other = rewritten(manifest, tmp_path / "other", disguise)
    with pytest.raises(LeakageError, match="no training picture may be among the evaluation images"):
        MixedDataset(manifest.path, held_out=[{"manifest": str(other), "split": "test"}])


def test_a_picture_twice_in_one_set_is_reported_with_its_splits(tmp_path: Path) -> None:
    """Copies within one table: the preparation counts and lists them."""
    rng, rows = np.random.default_rng(0), []
    for number in range(24):
        split = ("train", "val", "test")[number % 3]
        picture = rng.integers(0, 256, (32, 32), dtype=np.uint8)
        names = [f"{number}.png", *([f"{number}-again.png"] if number == 0 else [])]
        for name, place in zip(names, (split, "test"), strict=False):
            Image.fromarray(picture).save(tmp_path / name)
            rows.append([name, f"P-{name}", place, number % 2])
    write_csv(tmp_path / "table.csv", ["image", "patient_id", "split", "Edema"], rows)
    prepared = prepare(Request("table", labels=str(tmp_path / "table.csv"), size=32), tmp_path / "out").parent
    assert load_json(prepared / "summary.json")["duplicates"]["across_splits"] == 1
    with (prepared / "duplicates.csv").open(newline="") as file:
        (found,) = csv.DictReader(file)
    assert {found["split"], found["other_split"]} == {"train", "test"}
    assert found["patient_id"] != found["other_patient_id"]


def test_an_image_listed_twice_is_refused(manifest: Manifest, tmp_path: Path) -> None:
    rows = np.concatenate([np.arange(len(manifest)), manifest.rows("train")[:1]])
    path = rewritten(manifest, tmp_path / "twice", lambda one: one.select(rows))
    with pytest.raises(InputError, match="an image may be listed once"):
        read_manifest(path)


@pytest.mark.parametrize("split", ["val", "test", None])
def test_only_training_images_are_resampled(manifest: Manifest, split: str | None) -> None:
    OverSampling(PackDataset(manifest.path, "train", findings=FINDINGS))
    with pytest.raises(LeakageError, match="only training images may be resampled, after the split"):
        OverSampling(PackDataset(manifest.path, split, findings=FINDINGS))


def test_folds_over_train_and_val_are_resampled_and_test_images_are_not(manifest: Manifest, tmp_path: Path) -> None:
    def with_folds(one: Manifest) -> Manifest:
        folds = [str(row % 2) if split != "test" else "none" for row, split in enumerate(one["split"])]
        return replace(one, columns={**one.columns, "fold": np.array(folds, dtype=object)})

    path = rewritten(manifest, tmp_path / "folds", with_folds)
    folds = PackDataset(path, None, {"fold": "0"}, findings=FINDINGS)
    assert {"train", "val"} == set(folds.real.manifest["split"][folds.real.rows])
    OverSampling(folds)
    with pytest.raises(LeakageError, match="only training images may be resampled, after the split"):
        OverSampling(PackDataset(path, None, {"fold": ["0", "none"]}, findings=FINDINGS))


# --- permuted label columns ---


def reordered(manifest: Manifest, folder: Path, names: bool) -> Path:
    """The same manifest, its columns in another order; the list of findings too, if asked for."""
    path = rewritten(manifest, folder, lambda one: one)
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    order = np.random.default_rng(3).permutation(len(rows[0]))
    assert not np.array_equal(order, np.sort(order))
    write_csv(path, [rows[0][k] for k in order], [[row[k] for k in order] for row in rows[1:]])
    if names:
        document = json.loads(path.with_name("manifest.json").read_text())
        document["findings"].reverse()
        path.with_name("manifest.json").write_text(json.dumps(document))
    return path


@pytest.mark.e2e
def test_the_order_of_the_columns_changes_not_a_byte(manifest: Manifest, tmp_path: Path) -> None:
    """Also of the findings' list, where the experiment says in which order the classifier answers."""
    found = []
    for name, path in (
        ("straight", manifest.path),
        ("columns", reordered(manifest, tmp_path / "a", names=False)),
        ("findings", reordered(manifest, tmp_path / "b", names=True)),
    ):
        experiment = tiny(
            {"train": path, "validation": path, "test": path}, classes=["Effusion", "Cardiomegaly", "Mass"]
        )
        plan, results = run(experiment, tmp_path / name)
        cells = [tmp_path / name / "cells" / one.id for one in plan.cells]
        answers = [(cell / "predictions.csv").read_bytes() for cell in cells]
        numbers = {key: results[key] for key in ("primary", "arms", "comparisons", "operating", "subgroups")}
        found.append((answers, numbers))
    assert found[0] == found[1] == found[2]


def learnable(seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.float64], list[str]]:
    rng = np.random.default_rng(seed)
    labels = (rng.random((300, 4)) < 0.2).astype(np.float64)
    scores = 1 / (1 + np.exp(-2 * labels - rng.normal(size=(3, 300, 4))))
    return scores, labels, [f"P{row // 2}" for row in range(300)]


def test_labels_under_wrong_names_are_caught_by_the_answers(tmp_path: Path) -> None:
    """A table of answers whose label columns were swapped, as it is read back from its file."""
    names = ("Edema", "Fibrosis", "Mass", "Hernia")
    scores, labels, owners = learnable()
    images = [f"{row}.png" for row in range(300)]
    for order, wanted in (([0, 1, 2, 3], []), ([0, 2, 1, 3], [(1, 2)])):
        Predictions(images, owners, names, labels[:, order], scores[0]).write(tmp_path / "predictions.csv")
        table = read_predictions(tmp_path / "predictions.csv")
        found = find_permutations(table.probs, table.labels, table.patients)
        assert [one.columns for one in found] == wanted


def test_answers_are_read_by_name(tmp_path: Path) -> None:
    scores, labels, owners = learnable()
    images = [f"{row}.png" for row in range(300)]
    path = tmp_path / "predictions.csv"
    Predictions(images, owners, ("Edema", "Fibrosis", "Mass", "Hernia"), labels, scores[0]).write(path)
    straight = read_predictions(path)
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    order = np.random.default_rng(1).permutation(len(rows[0]))
    write_csv(path, [rows[0][k] for k in order], [[row[k] for k in order] for row in rows[1:]])
    mixed = read_predictions(path)
    for k, name in enumerate(straight.findings):
        column = mixed.findings.index(name)
        assert np.array_equal(mixed.labels[:, column], straight.labels[:, k])
        assert np.array_equal(mixed.probs[:, column], straight.probs[:, k])


# --- judges, thresholds, normalisers ---


def write_classifier(folder: Path, seen: list[str]) -> Path:
    about = {"findings": list(FINDINGS), "size": 32, "patients_seen": seen}
    save_model(folder / "model.pt", "classifier", Classifier(2, "small_cnn").eval(), about)
    return folder


def test_a_judge_that_saw_a_test_patient_is_refused(manifest: Manifest, tmp_path: Path) -> None:
    train, stranger = patients(manifest, "train"), patients(manifest, "test")[0]
    generator = write_generator(tmp_path / "generator", train)
    judge = write_classifier(tmp_path / "judge", [*train, stranger])
    screening = Screening([judge], {"Cardiomegaly": 0.999999})
    with pytest.raises(LeakageError, match=f"a judge may only have seen training patients.*{stranger}"):
        SyntheticSet(Samples(generator, "Effusion", 2, 0), tmp_path / "set", manifest.path, screening=screening).run()
    # one that was kept quiet about comes out at mixing: the set carries what its judges saw
    SyntheticSet(Samples(generator, "Effusion", 2, 0), tmp_path / "quiet", screening=screening).run()
    with pytest.raises(LeakageError, match=stranger):
        MixedDataset(manifest.path, findings=FINDINGS, synthetic=[tmp_path / "quiet"])


def test_thresholds_are_not_chosen_on_test_patients(manifest: Manifest, tmp_path: Path) -> None:
    experiment = tiny(dict.fromkeys(("train", "validation", "test"), manifest.path))
    roles = {"validation": replace(experiment.data.test, split="test")}  # type: ignore[type-var]
    leaky = replace(experiment, data=replace(experiment.data, **roles))
    with pytest.raises(LeakageError, match="no patient may be in both validation, where thresholds are chosen, and"):
        make_plan(leaky, dict.fromkeys(("train", "validation", "test"), manifest.path))
    make_plan(experiment, dict.fromkeys(("train", "validation", "test"), manifest.path))


def test_a_model_is_not_calibrated_on_whom_it_was_trained(manifest: Manifest, tmp_path: Path) -> None:
    train, val = patients(manifest, "train"), patients(manifest, "val")
    model = write_classifier(tmp_path / "model", train) / "model.pt"
    for owner in (train[0], val[0]):
        table = Predictions(["a", "b"], [owner, val[1]], FINDINGS, np.eye(2), np.full((2, 2), 0.5))
        table.write(tmp_path / "predictions.csv")
        fit = FitCalibration(tmp_path / "predictions.csv", model, seen=train, sources=["real"] * 2, say=False)
        if owner in train:
            with pytest.raises(LeakageError, match="must be of patients that the model was not trained on"):
                fit.run()
        else:
            assert fit.run().is_file()


def test_features_of_test_patients_are_not_judged_by_who_knows_them(manifest: Manifest, tmp_path: Path) -> None:
    train, test = patients(manifest, "train"), patients(manifest, "test")
    ClassifierFeatures(write_classifier(tmp_path / "fine", train)).refuse_seen(frozenset(test))
    leaky = ClassifierFeatures(write_classifier(tmp_path / "leaky", [*train, test[0]]))
    with pytest.raises(LeakageError, match="may not have seen their patients"):
        leaky.refuse_seen(frozenset(test))


@pytest.mark.e2e
def test_test_images_influence_nothing_that_is_learnt(manifest: Manifest, tmp_path: Path) -> None:
    """Other pictures and labels in test: the same weights, priors, temperatures and thresholds to the last bit.

    No normaliser, class prior, class weight or threshold can have seen them.
    """

    def spoil(one: Manifest) -> Manifest:
        labels = one.labels.copy()
        rows = one.rows("test")
        labels[rows] = np.random.default_rng(0).permutation(labels[rows])
        return replace(one, labels=labels)

    spoilt = rewritten(manifest, tmp_path / "spoilt", spoil)
    pictures = Pack(manifest.path.parent, manifest).batch(np.arange(len(manifest)))
    rows = manifest.rows("test")
    pictures[rows] = pictures[rows][:, ::-1] // 2
    write_pack(spoilt.parent, pictures, manifest["image"].tolist())
    learnt, answered = [], []
    for name, path in (("real", manifest.path), ("spoilt", spoilt)):
        roles = dict.fromkeys(("train", "validation", "test"), path)
        endpoint = {"arm": "oversampled", "reference": "weighted_loss"}
        experiment = tiny(roles, arms=["weighted_loss", "oversampled"], endpoint=endpoint)
        plan, _ = run(experiment, tmp_path / name)
        cells = sorted(plan.cells, key=lambda cell: cell.arm)
        fitted = [load_json(tmp_path / name / "cells" / one.id / "calibration.json") for one in cells]
        learnt.append((weights_of(plan, tmp_path / name), [one["findings"] for one in fitted]))
        answered.append(answers_of(plan, tmp_path / name))
    for one, other in zip(learnt[0][0], learnt[1][0], strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)
    assert learnt[0][1] == learnt[1][1]
    assert not np.array_equal(answered[0][0].probs, answered[1][0].probs)
