"""Write the report of a run from its files."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from monai_cxraug.artifacts import atomic_path, sweep, write_text
from monai_cxraug.console import deliver
from monai_cxraug.reporting.figures import areas, differences
from monai_cxraug.reporting.forest import NARROW, WIDE, Layout
from monai_cxraug.reporting.language import Language, find_language
from monai_cxraug.reporting.long_table import write_long_table
from monai_cxraug.reporting.maps import choose_maps, read_maps
from monai_cxraug.reporting.markup import Markup
from monai_cxraug.reporting.methods import DataRole, read_refusals
from monai_cxraug.reporting.mosaic import Block, collect_blocks, mosaic
from monai_cxraug.reporting.outcome import Pair
from monai_cxraug.reporting.page import Figures, page
from monai_cxraug.reporting.pictures import picture
from monai_cxraug.reporting.prepared import Prepared, is_present
from monai_cxraug.reporting.records import Plan, Results, load_plan, load_results
from monai_cxraug.reporting.synthetic import read_nearest
from monai_cxraug.reporting.tables import summary_table, write_tables
from monai_cxraug.reporting.training import read_training

#: bytes that the picture of real beside synthetic images may take on the page, and the width of a large one.
_MOSAIC_ROOM, _MOSAIC_WIDTH = 800_000, 1600


def write_report(run: Path, language: str = "en") -> Path:
    """Write ``report/`` into a run or evaluation folder: the page, its figures and its tables; and ``results.csv``.

    Args:
        run: folder with ``results.json``; ``plan.json`` and the folders of the stages are used where they are.
        language: code of the language of the page.

    Returns:
        ``run/report/index.html``.

    Raises:
        ConfigError: the page is not written in that language.
        InputError: a file is missing or unreadable.
        StateError: a file carries another schema or does not hold what it should.
    """
    run, say = Path(run), find_language(language)
    results, plan = load_results(run), load_plan(run)
    blocks = collect_blocks(run, plan) if plan else []
    sheet = _png(blocks) if blocks else None
    made = _figures(run, results, plan, blocks, sheet, say)
    refusals = read_refusals(run, plan) if plan else []
    document = page(results, plan, _roles(run, plan) if plan else [], refusals, made, say)
    folder = run / "report"
    sweep(folder)
    for name, pair in (("differences", made.differences), ("auroc", made.areas)):
        _write_svg(folder / "figures" / f"{name}.svg", pair and pair[0])
    _write_bytes(folder / "figures" / "real_and_synthetic.png", sheet)
    write_tables(results, folder / "tables")
    write_long_table(results, run / "results.csv")
    write_text(folder / "index.html", document)
    return folder / "index.html"


@dataclass(frozen=True)
class Report:
    """``cxraug report``: writes the report of a run and prints its summary.

    Args:
        run_folder: a run, or a folder that ``cxraug evaluate`` wrote.
        language: code of the language of the page; the summary is English.
    """

    run_folder: str | Path
    language: str = "en"

    def __post_init__(self) -> None:
        """Refuse a language that is not there.

        Raises:
            ConfigError: the page is not written in it.
        """
        find_language(self.language)

    def run(self) -> Path:
        """Write and print; returns the path of the page."""
        folder = Path(self.run_folder)
        page_path = write_report(folder, self.language)
        deliver(f"\n{summary_table(load_results(folder))}\n\n{page_path}")
        return page_path


def _figures(
    run: Path, results: Results, plan: Plan | None, blocks: Sequence[Block], sheet: bytes | None, say: Language
) -> Figures:
    ids = [block.synthetic_id for block in blocks]
    return Figures(
        differences=_pair(lambda layout: differences(results, say, layout)),
        areas=_pair(lambda layout: areas(results, say, layout)),
        other_differences=_pair(lambda layout: differences(results, say, layout, others=True)),
        other_areas=_pair(lambda layout: areas(results, say, layout, others=True)),
        mosaic=None if sheet is None else picture(sheet, _MOSAIC_ROOM, _MOSAIC_WIDTH),
        shown=tuple(block.finding for block in blocks),
        nearest=read_nearest(run, plan, ids) if plan else [],
        maps=choose_maps(read_maps(run), results.studied(), _endpoint_cells(results, plan)),
        training=read_training(run, plan) if plan else [],
    )


def _endpoint_cells(results: Results, plan: Plan | None) -> list[str]:
    """Cells at the endpoint's fraction and ratio."""
    primary = results.primary
    if plan is None or primary is None:
        return []
    return [cell.id for cell in plan.cells if cell.fraction == primary.fraction and cell.ratio in (None, primary.ratio)]


def _pair(draw: Callable[[Layout], Markup | None]) -> Pair | None:
    wide, narrow = draw(WIDE), draw(NARROW)
    return (wide, narrow) if wide and narrow else None


def _png(blocks: Sequence[Block]) -> bytes:
    stream = io.BytesIO()
    mosaic(blocks).save(stream, format="PNG", optimize=True)
    return stream.getvalue()


def _roles(run: Path, plan: Plan) -> list[DataRole]:
    """Count images, patients and positives of each role whose data lie in the run folder."""
    return [
        _role(role, Prepared(run / folder), plan.conditions(role), plan.findings)
        for role, folder in plan.data.items()
        if (run / folder / "manifest.csv").exists()
    ]


def _role(role: str, prepared: Prepared, conditions: Mapping[str, Sequence[str]], findings: Sequence[str]) -> DataRole:
    rows = [prepared.rows[k] for k in prepared.matching(conditions)]
    return DataRole(
        role=role,
        images=len(rows),
        patients=len({row.get("patient_id") for row in rows}),
        positives={name: sum(is_present(row.get(name)) for row in rows) for name in findings},
    )


def _write_svg(path: Path, figure: Markup | None) -> None:
    _write_bytes(path, None if figure is None else f'<?xml version="1.0" encoding="UTF-8"?>\n{figure}\n'.encode())


def _write_bytes(path: Path, content: bytes | None) -> None:
    """Write a file atomically; what an earlier report left is removed when there is nothing to show now."""
    if content is None:
        path.unlink(missing_ok=True)
        return
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
