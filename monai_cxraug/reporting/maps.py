"""The report's section on where the networks look: class activation maps that cells left in their folders."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final

from monai_cxraug.artifacts import read_json
from monai_cxraug.errors import InputError
from monai_cxraug.reporting.markup import Markup, element
from monai_cxraug.reporting.parts import section
from monai_cxraug.reporting.records import build_all
from monai_cxraug.reporting.tables import finding_title, number

SCHEMA: Final = "cxraug.maps/1"


@dataclass(frozen=True)
class Map:
    """One picture: a radiograph and, beside it, the same under its map."""

    file: str
    finding: str
    image: str
    kind: str
    prob: float
    label: float | None = None


@dataclass(frozen=True)
class CellMaps:
    """The maps of one cell.

    Args:
        cell: its id.
        folder: that holds the pictures.
        places: places a side that the maps were made from.
        maps: the pictures, those of a finding and kind side by side.
    """

    cell: str
    folder: Path
    places: int
    maps: Sequence[Map]


def read_maps(run: Path) -> list[CellMaps]:
    """Read the maps of every cell that has some.

    Raises:
        InputError: a file is missing or no JSON.
        StateError: another schema, a key is missing or a value is of the wrong kind.
    """
    return [_read(path) for path in sorted(run.glob("cells/*/maps/maps.json"))]


def _read(path: Path) -> CellMaps:
    document = read_json(path, SCHEMA)
    maps = build_all(Map, document, "maps", path)
    if missing := [one.file for one in maps if not (path.parent / one.file).is_file()]:
        raise InputError(path.parent / missing[0], "picture of a map must exist", "nothing there", "evaluate again")
    return CellMaps(path.parents[1].name, path.parent, int(document.get("places", 0)), maps)


def maps_section(cells: Sequence[CellMaps]) -> Markup:
    """Write the section; nothing where there are no maps."""
    shown = [block for one in cells if one.maps for block in _blocks(one)]
    if not shown:
        return Markup("")
    places = sorted({one.places for one in cells if one.maps})
    note = (
        "Each radiograph as the network sees it and, on its right, under its class activation map (Grad-CAM): orange "
        "where the evidence for the finding came from. Chosen by what the network said, not by hand. A map does not "
        "outline the finding; every map has its own scale; and it is no finer than the "
        f"{' or '.join(f'{side} × {side}' for side in places)} places of the layer that it was made from."
    )
    return section("Where the networks look", *shown, element("p", note, class_="note"))


def _blocks(cell: CellMaps) -> list[Markup]:
    blocks = []
    for (finding, kind), maps in groupby(cell.maps, key=lambda one: (one.finding, one.kind)):
        title = element("h3", f"{cell.cell}: {finding_title(finding)} {kind}")
        pictures = [_picture(cell.folder, one) for one in maps]
        blocks.append(element("div", title, element("div", *pictures, class_="maps")))
    return blocks


def _picture(folder: Path, one: Map) -> Markup:
    source = "data:image/png;base64," + base64.b64encode((folder / one.file).read_bytes()).decode()
    picture = element("img", src=source, alt=f"{one.image} and its class activation map", loading="lazy")
    return element("figure", picture, element("figcaption", f"{one.image.rsplit('/', 1)[-1]}, {number(one.prob)}"))
