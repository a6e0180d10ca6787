import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from monai_cxraug.reporting import load_results, summary_table
from monai_cxraug.reporting.tables import bracket, number, p_value, percent, signed, summarise, write_tables

Edit = Callable[[str, Callable[[dict[str, Any]], None]], None]


def test_summary_has_the_numbers_of_the_primary_comparison(run: Path) -> None:
    summary = summarise(load_results(run))
    assert summary.arms == ("plain", "duplicate_real", "gan")
    assert [row.finding for row in summary.rows] == ["Edema", "Emphysema", "Fibrosis", "macro"]
    edema = summary.rows[0]
    assert edema.aurocs == (0.842, 0.848, 0.861)
    assert (edema.n, edema.positives, edema.few) == (1842, 34, False)
    assert edema.outcome is not None
    assert edema.outcome.difference == pytest.approx(0.013)
    assert summary.rows[2].few


def test_table_is_aligned(run: Path) -> None:
    lines = summary_table(load_results(run)).split("\n")
    header, rule, rows = lines[0], lines[1], lines[2:6]
    assert set(rule) == {"-"}
    assert header.split()[:5] == ["finding", "n+/n", "plain", "duplicate_real", "gan"]
    for column, values in {"plain": ["0.842", "0.771", "0.694"], "difference": ["+0.013", "-0.003", "-0.013"]}.items():
        end = header.index(column) + len(column)
        for row, value in zip(rows, values, strict=False):
            assert row[:end].endswith(" " + value)
    assert {row.index("comparison incomplete") for row in rows} == {header.index("verdict")}
    assert [row.split()[0] for row in rows] == ["Edema", "Emphysema", "Fibrosis", "macro"]
    assert "Fibrosis *" in rows[2]
    assert "a verdict still needs: weighted_loss, oversampled, label_shuffled" in lines


def test_other_fractions_and_ratios_do_not_get_into_the_summary(run: Path, edit: Edit) -> None:
    def add(document: dict[str, Any]) -> None:
        for part in ("arms", "comparisons"):
            extra = [
                {**row, change: value}
                for change, value in (("fraction", 0.1), ("ratio", 3.0))
                for row in document[part]
            ]
            for row in extra:
                row.update({key: 0.111 for key in ("auroc", "difference") if key in row})
            document[part] = extra + document[part]

    before = [line.split() for line in summary_table(load_results(run)).split("\n")]
    edit("results", add)
    assert [line.split() for line in summary_table(load_results(run)).split("\n")] == before


def test_table_of_a_run_without_comparisons(run: Path, edit: Edit) -> None:
    edit("results", lambda document: document.update(comparisons=[], primary=None))
    lines = summary_table(load_results(run)).split("\n")
    assert lines[2].split()[-3:] == ["n/a", "n/a", "n/a"]


def test_control_characters_do_not_reach_the_terminal(run: Path, edit: Edit) -> None:
    edit("results", lambda document: document.update(missing=["\x1b[31mred"]))
    assert "\x1b" not in summary_table(load_results(run))


def test_csv_tables_hold_every_row(run: Path) -> None:
    results, raw = load_results(run), json.loads((run / "results.json").read_text())
    for path in write_tables(results, run / "out"):
        with path.open() as stream:
            rows = list(csv.DictReader(stream))
        assert len(rows) == len(raw.get(path.stem, []))
        for row, expected in zip(rows, raw.get(path.stem, []), strict=True):
            low, high = expected.pop("interval", None) or ("", "")
            assert {key: row[key] for key in expected} == {k: "" if v is None else str(v) for k, v in expected.items()}
            assert (row.get("low", ""), row.get("high", "")) == (str(low), str(high))


def test_numbers_are_written_alike() -> None:
    assert (number(0.5), number(None)) == ("0.500", "n/a")
    assert [signed(value) for value in (0.01, -0.01, -0.0001, 0.0, None)] == [
        "+0.010",
        "-0.010",
        "0.000",
        "0.000",
        "n/a",
    ]
    assert (bracket((-0.01, 0.02)), bracket(None)) == ("[-0.010, +0.020]", "n/a")
    assert [p_value(value) for value in (0.0004, 0.001, 1, None)] == ["< 0.001", "0.001", "1.000", "n/a"]
    assert [percent(value) for value in (0.1, 1, 0.005, None)] == ["10 %", "100 %", "0.5 %", "n/a"]


def test_the_terminal_says_what_could_be_found_and_what_got_worse(newer: Path, edit: Edit) -> None:
    edit("results", lambda document: document["primary"]["harm"][0].update(worse=True))
    lines = summary_table(load_results(newer)).split("\n")
    detectable = json.loads((newer / "results.json").read_text())["primary"]["detectable"]
    assert f" {detectable:.3f}  " in next(line for line in lines if line.startswith("macro"))
    assert "worse at the fixed threshold: sensitivity of Edema" in lines
    assert any(line.startswith("detectable: ") for line in lines)
