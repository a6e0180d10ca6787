"""What the administrator sees: how far every reader is, how fast they answer, and how evenly trials are covered."""

from __future__ import annotations

from collections import defaultdict
from statistics import median
from typing import Any

from monai_cxraug.study.files import Trial
from monai_cxraug.study.server.store import Store

#: of one answer: reader, trial, answer, reaction time.
Row = tuple[str, str, str, float]


def summarise(store: Store) -> dict[str, Any]:
    """Describe the study and its readers, as JSON."""
    with store.database.reading() as connection:
        rows: list[Row] = connection.execute(
            "SELECT reader, trial, answer, reaction_ms FROM answers JOIN assigned USING (reader, position)"
        ).fetchall()
        readers = connection.execute(
            "SELECT code, role, years, language, simulated, created_utc, started_utc, finished_utc, seen_utc,"
            " (SELECT COUNT(*) FROM assigned WHERE reader = code) FROM readers ORDER BY created_utc, code"
        ).fetchall()
    by_reader: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_reader[row[0]].append(row)
    return {
        "title": store.study.info.get("title", ""),
        "study": store.study.identity,
        "readers": [_describe(reader, by_reader[reader[0]], store.trials) for reader in readers],
        "coverage": _cover(store, rows, {reader[0]: reader[4] for reader in readers}),
    }


def _describe(reader: tuple[Any, ...], rows: list[Row], trials: dict[str, Trial] | Any) -> dict[str, Any]:
    names = ("code", "role", "years", "language", "simulated", "created", "started", "finished", "seen", "total")
    sentinels = [row[2] == trials[row[1]].expected for row in rows if trials[row[1]].role == "sentinel"]
    return {
        **dict(zip(names, reader, strict=True)),
        "answered": len(rows),
        "median_ms": {
            task: round(median(times))
            for task in ("2afc", "jnd", "turing")
            if (times := [row[3] for row in rows if trials[row[1]].task == task])
        },
        "sentinels": len(sentinels),
        "sentinels_right": sum(sentinels),
    }


def _cover(store: Store, rows: list[Row], simulated: dict[str, int]) -> dict[str, int]:
    """Answers of people to each judged trial: fewest, middle, most."""
    counts = {one.trial: 0 for one in store.study.trials if one.role == "judged"}
    for reader, trial, _, _ in rows:
        if trial in counts and not simulated[reader]:
            counts[trial] += 1
    values = list(counts.values()) or [0]
    return {"judged": len(counts), "fewest": min(values), "middle": round(median(values)), "most": max(values)}
