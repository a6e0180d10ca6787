"""The writer of predictions collects every batch of one evaluation and none of another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from numpy.testing import assert_allclose, assert_array_equal

from monai_cxraug.errors import StateError
from monai_cxraug.handlers.predictions import PredictionWriter
from monai_cxraug.predictions import read_predictions

FINDINGS = ("Edema", "Mass")


def run(path: Path, logits: torch.Tensor, labels: torch.Tensor, batch_size: int = 2, runs: int = 1) -> None:
    batches = [
        {"name": [f"{k}.png" for k in part], "patient_id": [f"P{k}" for k in part], "label": labels[part], "pred": part}
        for part in torch.arange(len(logits)).split(batch_size)
    ]
    for batch in batches:
        for key in ("name", "patient_id"):
            batch[key] = [text.replace("tensor(", "").replace(")", "") for text in batch[key]]
    engine = Engine(lambda engine, batch: {"pred": logits[batch["pred"]]})
    PredictionWriter(path, FINDINGS).attach(engine)
    for _ in range(runs):
        engine.run(batches)


@pytest.mark.parametrize("batch_size", [1, 2, 5])
@pytest.mark.parametrize("runs", [1, 2])
def test_every_answer_once(tmp_path: Path, batch_size: int, runs: int) -> None:
    logits = torch.randn(5, 2, generator=torch.Generator().manual_seed(0)).bfloat16()
    labels = torch.tensor([[1, 0], [torch.nan, 1], [0, 0], [1, 1], [0, torch.nan]])
    run(tmp_path / "p.csv", logits, labels, batch_size, runs)
    table = read_predictions(tmp_path / "p.csv")
    assert table.images == [f"{k}.png" for k in range(5)]
    assert table.patients == [f"P{k}" for k in range(5)]
    assert table.findings == FINDINGS
    assert_array_equal(table.labels, labels.numpy())
    assert_allclose(table.probs, 1 / (1 + np.exp(-logits.double().numpy())), rtol=1e-6)


def test_images_without_labels_are_unknown(tmp_path: Path) -> None:
    run(tmp_path / "p.csv", torch.zeros(3, 2), torch.zeros(3, 0))
    assert np.isnan(read_predictions(tmp_path / "p.csv").labels).all()


@pytest.mark.parametrize(("logits", "labels"), [(3, 3), (2, 3), (2, 1)])
def test_numbers_that_do_not_fit_are_refused(tmp_path: Path, logits: int, labels: int) -> None:
    with pytest.raises(StateError, match=f"equally many; found 2, {logits} and {labels}"):
        run(tmp_path / "p.csv", torch.zeros(3, logits), torch.zeros(3, labels))
    assert not list(tmp_path.iterdir())
