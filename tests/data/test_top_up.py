"""A finding topped up with synthetic images: how many are taken, which, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monai_cxraug.data.additions import _take, describe_composition
from monai_cxraug.data.manifest import Manifest, make_columns
from monai_cxraug.data.mixing import MixedDataset
from monai_cxraug.errors import ConfigError, InputError, LabelError, LeakageError


@pytest.fixture
def real(tmp_path: Path, make_set) -> Path:
    """40 images; 20 in train, of which 7 show Edema and 5 Fibrosis."""
    return make_set(tmp_path / "real", n=40)


def counts(dataset: MixedDataset, finding: str) -> tuple[int, int]:
    found = dataset.composition()[finding]
    return found["real"], found["synthetic"]


def test_first_images_first_until_the_total(real: Path, tmp_path: Path, make_synthetic) -> None:
    sets = [make_synthetic(tmp_path / name, 6, ["P000"]) for name in ("one", "two")]
    for total, taken in ((7, 0), (8, 1), (13, 6), (15, 8), (19, 12)):
        dataset = MixedDataset(real, synthetic=sets, top_up={"Edema": total})
        assert counts(dataset, "Edema") == (7, taken)
        assert len(dataset) == 20 + taken
        made = [dataset[k] for k in range(20, len(dataset))]
        assert [sample["name"] for sample in made] == [f"s{k % 6}" for k in range(taken)]
        assert all(sample["source"] == "synthetic" for sample in made)


def test_with_a_limit_the_gap_is_larger(real: Path, tmp_path: Path, make_synthetic) -> None:
    made = make_synthetic(tmp_path / "set", 9, [])
    dataset = MixedDataset(real, synthetic=[made], limit={"Edema": 2}, top_up={"Edema": 7})
    assert counts(dataset, "Edema") == (2, 5)
    assert len(dataset) == 20  # as many as without a cut: 15 real, 5 synthetic


def test_sets_of_other_findings_stay_whole(real: Path, tmp_path: Path, make_synthetic) -> None:
    sets = [make_synthetic(tmp_path / "edema", 6, []), make_synthetic(tmp_path / "fibrosis", 4, [], "Fibrosis")]
    dataset = MixedDataset(real, synthetic=sets, top_up={"Edema": 9})
    assert (counts(dataset, "Edema"), counts(dataset, "Fibrosis")) == ((7, 2), (5, 4))
    dataset = MixedDataset(real, synthetic=sets, top_up={"Edema": 9, "Fibrosis": 8})
    assert (counts(dataset, "Edema"), counts(dataset, "Fibrosis")) == ((7, 2), (5, 3))


def test_images_of_several_findings_overshoot_none(real: Path, tmp_path: Path, make_synthetic) -> None:
    folder = make_synthetic(tmp_path / "set", 4, [])
    rows = [{"image": f"s{row}", "split": "train", "source": "synthetic"} for row in range(4)]
    labels = np.array([[1, 1, 0], [1, 1, 0], [1, 0, 0], [0, 1, 0]], dtype=np.float32)
    Manifest(make_columns(rows), ("Edema", "Fibrosis", "Mass"), labels).write(folder)
    dataset = MixedDataset(real, synthetic=[folder], top_up={"Edema": 9, "Fibrosis": 6})
    assert [dataset[k]["name"] for k in range(20, len(dataset))] == ["s0", "s2"]
    assert (counts(dataset, "Edema"), counts(dataset, "Fibrosis")) == ((7, 2), (5, 1))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=12), st.integers(0, 6), st.integers(0, 6))
def test_what_is_taken_is_a_prefix_where_images_show_one_finding(
    shown: list[tuple[bool, bool]], one: int, other: int
) -> None:
    rows = np.array([(a, b and not a) for a, b in shown], dtype=bool).reshape(-1, 2)
    counted, wanted = np.zeros(2, dtype=np.int64), np.array([one, other])
    taken = _take(rows, counted, wanted)
    for column, most in enumerate((one, other)):
        mine = np.flatnonzero(rows[:, column])
        assert np.flatnonzero(taken & rows[:, column]).tolist() == mine[:most].tolist()
        assert counted[column] == min(most, len(mine))
    assert taken[~rows.any(axis=1)].all()


def test_the_placebo_shuffles_what_was_taken(real: Path, tmp_path: Path, make_synthetic) -> None:
    made = make_synthetic(tmp_path / "set", 9, [])
    dataset = MixedDataset(real, synthetic=[made], top_up={"Edema": 12}, shuffle_labels=True)
    assert len(dataset) == 25
    assert 0 <= counts(dataset, "Edema")[1] < 5


def test_the_refusals_of_synthetic_sets_hold(real: Path, tmp_path: Path, make_set, make_synthetic, refuses) -> None:
    top_up = {"top_up": {"Edema": 9}}
    for stranger in ("P012", "P018"):  # val, test
        folder = make_synthetic(tmp_path / stranger, 5, ["P000", stranger])
        with refuses(LeakageError, folder, "a generator", f"'{stranger}'"):
            MixedDataset(real, synthetic=[folder], **top_up)
    other = make_set(tmp_path / "other", n=16, prefix="Q")
    folder = make_synthetic(tmp_path / "set", 5, ["Q005"])
    with refuses(LeakageError, folder, "'Q005'"):
        MixedDataset(real, synthetic=[folder], held_out=[{"manifest": str(other), "split": "val"}], **top_up)
    real_ones = make_synthetic(tmp_path / "real ones", 8, [])
    make_set(real_ones, n=8)
    with refuses(InputError, real_ones, "synthetic", "real"):
        MixedDataset(real, synthetic=[real_ones], **top_up)


def test_a_majority_needs_leave_all_the_same(real: Path, tmp_path: Path, make_synthetic, refuses) -> None:
    made = make_synthetic(tmp_path / "set", 30, [])
    assert len(MixedDataset(real, synthetic=[made], top_up={"Edema": 27})) == 40
    with refuses(ConfigError, "allow_synthetic_majority", "21 synthetic, 20 real", "true"):
        MixedDataset(real, synthetic=[made], top_up={"Edema": 28})
    leave = {"allow_synthetic_majority": True}
    assert len(MixedDataset(real, synthetic=[made], top_up={"Edema": 28}, **leave)) == 41


@pytest.mark.parametrize(
    ("top_up", "kind", "words"),
    [
        ({"Edema": 6}, ConfigError, ("top_up 'Edema'", "number of real images (7)", "6", "limit")),
        ({"Edema": 0}, ConfigError, ("top_up 'Edema'", "(7)", "0")),
        ({"Edema": 9.0}, ConfigError, ("top_up 'Edema'", "whole number", "9.0")),
        ({"Edema": True}, ConfigError, ("top_up 'Edema'", "whole number", "True")),
        ({"Edema": "9"}, ConfigError, ("top_up 'Edema'", "whole number", "'9'")),
        ({"Edma": 9}, LabelError, ("top_up", "'Edma'", "did you mean 'Edema'?")),
        ({"Edema": 11}, InputError, ("top_up 'Edema'", "needs 4 synthetic images", "7 real", "found 3", "make more")),
        ({"Fibrosis": 6}, InputError, ("top_up 'Fibrosis'", "needs 1 synthetic", "found 0")),
    ],
)
def test_totals_that_cannot_be(real: Path, tmp_path: Path, make_synthetic, refuses, top_up, kind, words) -> None:
    with refuses(kind, *words):
        MixedDataset(real, synthetic=[make_synthetic(tmp_path / "set", 3, [])], top_up=top_up)


def test_without_a_set_nothing_can_be_topped_up(real: Path, refuses) -> None:
    with refuses(InputError, "top_up 'Edema'", "needs 3 synthetic images", "found 0"):
        MixedDataset(real, top_up={"Edema": 10})
    assert len(MixedDataset(real, top_up={"Edema": 7})) == 20


def test_what_a_training_set_is_made_of_in_words() -> None:
    none = {"real": 0, "duplicate": 0, "filtered": 0, "synthetic": 0, "external": 0}
    composition = {
        "Edema": {**none, "real": 5, "synthetic": 10, "external": 5},
        "Fibrosis": {**none, "real": 7, "duplicate": 2},
        "Mass": none,
    }
    assert describe_composition(composition).splitlines() == [
        "Edema: 5 real, 10 synthetic, 5 external; 75% show nobody",
        "Fibrosis: 7 real, 2 duplicate",
        "Mass: none",
    ]
    assert describe_composition({"Edema": {"real": 5}}) == "Edema: 5 real"  # an origin that is not named
