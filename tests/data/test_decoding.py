"""Decoding in other processes: whatever a file does, it costs that file alone."""

from __future__ import annotations

import hashlib
import importlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from monai_cxraug.data import decoding
from monai_cxraug.data.decoding import Answer, Recipe, Task, decode_all, reason_of
from monai_cxraug.data.files import FileRef
from monai_cxraug.data.pack import picture_hash
from monai_cxraug.errors import InputError, StateError


@pytest.fixture
def orders(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The reader that does what a file says."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    return importlib.import_module("misbehaving")


def answers(
    folder: Path, orders: ModuleType, contents: Sequence[str], workers: int = 1, **settings: object
) -> list[Answer]:
    """Answers in the order of the files, each named and filled as given."""
    folder.mkdir(exist_ok=True)
    for number, content in enumerate(contents):
        (folder / f"{number}.x").write_text(content)
    tasks = [Task(number, FileRef(folder / f"{number}.x")) for number in range(len(contents))]
    recipe = Recipe(8, read=orders.read, **settings)  # type: ignore[arg-type]
    found = list(decode_all(tasks, recipe, workers))
    assert sorted(answer.number for answer in found) == list(range(len(contents)))
    return sorted(found, key=lambda answer: answer.number)


def reasons(found: Sequence[Answer]) -> list[str]:
    return [answer.outcome.reason for answer in found if answer.outcome is not None]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_crash_costs_one_file(tmp_path: Path, orders, monkeypatch, workers: int) -> None:
    monkeypatch.setattr(decoding, "_GROUP", 4)
    contents = [f"picture {number}" for number in range(12)]
    contents[2], contents[3], contents[9] = "exit 7", "signal SIGSEGV", "signal SIGKILL"
    found = answers(tmp_path / "files", orders, contents, workers)
    for number, answer in enumerate(found):
        if number in (2, 3, 9):
            assert answer.outcome is not None
            assert answer.outcome.state == "quarantined"
            assert answer.picture is None
        else:
            assert_array_equal(answer.picture, orders.picture(number))
    told = reasons(found)
    assert told[2] == "the decoder ended with status 7"
    assert told[3] == "the decoder was stopped by SIGSEGV"
    assert told[9].startswith("the decoder was stopped by SIGKILL, as when memory is short")


def test_a_file_that_crashes_after_another_is_tried_again(tmp_path: Path, orders) -> None:
    found = answers(tmp_path / "files", orders, ["picture 1", f"crash-once {tmp_path / 'mark'}", "picture 2"])
    assert [answer.outcome.state for answer in found if answer.outcome] == ["packed"] * 3
    assert_array_equal(found[1].picture, orders.picture(7))


def test_a_hang_costs_one_file(tmp_path: Path, orders, monkeypatch) -> None:
    monkeypatch.setattr(decoding, "_TICK", 0.05)
    found = answers(tmp_path / "files", orders, ["picture 1", "sleep 600", "picture 2"], seconds=0.3)
    assert reasons(found) == ["", "took longer than 0.3 seconds to decode", ""]
    assert_array_equal(found[2].picture, orders.picture(2))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not limit the address space")
def test_a_flood_of_memory_costs_one_file(tmp_path: Path, orders) -> None:
    found = answers(tmp_path / "files", orders, ["picture 1", "allocate 64", "picture 2"], memory=2**31)
    assert reasons(found) == ["", "needs more memory than a decoding process may use (2 GiB)", ""]


def test_what_a_reader_raises_is_an_outcome_without_its_text(tmp_path: Path, orders) -> None:
    found = answers(
        tmp_path / "files", orders, ["raise DOE^JOHN", "recurse x", "refuse a thing", "drop LL", "picture 1"]
    )
    assert reasons(found) == [
        "the reader failed with KeyError",
        "the reader failed with RecursionError",
        "must be a radiograph; found a thing; look at it",
        "must be a frontal view; found LL; set lateral=keep",
        "",
    ]
    states = [answer.outcome.state for answer in found if answer.outcome]
    assert states == ["quarantined"] * 3 + ["dropped", "packed"]


def test_what_is_known_of_a_picture(tmp_path: Path) -> None:
    stored = np.arange(12 * 20, dtype=np.uint8).reshape(12, 20)
    path = tmp_path / "a.png"
    Image.fromarray(stored).save(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    tasks = [Task(0, FileRef(path)), Task(1, FileRef(path), digest), Task(2, FileRef(tmp_path / "none.png"))]
    known, same, missing = sorted(decode_all(tasks, Recipe(16, 16)), key=lambda answer: answer.number)
    assert known.outcome is not None
    assert known.picture is not None
    assert known.picture.shape == (16, 16)
    assert known.picture.dtype == np.uint16
    outcome = known.outcome
    assert (outcome.state, outcome.sha256, outcome.content) == ("packed", digest, picture_hash(known.picture))
    assert (outcome.height, outcome.width, outcome.bits) == (12, 20, 8)
    assert outcome.tags == {"greyscale": "full range"}
    assert same.outcome is None
    assert missing.outcome is not None
    assert missing.outcome.reason.startswith("must be a readable file; found No such file")
    assert "none.png" not in missing.outcome.reason


def test_a_process_that_cannot_start_ends_the_run(tmp_path: Path, refuses, monkeypatch, capfd) -> None:
    monkeypatch.setattr(decoding, "_MAIN", "import sys; sys.exit(3)")
    with refuses(StateError, "must start", "status 3"):
        list(decode_all([Task(0, FileRef(tmp_path / "a"))], Recipe(8)))


def test_leaving_early_ends_the_processes(tmp_path: Path, orders, monkeypatch) -> None:
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def start(*arguments: object, **settings: object) -> object:
        started.append(popen(*arguments, **settings))  # type: ignore[call-overload]
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", start)
    (tmp_path / "a").write_text("picture 1")
    (tmp_path / "b").write_text("sleep 600")
    tasks = [Task(number, FileRef(tmp_path / name)) for number, name in enumerate("ab")]
    running = decode_all(tasks, Recipe(8, read=orders.read))
    assert next(running).number == 0
    running.close()
    assert [process.poll() for process in started] == [-9]


def test_no_file_needs_no_process(monkeypatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", None)
    assert list(decode_all([], Recipe(8))) == []


def test_a_reason_is_one_line_without_the_place() -> None:
    assert reason_of(InputError("DOE.dcm", "must be\na file", "two\nlines", "")) == "must be a file; found two lines"


def test_a_process_starts_without_the_heavy_packages() -> None:
    code = "import sys, monai_cxraug.data.decoding; print(*({'torch', 'monai', 'ignite', 'itk'} & sys.modules.keys()))"
    root = Path(decoding.__file__).parents[2]
    run = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""
