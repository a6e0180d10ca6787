"""Small panels with lines, side by side: curves of classifiers, of training, and of AUROC against data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from monai_cxraug.reporting.axis import Axis
from monai_cxraug.reporting.forest import clip, write
from monai_cxraug.reporting.markup import Markup, element, join

_WIDTH, _HEIGHT = 300, 262
_LEFT, _RIGHT, _TOP, _BOTTOM = 42, 290, 48, 218
COLOURS: Final = 6
#: dashes tell apart what shares a colour.
_DASHES: Final = (None, "6 3", "2 3")


@dataclass(frozen=True)
class Line:
    """One line of a panel.

    Args:
        name: for the legend.
        x: places on the axis.
        y: values.
        colour: number of its colour; from the seventh on, dashes are added.
        ends: interval of each value, where it has one.
        dots: whether each value gets a mark.
        width: of the stroke.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: int
    ends: Sequence[tuple[float, float] | None] = ()
    dots: bool = False
    width: float = 1.6

    @property
    def stroke(self) -> dict[str, object]:
        """Attributes of its stroke."""
        dash = _DASHES[self.colour // COLOURS % len(_DASHES)]
        return {"stroke": f"var(--c{self.colour % COLOURS})", "stroke_dasharray": dash}


@dataclass(frozen=True)
class Ticks:
    """An axis: its domain, and what is written where; round numbers where nothing is given."""

    low: float
    high: float
    label: str
    marks: Sequence[tuple[float, str]] = ()


@dataclass(frozen=True)
class Panel:
    """One panel; ``rising`` and ``level`` add dashed lines: from corner to corner, and across at a value."""

    title: str
    note: str
    x: Ticks
    y: Ticks
    lines: Sequence[Line]
    rising: bool = False
    level: float | None = None


def panels(drawn: Iterable[Panel]) -> Markup:
    """Set panels side by side, as many as there is room for."""
    return element("div", *map(draw_panel, drawn), class_="panels")


def legend(names: Iterable[tuple[str, int]]) -> Markup:
    """List what the colours mean.

    Args:
        names: name and number of the colour of each.
    """
    items = [element("li", _swatch(colour), name) for name, colour in dict.fromkeys(names)]
    return element("ul", *items, class_="legend")


def _swatch(colour: int) -> Markup:
    line = element("line", x1=0, x2=26, y1=6, y2=6, stroke_width=3, **Line("", (), (), colour).stroke)
    return element("svg", line, width=26, height=12, viewBox="0 0 26 12", class_="cx", aria_hidden="true")


def draw_panel(panel: Panel) -> Markup:
    """Draw one panel as SVG; its colours come from the page's style."""
    across = Axis(panel.x.low, panel.x.high, _LEFT, _RIGHT)
    up = Axis(panel.y.low, panel.y.high, _BOTTOM, _TOP)
    return element(
        "svg",
        write(4, 15, clip(panel.title, 36), "strong"),
        write(4, 33, panel.y.label, "soft small"),
        write(_RIGHT, 33, panel.note, "soft small num", "end") if panel.note else "",
        _grid(panel, across, up),
        *(_draw(line, across, up) for line in panel.lines),
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        class_="cx",
        role="img",
        aria_label=f"{panel.title}: {panel.y.label}, {panel.x.label}. {_read_out(panel.lines)}",
    )


def _read_out(lines: Sequence[Line]) -> str:
    """First and last value of each line, for those who do not see it."""
    return "; ".join(f"{one.name} {one.y[0]:.3g} … {one.y[-1]:.3g}" for one in lines if len(one.y))


def _grid(panel: Panel, across: Axis, up: Axis) -> Markup:
    parts = []
    for place, text in _marks(panel.y, up):
        parts.append(_segment(_LEFT, up(place), _RIGHT, up(place), "grid"))
        parts.append(write(_LEFT - 5, up(place) + 4, text, "soft small num", "end"))
    for place, text in _marks(panel.x, across):
        parts.append(_segment(across(place), _TOP, across(place), _BOTTOM, "grid"))
        parts.append(write(across(place), _BOTTOM + 16, text, "soft small num", "middle"))
    if panel.rising:
        parts.append(_segment(_LEFT, _BOTTOM, _RIGHT, _TOP, "zero"))
    if panel.level is not None and up.low <= panel.level <= up.high:
        parts.append(_segment(_LEFT, up(panel.level), _RIGHT, up(panel.level), "zero"))
    return join(*parts, write((_LEFT + _RIGHT) / 2, _BOTTOM + 36, panel.x.label, "soft small", "middle"))


def _marks(ticks: Ticks, axis: Axis) -> Sequence[tuple[float, str]]:
    if ticks.marks:
        return ticks.marks
    every = 2 if len(axis.ticks()) > 7 else 1
    return [(tick, f"{tick:.{axis.decimals}f}".replace("-", "−")) for tick in axis.ticks()[::every]]


def _draw(line: Line, across: Axis, up: Axis) -> Markup:
    places = [(across(x), up(y)) for x, y in zip(line.x, line.y, strict=True)]
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    drawn = [element("polyline", points=points, fill="none", stroke_width=line.width, **line.stroke)]
    colour = {"stroke": line.stroke["stroke"]}
    for (x, _), ends in zip(places, line.ends, strict=False):
        if ends:
            drawn.append(_segment(x, up(ends[0]), x, up(ends[1]), stroke_width=1.3, stroke_opacity=0.7, **colour))
    if line.dots:
        drawn += [element("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=3, fill=line.stroke["stroke"]) for x, y in places]
    return join(*drawn)


def _segment(x1: float, y1: float, x2: float, y2: float, kind: object = None, **looks: object) -> Markup:
    ends = {"x1": f"{x1:.1f}", "y1": f"{y1:.1f}", "x2": f"{x2:.1f}", "y2": f"{y2:.1f}"}
    return element("line", **ends, class_=kind, **looks)
