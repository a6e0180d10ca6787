"""Change the code in small ways, one at a time, and see whether its tests notice.

    python -m scripts.mutants monai_cxraug/metrics/auroc.py --out /tmp/mutants        # one module
    python -m scripts.mutants monai_cxraug/metrics/*.py --out /tmp/mutants            # many; resumes after a kill
    python -m scripts.mutants monai_cxraug/metrics/auroc.py --out /tmp/mutants --again    # survivors only: new tests
    python -m scripts.mutants monai_cxraug/metrics/ranks.py --tests tests/metrics/test_auroc.py --out /tmp/mutants
    python -m scripts.mutants monai_cxraug/metrics/*.py --count                       # how many, nothing is run

Run it from the root of a checkout that nobody edits meanwhile; no file of it is written. A module ``box/name.py`` is
tried with ``tests/box/test_name.py`` and what ``--tests`` adds. The tests are collected once, in a process that is
forked for every mutant; the child swaps the code of the changed function for the mutant's and runs the tests that reach
its line, the quickest first and none slower than ``--slowest``, until one fails or does not end. Mutants of what runs
at import (constants, defaults) start from a process that has imported third parties only.

What is changed and what is left alone is told in ``scripts.mutations``. ``OUT/<module>.json`` holds every outcome by
the hash of the mutant, ``OUT/<module>.survivors.txt`` a line for each survivor.
"""

from __future__ import annotations

import argparse
import ast
import gc
import importlib
import importlib.util
import json
import mmap
import os
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any, Final

import pytest
from _pytest.tmpdir import tmppath_result_key
from hypothesis import Phase, settings

from scripts.mutations import Mutant, mutants

Outcomes = dict[str, dict[str, Any]]
Reach = dict[str, tuple[float, list[int]]]  # test to its CPU seconds and the lines that it runs

#: CPU seconds of a test beyond twice what it takes on the code as it is: more is a hang, which counts as noticed.
_PATIENCE: Final = 1.0
_IMPORTS: Final = 20.0  # more seconds of that where a test may be the first to import what it needs
_MEMORY: Final = 16 * 2**30  # address space of a child
_NOTICED, _SURVIVED = 1, 0

# --- what a mutant replaces ---


class _Served(MetaPathFinder, Loader):
    """Imports one module from a text instead of its file."""

    def __init__(self, name: str, path: Path, tree: ast.Module) -> None:
        self.name, self.path, self.tree = name, path, tree

    def find_spec(self, fullname: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname != self.name:
            return None
        return importlib.util.spec_from_file_location(fullname, self.path, loader=self)

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self.tree, str(self.path), "exec"), module.__dict__)  # nosec B102: our own code, broken on purpose


def _functions(module: ModuleType) -> dict[str, list[FunctionType]]:
    """Functions that were made from the module's code, decorated or not, by their place in it."""
    found: dict[str, list[FunctionType]] = {}
    for one in gc.get_objects():
        if isinstance(one, FunctionType) and one.__code__.co_filename == module.__file__:
            found.setdefault(one.__code__.co_qualname, []).append(one)
    return found


def _swap(mutant: Mutant, trial: _Trial, functions: Sequence[FunctionType]) -> None:
    """Give functions the mutant's code."""
    path = functions[0].__code__.co_filename
    tree = mutant.tree(trial.path.read_text())
    wanted = next(code for code in _codes(compile(tree, path, "exec")) if code.co_qualname == mutant.function)
    for function in functions:
        function.__code__ = wanted
    for one in vars(sys.modules[trial.name]).values():
        if hasattr(one, "cache_clear"):  # what the code as it was has left behind
            one.cache_clear()


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


# --- running ---


class _Fork:
    """Pytest plugin that collects, and then judges mutants instead of running the tests."""

    def __init__(self, job: Callable[[Sequence[pytest.Item]], None], examples: int) -> None:
        self.job, self.examples = job, examples

    def pytest_sessionstart(self) -> None:  # after conftest.py has loaded its own, before a test is imported
        settings.load_profile("mutants")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        for item in session.items:
            test: Any = getattr(item, "obj", None)
            if asked := getattr(test, "_hypothesis_internal_use_settings", None):
                fewer = settings(asked, max_examples=min(asked.max_examples, self.examples))
                getattr(test, "__func__", test)._hypothesis_internal_use_settings = fewer
        self.job(session.items)
        return True


def _run_items(items: Sequence[pytest.Item], place: mmap.mmap, limits: Mapping[str, float]) -> bool:
    """Whether all pass; ends with the first that does not, whose place among them is written down.

    One that takes more CPU seconds than its limit ends the process.
    """
    for k, (item, following) in enumerate(zip(items, [*items[1:], None], strict=True)):
        place[:4] = k.to_bytes(4, "big")
        signal.setitimer(signal.ITIMER_PROF, limits[item.nodeid])
        if not _passes(item, following):
            return False
    return True


def _passes(item: pytest.Item, following: pytest.Item | None) -> bool:
    """What pytest does with a test, without the report that a failure gets, which takes longer than most tests."""
    try:
        item._initrequest()  # type: ignore[attr-defined]  # pytest's own runner does so
        item.stash[tmppath_result_key] = {}  # its report would fill it, and the fixture asks for it
        item.ihook.pytest_runtest_setup(item=item)
        item.ihook.pytest_runtest_call(item=item)
        item.ihook.pytest_runtest_teardown(item=item, nextitem=following)
    except pytest.skip.Exception:
        item.ihook.pytest_runtest_teardown(item=item, nextitem=following)
    except (Exception, pytest.fail.Exception):
        return False
    return True


def _in_child(job: Callable[[], bool], cpu_seconds: float) -> int:
    """Run a job in a fork: 0 where it says True, else 1; dying, hanging and greed count as 1 too."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if not child:
        status = _NOTICED
        try:
            _hush()
            gc.disable()
            resource.setrlimit(resource.RLIMIT_CPU, (int(cpu_seconds) + 1, int(cpu_seconds) + 1))
            resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
            status = _SURVIVED if job() else _NOTICED
        finally:
            os._exit(status)
    deadline = time.monotonic() + 30 * cpu_seconds  # a child that sleeps uses no CPU
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return _SURVIVED if status == 0 else _NOTICED
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return _NOTICED
        time.sleep(0.005)


def _hush() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)


def _pytest(trial: _Trial, job: Callable[[Sequence[pytest.Item]], None]) -> int:
    arguments = [*map(str, trial.tests), "-q", "-p", "no:cacheprovider", "-p", "no:faulthandler", "-p", "no:randomly"]
    return int(
        pytest.main(
            [*arguments, "-m", "not slow and not gpu and not service and not e2e"], [_Fork(job, trial.examples)]
        )
    )


class _Slow(BaseException):
    """A test that takes too long to be run for every mutant; no test catches it."""


def _measure(module: ModuleType, items: Sequence[pytest.Item], slowest: float) -> Reach:
    """Run every test once: its time, and the lines of the module that it runs; a slow one is stopped on the way."""

    def stop(*_: object) -> None:
        raise _Slow

    signal.signal(signal.SIGVTALRM, stop)
    path, reached = str(module.__file__), dict[str, tuple[float, list[int]]]()
    for item, following in zip(items, [*items[1:], None], strict=True):
        lines: set[int] = set()

        def trace(frame: FrameType, event: str, argument: Any, lines: set[int] = lines) -> Any:
            if frame.f_code.co_filename != path:
                return None
            lines.add(frame.f_lineno)
            return trace

        sys.settrace(trace)
        began = time.process_time()
        try:
            signal.setitimer(signal.ITIMER_VIRTUAL, slowest + 1.5)  # imports and tracing take their time here
            passed = _passes(item, following)
        except _Slow:
            passed = True
            item.ihook.pytest_runtest_teardown(item=item, nextitem=None)
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            sys.settrace(None)
        if not passed:
            raise RuntimeError(f"{item.nodeid} fails on the code as it is")
        reached[item.nodeid] = (time.process_time() - began, sorted(lines))
    return reached


class _Trial:
    """One module, its tests, and the outcomes so far."""

    def __init__(self, path: Path, tests: list[Path], out: Path, slowest: float, examples: int) -> None:
        self.path, self.tests, self.slowest, self.examples = path, tests, slowest, examples
        self.kills: dict[str | None, Counter[str]] = {}
        self.place = mmap.mmap(-1, 4)  # where a child tells which test failed
        self.name = ".".join(path.with_suffix("").parts)
        self.record, self.reach_file = out / f"{self.name}.json", out / f"{self.name}.reach.json"
        self.outcomes: Outcomes = {}
        self.load()
        self._saved = time.monotonic()

    def load(self) -> None:
        if self.record.exists():
            self.outcomes = json.loads(self.record.read_text())

    def save(self) -> None:
        unfinished = self.record.with_suffix(".part")
        unfinished.write_text(json.dumps(self.outcomes, indent=1))
        unfinished.replace(self.record)
        left = [one for one in self.outcomes.values() if one["outcome"] == "survived"]
        text = "".join(f"{self.path}:{one['line']}: {one['change']}{_unseen(one['tests'])}\n" for one in left)
        self.record.with_suffix(".survivors.txt").write_text(text)
        self._saved = time.monotonic()

    def note(self, mutant: Mutant, job: Callable[[], bool], seconds: float, tests: Sequence[str]) -> None:
        """Judge one mutant."""
        began = time.monotonic()
        self.place[:4] = bytes(4)
        noticed = bool(tests) and _in_child(job, seconds) == _NOTICED
        by = tests[int.from_bytes(self.place[:4], "big")] if noticed else ""
        if noticed:
            self.kills.setdefault(mutant.function, Counter())[by] += 1
        self.outcomes[mutant.key] = {
            "outcome": "noticed" if noticed else "survived",
            "line": mutant.line,
            "change": mutant.change,
            "tests": len(tests),
            "by": by,
            "seconds": round(time.monotonic() - began, 2),
        }
        if not noticed:
            print(f"{self.path}:{mutant.line}: {mutant.change}{_unseen(len(tests))}", flush=True)
        if time.monotonic() > self._saved + 5:
            self.save()

    def reach(self) -> Reach:
        reach: Reach = json.loads(self.reach_file.read_text())
        return reach


def _unseen(tests: int) -> str:
    return "" if tests else "  [no test runs it]"


def try_module(trial: _Trial, again: bool = False, step: int = 1) -> Counter[str]:
    """Judge the mutants of a module that have no outcome yet; ``again`` those that survived too.

    Returns:
        How many of all its mutants were noticed and how many survived.
    """
    every = list(mutants(trial.path.read_text()))
    keys = {one.key for one in every}
    trial.outcomes = {key: one for key, one in trial.outcomes.items() if key in keys}
    trial.save()
    done = {key for key, one in trial.outcomes.items() if not (again and one["outcome"] == "survived")}
    wanted = [one for one in every if one.key not in done][::step]
    if wanted:
        trial.reach_file.unlink(missing_ok=True)
        _separately(trial, lambda: _pytest(trial, lambda items: _judge_late(trial, wanted, items)))
        _judge_early(trial, wanted)
        trial.save()
    return Counter(one["outcome"] for one in trial.outcomes.values())


def _judge_late(trial: _Trial, wanted: Sequence[Mutant], items: Sequence[pytest.Item]) -> None:
    """Judge the mutants of functions, whose code is swapped after collection."""
    module = importlib.import_module(trial.name)
    functions = _functions(module)
    trial.reach_file.write_text(
        json.dumps(_measure(module, items, trial.slowest))
    )  # here, so that children find all imports done
    gc.collect()
    gc.freeze()
    reach = trial.reach()
    for one in wanted:
        if one.function in functions:
            chosen = _choose(trial, items, reach, one)
            limits = {item.nodeid: 2 * reach[item.nodeid][0] + _PATIENCE for item in chosen}
            job = partial(_swapped, one, trial, functions[one.function], chosen, limits)
            trial.note(one, job, sum(limits.values()), [*limits])
    trial.save()


def _judge_early(trial: _Trial, wanted: Sequence[Mutant]) -> None:
    """Judge what takes effect at import: the tests are collected anew for each."""
    reach = trial.reach()
    quick = {test: seconds for test, (seconds, _) in reach.items() if seconds <= trial.slowest}
    for one in wanted:
        if one.function is None:
            trial.note(
                one,
                partial(_whole, one, trial, quick),
                5 * sum(quick.values()) + 60,
                sorted(quick, key=lambda test: quick[test]),
            )


def _swapped(
    mutant: Mutant,
    trial: _Trial,
    functions: Sequence[FunctionType],
    items: Sequence[pytest.Item],
    limits: Mapping[str, float],
) -> bool:
    _swap(mutant, trial, functions)
    return _run_items(items, trial.place, limits)


def _whole(mutant: Mutant, trial: _Trial, quick: dict[str, float]) -> bool:
    tree = mutant.tree(trial.path.read_text())
    sys.meta_path.insert(0, _Served(trial.name, trial.path.resolve(), tree))
    passed: list[bool] = []

    def judge(items: Sequence[pytest.Item]) -> None:
        chosen = sorted((item for item in items if item.nodeid in quick), key=lambda item: quick[item.nodeid])
        limits = {test: 2 * seconds + _PATIENCE + _IMPORTS for test, seconds in quick.items()}
        passed.append(_run_items(chosen, trial.place, limits))

    return _pytest(trial, judge) == 0 and passed == [True]


def _separately(trial: _Trial, job: Callable[[], int]) -> None:
    """Run a job in a fork, so that what it imports stays there; its outcomes come back by their file."""
    sys.stdout.flush()
    child = os.fork()
    if not child:
        status = 1
        try:
            status = job()
        finally:
            sys.stdout.flush()
            os._exit(status)
    if os.waitpid(child, 0)[1]:
        raise SystemExit(f"{trial.path}: its tests could not be run; see above")
    trial.load()


def _choose(trial: _Trial, items: Sequence[pytest.Item], reach: Reach, mutant: Mutant) -> list[pytest.Item]:
    """Tests that run the mutant's line; first those that are quick or have noticed many mutants of its function."""
    within = (item for item in items if reach[item.nodeid][0] <= trial.slowest)
    chosen = [item for item in within if any(line in mutant.lines for line in reach[item.nodeid][1])]
    kills = trial.kills.get(mutant.function, Counter[str]())
    return sorted(chosen, key=lambda item: (reach[item.nodeid][0] + 0.01) / (1 + 5 * kills[item.nodeid]))


def _settle() -> None:
    """What every child shares: one thread, and hypothesis that repeats itself and does not explain."""
    os.environ["OMP_NUM_THREADS"] = "1"
    sys.dont_write_bytecode = True
    quick = settings(database=None, derandomize=True, deadline=None, phases=(Phase.explicit, Phase.generate))
    settings.register_profile("mutants", quick)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="+", type=Path, help="files of the package, from the root of the checkout")
    parser.add_argument("--tests", nargs="*", type=Path, default=[], help="test files besides tests/box/test_name.py")
    parser.add_argument("--out", type=Path, default=Path("mutants"), help="folder of the outcomes")
    parser.add_argument("--again", action="store_true", help="try those that survived once more")
    parser.add_argument("--every", type=int, default=1, metavar="K", help="judge every K-th of them only: a sample")
    parser.add_argument("--examples", type=int, default=30, help="most examples of a hypothesis test")
    parser.add_argument(
        "--preload", nargs="*", default=["numpy", "scipy.stats", "scipy.optimize"], help="imported once"
    )
    parser.add_argument("--slowest", type=float, default=2.0, help="tests that take more CPU seconds are left out")
    parser.add_argument("--count", action="store_true", help="say how many there are, and stop")
    given = parser.parse_args(arguments)
    if given.count:
        for path in given.modules:
            print(f"{path}: {sum(1 for _ in mutants(path.read_text()))}")
        return
    given.out.mkdir(parents=True, exist_ok=True)
    sys.path.insert(0, str(Path.cwd()))
    _settle()
    for name in given.preload:
        importlib.import_module(name)
    for path in given.modules:
        mirror = Path("tests", *path.parts[1:-1], f"test_{path.name}")
        began = time.monotonic()
        tests = [one for one in (mirror, *given.tests) if one.exists()]
        if not tests:
            parser.error(f"{path} has no {mirror}: name its tests with --tests")
        trial = _Trial(path, tests, given.out, given.slowest, given.examples)
        found = try_module(trial, given.again, given.every)
        spent = time.monotonic() - began
        print(f"{path}: {found.total()} mutants, {found['survived']} survived, {spent:.0f} s", flush=True)


if __name__ == "__main__":
    main()
