"""Grids over numbers of real images: what may be declared, which cells and generators there are, what names them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from monai_cxraug.data.datasets import PackRows
from monai_cxraug.data.manifest import read_manifest
from monai_cxraug.data.request import list_source
from monai_cxraug.errors import ConfigError
from monai_cxraug.experiments.arms import (
    CONDITIONAL,
    CONTROLS,
    GENERATORS,
    Additions,
    Making,
    find_arm,
    missing_controls,
)
from monai_cxraug.experiments.axis import Scale, place_counts
from monai_cxraug.experiments.declaration import load_experiment
from monai_cxraug.experiments.declared import record_endpoint
from monai_cxraug.experiments.experiment import make_experiment
from monai_cxraug.experiments.plan import Plan, read_plan
from monai_cxraug.experiments.planning import make_plan
from monai_cxraug.experiments.preparation import smoke_experiment
from monai_cxraug.experiments.work import GENERATOR_BUNDLES, Workshop, check_budget, check_sides
from tests.experiments.conftest import document

FINDING = "Effusion"


def counted(**changes: Any) -> dict[str, Any]:
    """An experiment over numbers of real images as plain values."""
    values: dict[str, Any] = {
        "findings": [FINDING],
        "classes": [FINDING],
        "arms": ["plain", "duplicate_real", "gan", "infogan"],
        "endpoint": {"arm": "infogan", "reference": "plain", "real": 5},
        "top_up": {"finding": FINDING, "real": [5, 12, "all"]},
    }
    return document(**{**values, **changes})


def plan_of(manifest: Path, **changes: Any) -> Plan:
    return make_plan(make_experiment(counted(**changes), "x"), {"train": manifest, "validation": manifest})


def positives(manifest: Path) -> int:
    table = read_manifest(manifest)
    return int((table.label(FINDING)[table.rows("train")] == 1).sum())


# --- what may be declared ---


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"top_up": {"finding": "Edema", "real": [5]}},
            "key 'top_up.finding': must be the one studied finding (Effusion)",
        ),
        (
            {"findings": [FINDING, "Mass"], "classes": None},
            "key 'top_up.finding': must be the one studied finding (Eff",
        ),
        ({"top_up": {"finding": FINDING, "real": []}}, "key 'top_up.real': must be a list of numbers of real images"),
        ({"top_up": {"finding": FINDING, "real": 5}}, "key 'top_up.real': must be a list of numbers of real images"),
        (
            {"top_up": {"finding": FINDING, "real": [0]}},
            "key 'top_up.real': must be a whole number of at least 1, or all",
        ),
        ({"top_up": {"finding": FINDING, "real": [2.5]}}, "at least 1, or all; found 2.5"),
        ({"top_up": {"finding": FINDING, "real": [True]}}, "at least 1, or all; found True"),
        ({"top_up": {"finding": FINDING, "real": ["al"]}}, "at least 1, or all; found 'al'"),
        ({"top_up": {"finding": FINDING, "real": [5, 5]}}, "key 'top_up.real': a count may stand once"),
        ({"top_up": {"finding": FINDING, "real": [5], "total": 0}}, "key 'top_up.total': must be a whole number"),
        ({"top_up": {"finding": FINDING, "reall": [5]}}, "unknown key; found 'reall'; did you mean 'real'?"),
        ({"top_up": {"finding": FINDING}}, "key 'real': a value is required"),
        ({"top_up": None}, "key 'endpoint.real': belongs to a grid over 'top_up'; found 5"),
        (
            {"endpoint": {"arm": "infogan", "reference": "plain", "real": "some"}},
            "key 'endpoint.real': must be a whole number of at least 1, or all; found 'some'",
        ),
        (
            {"published": [{"arm": "plain", "real": 0, "auroc": {FINDING: 0.5}}]},
            "key 'published' entry 1 'real': must be a whole number of at least 1",
        ),
        (
            {"published": [{"arm": "plain", "real": 10, "auroc": {FINDING: 0.5}, "accuracy": {FINDING: 55}}]},
            "'accuracy' of 'Effusion': must be a number from 0 to 1; found 55",
        ),
    ],
)
def test_what_cannot_be_declared_is_one_line(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_experiment(counted(**changes), "x")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "key"),
    [
        ("fractions=[0.5]", "fractions"),
        ("ratios=[2]", "ratios"),
        ("endpoint.fraction=1.0", "endpoint.fraction"),
        ("endpoint.ratio=1.0", "endpoint.ratio"),
    ],
)
def test_a_file_has_one_axis(tmp_path: Path, setting: str, key: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump(counted()))
    assert load_experiment(path).top_up is not None
    with pytest.raises(ConfigError, match=rf"key '{key}': says nothing beside 'top_up'"):
        load_experiment(path, [setting])
    assert load_experiment(path, ["fractions=null"]).top_up is not None


def test_documents_of_other_experiments_are_as_they_were(tmp_path: Path) -> None:
    """Their hash, and the record of their endpoint, do not change because others can count images."""
    values = make_experiment(document(published=[{"arm": "plain", "auroc": {FINDING: 0.5}}]), "x").document()
    assert "top_up" not in values
    assert set(values["published"][0]) == {"arm", "auroc", "fraction", "source"}
    assert "generators" not in values["budget"]
    assert set(values["endpoint"]) == {"arm", "reference", "finding", "metric", "fraction", "ratio"}
    record_endpoint(tmp_path, make_experiment(document(), "x"))
    assert "real" not in json.loads((tmp_path / "declared.json").read_text())["endpoints"][0]["endpoint"]


# --- from counts to fractions ---


def test_counts_become_fractions_of_the_training_images(phantom_manifest: Path) -> None:
    whole = positives(phantom_manifest)
    published = [{"arm": "plain", "real": real, "auroc": {FINDING: 0.5}} for real in (12, "all", 7, 10_000)]
    experiment = make_experiment(counted(published=published), "x")
    placed, scale = place_counts(experiment, PackRows(phantom_manifest, "train"))
    assert scale is not None
    assert placed.fractions == [5 / whole, 12 / whole, 1.0]
    assert scale.document() == {
        "finding": FINDING,
        "images": [[5 / whole, 5], [12 / whole, 12], [1.0, whole]],
        "total": whole,
    }
    assert Scale.parse(json.loads(json.dumps(scale.document()))) == scale
    assert [scale.limit(fraction) for fraction in placed.fractions] == [{FINDING: 5}, {FINDING: 12}, {}]
    assert [scale.name(fraction) for fraction in placed.fractions] == ["n5", "n12", "nall"]
    assert (placed.endpoint.fraction, placed.endpoint.real) == (5 / whole, 5)
    # what nobody here can reach keeps the share it has
    assert [one.fraction for one in placed.published] == [12 / whole, 1.0, 7 / whole, 1.0]
    assert [one.real for one in placed.published] == [12, "all", 7, 10_000]
    assert place_counts(make_experiment(document(), "x"), PackRows(phantom_manifest))[1] is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"top_up": {"finding": FINDING, "real": [5, 999]}},
            "'top_up.real': must not be more than the training images",
        ),
        (
            {"top_up": {"finding": FINDING, "real": [5, "all", "{whole}"]}},
            "all is {whole} here; a count may stand once",
        ),
        (
            {"top_up": {"finding": FINDING, "real": [5, 12], "total": 11}},
            "'top_up.total': must be at least the largest",
        ),
        ({"top_up": {"finding": FINDING, "real": [5, "all"], "total": 12}}, "largest count ({whole}); found 12"),
        (
            {"endpoint": {"arm": "infogan", "reference": "plain", "real": "all"}},
            "must be a count of top_up.real at which both arms are trained; found 'all'; give one of 5, 12",
        ),
        ({"endpoint": {"arm": "infogan", "reference": "plain", "real": 6}}, "both arms are trained; found 6"),
        (
            {"endpoint": {"arm": "gan", "reference": "plain"}, "top_up": {"finding": FINDING, "real": ["all"]}},
            "'endpoint.real': needs a count at which there is something to add",
        ),
    ],
)
def test_counts_that_cannot_be(phantom_manifest: Path, changes: dict[str, Any], words: str) -> None:
    whole = positives(phantom_manifest)
    top_up = changes.get("top_up", {})
    top_up["real"] = [whole if count == "{whole}" else count for count in top_up.get("real", [5, 12, "all"])]
    with pytest.raises(ConfigError) as caught:
        plan_of(phantom_manifest, **{**changes, "top_up": {"finding": FINDING, **top_up}})
    assert words.format(whole=whole) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_endpoint_defaults_to_the_largest_count_of_both_arms(phantom_manifest: Path) -> None:
    whole = positives(phantom_manifest)
    plan = plan_of(phantom_manifest, endpoint={"arm": "gan", "reference": "plain"})
    assert plan.experiment.endpoint.fraction == 12 / whole
    arms = ["plain", "weighted_loss"]
    plan = plan_of(phantom_manifest, arms=arms, endpoint={"arm": "weighted_loss", "reference": "plain"})
    assert plan.experiment.endpoint.fraction == 1.0


# --- the grid ---


def test_every_adding_arm_fills_up_to_one_total(phantom_manifest: Path) -> None:
    whole = positives(phantom_manifest)
    plan = plan_of(phantom_manifest, seeds=[0, 7])
    found = {(cell.arm, cell.fraction, cell.seed): cell for cell in plan.cells}
    assert len(found) == len(plan.cells) == 2 * (3 + 3 * 2)  # where nothing is to be added there is no cell
    for (arm, fraction, seed), cell in found.items():
        real = round(fraction * whole)
        assert cell.ratio is None
        assert cell.limit == ({FINDING: real} if real < whole else {})
        assert cell.counts == ({} if arm == "plain" else {FINDING: whole - real})
        assert cell.id.startswith(f"{arm}-n{'all' if real == whole else real}-s{seed}-")
    for one in plan.synthetic:
        assert one.limit in ({FINDING: 5}, {FINDING: 12})
        assert one.n == whole - one.limit[FINDING]
    assert {(one.origin, *one.limit.values(), one.seed, one.images) for one in plan.generators} == {
        (origin, n, seed, n) for origin in ("gan", "infogan") for n in (5, 12) for seed in (0, 7)
    }
    assert len(plan.generators) == len(plan.synthetic) == 8
    names = {one.id.rpartition("-")[0] for one in plan.generators if one.seed == 0}
    assert names == {f"{FINDING}-{middle}n{n}-s0" for middle in ("", "infogan-") for n in (5, 12)}


def test_a_total_beyond_all_real_images_adds_to_these_too(phantom_manifest: Path) -> None:
    whole = positives(phantom_manifest)
    plan = plan_of(phantom_manifest, top_up={"finding": FINDING, "real": [5, "all"], "total": whole + 3}, seeds=[0])
    assert {(cell.arm, cell.fraction): cell.counts.get(FINDING) for cell in plan.cells} == {
        **{(arm, 5 / whole): whole - 2 for arm in ("duplicate_real", "gan", "infogan")},
        **{(arm, 1.0): 3 for arm in ("duplicate_real", "gan", "infogan")},
        ("plain", 5 / whole): None,
        ("plain", 1.0): None,
    }
    shop = Workshop(plan.experiment, plan.manifests, plan.classes)
    totals = {cell.arm: shop.cell(cell).settings.get("top_up") for cell in plan.cells}
    assert totals == {
        "plain": None,
        "duplicate_real": None,
        "gan": {FINDING: whole + 3},
        "infogan": {FINDING: whole + 3},
    }


def test_settings_of_a_stage_choose_its_images(phantom_manifest: Path) -> None:
    whole = positives(phantom_manifest)
    arms = ["plain", "duplicate_real", "screened", "infogan+label_shuffled"]
    screening = {"accept_share": 0.7, "folds": 2}
    endpoint = {"arm": "screened", "reference": "plain"}
    plan = plan_of(phantom_manifest, arms=arms, screening=screening, endpoint=endpoint, seeds=[3])
    shop = Workshop(plan.experiment, plan.manifests, plan.classes)
    works = [
        *map(shop.generator, plan.generators),
        *map(shop.judge, plan.judges),
        *map(shop.cell, plan.cells),
    ]
    stages = [*plan.generators, *plan.judges, *plan.cells]
    for one, work in zip(stages, works, strict=True):
        assert (work.settings["fraction"], work.settings["fraction_seed"]) == (1.0, 3)
        assert work.settings.get("limit", {}) == one.limit
        settings = {key: work.settings.get(key) for key in ("split", "where", "fraction", "fraction_seed", "limit")}
        rows = PackRows(phantom_manifest, **settings)
        assert int((rows.manifest.label(FINDING)[rows.rows] == 1).sum()) == one.limit.get(FINDING, whole)
    cells = {(cell.arm, *cell.limit.values()): shop.cell(cell).settings for cell in plan.cells}
    assert cells["duplicate_real", 5]["duplicates"] == {FINDING: whole - 5}
    assert cells["screened", 5]["top_up"] == cells["infogan+label_shuffled", 5]["top_up"] == {FINDING: whole}
    assert cells["infogan+label_shuffled", 12]["shuffle_labels"] is True
    assert "top_up" not in cells["plain", 5]
    assert len(plan.judges) == 2 * 2


def test_a_smaller_number_is_part_of_a_larger_one_of_its_seed(phantom_manifest: Path) -> None:
    plan = plan_of(phantom_manifest, seeds=[0, 1])
    shop = Workshop(plan.experiment, plan.manifests, plan.classes)
    seen: dict[int, list[set[int]]] = {0: [], 1: []}
    for one in plan.generators:
        keys = ("split", "where", "fraction", "fraction_seed", "limit")
        part = {key: shop.generator(one).settings[key] for key in keys}
        seen[one.seed].append(set(PackRows(phantom_manifest, having=FINDING, **part).rows.tolist()))
    for sets in seen.values():
        small, large = (min(sets, key=len), max(sets, key=len))
        assert (len(small), len(large)) == (5, 12)
        assert small < large
    assert seen[0] != seen[1]


def test_a_plan_is_read_back_as_it_was(phantom_manifest: Path, tmp_path: Path) -> None:
    plan = plan_of(phantom_manifest, published=[{"arm": "plain", "real": 5, "auroc": {FINDING: 0.5}}])
    plan.write(tmp_path)
    again = read_plan(tmp_path)
    assert again.scale == plan.scale
    for kind in ("cells", "generators", "synthetic", "judges"):
        assert list(getattr(again, kind)) == list(getattr(plan, kind))
    assert again.experiment.fractions == plan.experiment.fractions
    assert json.loads(json.dumps(again.experiment.document())) == json.loads(json.dumps(plan.experiment.document()))
    assert again.experiment.published[0].real == 5


# --- what names a stage ---


def test_with_every_image_a_cell_is_that_of_an_experiment_without_counts(phantom_manifest: Path) -> None:
    arms = {"arms": ["plain", "weighted_loss"], "endpoint": {"arm": "weighted_loss", "reference": "plain"}}
    ours = {cell.arm: cell.key for cell in plan_of(phantom_manifest, **arms).cells if not cell.limit}
    experiment = make_experiment(counted(**arms, top_up=None), "x")
    theirs = make_plan(experiment, {"train": phantom_manifest, "validation": phantom_manifest}).cells
    assert ours == {cell.arm: cell.key for cell in theirs}


def test_another_count_changes_no_other_cell_and_another_total_those_that_add(phantom_manifest: Path) -> None:
    def keys(**top_up: Any) -> dict[tuple[str, int], str]:
        plan = plan_of(phantom_manifest, top_up={"finding": FINDING, "real": [5, 12, "all"], **top_up})
        return {(cell.arm, cell.limit.get(FINDING, 0), cell.seed): cell.key for cell in plan.cells}  # type: ignore[misc]

    before = keys()
    more = keys(real=[3, 5, 12, "all"])
    assert {place: more[place] for place in before} == before
    other = keys(total=positives(phantom_manifest) + 1)
    assert {place[0] for place in before if other[place] != before[place]} == {"duplicate_real", "gan", "infogan"}
    assert all(other[place] == before[place] for place in before if place[0] == "plain")


@pytest.mark.parametrize("origin", GENERATORS)
def test_a_generators_budget_names_its_own_cells_alone(phantom_manifest: Path, origin: str) -> None:
    arms = {"arms": ["plain", *GENERATORS], "endpoint": {"arm": "gan", "reference": "plain"}}
    budget = {"replicates": 200, "threads": 1}
    before = plan_of(phantom_manifest, **arms, budget=budget)
    after = plan_of(phantom_manifest, **arms, budget={**budget, "generators": {origin: {"total_images": 77}}})
    changed = {one.arm for one, other in zip(before.cells, after.cells, strict=True) if one.key != other.key}
    assert changed == {origin}


# --- generators ---


@pytest.mark.parametrize("origin", GENERATORS)
def test_each_network_has_its_bundle_its_overlay_and_its_budget(phantom_manifest: Path, origin: str) -> None:
    budget = {
        "replicates": 200,
        "threads": 1,
        "generator": {"total_images": 400, "latent_size": 16},
        "generators": {name: {"total_images": k} for k, name in enumerate(GENERATORS, start=500)},
    }
    plan = plan_of(
        phantom_manifest, arms=["plain", origin], budget=budget, endpoint={"arm": origin, "reference": "plain"}
    )
    check_budget(plan.experiment)
    shop = Workshop(plan.experiment, plan.manifests, plan.classes, smoke=True)
    work = shop.generator(plan.generators[0])
    assert (work.bundle, tuple(work.overlays)) == (
        GENERATOR_BUNDLES[origin][0],
        (*GENERATOR_BUNDLES[origin][1], "smoke"),
    )
    assert all(path.is_file() for path in work.files)
    assert work.settings["total_images"] == 500 + GENERATORS.index(origin)
    pggan = origin in ("gan", CONDITIONAL)
    assert work.settings.get("latent_size") == (16 if pggan else None)
    assert work.settings["resolution"] == 32
    if origin == CONDITIONAL:  # of every class, by all images: a batch is as large as the bundle says
        assert (work.settings["condition"], work.settings.get("finding")) == (list(plan.classes), None)
        assert "batch_size" not in work.settings
    else:
        assert (work.settings["finding"], work.settings.get("condition")) == (FINDING, None)
        assert work.settings.get("batch_size", 5) <= 5  # there are 5 images


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        (
            {"generators": {"infogam": {}}},
            "budget.generators key 'infogam': unknown generator; found 'infogam'; did you mean",
        ),
        ({"generators": {"infogan": {"total_image": 3}}}, "budget.generators.infogan key 'total_image': unknown key"),
        ({"generators": {"infogan": {"limit": {}}}}, "budget.generators.infogan key 'limit': unknown key"),
        ({"generators": {"infogan": {"fade_images": 3}}}, "budget.generators.infogan key 'fade_images': unknown key"),
        ({"generators": {"infogan": 3}}, "budget.generators key 'infogan': must be a mapping"),
        ({"generators": [3]}, "budget.generators: must be a mapping"),
        ({"classifier": {"top_up": {}}}, "budget.classifier key 'top_up': unknown key"),
    ],
)
def test_a_budget_that_no_bundle_knows(budget: dict[str, Any], words: str) -> None:
    experiment = make_experiment(counted(budget={"replicates": 200, "threads": 1, **budget}), "x")
    with pytest.raises(ConfigError) as caught:
        check_budget(experiment)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("size", "arms", "words"),
    [
        (112, ["plain", "infogan", "dcgan"], ""),
        (28, ["plain", "infogan"], ""),
        (64, ["plain", "gan", "infogan", "filtered_gan"], ""),
        (90, ["plain", "weighted_loss"], ""),
        (112, ["plain", "gan"], "must be a power of two for arm 'gan'; found 112 px"),
        (112, ["plain", "filtered_gan+screened"], "must be a power of two for arm 'filtered_gan+screened'"),
        (72, ["plain", "dcgan"], "must be 4, 5, 6 or 7 times a power of two for arm 'dcgan'; found 72 px"),
    ],
)
def test_sides_that_a_generator_cannot_have(size: int, arms: list[str], words: str) -> None:
    images = {"source": "phantom", "size": size, "count": 240}
    data = {"train": {**images, "split": "train"}, "validation": {**images, "split": "val"}}
    endpoint = {"arm": arms[1], "reference": "plain", "real": 5}
    screening = {"reject": ["Mass"]}
    experiment = make_experiment(counted(data=data, arms=arms, endpoint=endpoint, screening=screening), "x")
    if not words:
        check_sides(experiment)
        return
    with pytest.raises(ConfigError) as caught:
        check_sides(experiment)
    assert words in str(caught.value)


@pytest.mark.parametrize("origin", GENERATORS)
def test_modifiers_controls_and_placebos_go_with_every_network(origin: str) -> None:
    assert find_arm(origin).making == Making(origin)
    assert find_arm(f"{origin}+screened+label_shuffled").making == Making(origin, screened=True)
    assert find_arm(f"{origin}+label_shuffled").overrides(Additions({}, ["a"])) == {
        "synthetic": ["a"],
        "shuffle_labels": True,
    }
    placebo = "label_shuffled" if origin == "gan" else f"{origin}+label_shuffled"
    assert missing_controls([*CONTROLS, origin]) == [placebo]
    assert missing_controls([*CONTROLS, origin, placebo]) == []
    other = "dcgan" if origin != "dcgan" else "gan"
    with pytest.raises(ConfigError, match="only one may change the images"):
        find_arm(f"{origin}+{other}")


# --- smoke runs ---


def test_a_smoke_run_keeps_a_small_count_and_all_and_names_the_classes(tmp_path: Path) -> None:
    images = {
        "source": "folder",
        "images": "${CXRAUG_DATA}/x.zip",
        "size": 112,
        "folds": 4,
        "options": {"negative": "PNEUMONIA", "colour": True, "patient_pattern": "^(IM-[0-9]+)"},
    }
    data = {"train": {**images, "where": {"fold": ["1", "2", "3"]}}, "test": {**images, "where": {"fold": "0"}}}
    values = counted(
        data=data,
        findings=["NORMAL"],
        classes=None,
        top_up={"finding": "NORMAL", "real": [10, 500, "all"], "total": 900},
        endpoint={"arm": "infogan", "reference": "plain", "real": 500},
        published=[{"arm": "plain", "real": 500, "auroc": {"NORMAL": 0.8}}],
    )
    small = smoke_experiment(make_experiment(values, "x"), tmp_path)
    assert small.top_up is not None
    assert (len(small.top_up.real), small.top_up.real[-1], small.top_up.total) == (2, "all", None)
    assert small.published == ()
    listing = list_source(small.data.train.request(), tmp_path)
    assert (listing.findings, listing.channels) == (("NORMAL",), 3)
    assert 0 < np.nansum(listing.labels) < len(listing.rows) / 2
    assert len({row["patient_id"] for row in listing.rows}) == len(listing.rows)
