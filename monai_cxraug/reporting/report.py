"""Write the report of a run from its files."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from monai_cxraug.artifacts import atomic_path, write_text
from monai_cxraug.reporting import figures
from monai_cxraug.reporting.maps import read_maps
from monai_cxraug.reporting.markup import Markup
from monai_cxraug.reporting.mosaic import Block, collect_blocks, mosaic
from monai_cxraug.reporting.page import DataRole, Figures, page
from monai_cxraug.reporting.prepared import Prepared, is_present
from monai_cxraug.reporting.records import Plan, Results, load_plan, load_results
from monai_cxraug.reporting.tables import summary_table, write_tables


def write_report(run: Path) -> Path:
    """Write ``report/`` into a run or evaluation folder: the page, its figures and its tables.

    Args:
        run: folder with ``results.json``; ``plan.json``, ``data/`` and ``synthetic/`` are used where they are.

    Returns:
        ``run/report/index.html``.

    Raises:
        InputError: a file is missing or unreadable.
        StateError: a file carries another schema or does not hold what it should.
    """
    run = Path(run)
    results, plan = load_results(run), load_plan(run)
    made = _figures(run, results, plan)
    document = page(results, plan, _roles(run, plan) if plan else [], made)
    folder = run / "report"
    _write_svg(folder / "figures" / "differences.svg", made.differences)
    _write_svg(folder / "figures" / "auroc.svg", made.areas)
    _write_bytes(folder / "figures" / "real_and_synthetic.png", made.mosaic_png)
    write_tables(results, folder / "tables")
    write_text(folder / "index.html", document)
    return folder / "index.html"


@dataclass(frozen=True)
class Report:
    """``cxraug report``: writes the report of a run and prints its summary.

    Args:
        run_folder: a run, or a folder that ``cxraug evaluate`` wrote.
    """

    run_folder: str | Path

    def run(self) -> Path:
        """Write and print; returns the path of the page."""
        folder = Path(self.run_folder)
        page_path = write_report(folder)
        print(f"\n{summary_table(load_results(folder))}\n\n{page_path}", flush=True)
        return page_path


def _figures(run: Path, results: Results, plan: Plan | None) -> Figures:
    blocks = collect_blocks(run, plan) if plan else []
    return Figures(
        differences=figures.differences(results),
        areas=figures.areas(results),
        mosaic_png=_png(blocks) if blocks else None,
        shown=tuple(block.finding for block in blocks),
        maps=read_maps(run),
    )


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
