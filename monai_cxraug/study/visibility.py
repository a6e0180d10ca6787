"""From which strength on readers see a distortion: by distortion, and by group of distortions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from monai_cxraug.errors import ConfigError
from monai_cxraug.metrics.psychometric import fit_threshold
from monai_cxraug.study.files import Trial
from monai_cxraug.study.judgements import Judgements
from monai_cxraug.transforms.functional.distortions.catalogue import Distortion, find_distortion, parse_steps

#: pairs that a curve needs, and the points that it is drawn with at most.
_LEAST, _POINTS = 6, 5
#: a range of strengths, from the mildest to the strongest, counts as this ratio, so that all have slopes alike.
RATIO: Final = 8.0


class Seen(NamedTuple):
    """The answers to one pair with a single distortion: where in the range of strengths, and how many."""

    distortion: Distortion
    place: float
    different: float
    total: float


def thresholds(judgements: Judgements, readers: Sequence[str], pairs: Sequence[Trial]) -> list[dict[str, Any]]:
    """Share of "different" by strength, and the strength at which half is seen.

    Only pairs of a picture and a single distortion of the catalogue count. A strength is a place in the range of its
    distortion: 0 for the mildest, 1 for the strongest, equal ratios being equally far; a distortion that works both
    ways (darker and lighter) is folded. Pairs of two equal pictures, sentinels among them, tell how often "different"
    is said of what is the same.

    Args:
        judgements: all answers.
        readers: those who count.
        pairs: judged pairs.

    Returns:
        One entry a group, then one a distortion, as far as there are six pairs: points of place, answers "different"
        and all answers, and the fitted threshold where there is one.
    """
    votes = judgements.votes(readers, pairs)
    found = [
        Seen(*made, float(np.nansum(column)), float((~np.isnan(column)).sum()))
        for trial, column in zip(pairs, votes.T, strict=True)
        if (made := _single(trial))
    ]
    guesses = _guesses(judgements, readers)
    groups: dict[tuple[bool, str], list[Seen]] = {}
    for one in found:
        groups.setdefault((False, one.distortion.group), []).append(one)
        groups.setdefault((True, one.distortion.name), []).append(one)
    kept = {key: some for key, some in sorted(groups.items()) if len(some) >= _LEAST}
    return [_entry(name, single, some, guesses) for (single, name), some in kept.items()]


def place_of(distortion: Distortion, strength: float) -> float:
    """Place of a strength in its range: 0 the mildest, 1 the strongest, in equal ratios.

    Args:
        distortion: of the catalogue.
        strength: in its unit; the opposite change counts as its mirror image.
    """
    if distortion.both_ways == "sign":
        strength = abs(strength)
    elif distortion.both_ways == "reciprocal":
        strength = max(strength, 1 / strength)
    return math.log(strength / distortion.mildest) / math.log(distortion.strongest / distortion.mildest)


def _single(trial: Trial) -> tuple[Distortion, float] | None:
    """The only distortion of a pair and its place, where it is one of the catalogue."""
    made = [text for text in (trial.distortion_first, trial.distortion_second) if text]
    try:
        steps = parse_steps(made[0]) if len(made) == 1 else ()
        if len(steps) != 1 or not steps[0].strength:
            return None
        distortion = find_distortion(steps[0].name)
    except ConfigError:  # a network, or a way that the catalogue does not have
        return None
    return distortion, place_of(distortion, steps[0].strength)


def _guesses(judgements: Judgements, readers: Sequence[str]) -> float | None:
    """Share of "different" for equal pictures; None where none were shown."""
    equal = [
        one
        for one in judgements.study.trials
        if one.task == "jnd" and one.role in ("judged", "sentinel") and one.distortion_first == one.distortion_second
    ]
    votes = judgements.votes(readers, equal)
    return None if np.isnan(votes).all() else float(np.nanmean(votes))


def _entry(name: str, single: bool, some: Sequence[Seen], guesses: float | None) -> dict[str, Any]:
    table = np.array([[one.place, one.different, one.total] for one in sorted(some, key=lambda one: one.place)])
    fit = fit_threshold(RATIO ** table[:, 0], table[:, 1], table[:, 2], guesses or 0.0)
    place = math.log(fit.strength, RATIO) if fit else None
    distortion = some[0].distortion
    return {
        "name": name,
        "single": single,
        "pairs": len(some),
        "unit": distortion.unit if single else "",
        "ends": [distortion.mildest, distortion.strongest] if single else None,
        "points": _points(table),
        "guesses": guesses,
        "threshold": place,
        "strength": distortion.at(place) if single and place is not None else None,
        "slope": fit.slope if fit else None,
    }


def _points(table: NDArray[np.float64]) -> list[list[float]]:
    """Neighbouring pairs put together: mean place, answers "different", all answers."""
    parts = np.array_split(table, min(_POINTS, len(table) // 2))
    return [[float(part[:, 0].mean()), float(part[:, 1].sum()), float(part[:, 2].sum())] for part in parts]
