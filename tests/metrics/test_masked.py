import warnings

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.handlers import ROCAUC, ConfusionMatrix, IgniteMetricHandler
from monai.metrics import ROCAUCMetric
from sklearn.metrics import roc_auc_score

from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.metrics.masked import MaskedAUROC
from monai_cxraug.metrics.measures import measure


def batch(n: int = 60, findings: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    y = (torch.rand(n, findings, generator=generator) < 0.4).float()
    y_pred = torch.sigmoid(y + torch.randn(n, findings, generator=generator))
    y[torch.rand(n, findings, generator=generator) < 0.2] = torch.nan
    return y_pred, y


def expected(y_pred: torch.Tensor, y: torch.Tensor) -> list[float]:
    pairs = ((p[~t.isnan()].numpy(), t[~t.isnan()].numpy()) for p, t in zip(y_pred.T, y.T, strict=True))
    return [float(roc_auc_score(t, p)) if len(np.unique(t)) == 2 else float("nan") for p, t in pairs]


def test_per_finding_and_macro_equal_scikit_learn() -> None:
    y_pred, y = batch()
    metric = MaskedAUROC()
    metric(y_pred, y)
    assert metric.aggregate("none").tolist() == pytest.approx(expected(y_pred, y), abs=1e-12)
    assert metric.aggregate().item() == pytest.approx(np.mean(expected(y_pred, y)), abs=1e-12)
    assert metric.aggregate().ndim == 0


@pytest.mark.parametrize("size", [1, 7, 60])
def test_batch_size_changes_nothing(size: int) -> None:
    y_pred, y = batch()
    metric = MaskedAUROC(reduction="none")
    for start in range(0, len(y), size):
        metric(y_pred[start : start + size], y[start : start + size])
    assert metric.aggregate().tolist() == pytest.approx(expected(y_pred, y), abs=1e-12)


def test_decollated_samples_are_taken() -> None:
    y_pred, y = batch()
    metric = MaskedAUROC(reduction="none")
    metric(list(y_pred), list(y))
    assert metric.aggregate().tolist() == pytest.approx(expected(y_pred, y), abs=1e-12)


def test_finding_without_a_class_is_left_out_of_the_mean() -> None:
    y_pred, y = batch()
    y[:, 2] = 0
    metric = MaskedAUROC()
    metric(y_pred, y)
    assert torch.isnan(metric.aggregate("none")[2])
    assert metric.aggregate().item() == pytest.approx(np.nanmean(expected(y_pred, y)), abs=1e-12)


def test_no_finding_left_is_nan() -> None:
    metric = MaskedAUROC()
    metric(torch.rand(5, 2), torch.full((5, 2), torch.nan))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.isnan(metric.aggregate())


def test_reset_forgets() -> None:
    y_pred, y = batch()
    metric = MaskedAUROC()
    metric(1 - y_pred, y)
    metric.reset()
    metric(y_pred, y)
    assert metric.aggregate().item() == pytest.approx(np.mean(expected(y_pred, y)), abs=1e-12)


def test_half_precision_probabilities_are_taken() -> None:
    y_pred, y = batch()
    metric = MaskedAUROC(reduction="none")
    metric(y_pred.bfloat16(), y)
    assert metric.aggregate().tolist() == pytest.approx(expected(y_pred.bfloat16().float(), y), abs=1e-12)


def test_serves_ignite_as_a_metric_over_epochs() -> None:
    y_pred, y = batch()
    engine = Engine(lambda _, rows: (y_pred[rows], y[rows]))
    IgniteMetricHandler(MaskedAUROC()).attach(engine, "auroc")
    for _ in range(2):
        engine.run([slice(0, 25), slice(25, 60)])
        assert engine.state.metrics["auroc"] == pytest.approx(np.mean(expected(y_pred, y)), abs=1e-12)


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match=r"\[B, K\]"):
        MaskedAUROC()(torch.rand(4, 2), torch.zeros(4, 3))
    with pytest.raises(InputError, match=r"\[B, K\]"):
        MaskedAUROC()(torch.rand(4, 2))
    with pytest.raises(InputError, match=r"MaskedAUROC: .*\[B, K\]"):
        MaskedAUROC()._compute_tensor(torch.rand(4), torch.zeros(4))
    with pytest.raises(ConfigError, match="'sum'"):
        MaskedAUROC(reduction="sum")  # type: ignore[arg-type]


# --- MONAI's own ---


def known_batch() -> tuple[torch.Tensor, torch.Tensor]:
    y_pred, y = batch(200, 5)
    return y_pred.round(decimals=2), torch.where(y.isnan(), 0.0, y)


def test_monais_handler_agrees_where_all_labels_are_known() -> None:
    y_pred, y = known_batch()
    engine = Engine(lambda _, rows: (list(y_pred[rows]), list(y[rows])))
    ROCAUC().attach(engine, "auroc")
    engine.run([slice(0, 80), slice(80, 200)])
    ours, theirs = MaskedAUROC(), ROCAUCMetric("none")
    ours(y_pred, y), theirs(list(y_pred), list(y))
    assert engine.state.metrics["auroc"] == pytest.approx(ours.aggregate().item(), abs=1e-6)
    assert list(theirs.aggregate()) == pytest.approx(ours.aggregate("none").tolist(), abs=1e-6)


@pytest.mark.parametrize("name", ["sensitivity", "specificity", "balanced accuracy", "accuracy"])
def test_monais_confusion_matrix_agrees_at_one_half(name: str) -> None:
    y_pred, y = known_batch()
    y_pred[:9] = 0.5  # on the threshold
    handler = ConfusionMatrix(include_background=True, metric_name=name, reduction="sum_batch")
    engine = Engine(lambda _, rows: (list((y_pred[rows] >= 0.5).float()), list(y[rows])))
    handler.attach(engine, "figure")
    engine.run([slice(0, 80), slice(80, 200)])
    found = []
    for k in range(5):
        probs, labels = y_pred[:, k].double().numpy(), y[:, k].double().numpy()
        found.append(getattr(measure(probs, labels, 0.5), name.replace(" ", "_")))
    assert np.asarray(engine.state.metrics["figure"]).ravel() == pytest.approx(found, abs=1e-6)
