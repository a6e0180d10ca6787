"""Small panels with lines, side by side: curves of classifiers, of training, and of AUROC against data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from monai_cxraug.reporting.axis import Axis
from monai_cxraug.reporting.forest import clip, write
from monai_cxraug.reporting.markup import Markup, element, join

COLOURS: Final = 6
#: dashes tell apart what shares a colour.
_DASHES: Final = (None, "6 3", "2 3")
#: room that a mark of an axis needs: beside a letter, and between the lines of two.
_LETTER, _SPACE, _LINE = 6.4, 7, 13


@dataclass(frozen=True)
class Frame:
    """Size of a panel, and where in it the axes end."""

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int


SMALL: Final = Frame(300, 262, 42, 290, 48, 218)
LARGE: Final = Frame(780, 400, 42, 770, 48, 352)


@dataclass(frozen=True)
class Line:
    """One line of a panel.

    What lies beyond the axis is drawn at its edge: a value as an open triangle, the end of an interval as an arrow.

    Args:
        name: for the legend.
        x: places on the axis.
        y: values.
        colour: number of its colour; from the seventh on, dashes are added.
        ends: interval of each value, where it has one.
        dots: whether each value gets a mark.
        width: of the stroke.
        told: its values in words, for those who do not see it; None for the first and the last.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: int
    ends: Sequence[tuple[float, float] | None] = ()
    dots: bool = False
    width: float = 1.6
    told: str | None = None

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


def draw_panel(panel: Panel, frame: Frame = SMALL) -> Markup:
    """Draw one panel as SVG; its colours come from the page's style."""
    across = Axis(panel.x.low, panel.x.high, frame.left, frame.right)
    up = Axis(panel.y.low, panel.y.high, frame.bottom, frame.top)
    return element(
        "svg",
        write(4, 15, clip(panel.title, frame.width // 8), "strong"),
        write(4, 33, panel.y.label, "soft small"),
        write(frame.right, 33, panel.note, "soft small num", "end") if panel.note else "",
        _grid(panel, across, up),
        *(_draw(line, across, up) for line in panel.lines),
        viewBox=f"0 0 {frame.width} {frame.height}",
        class_="cx",
        role="img",
        aria_label=f"{panel.title}: {panel.y.label}, {panel.x.label}. {_read_out(panel.lines)}",
    )


def _read_out(lines: Sequence[Line]) -> str:
    """First and last value of each line, for those who do not see it."""
    return "; ".join(one.told or f"{one.name} {one.y[0]:.3g} … {one.y[-1]:.3g}" for one in lines if len(one.y))


def _grid(panel: Panel, across: Axis, up: Axis) -> Markup:
    parts = []
    for place, text in _spare(_marks(panel.y, up), up, upright=True):
        parts.append(_segment(across.left, up(place), across.right, up(place), "grid"))
        parts.append(write(across.left - 5, up(place) + 4, text, "soft small num", "end"))
    for place, text in _spare(_marks(panel.x, across), across):
        parts.append(_segment(across(place), up.right, across(place), up.left, "grid"))
        parts.append(write(across(place), up.left + 16, text, "soft small num", "middle"))
    if panel.rising:
        parts.append(_segment(across.left, up.left, across.right, up.right, "zero"))
    if panel.level is not None and up.low <= panel.level <= up.high:
        parts.append(_segment(across.left, up(panel.level), across.right, up(panel.level), "zero"))
    middle = (across.left + across.right) / 2
    return join(*parts, write(middle, up.left + 36, panel.x.label, "soft small", "middle"))


def _marks(ticks: Ticks, axis: Axis) -> Sequence[tuple[float, str]]:
    if ticks.marks:
        return ticks.marks
    every = 2 if len(axis.ticks()) > 7 else 1
    return [(tick, f"{tick:.{axis.decimals}f}".replace("-", "−")) for tick in axis.ticks()[::every]]


def _spare(marks: Sequence[tuple[float, str]], axis: Axis, upright: bool = False) -> list[tuple[float, str]]:
    """Leave out what would be written over what is there already: the last mark, and those before it from the first."""
    kept: list[tuple[float, float, str]] = []
    for place, text in [*marks[-1:], *marks[:-1]]:
        half = _LINE / 2 if upright else (_LETTER * len(text) + _SPACE) / 2
        at = axis(place)
        if all(abs(at - other) >= half + room for other, room, _ in kept):
            kept.append((at, half, text))
    shown = {text for _, _, text in kept}
    return [(place, text if text in shown else "") for place, text in marks]


def _draw(line: Line, across: Axis, up: Axis) -> Markup:
    colour = {"stroke": line.stroke["stroke"]}
    drawn = [_way(run, across, up, line) for run in _runs(line, up) if len(run) > 1]
    for x, ends in zip(line.x, line.ends, strict=False):
        if ends:
            drawn.append(_interval(across(x), ends, up, colour))
    if line.dots:
        drawn += [_dot(across(x), y, up, colour) for x, y in zip(line.x, line.y, strict=True)]
    return join(*drawn)


def _runs(line: Line, up: Axis) -> list[list[tuple[float, float]]]:
    """Stretches of points that lie on the axis."""
    runs: list[list[tuple[float, float]]] = [[]]
    for x, y in zip(line.x, line.y, strict=True):
        if up.low <= y <= up.high:
            runs[-1].append((x, y))
        else:
            runs.append([])
    return runs


def _way(points: Sequence[tuple[float, float]], across: Axis, up: Axis, line: Line) -> Markup:
    places = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in points)
    return element("polyline", points=places, fill="none", stroke_width=line.width, **line.stroke)


def _interval(x: float, ends: tuple[float, float], up: Axis, colour: dict[str, object]) -> Markup:
    low, high = (up(min(max(end, up.low), up.high)) for end in ends)
    looks = {"stroke_width": 1.3, "stroke_opacity": 0.7, **colour}
    heads = [_arrow(x, low, 1, looks)] * (ends[0] < up.low) + [_arrow(x, high, -1, looks)] * (ends[1] > up.high)
    return join(_segment(x, low, x, high, **looks), *heads)


def _arrow(x: float, tip: float, way: int, looks: dict[str, object]) -> Markup:
    points = f"{x - 3:.1f},{tip - 5 * way:.1f} {x:.1f},{tip:.1f} {x + 3:.1f},{tip - 5 * way:.1f}"
    return element("polyline", points=points, fill="none", **looks)


def _dot(x: float, y: float, up: Axis, colour: dict[str, object]) -> Markup:
    if up.low <= y <= up.high:
        return element("circle", cx=f"{x:.1f}", cy=f"{up(y):.1f}", r=3, fill=colour["stroke"])
    way = 1 if y < up.low else -1  # down the page where it is less
    tip = up(up.low if y < up.low else up.high)
    points = f"{x - 4.5:.1f},{tip - 7 * way:.1f} {x + 4.5:.1f},{tip - 7 * way:.1f} {x:.1f},{tip:.1f}"
    return element("polygon", points=points, stroke_width=1.4, class_="paper", **colour)


def _segment(x1: float, y1: float, x2: float, y2: float, kind: object = None, **looks: object) -> Markup:
    ends = {"x1": f"{x1:.1f}", "y1": f"{y1:.1f}", "x2": f"{x2:.1f}", "y2": f"{y2:.1f}"}
    return element("line", **ends, class_=kind, **looks)
