"""The table of predictions: a round trip, and what it refuses to believe."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from monai_cxraug.errors import InputError
from monai_cxraug.predictions import Predictions, read_predictions

LABELS = np.array([[1, np.nan], [0, 1], [np.nan, 0]])
PROBS = np.array([[0.1, 1.0], [1 / 3, 0.0], [0.999999999, 1e-30]])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    Predictions(["a.png", "b,c.png", "d"], ["1", "", "2"], ("Edema", "Mass"), LABELS, PROBS).write(tmp_path / "p.csv")
    return tmp_path / "p.csv"


def test_round_trip(path: Path) -> None:
    table = read_predictions(path)
    assert table.images == ["a.png", "b,c.png", "d"]
    assert table.patients == ["1", "", "2"]
    assert table.findings == ("Edema", "Mass")
    assert_array_equal(table.labels, LABELS)
    np.testing.assert_allclose(table.probs, PROBS, rtol=1e-8)
    assert path.read_text().splitlines()[0] == "image,patient_id,label:Edema,label:Mass,prob:Edema,prob:Mass"
    assert path.read_text().splitlines()[1] == "a.png,1,1,,0.1,1"


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=20))
def test_no_single_precision_value_is_lost(tmp_path_factory: pytest.TempPathFactory, probs: list[float]) -> None:
    values = np.array(probs, dtype=np.float64)[:, None]
    path = tmp_path_factory.mktemp("p") / "p.csv"
    names = [str(k) for k in range(len(values))]
    Predictions(names, names, ("Edema",), np.zeros_like(values), values).write(path)
    assert_array_equal(read_predictions(path).probs.astype(np.float32), values.astype(np.float32))


def test_the_order_of_columns_means_nothing(path: Path) -> None:
    before = read_predictions(path)
    lines = path.read_text().replace('"b,c.png"', "b").splitlines()
    path.write_text("".join(",".join(line.split(",")[::-1]) + "\n" for line in lines))
    after = read_predictions(path)
    assert after.findings == ("Mass", "Edema")
    assert_array_equal(after.labels, before.labels[:, ::-1])
    assert_array_equal(after.probs, before.probs[:, ::-1])


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("label:Mass", "label:Mas", ("'label:Mass'", "did you mean 'label:Mas'?")),
        ("patient_id", "patient", ("'patient_id'",)),
        ("prob:", "p:", ("prob:<finding>",)),
        ("0.333333333", "1.333333333", ("line 3", "1.33", "[0, 1]")),
        ("0.333333333", "nan", ("line 3", "nan", "diverged")),
        ("0.333333333", "high", ("line 3", "high")),
        ("d,2,,0,", "d,2,,2,", ("line 4", "'2'")),
        (",0.999999999,1e-30", ",0.999999999", ("line 4",)),
        (",0,0.999999999,1e-30", "", ("line 4",)),
    ],
)
def test_a_broken_table_is_refused(path: Path, old: str, new: str, words: tuple[str, ...]) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(InputError) as caught:
        read_predictions(path)
    assert all(word in str(caught.value) for word in (*words, str(path)))
    assert caught.value.mend


@pytest.mark.parametrize("content", [None, b"", b"image,prob:Edema\n", b"\xff\xfe"])
def test_a_file_that_is_no_table(path: Path, content: bytes | None) -> None:
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(InputError, match=r"p\.csv.*run the cell again"):
        read_predictions(path)
