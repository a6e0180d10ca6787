"""The audit catches planted memorisers and passes honest generators, on phantoms at every change."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from monai_cxraug.artifacts import read_json
from monai_cxraug.cli import main
from monai_cxraug.data.sources.phantom import render, sample_population
from scripts import prove_audit as proof

SIDE = 32


@pytest.fixture(scope="module")
def phantoms() -> tuple[np.ndarray, list[str]]:
    """A few hundred phantoms and their patients."""
    studies = sample_population(330, 11)
    pictures = np.stack([render(study, SIDE, 11) for study in studies]).astype(np.float32)
    return pictures, [study.patient_id for study in studies]


def test_planted_memorisers_are_caught_and_honest_generators_pass(phantoms: tuple[np.ndarray, list[str]]) -> None:
    pictures, patients = phantoms
    names = sorted(set(patients))
    member = np.isin(patients, names[: len(names) * 2 // 3])
    rows = proof.prove(
        pictures[member], [name for name, one in zip(patients, member, strict=True) if one], pictures[~member], 40,
        ("as it is", "blurred", "mean of 2"),
    )  # fmt: skip
    slight = {"as it is", "mirrored", "warped", "noised", "re-contrasted", "blurred"}
    planted = [row for row in rows if row["kind"] == "memoriser" and row["change"] in slight]
    assert len(planted) == 6
    assert sum(row["near"] for row in planted) >= 0.95 * sum(row["images"] for row in planted)
    assert {row["verdict"] for row in planted} == {"copies of training images"}
    # of a few hundred phantoms, copies with several changes at once are found too seldom to be sure; none passes
    assert "no sign of copies" not in {row["verdict"] for row in rows if row["kind"] == "memoriser"}
    honest = [row for row in rows if row["kind"] == "honest"]
    assert sum(row["near"] for row in honest) <= 0.05 * sum(row["images"] for row in honest)
    assert "copies of training images" not in {row["verdict"] for row in honest}


@pytest.mark.slow
@pytest.mark.skipif("CXRAUG_DATA" not in os.environ, reason="needs CXRAUG_DATA, real images")
def test_on_real_radiographs(tmp_path: Path) -> None:
    archive, out = Path(os.environ["CXRAUG_DATA"]) / "nih_64.zip", tmp_path / "nih"
    assert main(["prepare", "nih", "--images", str(archive), "--size", "64", "--out", str(out)]) == 0
    assert proof.main([str(out), "--count", "200", "--out", str(tmp_path / "proof.json")]) == 0
    sets = read_json(tmp_path / "proof.json", proof.SCHEMA)["sets"]
    slight = ("as it is", "mirrored", "warped", "noised", "re-contrasted", "blurred")
    planted = [row for row in sets if row["kind"] == "memoriser" and row["change"] in slight]
    assert min(row["share"] for row in planted) >= 0.95
    assert next(row for row in sets if (row["kind"], row["change"]) == ("honest", "as it is"))["share"] <= 0.05
