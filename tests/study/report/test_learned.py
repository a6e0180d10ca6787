from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from monai_cxraug.errors import ConfigError, InputError, StateError
from monai_cxraug.metrics.forced_choice import forced_choice_score
from monai_cxraug.study import learned
from monai_cxraug.study.distances import Distance, Pictures, measure, wanted
from monai_cxraug.study.files import Study, Trial
from monai_cxraug.study.learned import (
    Differences,
    Fitting,
    Ruler,
    folds,
    linear_distance,
    plain_distance,
    tuned_distance,
)


@pytest.fixture
def ruler(classifier: Path) -> Ruler:
    return Ruler.load(f"mine={classifier}")


def asked(study: Study) -> list[Trial]:
    return [one for one in study.trials if one.role == "judged" and one.task == "2afc"]


def votes_of(distance: Distance, trials: list[Trial]) -> np.ndarray:
    first, second = distance.pairs(trials)
    return (first > second).astype(float)


def test_names_and_record(ruler: Ruler, classifier: Path, study: Study) -> None:
    assert ruler.name == "mine"
    assert Ruler.load(str(classifier)).name == "small_cnn"
    assert ruler.about["architecture"] == "small_cnn"
    assert len(ruler.about["model"]) == 64
    assert ruler.seen(study.trials) == 1


def test_plain_is_the_distance_of_the_network(ruler: Ruler, study: Study) -> None:
    trials = [one for one in study.trials if one.role == "judged" and one.task != "turing"]
    rows = Differences.of(ruler, Pictures(study), trials)
    plain = plain_distance(ruler, rows)
    direct = measure("", "", ruler.distance, Pictures(study), trials)
    assert plain.first == pytest.approx(dict(direct.first), rel=1e-4)
    assert plain.second == pytest.approx(dict(direct.second), rel=1e-4)
    assert len(wanted(trials)) == len(rows.first) + len(rows.second)


def test_a_network_that_diverged_is_refused(ruler: Ruler, study: Study) -> None:
    with torch.no_grad():
        ruler.distance.network.body.features[0].weight.fill_(float("nan"))  # type: ignore[index,union-attr]
    with pytest.raises(InputError, match="finite differences"):
        Differences.of(ruler, Pictures(study), study.trials)


# --- patients apart ---


def test_every_patient_is_in_one_part(study: Study) -> None:
    parts = folds(study.trials, Fitting(folds=3, seed=4))
    assert len(parts) == 3
    assert set.union(*parts) == {one.patient_id for one in study.trials}
    assert sum(map(len, parts)) == 8
    assert parts == folds(study.trials[::-1], Fitting(folds=3, seed=4))
    assert parts != folds(study.trials, Fitting(folds=3, seed=5))
    assert len(folds(study.trials, Fitting(folds=50))) == 8


def test_one_patient_is_too_few() -> None:
    with pytest.raises(ConfigError, match="at least two patients"):
        folds([Trial("t", "2afc", "judged", patient_id="a")], Fitting())
    with pytest.raises(ConfigError, match="folds of 2 or more"):
        Fitting(folds=1)


def planted(seed: int, patients: int, each: int, channels: int = 12) -> tuple[list[Trial], Differences, np.ndarray]:
    """Trials whose readers look at two channels of many only."""
    generator = torch.Generator().manual_seed(seed)
    trials = [Trial(f"t{k}", "2afc", "judged", patient_id=f"p{k // each}") for k in range(patients * each)]
    rows = [torch.rand(len(trials), channels, generator=generator) for _ in range(2)]
    gap = (rows[0] - rows[1])[:, :2].sum(dim=1).numpy()
    names = [one.trial for one in trials]
    both = (dict(zip(names, side, strict=True)) for side in rows)
    return trials, Differences(*both), 1 / (1 + np.exp(-8 * gap))


def test_learning_finds_the_channels_that_readers_look_at(ruler: Ruler) -> None:
    trials, rows, shares = planted(0, 20, 10)
    found = linear_distance(ruler, rows, trials, trials, shares, Fitting())
    plain = Distance(
        "plain", "plain", *({k: float(v.sum()) for k, v in side.items()} for side in (rows.first, rows.second))
    )
    votes = np.stack([(np.random.default_rng(k).random(200) < shares) for k in range(9)]).astype(float)
    scores = [forced_choice_score(*one.pairs(trials), votes) for one in (plain, found)]
    print(f"\nplain {scores[0]:.3f}, linear {scores[1]:.3f}")
    assert scores[1] > scores[0] + 0.1
    assert found.about["folds"] == 5


def test_nothing_is_learnt_from_noise(ruler: Ruler, monkeypatch: pytest.MonkeyPatch) -> None:
    """Judgements without any rule: only trials that were fitted on could score above chance, and they do."""
    trials, rows, _ = planted(0, 20, 10, channels=150)
    votes = np.random.default_rng(91).integers(0, 2, (1, 200)).astype(float)
    apart = linear_distance(ruler, rows, trials, trials, votes[0], Fitting())
    monkeypatch.setattr(learned, "folds", lambda asked, how: [{one.patient_id for one in asked}])
    monkeypatch.setattr(learned, "_outside", lambda taught, part: list(range(len(taught))))
    fitted = linear_distance(ruler, rows, trials, trials, votes[0], Fitting())
    scores = [forced_choice_score(*one.pairs(trials), votes) for one in (apart, fitted)]
    print(f"\nnoise: {scores[0]:.3f} on other patients, {scores[1]:.3f} on the fitted ones")
    assert abs(scores[0] - 0.5) < 2.5 * 0.5 / np.sqrt(200)
    assert scores[1] > 0.65


def test_a_patients_answers_do_not_touch_that_patients_distances(ruler: Ruler) -> None:
    trials, rows, shares = planted(1, 5, 5)
    changed = shares.copy()
    mine = [k for k, one in enumerate(trials) if one.patient_id == "p2"]
    changed[mine] = 1 - changed[mine]
    one, two = (linear_distance(ruler, rows, trials, trials, given, Fitting(folds=5)) for given in (shares, changed))
    for k, trial in enumerate(trials):
        same = one.first[trial.trial] == two.first[trial.trial]
        assert same == (k in mine), trial


def test_weights_are_not_negative_and_distances_about_one(ruler: Ruler) -> None:
    trials, rows, shares = planted(2, 8, 8)
    found = linear_distance(ruler, rows, trials, trials, shares, Fitting())
    first, second = found.pairs(trials)
    assert (first >= 0).all()
    assert np.mean([first, second]) == pytest.approx(1, abs=0.1)
    again = linear_distance(ruler, rows, trials, trials, shares, Fitting())
    assert again.first == found.first  # equal seeds
    mirrored = linear_distance(ruler, Differences(rows.second, rows.first), trials, trials, 1 - shares, Fitting())
    np.testing.assert_allclose(mirrored.pairs(trials)[0], second, rtol=0.05)  # no side is preferred


def test_a_channel_that_misleads_gets_no_weight() -> None:
    """Readers find closer what this channel finds farther: it would want a weight below zero."""
    _, rows, _ = planted(3, 20, 10, channels=4)
    one, two = (torch.stack(list(side.values())) for side in rows.both)
    gap = (one - two) @ torch.tensor([1.0, 1, 1, -1])
    weights = learned._fit_weights(one, two, torch.sigmoid(8 * gap), Fitting())
    assert (weights >= 0).all()
    assert weights[3] < 0.2 * weights[:3].min()


# --- the whole network ---


def test_tuning_learns_and_leaves_the_classifier_as_it_was(
    ruler: Ruler, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {name: value.clone() for name, value in ruler.distance.state_dict().items()}
    trials, pictures = asked(study), Pictures(study)
    taught_on: list[set[str]] = []
    tune = learned._tune

    def watched(*args: object) -> float:
        taught_on.append({one.patient_id for one in args[2]})  # type: ignore[attr-defined]
        return tune(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(learned, "_tune", watched)
    shares = votes_of(plain_distance(ruler, Differences.of(ruler, pictures, trials)), trials)
    how = Fitting(folds=2, tuned_epochs=2, batch=8, tuned_rate=1e-3)
    found = tuned_distance(ruler, pictures, trials, trials, shares, how)
    assert found.name == "mine, tuned"
    for seen, part in zip(taught_on, folds(trials, how), strict=True):
        assert not seen & part
    for name, value in ruler.distance.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    untouched = tuned_distance(ruler, pictures, trials, trials, shares, Fitting(folds=2, tuned_epochs=0))
    assert any(found.first[one.trial] != untouched.first[one.trial] for one in trials)


def test_a_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"no model")
    with pytest.raises((StateError, ValueError)):
        Ruler.load(str(tmp_path))
