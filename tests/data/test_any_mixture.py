"""Any arm's training images against a plain count of them: limits, totals, additions, leaks, order and resuming."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from monai_cxraug.artifacts import write_json
from monai_cxraug.data.manifest import Manifest, make_columns
from monai_cxraug.data.mixing import PROVENANCE_SCHEMA, MixedDataset
from monai_cxraug.data.pack import write_pack
from monai_cxraug.data.samplers import SeededBatches
from monai_cxraug.errors import ConfigError, InputError, LeakageError

FINDINGS = ("Edema", "Fibrosis", "Mass")
SIDE, IMAGES, TRAIN = 9, 48, 24  # images; those of train come first
#: what each synthetic set's images show, in order; the last one comes from elsewhere.
SETS = {
    "one": (["Edema"] * 9, "synthetic"),
    "two": (["Edema", "Fibrosis", "both"] * 4, "synthetic"),
    "other": (["Fibrosis"] * 7, "external"),
}


def write_set(folder: Path, rows: list[dict[str, str]], labels: np.ndarray) -> Path:
    pictures = np.random.default_rng(len(rows)).integers(0, 256, (len(rows), SIDE, SIDE), dtype=np.uint8)
    write_pack(folder, pictures, [row["image"] for row in rows])
    return Manifest(make_columns(rows), FINDINGS, labels).write(folder)


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A real set of three images a patient, half of them in train, and the synthetic ones above."""
    root = tmp_path_factory.mktemp("sets")
    rows = [
        {
            "image": f"r{k:02d}",
            "patient_id": f"P{k // 3:02d}",
            "split": "train" if k < TRAIN else "val" if k < 36 else "test",
            "source": "real",
        }
        for k in range(IMAGES)
    ]
    labels = np.random.default_rng(1).choice([0, 1, np.nan], (IMAGES, 3), p=[0.5, 0.4, 0.1]).astype(np.float32)
    folders = {"real": write_set(root / "real", rows, labels)}
    for name, (shown, source) in SETS.items():
        made = [{"image": f"{name}{k}", "split": "train", "source": source} for k in range(len(shown))]
        folders[name] = write_set(root / name, made, np.float32([vector(what) for what in shown])).parent
        write_json(root / name / "provenance.json", PROVENANCE_SCHEMA, {"patients_seen": []})
    return folders


def vector(what: str) -> list[float]:
    return [1.0 if what in (name, "both") and name != "Mass" else np.nan for name in FINDINGS]


@st.composite
def arms(draw: st.DrawFn) -> dict[str, Any]:
    """Settings of any arm, those that cannot be among them."""
    names = draw(st.lists(st.sampled_from([*SETS]), unique=True))
    counts = st.dictionaries(st.sampled_from(FINDINGS[:2]), st.integers(0, 12), max_size=2)
    return {
        "synthetic": [(name, draw(st.one_of(st.none(), st.integers(1, 7)))) for name in names],
        "limit": draw(st.dictionaries(st.sampled_from(FINDINGS), st.integers(1, 9), max_size=2)),
        "top_up": draw(st.dictionaries(st.sampled_from(FINDINGS[:2]), st.integers(2, 14), max_size=2)),
        "duplicates": draw(counts),
        "filtered": draw(counts),
        "fraction": draw(st.sampled_from([1.0, 1.0, 0.6])),
        "fraction_seed": draw(st.integers(0, 3)),
        "seed": draw(st.integers(0, 3)),
        "shuffle_labels": draw(st.booleans()),
        "allow_synthetic_majority": draw(st.booleans()),
    }


def build(sets: dict[str, Path], arm: dict[str, Any], **more: Any) -> MixedDataset:
    entries = [{"folder": str(sets[name]), **({} if n is None else {"n": n})} for name, n in arm["synthetic"]]
    return MixedDataset(sets["real"], **{**arm, "synthetic": entries, **more})


def taken(arm: dict[str, Any], have: dict[str, int]) -> list[tuple[str, str]]:
    """Names and origins of the synthetic images that an arm takes: set after set, none beyond a total."""
    counts, chosen = dict(have), []
    for name, n in arm["synthetic"]:
        shown, source = SETS[name]
        for k, what in enumerate(shown[:n]):
            mine = [finding for finding in arm["top_up"] if what in (finding, "both")]
            if all(counts[finding] < arm["top_up"][finding] for finding in mine):
                chosen.append((f"{name}{k}", source))
                for finding in mine:
                    counts[finding] += 1
    return chosen


@contextmanager
def expected_refusal(sets: dict[str, Path], arm: dict[str, Any]) -> Iterator[None]:
    """Errors are allowed where plain counting says so, and demanded there."""
    plain = build(
        sets, {**arm, "synthetic": [], "top_up": {}, "duplicates": {}, "filtered": {}, "shuffle_labels": False}
    )
    have = dict(zip(FINDINGS, plain.real.count(1), strict=True))
    chosen = taken(arm, have)
    shown = {name: {f"{name}{k}": what for k, what in enumerate(SETS[name][0])} for name in SETS}
    every = {image: what for images in shown.values() for image, what in images.items()}
    reached = {
        finding: have[finding] + sum(every[image] in (finding, "both") for image, _ in chosen)
        for finding in arm["top_up"]
    }
    added = sum(arm["duplicates"].values()) + sum(arm["filtered"].values())
    too_low = any(total < have[finding] for finding, total in arm["top_up"].items())
    too_few = any(reached[finding] < total for finding, total in arm["top_up"].items())
    none = any(not have[finding] for finding in (*arm["duplicates"], *arm["filtered"]))
    majority = len(chosen) > len(plain) + added and not arm["allow_synthetic_majority"]
    if not (too_low or too_few or none or majority):
        yield
        return
    with pytest.raises((ConfigError, InputError)) as caught:
        yield
    first = "top_up" if too_low or too_few else "to be added by" if none else "allow_synthetic_majority"
    assert first in str(caught.value)


@given(arm=arms())
@settings(max_examples=100)
def test_an_arm_holds_what_was_asked_for_and_nothing_else(sets: dict[str, Path], arm: dict[str, Any]) -> None:
    with expected_refusal(sets, arm):
        dataset = build(sets, arm)
        _check(sets, arm, dataset)


def _check(sets: dict[str, Path], arm: dict[str, Any], dataset: MixedDataset) -> None:
    samples = [dataset[k] for k in range(len(dataset))]
    have = dict(zip(FINDINGS, dataset.real.count(1), strict=True))
    chosen, real = taken(arm, have), len(dataset.real)
    origins = [str(origin) for origin in dataset.origins()]
    added = [*arm["duplicates"].items()], [*arm["filtered"].items()]
    expected = ["real"] * real + [source for _, source in chosen]
    expected += ["duplicate"] * sum(n for _, n in added[0]) + ["filtered"] * sum(n for _, n in added[1])
    assert origins == expected
    assert [sample["name"] for sample in samples[real : real + len(chosen)]] == [name for name, _ in chosen]
    # never an image of val or test, and each finding no more often than its limit
    shown_real = [
        sample for sample, origin in zip(samples, origins, strict=True) if origin not in ("synthetic", "external")
    ]
    assert {sample["patient_id"] for sample in shown_real} <= {f"P{k // 3:02d}" for k in range(TRAIN)}
    assert {sample["name"].split("+")[0] for sample in shown_real} <= {f"r{k:02d}" for k in range(TRAIN)}
    assert dataset.patients_seen() == sorted({sample["patient_id"] for sample in shown_real})
    assert all(have[finding] <= most for finding, most in arm["limit"].items())
    # labels and counts
    assert_array_equal(np.stack([np.asarray(sample["label"]) for sample in samples]), dataset.label_matrix())
    composition = dataset.composition()
    for column, finding in enumerate(FINDINGS):
        told = Counter(o for o, label in zip(origins, dataset.label_matrix()[:, column], strict=True) if label == 1)
        assert composition[finding] == {origin: told[origin] for origin in composition[finding]}
        assert composition[finding]["real"] == have[finding]
        if finding in arm["top_up"] and not arm["shuffle_labels"]:
            assert have[finding] + told["synthetic"] + told["external"] == arm["top_up"][finding]
    for finding, count in added[0]:
        assert composition[finding]["duplicate"] >= count
    for finding, count in added[1]:
        assert composition[finding]["filtered"] >= count
    again = build(sets, arm)
    assert_array_equal(again.label_matrix(), dataset.label_matrix())
    assert [again[k]["name"] for k in range(len(again))] == [sample["name"] for sample in samples]


@given(arm=arms(), patient=st.integers(0, IMAGES // 3 - 1))
@settings(max_examples=25)
def test_no_set_may_have_seen_whom_the_arm_leaves_out(
    sets: dict[str, Path], tmp_path_factory: pytest.TempPathFactory, arm: dict[str, Any], patient: int
) -> None:
    kept = build(sets, {**arm, "synthetic": [], "top_up": {}, "duplicates": {}, "filtered": {}}).real.patients()
    folder = tmp_path_factory.mktemp("set")
    write_set(folder, [{"image": "s", "split": "train", "source": "synthetic"}], np.float32([vector("Edema")]))
    write_json(folder / "provenance.json", PROVENANCE_SCHEMA, {"patients_seen": [f"P{patient:02d}", "elsewhere"]})
    plain = {**arm, "synthetic": [("set", None)], "top_up": {}, "duplicates": {}, "filtered": {}}
    if f"P{patient:02d}" in kept:
        seen = build({**sets, "set": folder}, plain).patients_seen()
        assert seen == sorted({*kept, "elsewhere"})
        return
    with pytest.raises(LeakageError, match=f"P{patient:02d}"):
        build({**sets, "set": folder}, plain)


@given(
    size=st.integers(1, 20),
    seed=st.integers(0, 5),
    killed=st.integers(0, 12),
    world=st.integers(1, 3),
    extra=st.integers(0, 9),
)
@settings(max_examples=15)
def test_an_arm_goes_on_where_it_stopped(
    sets: dict[str, Path], size: int, seed: int, killed: int, world: int, extra: int
) -> None:
    """Batches after any number of them, of any number of processes, are those of an undisturbed run of one."""
    arm = {"synthetic": [("one", None)], "duplicates": {"Edema": extra}}
    first, second = build(sets, arm), build(sets, arm)
    size = min(size, len(first) // world)
    whole = itertools.islice(SeededBatches(len(first), size * world, seed), 15)
    names = [[first[draw]["name"] for draw in batch] for batch in whole]
    shares = []
    for rank in range(world):
        batches = SeededBatches(len(second), size, seed, rank=rank, world=world)
        batches.skip = killed
        shares.append([[second[draw]["name"] for draw in batch] for batch in itertools.islice(batches, 15 - killed)])
    joined = [list(itertools.chain(*parts)) for parts in zip(*shares, strict=True)]
    assert joined == names[killed:]
