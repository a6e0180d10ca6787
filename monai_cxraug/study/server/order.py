"""In which order a reader sees the trials: a pure function of the study's seed and the reader's code.

Tasks come as blocks, so that nobody changes the question in their head; the order of the blocks is drawn for each
reader. A block starts with its training, in the order of the table. Everything is drawn by sorting SHA-256 of (seed,
code, purpose, name), which is the same on every machine and in every version of Python.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

from monai_cxraug.study.files import Trial

Thing = TypeVar("Thing")


class Draw(Protocol):
    """Shuffles; the same things and the same purpose give the same order."""

    def __call__(self, purpose: str, things: Iterable[Thing]) -> list[Thing]:
        """Return the things in the order that is drawn."""


def order_trials(
    trials: Sequence[Trial], seed: object, code: str, chosen: Collection[str] | None = None
) -> list[Trial]:
    """Return the trials of one reader in the order in which they are shown.

    Args:
        trials: of the study.
        seed: of the study.
        code: of the reader.
        chosen: names of the judged trials that this reader is asked; None: all. Repeats of others are left out.
    """
    wanted = [one for one in trials if _is_wanted(one, chosen)]
    tasks = _shuffle(seed, code, "tasks", sorted({one.task for one in wanted}))
    return [one for task in tasks for one in _order_block([one for one in wanted if one.task == task], seed, code)]


def choose_judged(
    trials: Sequence[Trial], limit: int | Mapping[str, int], counts: Mapping[str, int], seed: object, code: str
) -> list[str]:
    """Choose the judged trials of a reader where the study asks each reader only some: those answered least, first.

    Args:
        trials: of the study.
        limit: judged trials a reader, shared among the tasks in proportion; or so many of each task.
        counts: how often a judged trial was asked so far; equal ones are drawn.
        seed: of the study.
        code: of the reader.

    Returns:
        Names, in the order of the table.
    """
    by_task: dict[str, list[str]] = {}
    for one in trials:
        if one.role == "judged":
            by_task.setdefault(one.task, []).append(one.trial)
    shares = (
        limit if isinstance(limit, Mapping) else share({task: len(names) for task, names in by_task.items()}, limit)
    )
    chosen = set()
    for task, names in by_task.items():
        drawn = _shuffle(seed, code, f"choose {task}", names)
        chosen |= set(sorted(drawn, key=lambda name: counts.get(name, 0))[: shares.get(task, len(names))])
    return [one.trial for one in trials if one.trial in chosen]


def share(sizes: Mapping[str, int], limit: int) -> dict[str, int]:
    """Share a number among groups in proportion to their sizes, the largest remainders rounded up."""
    total = sum(sizes.values())
    limit = min(limit, total)
    exact = {name: limit * size / total for name, size in sizes.items()} if total else {}
    shares = {name: int(value) for name, value in exact.items()}
    for name in sorted(exact, key=lambda name: (shares[name] - exact[name], name))[: limit - sum(shares.values())]:
        shares[name] += 1
    return shares


def _is_wanted(trial: Trial, chosen: Collection[str] | None) -> bool:
    if chosen is None or trial.role not in {"judged", "repeat"}:
        return True
    return (trial.repeat_of if trial.role == "repeat" else trial.trial) in chosen


def _order_block(trials: Sequence[Trial], seed: object, code: str) -> list[Trial]:
    by_role: dict[str, list[Trial]] = {"training": [], "judged": [], "repeat": [], "sentinel": []}
    for one in trials:
        by_role[one.role].append(one)

    def draw(purpose: str, things: Iterable[Thing]) -> list[Thing]:
        return _shuffle(seed, code, purpose, things)

    asked = _place_repeats(by_role["judged"], by_role["repeat"], draw)
    return by_role["training"] + _spread(asked, draw("sentinels", by_role["sentinel"]), draw)


def _place_repeats(judged: Sequence[Trial], repeats: Sequence[Trial], draw: Draw) -> list[Trial]:
    """Put what is repeated into the first half, and its repeat just half of the block later."""
    total = len(judged) + len(repeats)
    half = total // 2
    originals = {one.trial: one for one in judged}
    slots: dict[int, Trial] = {}
    first_half = draw("slots", range(half))
    for repeat in draw("repeats", repeats):
        original = originals.pop(repeat.repeat_of, None)
        if original is not None:
            slot = first_half.pop()
            slots[slot], slots[slot + half] = original, repeat
    placed = {one.trial for one in slots.values()}
    rest = draw("judged", [one for one in (*judged, *repeats) if one.trial not in placed])
    return [slots[slot] if slot in slots else rest.pop() for slot in range(total)]


def _spread(trials: Sequence[Trial], sentinels: Sequence[Trial], draw: Draw) -> list[Trial]:
    """Put one sentinel somewhere into each of as many equal stretches."""
    if not sentinels:
        return list(trials)
    edges = [round(index * len(trials) / len(sentinels)) for index in range(len(sentinels) + 1)]
    spread: list[Trial] = []
    for sentinel, start, end in zip(sentinels, edges, edges[1:], strict=False):
        stretch = list(trials[start:end])
        where = draw(f"place {sentinel.trial}", range(len(stretch) + 1))[0]
        spread += [*stretch[:where], sentinel, *stretch[where:]]
    return spread


def _shuffle(seed: object, code: str, purpose: str, things: Iterable[Thing]) -> list[Thing]:
    def key(thing: Thing) -> bytes:
        name = thing.trial if isinstance(thing, Trial) else thing
        return hashlib.sha256(f"{seed}\n{code}\n{purpose}\n{name}".encode()).digest()

    return sorted(things, key=key)
