"""The section with training curves, read from the TensorBoard event files that stages leave."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from monai_cxraug.reporting.axis import span
from monai_cxraug.reporting.language import Language
from monai_cxraug.reporting.markup import Markup, element, join
from monai_cxraug.reporting.parts import folded, note, section
from monai_cxraug.reporting.plots import Line, Panel, Ticks, legend, panels
from monai_cxraug.reporting.records import Piece, Plan, Scale
from monai_cxraug.reporting.tables import amount, finding_title

#: what is drawn of each kind of stage.
_TAGS: Final = {"generators": ("critic_loss", "generator_loss"), "cells": ("loss",)}
#: more points of a line cannot be told apart in a panel.
_POINTS: Final = 80


@dataclass(frozen=True)
class Trace:
    """One value of one stage while it was trained: numbers of steps or images, and values."""

    piece: Piece
    tag: str
    steps: Sequence[float]
    values: Sequence[float]


def read_training(run: Path, plan: Plan) -> list[Trace]:
    """Read the losses of every generator and cell that left event files; nothing where there are none."""
    traces = []
    for folder, tags in _TAGS.items():
        for piece in plan.generators if folder == "generators" else plan.cells:
            place = run / folder / piece.id / "tensorboard"
            if any(place.glob("events.out.tfevents.*")):
                traces += _read(place, piece, tags)
    return traces


def _read(place: Path, piece: Piece, tags: Sequence[str]) -> list[Trace]:
    from tensorboard.backend.event_processing import event_accumulator  # type: ignore[import-untyped]  # no stubs

    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    events = event_accumulator.EventAccumulator(
        str(place), size_guidance={"scalars": 2000, "images": 1, "histograms": 1}
    )
    events.Reload()
    traces = []
    for tag in tags:
        if tag in events.Tags()["scalars"]:
            known = [(one.step, one.value) for one in events.Scalars(tag) if math.isfinite(one.value)]
            kept = _thin(known)
            if len(kept) > 1:
                traces.append(Trace(piece, tag, [step for step, _ in kept], [value for _, value in kept]))
    return traces


def _thin(points: Sequence[tuple[int, float]]) -> Sequence[tuple[float, float]]:
    """At most so many points, each the mean of its neighbours."""
    size = -(-len(points) // _POINTS)
    parts = [points[k : k + size] for k in range(0, len(points), size or 1)]
    return [(part[-1][0], sum(value for _, value in part) / len(part)) for part in parts]


def training_part(traces: Sequence[Trace], scale: Scale | None, say: Language) -> Markup:
    """Write the section; nothing where no event files are."""
    if not traces:
        return Markup("")
    made = [trace for trace in traces if trace.piece.arm == ""]
    cells = [trace for trace in traces if trace.piece.arm]
    parts = []
    if cells:
        groups = {
            arm: [one for one in cells if one.piece.arm == arm] for arm in dict.fromkeys(one.piece.arm for one in cells)
        }
        parts.append(_block("training.cells", groups, "training.steps", scale, say))
    if made:
        pairs = dict.fromkeys((one.piece.finding, one.tag) for one in made)
        named = {
            f"{finding_title(finding, say)}, {say(f'training.{tag}')}": [
                one for one in made if (one.piece.finding, one.tag) == (finding, tag)
            ]
            for finding, tag in pairs
        }
        parts.append(_block("training.generators", named, "training.images", scale, say))
    return section("training", say, note(say("training.note")), *parts)


def _block(title: str, groups: dict[str, list[Trace]], unit: str, scale: Scale | None, say: Language) -> Markup:
    """Panels of one kind of stage, lines told apart by fraction (colour) and listed by seed."""
    fractions = sorted({one.piece.fraction or 1.0 for rows in groups.values() for one in rows}, reverse=True)
    drawn = [_panel(name, rows, fractions, unit, say) for name, rows in groups.items()]
    key = legend((amount(share, scale, say), 2 + k) for k, share in enumerate(fractions)) if len(fractions) > 1 else ""
    shown = panels(drawn)
    heading = element("h3", say(title))
    return join(heading, key, shown) if len(drawn) <= 12 else folded(say(title), join(key, shown))


def _panel(name: str, rows: Sequence[Trace], fractions: Sequence[float], unit: str, say: Language) -> Panel:
    values = [value for one in rows for value in one.values]
    low, high = span(values, least=1e-3 + 0.02 * abs(max(values)))
    last = max(one.steps[-1] for one in rows)
    lines = [
        Line(f"{one.piece.id}", one.steps, one.values, 2 + fractions.index(one.piece.fraction or 1.0), width=1.2)
        for one in rows
    ]
    return Panel(
        name,
        say("training.runs", count=len(rows)),
        Ticks(0, last, say(unit)),
        Ticks(low, high, say("training.loss")),
        lines,
    )
