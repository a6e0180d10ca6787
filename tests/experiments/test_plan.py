from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from monai_cxraug import bundle_config
from monai_cxraug.data.manifest import read_manifest
from monai_cxraug.errors import ConfigError, CxrAugError, LabelError, LeakageError, StateError
from monai_cxraug.experiments.experiment import make_experiment
from monai_cxraug.experiments.plan import GeneratorPlan, Plan, read_plan
from monai_cxraug.experiments.planning import make_plan
from monai_cxraug.experiments.work import Workshop, check_budget
from monai_cxraug.resources import copy_bundles
from tests.experiments.conftest import document


def _plan(manifest: Path, **changes: object):  # type: ignore[no-untyped-def]
    return make_plan(make_experiment(document(**changes), "x"), {"train": manifest, "validation": manifest})


def test_the_grid_is_complete_and_generators_are_refitted_per_seed(phantom_manifest: Path) -> None:
    plan = _plan(phantom_manifest, ratios=[0.5, 2.0], fractions=[0.5, 1.0], seeds=[0, 7])
    # plain has no ratio; the other two arms have two
    assert len(plan.cells) == 2 * 2 * (1 + 2 + 2)
    assert len({cell.id for cell in plan.cells}) == len(plan.cells)
    assert {(one.finding, one.fraction, one.seed) for one in plan.generators} == {
        (finding, fraction, seed)
        for finding in ("Cardiomegaly", "Effusion")
        for fraction in (0.5, 1.0)
        for seed in (0, 7)
    }
    assert len(plan.synthetic) == 2 * len(plan.generators)


def test_added_images_are_the_ratio_times_the_real_positives(phantom_manifest: Path) -> None:
    plan = _plan(phantom_manifest, ratios=[2.0])
    manifest = read_manifest(phantom_manifest)
    train = manifest["split"] == "train"
    for cell in plan.cells:
        for finding, count in cell.counts.items():
            assert count == 2 * int((manifest.label(finding)[train] == 1).sum())
    assert {one.finding: one.n for one in plan.synthetic} == dict(next(c for c in plan.cells if c.arm == "gan").counts)


def test_a_plan_is_read_back_as_it_was(phantom_manifest: Path, tmp_path: Path) -> None:
    plan = _plan(phantom_manifest)
    plan.write(tmp_path)
    again = read_plan(tmp_path)
    assert list(again.cells) == list(plan.cells)
    assert list(again.generators) == list(plan.generators)
    # JSON has lists where the experiment has tuples
    assert json.loads(json.dumps(again.experiment.document())) == json.loads(json.dumps(plan.experiment.document()))


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"findings": ["Effusion", "Efusion"]}, LabelError, ["Efusion", "did you mean 'Effusion'"]),
        ({"classes": ["Mass"]}, ConfigError, ["classes", "Cardiomegaly"]),
    ],
)
def test_unknown_findings_are_refused(
    phantom_manifest: Path, changes: dict[str, object], kind: type[CxrAugError], words: list[str]
) -> None:
    with pytest.raises(kind) as caught:
        _plan(phantom_manifest, **changes)
    assert all(word in str(caught.value) for word in words)


def test_training_and_evaluation_may_not_share_patients(phantom_manifest: Path) -> None:
    data = document()["data"]
    with pytest.raises(LeakageError, match="training patient"):
        _plan(phantom_manifest, data={"train": data["train"], "validation": {**data["validation"], "split": "train"}})


def test_manifests_of_different_salts_are_refused(phantom_manifest: Path, tmp_path: Path) -> None:
    """The same patient would bear two names, and the check of shared patients would see nothing."""
    for name in ("manifest.csv", "manifest.json", "pack.json", "pack.npy"):
        (tmp_path / name).write_bytes((phantom_manifest.parent / name).read_bytes())
    document_of_copy = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps({**document_of_copy, "salt": "0123456789abcdef"}))
    manifests = {"train": phantom_manifest, "validation": tmp_path / "manifest.csv"}
    with pytest.raises(LeakageError, match="one salt"):
        make_plan(make_experiment(document(), "x"), manifests)


def test_only_real_images_are_judged_on(phantom_manifest: Path, tmp_path: Path) -> None:
    """Synthetic training images are fine in a manifest, and not as what an experiment is judged on."""
    for name in ("manifest.json", "pack.json", "pack.npy"):
        (tmp_path / name).write_bytes((phantom_manifest.parent / name).read_bytes())
    with phantom_manifest.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        row["patient_id"] = "other-" + row["patient_id"]
        row["split"] = "train"
    rows[3]["source"] = "synthetic"
    with (tmp_path / "manifest.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    data = document()["data"]
    experiment = make_experiment(
        document(data={"train": data["train"], "validation": {"manifest": str(tmp_path / "manifest.csv")}}), "x"
    )
    with pytest.raises(LeakageError, match="only real images"):
        make_plan(experiment, {"train": phantom_manifest, "validation": tmp_path / "manifest.csv"})


def test_the_fraction_shrinks_the_positives(phantom_manifest: Path) -> None:
    plan = _plan(phantom_manifest, fractions=[0.3, 1.0], findings=["Cardiomegaly"], seeds=[0])
    counts = {cell.fraction: cell.counts["Cardiomegaly"] for cell in plan.cells if cell.arm == "gan"}
    assert 0 < counts[0.3] < counts[1.0]


def _ids(plan: Plan) -> dict[str, set[str]]:
    return {arm: {cell.id for cell in plan.cells if cell.arm == arm} for arm in plan.experiment.arms}


def test_changing_one_arm_renames_its_cells_alone(phantom_manifest: Path) -> None:
    before = _ids(_plan(phantom_manifest, arms=["plain", "duplicate_real", "gan"]))
    after = _ids(_plan(phantom_manifest, arms=["plain", "duplicate_real", "gan", "focal_loss"]))
    assert {arm: after[arm] for arm in before} == before
    budget = {"replicates": 200, "threads": 1, "generator": {"total_images": 50}}
    after = _ids(_plan(phantom_manifest, budget=budget))
    assert [arm for arm in before if not after[arm] & before[arm]] == ["gan"]


@pytest.mark.parametrize(
    "changes",
    [
        {"budget": {"replicates": 200, "threads": 2}},
        {"budget": {"replicates": 200, "threads": 1, "classifier": {"steps": 7}}},
        {"budget": {"replicates": 200, "threads": 1, "recipe": "recipe_sgd"}},
        {"classes": ["Cardiomegaly", "Effusion"]},
    ],
)
def test_whatever_decides_a_cell_is_in_its_name(phantom_manifest: Path, changes: dict[str, object]) -> None:
    before, after = _ids(_plan(phantom_manifest)), _ids(_plan(phantom_manifest, **changes))
    assert not any(before[arm] & after[arm] for arm in before)


def test_a_recipe_of_generators_is_for_every_pggan_and_in_their_names(phantom_manifest: Path) -> None:
    arms = {"arms": ["plain", "gan", "conditional_gan", "dcgan"], "endpoint": {"arm": "gan", "reference": "plain"}}
    before = _ids(_plan(phantom_manifest, **arms))
    budget = {"replicates": 200, "threads": 1, "generator_recipe": "recipe_nonsaturating"}
    after = _ids(_plan(phantom_manifest, **arms, budget=budget))
    assert [arm for arm in before if not before[arm] & after[arm]] == ["gan", "conditional_gan"]
    shop = Workshop(make_experiment(document(**arms, budget=budget), "x"), {}, ["Cardiomegaly", "Effusion"])
    overlays = {name: shop.generator(GeneratorPlan("g", "", 1.0, 0, origin=name)).overlays for name in ("gan", "dcgan")}
    assert overlays == {"gan": ("recipe_nonsaturating",), "dcgan": ("dcgan",)}
    unknown = make_experiment(document(budget={**budget, "generator_recipe": "recipe_nonsaturated"}), "x")
    with pytest.raises(
        ConfigError, match=r"budget\.generator_recipe: unknown recipe; found 'recipe_nonsaturated'; did"
    ):
        check_budget(unknown)


def test_one_conditional_generator_serves_every_finding_of_a_seed(phantom_manifest: Path) -> None:
    arms = ["plain", "conditional_gan", "conditional_gan+label_shuffled", "conditional_gan+pretrained"]
    plan = _plan(phantom_manifest, arms=arms, endpoint={"arm": "conditional_gan", "reference": "plain"})
    whole = int((read_manifest(phantom_manifest)["split"] == "train").sum())
    assert [(one.finding, one.seed, one.images) for one in plan.generators] == [("", 0, whole), ("", 1, whole)]
    made = {one.id: one for one in plan.synthetic}
    assert sorted((one.finding, one.seed) for one in made.values()) == [
        ("Cardiomegaly", 0), ("Cardiomegaly", 1), ("Effusion", 0), ("Effusion", 1)
    ]  # fmt: skip
    for cell in plan.cells:
        used = {made[name].generator for name in cell.synthetic}
        assert used == ({one.id for one in plan.generators if one.seed == cell.seed} if cell.arm != "plain" else set())


def test_an_edited_overlay_renames_the_cells_that_use_it(
    phantom_manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_bundles(tmp_path / "bundles")
    (tmp_path / "configs").mkdir()
    monkeypatch.setattr(bundle_config, "resource_root", lambda: tmp_path)
    experiment = {"arms": ["plain", "focal_loss", "duplicate_real", "gan"]}
    before = _ids(_plan(phantom_manifest, **experiment))
    changed = []
    configs = tmp_path / "bundles" / "chest_xray_classification" / "configs"
    for name in ("loss_focal", "evaluate"):
        content = json.loads((configs / f"{name}.json").read_text())
        (configs / f"{name}.json").write_text(json.dumps({**content, "_desc_": "edited"}, indent=1))
        after = _ids(_plan(phantom_manifest, **experiment))
        changed.append([arm for arm in before if not after[arm] & before[arm]])
    assert changed == [["focal_loss"], experiment["arms"]]


def test_a_smoke_run_is_named_otherwise_and_uses_the_smoke_overlays(phantom_manifest: Path) -> None:
    experiment = make_experiment(document(), "x")
    manifests = {"train": phantom_manifest, "validation": phantom_manifest}
    real, smoke = make_plan(experiment, manifests), make_plan(experiment, manifests, smoke=True)
    for kind in ("cells", "generators", "synthetic"):
        assert not {one.key for one in getattr(real, kind)} & {one.key for one in getattr(smoke, kind)}
    shop = Workshop(experiment, manifests, smoke.classes, smoke=True)
    works = [shop.generator(smoke.generators[0]), *map(shop.cell, smoke.cells)]
    assert {work.files[-1].name for work in works} == {"smoke.json"}


def test_pretrained_weights_count_by_what_is_in_them(phantom_manifest: Path, tmp_path: Path) -> None:
    def ids(content: bytes, path: Path) -> dict[str, set[str]]:
        path.write_bytes(content)
        budget = {"replicates": 200, "threads": 1, "classifier": {"weights": str(path)}}
        return _ids(_plan(phantom_manifest, budget=budget))

    first = ids(b"one", tmp_path / "a.pth")
    assert ids(b"one", tmp_path / "b.pth") == first
    other = ids(b"two", tmp_path / "a.pth")
    assert not any(other[arm] & first[arm] for arm in first)


@pytest.mark.parametrize(
    "changes",
    [
        {"title": "other words"},
        {"budget": {"replicates": 300, "threads": 1}},
        {"endpoint": {"arm": "gan", "reference": "plain", "finding": "Effusion"}},
        {"seeds": [0, 1, 2]},
        {"findings": ["Cardiomegaly", "Effusion"]},
    ],
)
def test_what_decides_no_cell_is_not(phantom_manifest: Path, changes: dict[str, object]) -> None:
    before, after = _ids(_plan(phantom_manifest)), _ids(_plan(phantom_manifest, **changes))
    assert all(before[arm] <= after[arm] for arm in before)


def test_other_labels_or_pictures_rename_every_cell_and_another_place_none(
    phantom_manifest: Path, tmp_path: Path
) -> None:
    for name in ("manifest.csv", "manifest.json", "pack.json", "pack.npy"):
        (tmp_path / name).write_bytes((phantom_manifest.parent / name).read_bytes())
    here, there = _ids(_plan(phantom_manifest)), _ids(_plan(tmp_path / "manifest.csv"))
    assert here == there
    pack = np.load(tmp_path / "pack.npy", mmap_mode="r+")
    pack[0, 0, 0] ^= 1
    pack.flush()
    there = _ids(_plan(tmp_path / "manifest.csv"))
    assert not any(here[arm] & there[arm] for arm in here)


def test_screened_sets_come_with_their_judges_and_filtered_ones_with_their_generators(phantom_manifest: Path) -> None:
    arms = ["plain", "gan", "screened", "filtered_gan", "filtered_gan+screened", "label_shuffled", "duplicate_real"]
    experiment = make_experiment(
        document(arms=arms, seeds=[0], screening={"accept_share": 0.7, "folds": 3}, findings=["Effusion"]), "x"
    )
    manifests = {"train": phantom_manifest, "validation": phantom_manifest, "filtered": phantom_manifest}
    plan = make_plan(experiment, manifests)
    assert [(one.fold, one.folds) for one in plan.judges] == [(0, 3), (1, 3), (2, 3)]
    plain, filtered = plan.generators
    assert (plain.filtered, filtered.filtered, filtered.images) == (False, True, 4 * plain.images)
    sets = {cell.arm: cell.synthetic for cell in plan.cells}
    assert sets["gan"] == sets["label_shuffled"]
    assert len({tuple(names) for names in sets.values()}) == 5  # none, and four kinds
    for one in plan.synthetic:
        assert plan.needs(one) == [one.generator, *one.judges]
    assert {bool(one.judges) for one in plan.synthetic} == {True, False}
    order = [one.id for one in plan.stages()]
    assert all(order.index(need) < order.index(one.id) for one in plan.stages() for need in plan.needs(one))


def test_an_older_plan_is_understood_and_an_unknown_one_refused_in_words(
    phantom_manifest: Path, tmp_path: Path
) -> None:
    _plan(phantom_manifest).write(tmp_path)
    content = json.loads((tmp_path / "plan.json").read_text())
    older = {key: value for key, value in content.items() if key not in ("judges", "smoke")}
    for kind, added in {
        "generators": ("filtered", "images", "key"),
        "synthetic": ("judges", "key"),
        "cells": ("key",),
    }.items():
        older[kind] = [{key: value for key, value in one.items() if key not in added} for one in content[kind]]
    for key in ("screening", "filters", "external"):
        older["experiment"].pop(key)
    (tmp_path / "plan.json").write_text(json.dumps({**older, "schema": "cxraug.plan/1"}))
    plan = read_plan(tmp_path)
    assert [cell.id for cell in plan.cells] == [cell["id"] for cell in content["cells"]]
    assert plan.judges == []
    (tmp_path / "plan.json").write_text(json.dumps({**content, "schema": "cxraug.plan/3"}))
    with pytest.raises(
        StateError, match=r"'cxraug\.plan/2' or 'cxraug\.plan/1'; found 'cxraug\.plan/3'; report it with"
    ):
        read_plan(tmp_path)


def test_a_loss_that_weighs_classes_needs_them_in_every_fraction(phantom_manifest: Path) -> None:
    arms = ["plain", "duplicate_real", "gan", "weighted_loss"]
    with pytest.raises(ConfigError, match=r"'weighted_loss' needs images with and without each class.*Edema"):
        _plan(phantom_manifest, arms=arms, fractions=[0.5, 1.0])
    classes = ["Cardiomegaly", "Effusion"]
    assert _plan(phantom_manifest, arms=arms, classes=classes, fractions=[0.5, 1.0]).classes == classes
