"""What is acknowledged is stored, once; what does not fit is refused."""

from __future__ import annotations

import dataclasses
import sqlite3
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from monai_cxraug.errors import InputError, StateError
from monai_cxraug.study.files import CHOICES
from monai_cxraug.study.server.database import DATABASE, Database
from monai_cxraug.study.server.order import order_trials
from monai_cxraug.study.server.store import ConflictError, Given, Store
from tests.study.server.small_study import write_study


def begin(store: Store) -> tuple[str, str]:
    (code,) = store.create_readers(1)
    store.start(code, "resident", 2, "en")
    return code, store.open_tab(code)


def give(store: Store, code: str, position: int, choice: int = 0, reaction_ms: float = 700.0) -> Given:
    task = store.upcoming(code, position, 1)[0].task
    return Given(position, CHOICES[task][choice], 2 if task == "turing" else 0, reaction_ms, {"zoom": 1.0})


def test_answers_come_back_as_they_were_given(store: Store) -> None:
    code, tab = begin(store)
    total = len(store.order(code))
    for position in range(total):
        store.record(code, tab, give(store, code, position, position % 2))
    answers, (reader,) = list(store.answers()), store.readers()
    assert [one.trial for one in answers] == [one.trial for one in order_trials(store.study.trials, 7, code)]
    assert [one.position for one in answers] == list(range(total))
    assert all(one.study == store.study.identity and one.reader == code for one in answers)
    assert all(one.shown_utc and one.shown_utc <= one.answered_utc for one in answers)
    assert answers[0].display == '{"showings":1,"zoom":1.0}'
    assert (reader.role, reader.years, reader.simulated) == ("resident", 2, 0)
    assert reader.started_utc < reader.finished_utc


def test_the_same_answer_twice_is_one(store: Store) -> None:
    code, tab = begin(store)
    given = give(store, code, 0)
    assert store.record(code, tab, given) == store.record(code, tab, given)
    assert len(list(store.answers())) == 1


@pytest.mark.parametrize("change", [{"choice": 1}, {"reaction_ms": 701.0}])
def test_another_answer_to_the_same_trial_is_refused(store: Store, change: dict[str, int]) -> None:
    code, tab = begin(store)
    store.record(code, tab, give(store, code, 0))
    with pytest.raises(ConflictError, match="already_answered"):
        store.record(code, tab, give(store, code, 0, **change))
    assert [one.reaction_ms for one in store.answers()] == [700.0]


def test_trials_cannot_be_skipped(store: Store) -> None:
    code, tab = begin(store)
    for position in (1, 5):
        with pytest.raises(ConflictError, match="out_of_order"):
            store.record(code, tab, give(store, code, position))
    with pytest.raises(ConflictError, match="out_of_order"):
        store.record(code, tab, dataclasses.replace(give(store, code, 0), position=10_000))


def test_the_page_that_was_opened_last_wins(store: Store) -> None:
    code, tab = begin(store)
    later = store.open_tab(code)
    with pytest.raises(ConflictError, match="other_tab"):
        store.record(code, tab, give(store, code, 0))
    store.record(code, later, give(store, code, 0))


def test_seeing_a_trial_again_is_noted(store: Store) -> None:
    code, _ = begin(store)
    store.open_tab(code)
    store.record(code, store.open_tab(code), give(store, code, 0))
    assert '"showings":3' in next(iter(store.answers())).display


def test_trials_are_assigned_once(store: Store) -> None:
    code, _ = begin(store)
    with pytest.raises(ConflictError):
        store.start(code, "student", 0, "ko")
    assert store.readers()[0].role == "resident"


def test_readers_who_come_at_once_share_no_code_and_cover_evenly(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", judged=10, repeats=0, tasks=("2afc",), per_reader=5)
    database = Database(tmp_path / "a" / DATABASE, study.identity)
    store = Store(database, study)
    with ThreadPoolExecutor(8) as threads:
        codes = [code for code, _ in threads.map(lambda _: begin(store), range(16))]
    assert len(set(codes)) == 16
    counts = Counter(name for code in codes for name in store.order(code) if "judged" in name)
    assert set(counts.values()) == {8}  # 16 readers × 5 of 10 trials
    database.close()


def test_answers_at_once_are_each_stored_once(store: Store) -> None:
    readers = [begin(store) for _ in range(6)]

    def answer_all(reader: tuple[str, str]) -> None:
        for position in range(len(store.order(reader[0]))):
            for _ in range(2):
                store.record(*reader, give(store, reader[0], position))

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(answer_all, readers))
    counts = Counter(one.reader for one in store.answers())
    assert counts == {code: len(store.order(code)) for code, _ in readers}


def test_each_commit_reaches_the_disk(store: Store) -> None:
    with store.database.reading() as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
        assert connection.execute("PRAGMA foreign_keys").fetchone() == (1,)


def test_a_database_belongs_to_one_study(tmp_path: Path) -> None:
    one, other = write_study(tmp_path / "one"), write_study(tmp_path / "other", seed=8)
    Database(tmp_path / DATABASE, one.identity).close()
    Database(tmp_path / DATABASE, one.identity).close()
    with pytest.raises(StateError, match="another study"):
        Database(tmp_path / DATABASE, other.identity)


def test_another_file_is_no_database(tmp_path: Path) -> None:
    (tmp_path / DATABASE).write_bytes(b"not a database" * 1000)
    with pytest.raises(InputError, match=r"must be a database"):
        Database(tmp_path / DATABASE, "x")


def test_only_the_owner_reads_the_database(store: Store) -> None:
    assert store.database.path.stat().st_mode & 0o077 == 0


def test_a_failed_transaction_leaves_nothing(store: Store) -> None:
    code, tab = begin(store)
    given = dataclasses.replace(give(store, code, 0), answer=None)  # type: ignore[arg-type]
    with pytest.raises(sqlite3.IntegrityError):
        store.record(code, tab, given)
    assert list(store.answers()) == []
    store.record(code, tab, give(store, code, 0))
