"""The proof on phantoms proves what it says: real trainings, each on its own, on fresh patients, counted right."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from torch import nn

from monai_cxraug.metrics import auroc
from scripts import prove_on_phantoms as proof
from scripts.prove_instrument import FALSE_VERDICT
from scripts.train_many import Networks, Recipe, patches

SIDE, OUTPUTS = proof.SIDE, len(proof.FINDINGS)


def test_a_stack_computes_what_layers_of_torch_compute() -> None:
    torch.manual_seed(0)
    images, networks = torch.rand(5, SIDE, SIDE), Networks([3, 4], SIDE, OUTPUTS)
    for number, bias in enumerate(networks.biases):
        bias += 0.1 * (number + 1)
    for place in range(2):
        layers = nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 12, 3, 2, 1), nn.ReLU())
        last = nn.Linear(12 * (SIDE // 4) ** 2, OUTPUTS)
        with torch.no_grad():
            for layer, number in ((layers[0], 0), (layers[2], 1)):
                layer.weight.copy_(networks.weights[number][place].T.reshape(layer.weight.shape))
                layer.bias.copy_(networks.biases[number][place, 0])
            last.weight.copy_(networks.weights[2][place].T)
            last.bias.copy_(networks.biases[2][place, 0])
            wanted = last(layers(2 * images[:, None] - 1).permute(0, 2, 3, 1).flatten(1))
        torch.testing.assert_close(networks(patches(images))[place], wanted, rtol=1e-5, atol=1e-5)


def test_networks_do_not_know_of_each_other() -> None:
    torch.manual_seed(0)
    seen, labels = patches(torch.rand(30, SIDE, SIDE)), (torch.rand(30, OUTPUTS) < 0.3).float()
    rows = torch.stack([torch.arange(20), torch.arange(10, 30), torch.arange(20)])
    together, alone = Networks([5, 6, 7], SIDE, OUTPUTS), Networks([6], SIDE, OUTPUTS)
    together.train(seen, labels, rows, Recipe(5, 4))
    alone.train(seen, labels, rows[1:2], Recipe(5, 4))
    torch.testing.assert_close(together(seen, slice(1, 2)), alone(seen), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together(seen)[1:2], together(seen, slice(1, 2)))
    assert not torch.allclose(together(seen)[0], together(seen)[2])  # the same images, another seed


def test_training_learns_and_goes_by_its_own_rows() -> None:
    torch.manual_seed(0)
    labels = (torch.arange(40) % 2).float()[:, None].repeat(1, OUTPUTS)
    images = 0.2 * torch.rand(40, SIDE, SIDE) + 0.5 * labels[:, :1, None]
    networks = Networks([0, 1], SIDE, OUTPUTS)
    networks.train(
        patches(images), labels, torch.stack([torch.arange(20), torch.zeros(20, dtype=torch.long)]), Recipe(60)
    )
    scores = networks(patches(images[20:]))[..., 0].numpy()
    assert auroc(scores[0], labels[20:, 0].numpy()) > 0.95
    assert scores[1].max() < 0  # it saw one image without a finding, again and again


@pytest.fixture(scope="module")
def played() -> list[tuple[proof.Play, proof.Play]]:
    patch = pytest.MonkeyPatch()
    for name, value in (("_POOL", 400), ("_TRAINING", 100), ("_TEST", 80)):
        patch.setattr(proof, name, value)
    for name in ("RECIPE", "SHORTER"):
        patch.setattr(proof, name, Recipe(4 if name == "RECIPE" else 2))
    proof._pool.cache_clear()
    found = proof.play_some(range(3))
    again = proof.play_some(range(2, 3))
    patch.undo()
    proof._pool.cache_clear()
    np.testing.assert_allclose(again[0][0].scores, found[2][0].scores, rtol=1e-4, atol=1e-4)
    return found


def test_every_simulation_has_fresh_patients_and_other_networks(played: list[tuple[proof.Play, proof.Play]]) -> None:
    first, second, third = (one for one, _ in played)
    assert first.scores.shape == (2, proof.SEEDS, 80, OUTPUTS)
    assert not np.array_equal(first.truth, second.truth)
    assert not np.array_equal(second.truth, third.truth)
    flat = np.concatenate([play.scores.reshape(-1, 80 * OUTPUTS) for pair in played for play in pair])
    assert len(np.unique(flat, axis=0)) == 3 * 2 * 2 * proof.SEEDS
    assert len(set(first.patients)) < len(first.patients)  # several images a patient


def test_training_sets_are_whole_patients_and_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "_TRAINING", 60)
    pool = proof.draw_cohort(200, 3)
    chosen = [proof.choose_training(pool, number).numpy() for number in (0, 1)]
    assert not np.array_equal(*chosen)
    for rows in chosen:
        assert len(set(rows)) == 60
        owners = [pool.patients[row] for row in rows]
        whole = [name for name in set(owners) if owners.count(name) == pool.patients.count(name)]
        assert len(whole) >= len(set(owners)) - 1  # the last patient may be cut short


def test_verdicts_are_counted(played: list[tuple[proof.Play, proof.Play]]) -> None:
    """One arm made the labels themselves: the package must give a verdict each time."""
    told = [
        (proof.Play(np.stack([one.scores[0] * 0 + one.truth, one.scores[1]]), one.truth, one.patients), other)
        for one, other in played
    ]
    rows, about = proof.count(told)
    first = next(row for row in rows if row.question == FALSE_VERDICT)
    assert (first.count, first.simulations, first.wanted) == (3, 3, 0.05)
    honest = next(row for row in proof.count(played)[0] if row.question == FALSE_VERDICT)
    by_hand = sum(one.compare(3, None).p < 0.05 for one, _ in played)
    assert honest.count == by_hand
    assert about[proof.FINDINGS[0]]["patients"] == np.mean([len(set(one.patients)) for one, _ in played])


def test_seeds_and_findings_are_picked_by_place(played: list[tuple[proof.Play, proof.Play]]) -> None:
    one = played[0][0]
    assert_array_equal(one.arm(1, 2, 0), one.scores[1, :2, :, 0])
    assert_array_equal(one.arm(0, 3, None), one.scores[0])
    assert_array_equal(one.labels(2), one.truth[:, 2])
