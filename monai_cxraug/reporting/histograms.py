"""The histogram figure: how bright the images of each class are, before and after a change of contrast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from monai_cxraug.artifacts import read_json, write_text
from monai_cxraug.console import deliver
from monai_cxraug.reporting.axis import Axis
from monai_cxraug.reporting.figures import STYLE
from monai_cxraug.reporting.markup import Markup, element

SCHEMA: Final = "cxraug.histograms/1"
_WIDTH: Final = 780
_LEFT, _RIGHT, _TOP, _ROW, _PLOT = 170, 20, 46, 96, 70
#: levels that are drawn as one step.
_BIN: Final = 4


@dataclass(frozen=True)
class ClassHistogram:
    """Counts of 256 levels over all images of a class.

    Args:
        images: number of images.
        before: counts ``[256]``.
        after: counts ``[256]`` after a change of contrast; None where nothing is compared.
    """

    images: int
    before: Sequence[int]
    after: Sequence[int] | None = None


@dataclass(frozen=True)
class DrawHistograms:
    """Second part of ``cxraug histogram``: a figure of what was counted.

    Args:
        counts: JSON file that :class:`~monai_cxraug.experiments.commands.CountLevels` wrote.
        out: SVG file to write.
    """

    counts: str | Path
    out: str | Path

    def run(self) -> Path:
        """Draw, and return the figure's path."""
        document = read_json(Path(self.counts), SCHEMA)
        classes = {name: ClassHistogram(**values) for name, values in document["classes"].items()}
        write_text(Path(self.out), draw_histograms(classes, document["contrast"] or ""))
        deliver(self.out)
        return Path(self.out)


def draw_histograms(classes: Mapping[str, ClassHistogram], change: str = "") -> Markup:
    """Draw one row a class: the share of the pixels at each brightness, before and after.

    Args:
        classes: name to histogram.
        change: name of the change of contrast, for the legend.

    Returns:
        An SVG element.
    """
    shares = {
        name: [_shares(counts) for counts in (one.before, one.after) if counts is not None]
        for name, one in classes.items()
    }
    most = max((max(line) for lines in shares.values() for line in lines), default=1.0) or 1.0
    height = _TOP + _ROW * len(classes) + 34
    across = Axis(0, 256, _LEFT, _WIDTH - _RIGHT)
    marks = [element("rect", width=_WIDTH, height=height, class_="paper"), *_legend(change)]
    for k, (name, one) in enumerate(classes.items()):
        top = _TOP + k * _ROW
        up = Axis(0, most, top + _PLOT, top)
        marks.append(_line(across(0), up(0), across(256), up(0)))
        marks += [
            element(
                "polyline", points=_steps(line, across, up), fill="none", stroke=f"var(--c{colour})", stroke_width=1.6
            )
            for line, colour in zip(shares[name], (0, 2), strict=False)
        ]
        marks.append(element("text", name, x=14, y=top + 30, class_="strong"))
        marks.append(element("text", f"{one.images:,} images", x=14, y=top + 48, class_="soft small"))
    bottom = _TOP + _ROW * len(classes)
    for level in (0, 64, 128, 192, 255):
        marks.append(
            element("text", str(level), x=f"{across(level):.1f}", y=bottom, class_="soft small", text_anchor="middle")
        )
    middle = f"{across(128):.1f}"
    marks.append(element("text", "level of 8 bits", x=middle, y=bottom + 18, class_="soft small", text_anchor="middle"))
    size = {"width": _WIDTH, "height": height, "viewBox": f"0 0 {_WIDTH} {height}"}
    return element("svg", element("style", STYLE), *marks, xmlns="http://www.w3.org/2000/svg", class_="cx", **size)


def _legend(change: str) -> list[Markup]:
    title = element("text", "Share of pixels by brightness", x=14, y=22, class_="strong")
    before = element("text", "before", x=_LEFT + 260, y=22, style="fill:var(--c0)")
    after = element("text", change, x=_LEFT + 320, y=22, style="fill:var(--c2)")
    return [title, before, after] if change else [title]


def _shares(counts: Sequence[int]) -> list[float]:
    """Shares of bins of levels."""
    total = sum(counts) or 1
    return [sum(counts[k : k + _BIN]) / total for k in range(0, len(counts), _BIN)]


def _steps(line: Sequence[float], across: Axis, up: Axis) -> str:
    """Points of a staircase."""
    points = []
    for k, value in enumerate(line):
        points += [(across(k * _BIN), up(value)), (across((k + 1) * _BIN), up(value))]
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _line(x1: float, y1: float, x2: float, y2: float) -> Markup:
    places = {"x1": f"{x1:.1f}", "y1": f"{y1:.1f}", "x2": f"{x2:.1f}", "y2": f"{y2:.1f}"}
    return element("line", **places, class_="grid")
