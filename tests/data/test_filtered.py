"""A filtered set: what it holds, row for row, and that it comes out whole whatever happens on the way."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from scipy import ndimage

from monai_cxraug.artifacts import file_hash, locked, read_json
from monai_cxraug.bundle_config import bundle_file, run_stage
from monai_cxraug.data import filtered
from monai_cxraug.data.datasets import PackDataset
from monai_cxraug.data.filtered import ARTIFACTS, FILTER, ORIGINAL, SCHEMA, FilterAugment
from monai_cxraug.data.manifest import read_manifest
from monai_cxraug.data.mixing import held_out_patients
from monai_cxraug.data.pack import Pack, picture_hash, write_pack
from monai_cxraug.data.prepare import prepare
from monai_cxraug.data.request import Request
from monai_cxraug.errors import ConfigError, InputError, StateError
from monai_cxraug.experiments.commands import Filter
from monai_cxraug.networks.weights import load_model
from monai_cxraug.transforms.functional.filters import SYSTEM_B

N, SIDE = 16, 12
TRAIN = N // 2


@pytest.fixture
def real(tmp_path: Path, make_set) -> Path:
    """Sixteen images of eight patients; the first eight images are for training."""
    return make_set(tmp_path / "real", N, side=SIDE, fold=[str(row % 3) for row in range(N)])


def products(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in ARTIFACTS}


def expected(name: str, stored: np.ndarray) -> np.ndarray:
    """One stored picture filtered by SciPy in double precision."""
    top = np.iinfo(stored.dtype).max
    image = stored / top
    if name == "minimum":
        return np.asarray(ndimage.minimum_filter(stored, 3, mode="mirror"))
    blurred = ndimage.gaussian_filter(image, 1.1 if name == "gaussian" else 2.0, mode="mirror", radius=reach(name))
    return np.clip(blurred if name == "gaussian" else 2 * image - blurred, 0, 1) * top


def reach(name: str) -> int:
    return 2 if name == "gaussian" else 8


# --- what it holds ---


def test_originals_then_copies_row_for_row(real: Path, tmp_path: Path) -> None:
    path = FilterAugment(real, tmp_path / "out").run()
    assert path == tmp_path / "out" / "manifest.csv"
    before, after = read_manifest(real), read_manifest(path)
    old, new = Pack(real.parent, before).array, Pack(path.parent, after).array
    assert len(after) == len(new) == N + 3 * TRAIN
    assert_array_equal(new[:N], old)
    for name, values in before.columns.items():
        assert_array_equal(after[name][:N], values)
    assert set(after[FILTER][:N]) == set(after[ORIGINAL][:N]) == {""}
    row = N
    for name in ("gaussian", "unsharp", "minimum"):
        for origin in range(TRAIN):
            image = before["image"][origin]
            assert (after["image"][row], after[FILTER][row], after[ORIGINAL][row]) == (f"{image}+{name}", name, image)
            assert (after["split"][row], after["source"][row]) == ("train", "filtered")
            for column in ("patient_id", "fold"):
                assert after[column][row] == before[column][origin]
            assert_array_equal(after.labels[row], before.labels[origin])
            assert np.abs(new[row] - expected(name, old[origin])).max() <= 0.5 + 1e-3
            row += 1
    assert after.info["name"] == "made for a test"
    assert after.info["filters"] == ["gaussian", "unsharp", "minimum"]


@pytest.mark.parametrize("names", [["minimum"], ["unsharp", "gaussian"], "unsharp", ("gaussian",)])
def test_some_filters_in_their_order(real: Path, tmp_path: Path, names: Any) -> None:
    after = read_manifest(FilterAugment(real, tmp_path / "out", names).run())
    wanted = [names] if isinstance(names, str) else list(names)
    assert list(dict.fromkeys(after[FILTER][N:])) == wanted
    assert len(after) == N + TRAIN * len(wanted)


def test_sixteen_bits_stay_sixteen_bits(real: Path, tmp_path: Path) -> None:
    pictures = np.random.default_rng(5).integers(0, 2**16, (N, SIDE, SIDE), dtype=np.uint16)
    write_pack(real.parent, pictures, list(read_manifest(real)["image"]))
    after = np.load(FilterAugment(real, tmp_path / "out").run().with_name("pack.npy"))
    assert after.dtype == np.uint16
    for number, name in enumerate(SYSTEM_B):
        for origin in range(TRAIN):
            picture = after[N + number * TRAIN + origin]
            assert np.abs(picture - expected(name, pictures[origin])).max() <= 0.5 + 0.1  # float32 has 24 bits


def test_colour_is_filtered_channel_by_channel(tmp_path: Path, make_colour_set) -> None:
    real = make_colour_set(tmp_path / "real", N, side=SIDE)
    path = FilterAugment(real, tmp_path / "out").run()
    old, new = np.load(real.with_name("pack.npy")), Pack(path.parent, read_manifest(path)).array
    assert new.shape == (N + 3 * TRAIN, SIDE, SIDE, 3)
    assert_array_equal(new[:N], old)
    for number, name in enumerate(SYSTEM_B):
        for origin in range(TRAIN):
            picture = new[N + number * TRAIN + origin]
            for channel in range(3):
                wanted = expected(name, old[origin, :, :, channel])
                assert np.abs(picture[:, :, channel] - wanted).max() <= 0.5 + 1e-3


def test_only_real_training_images_are_filtered(tmp_path: Path, make_set) -> None:
    splits = ["train"] * 6 + [""] * 4 + ["val"] * 6
    sources = ["real", "real", "synthetic", "external", "real", "synthetic"] + ["real"] * 10
    path = make_set(tmp_path / "real", N, side=SIDE, split=splits, source=sources)
    after = read_manifest(FilterAugment(path, tmp_path / "out", ["minimum"]).run())
    assert [int(name[1:4]) for name in after[ORIGINAL][N:]] == [0, 1, 4]
    assert_array_equal(after["source"][:N], sources)


def test_what_is_said_about_its_making(real: Path, tmp_path: Path) -> None:
    out = FilterAugment(real, tmp_path / "out", ["minimum"]).run().parent
    source = read_manifest(real)
    said = read_json(out / "provenance.json", SCHEMA)
    assert said["filters"] == ["minimum"]
    assert said["training_manifest"] == said["inputs"]["manifest"] == source.hash()
    assert said["inputs"]["pack"] == file_hash(real.with_name("pack.npy"))
    assert (said["images"], said["filtered"]) == (N, TRAIN)
    assert said["patients_seen"] == ["P000", "P001", "P002", "P003"]
    assert json.loads((out / "manifest.json").read_text())["inputs"] == said["inputs"]
    assert {file.name for file in out.iterdir()} == set(ARTIFACTS)


def test_the_filtered_set_of_prepared_phantoms(tmp_path: Path) -> None:
    """End to end: prepared, filtered, used; hashes of pictures are those of the copies and not of the originals."""
    path = prepare(Request("phantom", count=60, size=32), tmp_path / "phantoms")
    before, after = read_manifest(path), read_manifest(Filter(path.parent, tmp_path / "out", list(SYSTEM_B)).run())
    pictures = Pack(tmp_path / "out", after).array
    assert list(after["content"]) == [picture_hash(picture) for picture in pictures]
    assert len(set(after["content"])) == len(after)
    finding = max(before.findings, key=lambda name: np.nansum(before.label(name)))
    alone, multiplied = (PackDataset(one.path, "train", having=finding) for one in (before, after))
    assert len(multiplied) == 4 * len(alone) > 0
    assert multiplied.real.patients() == alone.real.patients()
    assert {multiplied[k]["source"] for k in range(len(multiplied))} == {"real", "filtered"}
    assert len(PackDataset(after.path, "train", where={"source": "real"}, having=finding)) == len(alone)
    for split in ("val", "test"):
        kept = PackDataset(after.path, split)
        assert [kept[k]["name"] for k in range(len(kept))] == list(before["image"][before.rows(split)])
        assert torch.equal(kept[0]["image"], PackDataset(before.path, split)[0]["image"])
    assert held_out_patients(after.path) == held_out_patients(before.path) != frozenset()


# --- again, and other data ---


def test_done_is_done(real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = FilterAugment(real, tmp_path / "out").run().parent
    times = {file.name: file.stat().st_mtime_ns for file in out.iterdir()}
    monkeypatch.setattr(filtered, "_write_products", lambda *arguments: pytest.fail("made again"))
    assert FilterAugment(real, out).run() == out / "manifest.csv"
    assert {file.name: file.stat().st_mtime_ns for file in out.iterdir()} == times


def change_pictures(real: Path) -> None:
    stored = np.load(real.with_name("pack.npy"))
    stored[0, 0, 0] ^= 255
    write_pack(real.parent, stored, list(read_manifest(real)["image"]))


def change_label(real: Path) -> None:
    source = read_manifest(real)
    source.labels[0, 0] = 1 - source.labels[0, 0]
    source.write(real.parent)


def change_info(real: Path) -> None:
    source = read_manifest(real)
    source.info["salt"] = "12345678"  # type: ignore[index]
    source.write(real.parent)


def remove_product(real: Path) -> None:
    (real.parents[1] / "out" / "contact_sheet.png").unlink()


def spoil_manifest(real: Path) -> None:
    (real.parents[1] / "out" / "manifest.json").write_text("[]")


@pytest.mark.parametrize("change", [change_pictures, change_label, change_info, remove_product, spoil_manifest])
def test_what_changed_is_made_anew(real: Path, tmp_path: Path, change: Callable[[Path], None]) -> None:
    out = FilterAugment(real, tmp_path / "out").run().parent
    change(real)
    FilterAugment(real, out).run()
    FilterAugment(real, tmp_path / "fresh").run()
    assert products(out) == products(tmp_path / "fresh")


def test_other_filters_replace_the_set(real: Path, tmp_path: Path) -> None:
    out = FilterAugment(real, tmp_path / "out").run().parent
    FilterAugment(real, out, ["minimum"]).run()
    assert len(Pack(out, read_manifest(out)).array) == N + TRAIN


def test_progress_tells_every_picture_once(real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filtered, "_PIXELS", 3 * SIDE**2)
    told: list[tuple[int, int]] = []
    FilterAugment(real, tmp_path / "out", progress=lambda done, total: told.append((done, total))).run()
    assert told[-1] == (40, 40)
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert max(np.diff([0, *(done for done, _ in told)])) == 3
    monkeypatch.undo()
    FilterAugment(real, tmp_path / "whole").run()
    assert products(tmp_path / "out") == products(tmp_path / "whole")


# --- killed ---

#: For each line of a manifest, a folder and a number, a process of its own filters, and dies at the N-th time that it
#: opens a file to write, renames, removes or makes a folder below the folder; tells status, steps and batches.
RUN = """
import os, signal, sys
from monai_cxraug.data import filtered

filtered._PIXELS, filtered._SECONDS = 2 * 12 * 12, 0
steps, batches = 0, 0

def count(event, arguments):
    global steps
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
    if writes or event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir"):
        if str(arguments[0]).startswith(out):
            steps += 1
            if steps == last:
                os.kill(os.getpid(), signal.SIGKILL)

def made(done, total):
    global batches
    batches += 1

for line in sys.stdin:
    real, out, last = line[:-1].split("|")
    last = int(last)
    child = os.fork()  # the packages are loaded once
    if not child:
        sys.addaudithook(count)
        filtered.FilterAugment(real, out, progress=made).run()
        print(0, steps, batches, flush=True)
        os._exit(0)
    if status := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        print(status, 0, 0, flush=True)
"""
NO_FORK = pytest.mark.skipif(sys.platform == "win32", reason="no fork, no SIGKILL")
Run = Callable[..., tuple[int, int, int]]


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """Filters in a process of its own, killed at a step; returns its status, steps and batches."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", RUN]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True) as process:
        question, answer = process.stdin, process.stdout
        assert question is not None
        assert answer is not None

        def ask(real: Path, out: Path, last: int = 0) -> tuple[int, int, int]:
            print(real, out, last, sep="|", file=question, flush=True)
            status, steps, batches = map(int, answer.readline().split())
            return status, steps, batches

        yield ask
        question.close()


def survive_a_kill_at(run: Run, real: Path, out: Path, step: int, old: Path | None) -> int:
    """Kill at a step, look at what is left, go on; returns the batches that were still to be made."""
    if old is not None:
        shutil.copytree(old, out)
    assert run(real, out, step)[0] == -signal.SIGKILL
    left = {**({"old": products(old)} if old else {}), "new": products(real.parents[1] / "whole")}
    if (out / "manifest.json").exists():
        Pack(out, read_manifest(out))
        assert products(out) in left.values()
    status, _, batches = run(real, out)
    assert status == 0
    assert products(out) == left["new"]
    assert {file.name for file in out.iterdir()} == set(ARTIFACTS)
    return batches


@pytest.fixture
def steps(run: Run, real: Path, tmp_path: Path) -> tuple[int, int]:
    """Steps and batches of an undisturbed run, which goes to ``whole``; another set of the folder is in ``old``."""
    FilterAugment(real, tmp_path / "old", ["minimum"]).run()
    status, count, batches = run(real, tmp_path / "whole")
    assert (status, batches) == (0, 8 + 3 * 4)
    return count, batches


@NO_FORK
@pytest.mark.parametrize("replacing", [False, True])
def test_killed_at_some_steps(run: Run, real: Path, tmp_path: Path, steps: tuple[int, int], replacing: bool) -> None:
    count, batches = steps
    old = tmp_path / "old" if replacing else None
    half = survive_a_kill_at(run, real, tmp_path / "half", count // 2, old)
    assert 0 < half < batches  # what was written is not filtered again
    for step in range(count - 9 + replacing, count - 1, 3 - replacing):  # at the end, files take their names
        assert survive_a_kill_at(run, real, tmp_path / str(step), step, old) == 0


@pytest.mark.slow
@NO_FORK
@pytest.mark.parametrize("replacing", [False, True])
def test_killed_at_every_step(run: Run, real: Path, tmp_path: Path, steps: tuple[int, int], replacing: bool) -> None:
    for step in range(2, steps[0] + 1):
        survive_a_kill_at(run, real, tmp_path / str(step), step, tmp_path / "old" if replacing else None)


def interrupt_at(real: Path, out: Path, picture: int) -> None:
    def stop(done: int, total: int) -> None:
        if done >= picture:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        FilterAugment(real, out, progress=stop).run()


def test_pictures_of_other_settings_are_not_taken_over(
    real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filtered, "_PIXELS", 3 * SIDE**2)
    monkeypatch.setattr(filtered, "_SECONDS", 0)
    interrupt_at(real, tmp_path / "out", 22)
    change_pictures(real)
    FilterAugment(real, tmp_path / "out").run()
    FilterAugment(real, tmp_path / "fresh").run()
    assert products(tmp_path / "out") == products(tmp_path / "fresh")


def test_going_on_with_other_steps_gives_the_same(real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filtered, "_SECONDS", 0)
    FilterAugment(real, tmp_path / "whole").run()
    monkeypatch.setattr(filtered, "_PIXELS", 3 * SIDE**2)
    interrupt_at(real, tmp_path / "out", 22)
    monkeypatch.setattr(filtered, "_PIXELS", 5 * SIDE**2)
    FilterAugment(real, tmp_path / "out").run()
    assert products(tmp_path / "out") == products(tmp_path / "whole")


def test_a_full_disk_is_one_line_and_the_run_goes_on(
    real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refuses
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch, refuses(InputError, tmp_path / "out", "No space left", "goes on where"):
        patch.setattr(os, "fsync", full)
        FilterAugment(real, tmp_path / "out").run()
    assert len(read_manifest(FilterAugment(real, tmp_path / "out").run())) == N + 3 * TRAIN


# --- what is refused, and leaves nothing behind ---


@pytest.mark.parametrize(
    ("filters", "words"),
    [
        (["gausian"], ("unknown filter", "'gausian'", "did you mean 'gaussian'?")),
        ("unshrap", ("'unshrap'", "did you mean 'unsharp'?")),
        (["sobel"], ("'sobel'", "known: bilateral, gaussian, maximum, median, minimum, unsharp")),
        (["unsharp", "minimum", "unsharp"], ("named once", "'unsharp' twice")),
        ([], ("at least one", "gaussian, unsharp, minimum")),
        ([["unsharp"]], ("unknown filter",)),
        (3, ("unknown filter", "3")),
        (None, ("unknown filter", "None")),
    ],
)
def test_filters_that_cannot_be(real: Path, tmp_path: Path, refuses, filters: Any, words: tuple[str, ...]) -> None:
    with refuses(ConfigError, "filters", *words):
        FilterAugment(real, tmp_path / "out", filters)


def test_no_training_images(tmp_path: Path, make_set, refuses) -> None:
    for name, columns in {"val": {"split": ["val"] * 4}, "made": {"source": ["synthetic"] * 4}}.items():
        extra = {"split": ["train"] * 4} if name == "made" else {}
        path = make_set(tmp_path / name, 4, side=SIDE, **columns, **extra)
        with refuses(InputError, path, "real image must be in split 'train'"):
            FilterAugment(path, tmp_path / "out").run()
    assert not (tmp_path / "out").exists()


def test_a_filtered_set_is_not_filtered_again(real: Path, tmp_path: Path, refuses) -> None:
    path = FilterAugment(real, tmp_path / "once", ["minimum"]).run()
    with refuses(InputError, path, "filtered already"):
        FilterAugment(path, tmp_path / "out").run()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("column", [FILTER, ORIGINAL])
def test_a_column_of_a_needed_name(tmp_path: Path, make_set, refuses, column: str) -> None:
    path = make_set(tmp_path / "real", N, side=SIDE, **{column: ["x"] * N})
    with refuses(ConfigError, f"column {column!r}", "needed", "rename"):
        FilterAugment(path, tmp_path / "out").run()


def test_an_image_of_a_copys_name(tmp_path: Path, make_set, refuses) -> None:
    names = ["a", "a+minimum", *(f"b{row}" for row in range(N - 2))]
    path = make_set(tmp_path / "real", N, side=SIDE, image=names)
    with refuses(InputError, path, "'a+minimum' twice"):
        FilterAugment(path, tmp_path / "out").run()


def test_images_too_small_for_a_filter(tmp_path: Path, make_set, refuses) -> None:
    path = make_set(tmp_path / "real", N, side=8)
    with refuses(InputError, path.with_name("pack.npy"), "at least 9 × 9 pixels", "'unsharp'", "1 × 8 × 8"):
        FilterAugment(path, tmp_path / "out").run()
    assert not (tmp_path / "out").exists()
    FilterAugment(path, tmp_path / "out", ["gaussian", "minimum"]).run()


def test_folders_that_hold_something_else(real: Path, tmp_path: Path, make_set, refuses) -> None:
    other = make_set(tmp_path / "other", 4)
    before = {file: file.read_bytes() for folder in (real.parent, other.parent) for file in folder.iterdir()}
    with refuses(ConfigError, "out", "another folder", real.parent):
        FilterAugment(real, real.parent / ".." / "real").run()
    with refuses(StateError, other.parent, "other data"):
        FilterAugment(real, other.parent).run()
    with refuses(InputError, real, "folder that can be written"):
        FilterAugment(real, real).run()
    assert {file: file.read_bytes() for file in before} == before
    assert {file for folder in (real.parent, other.parent) for file in folder.iterdir()} == set(before)


def test_one_process_at_a_time(real: Path, tmp_path: Path, refuses) -> None:
    (tmp_path / "out").mkdir()
    with locked(tmp_path / "out" / ".prepare.lock"), refuses(StateError, tmp_path / "out", "one process"):
        FilterAugment(real, tmp_path / "out").run()


def test_broken_data(real: Path, tmp_path: Path, refuses) -> None:
    with refuses(InputError, tmp_path / "none", "manifest must exist"):
        FilterAugment(tmp_path / "none", tmp_path / "out").run()
    pack = real.with_name("pack.npy")
    pack.write_bytes(pack.read_bytes()[:-1])
    with refuses(InputError, pack, "must be a pack"):
        FilterAugment(real, tmp_path / "out").run()
    assert not (tmp_path / "out").exists()


# --- used ---


@pytest.mark.e2e
def test_the_progressive_gan_trains_on_it(tmp_path: Path, make_set) -> None:
    real = make_set(tmp_path / "real", N, side=32)
    path = FilterAugment(real, tmp_path / "filtered").run()
    stages = [bundle_file("chest_xray_pggan", stage) for stage in ("train", "smoke")]
    settings = {"manifest": str(path), "finding": "Edema", "output_dir": str(tmp_path / "out"), "threads": 1}
    run_stage(stages, {"bundle_root": str(stages[0].parents[1]), "device": "cpu", **settings})
    about = load_model(tmp_path / "out", "pggan").about
    positive = {0, 3, 6}  # of the eight training images
    assert about["images"] == 4 * len(positive)
    assert set(about["patients_seen"]) == {f"P{row // 2:03d}" for row in positive}
