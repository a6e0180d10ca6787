"""What a classifier's probabilities need before anyone acts on them: a temperature and a threshold for each finding.

Both are fitted on real validation images, never on those that are reported on, and lie beside the model they belong to
as ``calibration.json``.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from monai_cxraug.artifacts import file_hash, read_json, write_json
from monai_cxraug.console import announce, deliver
from monai_cxraug.errors import LeakageError, StateError
from monai_cxraug.metrics.calibration import at_temperature, fit_temperature, log_loss, log_odds
from monai_cxraug.metrics.operating import YOUDEN, choose_threshold, parse_rule
from monai_cxraug.predictions import Predictions, read_predictions

SCHEMA: Final = "cxraug.calibration/1"
FILE: Final = "calibration.json"


@dataclass(frozen=True)
class FindingCalibration:
    """What was fitted for one finding.

    Attributes:
        temperature: divides the log-odds; 1 where the validation images do not hold both classes.
        threshold: of the probability at that temperature; None where it could not be chosen.
        n: validation images whose label is known.
        positives: positive ones among them.
        log_loss: their mean negative log-likelihood before; None without known labels.
        log_loss_after: and at the temperature.
    """

    temperature: float
    threshold: float | None
    n: int
    positives: int
    log_loss: float | None
    log_loss_after: float | None


@dataclass(frozen=True)
class Calibration:
    """Temperatures and thresholds of one model.

    Args:
        findings: finding to what was fitted for it.
        rule: by which thresholds were chosen, as in :func:`~monai_cxraug.metrics.operating.parse_rule`.
        model: SHA-256 of the model file.
        flips: whether it answered with mirrored images averaged in.
    """

    findings: Mapping[str, FindingCalibration]
    rule: str
    model: str
    flips: bool = False

    def probabilities(self, table: Predictions) -> NDArray[np.float64]:
        """Return the probabilities of a table at the temperatures, ``[N, K]``."""
        return at_temperature(table.probs, [self.findings[name].temperature for name in table.findings])

    def thresholds(self, table: Predictions) -> NDArray[np.float64]:
        """Return the thresholds of a table's findings, ``[K]``; NaN where there is none."""
        found = [self.findings[name].threshold for name in table.findings]
        return np.array([math.nan if value is None else value for value in found])

    def columns(self, table: Predictions) -> dict[str, NDArray[np.float64]]:
        """Return what a calibrated table says besides: ``calibrated`` and ``call`` (1, 0, NaN), each ``[N, K]``."""
        probs, cuts = self.probabilities(table), self.thresholds(table)
        return {"calibrated": probs, "call": np.where(np.isnan(cuts), np.nan, probs >= cuts)}

    def describe(self) -> str:
        """Write what was fitted, a line a finding."""
        lines = []
        for name, one in self.findings.items():
            cut = "no threshold" if one.threshold is None else f"threshold {one.threshold:.3f}"
            loss = "" if one.log_loss is None else f", log loss {one.log_loss:.3f} to {one.log_loss_after:.3f}"
            counted = f"{one.positives} of {one.n} images positive"
            lines.append(f"{name}: temperature {one.temperature:.2f}, {cut} ({self.rule}){loss}; {counted}")
        return "\n".join(lines)

    def write(self, path: Path) -> None:
        """Write the file atomically."""
        write_json(path, SCHEMA, asdict(self))


def fit_calibration(table: Predictions, rule: str, model: str, flips: bool = False) -> Calibration:
    """Fit a temperature for each finding, then choose its threshold.

    Args:
        table: answers on real validation images.
        rule: ``youden``, ``sensitivity=0.95``, ``specificity=0.9`` or ``threshold=0.5``.
        model: SHA-256 of the model that answered.
        flips: whether it answered with mirrored images averaged in.

    Raises:
        ConfigError: the rule is unknown.
    """
    parsed = parse_rule(rule)
    found: dict[str, FindingCalibration] = {}
    for column, name in enumerate(table.findings):
        probs, labels = table.probs[:, column], table.labels[:, column]
        known = ~np.isnan(labels)
        odds, truth = log_odds(probs[known]), labels[known]
        temperature = fit_temperature(probs, labels)
        threshold = choose_threshold(at_temperature(probs, temperature), labels, parsed)
        found[name] = FindingCalibration(
            temperature=temperature,
            threshold=None if math.isnan(threshold) else threshold,
            n=int(known.sum()),
            positives=int((truth == 1).sum()),
            log_loss=log_loss(odds, truth) if len(truth) else None,
            log_loss_after=log_loss(odds / temperature, truth) if len(truth) else None,
        )
    return Calibration(found, str(parsed), model, flips)


@dataclass(frozen=True)
class FitCalibration:
    """Last item of ``run`` in ``calibrate.json``: from answers on validation images to ``calibration.json``.

    Args:
        predictions: table of the answers.
        checkpoint: model file that answered; the calibration goes beside it.
        rule: by which thresholds are chosen.
        flips: whether the model answered with mirrored images averaged in.
        seen: patients that the model was trained on.
        sources: what the images are; anything but ``real`` is refused.
        say: print what was fitted, on standard error, and the path.
    """

    predictions: str | Path
    checkpoint: str | Path
    rule: str = YOUDEN
    flips: bool = False
    seen: Collection[str] = ()
    sources: Collection[str] = ("real",)
    say: bool = False

    def run(self) -> Path:
        """Fit, write and return the path written.

        Raises:
            LeakageError: an image is not real, or of a patient that the model was trained on (evidence rule 1).
            ConfigError: the rule is unknown.
        """
        path = Path(self.checkpoint).with_name(FILE)
        table = read_predictions(Path(self.predictions))
        self._refuse_leaks(table)
        fitted = fit_calibration(table, self.rule, file_hash(Path(self.checkpoint)), self.flips)
        fitted.write(path)
        if self.say:
            announce(fitted.describe())
            deliver(path)
        return path

    def _refuse_leaks(self, table: Predictions) -> None:
        """A model is surer of what it has seen, and synthetic images are no measure of its doubt."""
        if unreal := sorted({*self.sources} - {"real"}):
            rule, found = "only real images may be calibrated on", f"source {unreal[0]!r}"
        elif shared := sorted({*table.patients} & {*self.seen} - {""}):
            rule = "must be of patients that the model was not trained on"
            found = f"{len(shared)} others, for example {shared[0]!r}"
        else:
            return
        Path(self.predictions).unlink()  # answers that nothing may be concluded from
        raise LeakageError("images to calibrate on", rule, found, "choose with --split and --where")


def read_calibration(path: Path) -> Calibration:
    """Read a calibration.

    Raises:
        InputError: missing or no JSON.
        StateError: another schema, or not what it should hold.
    """
    document = read_json(path, SCHEMA)
    try:
        found = {name: FindingCalibration(**entry) for name, entry in document["findings"].items()}
        return Calibration(found, document["rule"], document["model"], document["flips"])
    except (KeyError, TypeError, AttributeError) as error:
        rule = "must hold a temperature and a threshold for each finding"
        raise StateError(path, rule, f"{type(error).__name__}: {error}", "calibrate the model again") from None


def find_calibration(checkpoint: str | Path, about: Mapping[str, Any], flips: bool = False) -> Calibration | None:
    """Find the calibration beside a model file.

    Args:
        checkpoint: the model file.
        about: what the model file says about itself.
        flips: whether mirrored images are to be averaged in.

    Returns:
        The calibration; None where there is none.

    Raises:
        StateError: it belongs to another model, or was fitted with the other choice of ``flips``.
    """
    path = Path(checkpoint).with_name(FILE)
    if not path.exists():
        return None
    found = read_calibration(path)
    mend = "calibrate the model again, or remove the file"
    if found.model != file_hash(Path(checkpoint)):
        raise StateError(path, f"must have been fitted for {Path(checkpoint).name}", "another model's hash", mend)
    if found.flips != flips:
        rule = f"must have been fitted with flip_averaging {str(flips).lower()}, as it is used"
        raise StateError(path, rule, str(found.flips).lower(), mend)
    if missing := [name for name in about.get("findings", ()) if name not in found.findings]:
        raise StateError(path, "must hold every finding of the model", f"no {missing[0]!r}", mend)
    return found
