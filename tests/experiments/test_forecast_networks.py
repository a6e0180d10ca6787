"""The time of generators of several networks: each kind rehearsed for itself, lengths as their settings leave them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from monai_cxraug.data.datasets import PackRows
from monai_cxraug.engines.schedule import infogan_schedule
from monai_cxraug.experiments import forecast as forecasting
from monai_cxraug.experiments.arms import CONDITIONAL, GENERATORS
from monai_cxraug.experiments.experiment import make_experiment
from monai_cxraug.experiments.forecast import forecast
from monai_cxraug.experiments.plan import GeneratorPlan, Plan
from monai_cxraug.experiments.planning import make_plan
from monai_cxraug.experiments.stages import Hand
from monai_cxraug.metrics.power import planned_effect
from monai_cxraug.synthesis.lengths import planned_length
from tests.experiments.test_top_up import FINDING, counted


@pytest.fixture
def plan(phantom_manifest: Path) -> Plan:
    budget = {"replicates": 200, "threads": 1, "generators": {name: {"total_images": 640} for name in ("gan", "dcgan")}}
    arms = {"arms": ["plain", *GENERATORS], "endpoint": {"arm": "infogan", "reference": "plain"}}
    experiment = make_experiment(counted(**arms, budget=budget), "x")
    return make_plan(experiment, {"train": phantom_manifest, "validation": phantom_manifest})


@pytest.mark.parametrize("images", [8, 50, 300])
def test_a_length_that_is_left_open_follows_from_the_images(images: int) -> None:
    settings = {"total_images": None, "batch_size": None, "resolution": 32, "scale": 0.5}
    published = infogan_schedule(32, images, scale=0.5)
    assert planned_length(settings, images) == (published.total_images, published.at(0).batch_size)
    assert planned_length({**settings, "total_images": 99}, images) == (99, published.at(0).batch_size)
    assert planned_length({"total_images": 99, "batch_size": 7}, images) == (99, 7)


def test_every_network_is_rehearsed_for_itself(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speed = {name: 10.0**k for k, name in enumerate(GENERATORS)}
    rehearsed: list[Any] = []

    def rehearse(hand: Hand, one: Any) -> Any:
        rehearsed.append(one)
        return forecasting._Pace(0.0, speed[one.origin] if isinstance(one, GeneratorPlan) else 0.0)

    monkeypatch.setattr(forecasting, "_rehearse", rehearse)
    found = forecast(Hand(plan, tmp_path))
    shares = {share.kind: share for share in found.shares}
    assert [one.origin for one in rehearsed if isinstance(one, GeneratorPlan)] == list(GENERATORS)
    lengths: dict[str, int] = {}
    for one in plan.generators:
        settings = forecasting._effective(Hand(plan, tmp_path), one)
        lengths[one.origin] = lengths.get(one.origin, 0) + planned_length(settings, one.images)[0]
    assert (lengths["gan"], lengths["dcgan"]) == (4 * 640, 4 * 640)  # two counts, two seeds
    assert lengths["infogan"] == 2 * sum(infogan_schedule(32, n).total_images for n in (5, 12))
    assert shares["generators"].seconds == pytest.approx(sum(speed[name] * length for name, length in lengths.items()))
    assert shares["generators"].images == sum(lengths.values())


@pytest.mark.e2e
@pytest.mark.parametrize("origin", GENERATORS)
def test_a_rehearsal_trains_a_little(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, origin: str) -> None:
    monkeypatch.setattr(forecasting, "_BATCHES", (1, 2))
    asked: list[dict[str, Any]] = []
    train = Hand.train

    def watch(self: Hand, one: Any, folder: Path, changes: Any) -> Any:
        asked.append(dict(changes))
        small = {"latent_size": 8} | ({"fmap_max": 8} if origin in ("gan", CONDITIONAL) else {"width": 4})
        return train(self, one, folder, {**changes, **small})

    monkeypatch.setattr(Hand, "train", watch)
    first = next(one for one in plan.generators if one.origin == origin)
    pace = forecasting._rehearse(Hand(plan, tmp_path), first)
    assert pace.begin >= 0
    assert pace.image >= 0
    batch = 16 if origin == CONDITIONAL else 5  # the bundle's, where there are more images than that
    assert (asked[1]["total_images"] - asked[0]["total_images"]) == batch
    assert not list(tmp_path.iterdir())


def test_the_family_is_the_counts_that_both_arms_have(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecasting, "_rehearse", lambda hand, one: forecasting._Pace(0.0, 0.0))
    found = forecast(Hand(plan, tmp_path))
    (prospect,) = found.prospects
    assert prospect.finding == FINDING
    rows = PackRows(plan.manifests["validation"], "val", findings=[FINDING])
    patients = [str(name) for name in rows.manifest["patient_id"][rows.rows]]
    expected = planned_effect(rows.label_matrix()[:, 0], patients, 2, 2)  # of three counts, all has no generator
    assert (prospect.family.effect, prospect.family.reason) == (expected.effect, expected.reason)
    found.write(tmp_path / "forecast.json")
    assert '"scale"' in (tmp_path / "forecast.json").read_text()
