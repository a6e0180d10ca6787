"""One flat table of every value."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from monai_cxraug.reporting.report import write_report


def read(run: Path) -> list[dict[str, str]]:
    write_report(run)
    with (run / "results.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_every_value_has_its_row(newer: Path) -> None:
    rows, raw = read(newer), json.loads((newer / "results.json").read_text())
    found = {
        tuple(row[name] for name in ("arm", "reference", "fraction", "ratio", "seed", "finding", "measure")): row
        for row in rows
    }
    assert len(found) == len(rows)

    def at(given: dict[str, object], measure: str, **more: object) -> dict[str, str]:
        columns = {**given, **more}
        names = ("arm", "reference", "fraction", "ratio", "seed", "finding")
        key = ["" if columns.get(name) is None else str(columns[name]) for name in names]
        return found[(*key, measure)]

    for row in raw["arms"]:
        line = at(row, "auroc")
        assert float(line["value"]) == row["auroc"]
        assert (line["low"], line["high"]) == tuple(map(str, row["interval"] or ("", "")))
        assert (line["n"], line["positives"]) == (str(row["n"]), str(row["positives"]))
    for row in raw["comparisons"]:
        line = at(row, "auroc_difference")
        assert [float(line[key]) for key in ("value", "low", "high")] == [row["difference"], *row["interval"]]
        for name in ("p", "p_holm", "p_bh", "detectable"):
            assert float(at(row, f"auroc_difference_{name}")["value"]) == row[name]
    for row in raw["operating"]:
        for name in ("auprc", "sensitivity_95", "all_negative", "ece", "intercept"):
            assert float(at(row, name)["value"]) == row[name]
    pair = {name: raw["primary"][name] for name in ("arm", "reference", "fraction", "ratio")}
    for row in raw["primary"]["harm"]:
        line = at(pair, f"{row['measure']}_difference", finding=row["finding"], seed="all")
        assert [float(line[key]) for key in ("value", "low", "high")] == [row["difference"], *row["interval"]]
    for row in raw["subgroups"]:
        assert float(at(row, f"auroc[{row['column']}={row['group']}]")["value"]) == row["auroc"]
    for row in raw["composition"]:
        assert int(at(row, "training_filtered")["value"]) == row["filtered"]


def test_older_results_have_a_table_too(run: Path) -> None:
    assert {row["measure"] for row in read(run)} > {"auroc", "auroc_difference", "training_share"}
