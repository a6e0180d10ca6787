"""The report's section on where the networks look: class activation maps that cells left in their folders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Final

from monai_cxraug.artifacts import read_json
from monai_cxraug.errors import InputError
from monai_cxraug.reporting.fields import build_all
from monai_cxraug.reporting.language import Language
from monai_cxraug.reporting.markup import Markup, element, join
from monai_cxraug.reporting.parts import folded, note, section
from monai_cxraug.reporting.pictures import picture
from monai_cxraug.reporting.tables import finding_title, number

SCHEMA: Final = "cxraug.maps/1"
#: bytes that all maps and each of them may take on the page, and the width of a large one.
_ROOM, _MOST, _WIDTH = 500_000, 40_000, 480


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


def choose_maps(cells: Sequence[CellMaps], findings: Sequence[str], first: Sequence[str]) -> list[CellMaps]:
    """Keep the maps of some findings, as many as the page has room for; some cells come first.

    Args:
        cells: maps of cells.
        findings: whose maps are kept.
        first: ids of cells that come before others.
    """
    room, kept = _ROOM, []
    for cell in sorted(cells, key=lambda cell: cell.cell not in first):
        maps = []
        for one in cell.maps:
            size = min((cell.folder / one.file).stat().st_size, _MOST)
            if one.finding in findings and size <= room:
                maps.append(one)
                room -= size
        kept.append(replace(cell, maps=maps))
    return kept


def maps_section(cells: Sequence[CellMaps], say: Language) -> Markup:
    """Write the section, all cells but the first folded; nothing where there are no maps."""
    drawn = [one for one in cells if one.maps]
    if not drawn:
        return Markup("")
    places = say("join.or").join(f"{side} × {side}" for side in sorted({one.places for one in drawn}))
    first, *others = (join(*_blocks(one, say)) for one in drawn)
    more = folded(say("maps.more", count=len(others)), join(*others)) if others else ""
    return section("maps", say, note(say("maps.note", places=places)), first, more)


def _blocks(cell: CellMaps, say: Language) -> list[Markup]:
    blocks = []
    for (finding, kind), maps in groupby(cell.maps, key=lambda one: (one.finding, one.kind)):
        title = element("h3", f"{cell.cell}: {finding_title(finding, say)} {say.known(kind)}")
        pictures = [_picture(cell.folder, one, say) for one in maps]
        blocks.append(element("div", title, element("div", *pictures, class_="maps")))
    return blocks


def _picture(folder: Path, one: Map, say: Language) -> Markup:
    shown = picture(folder / one.file, _MOST, _WIDTH)
    image = element("img", src=shown.address, alt=say("maps.alt", image=one.image), loading="lazy")
    return element("figure", image, element("figcaption", f"{one.image.rsplit('/', 1)[-1]}, {number(one.prob)}"))
