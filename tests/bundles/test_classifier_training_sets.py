"""Settings of the classifier bundle that change what it is trained on, and who may judge it then."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from monai_cxraug.artifacts import write_json
from monai_cxraug.bundle_config import run_stage
from monai_cxraug.data.datasets import PackRows
from monai_cxraug.data.folds import leave_out_fold
from monai_cxraug.data.manifest import Manifest, make_columns, read_manifest
from monai_cxraug.data.mixing import PROVENANCE_SCHEMA
from monai_cxraug.data.pack import write_pack
from monai_cxraug.errors import InputError, LeakageError
from tests.bundles.conftest import FINDINGS, SIZE
from tests.bundles.test_classifier_remedies import CONFIGS, evaluate, train

pytestmark = pytest.mark.e2e
SMALL = {"architecture": "small_cnn", "steps": 2}


def about(out: Path) -> dict[str, object]:
    return dict(torch.load(out / "model.pt", weights_only=True)["about"])


def synthetic_set(folder: Path, n: int = 6, source: str = "synthetic") -> Path:
    rows = [{"image": f"s{k}", "split": "train", "source": source} for k in range(n)]
    labels = np.tile(np.float32([1, np.nan]), (n, 1))
    pictures = np.random.default_rng(5).integers(0, 256, (n, SIZE, SIZE), dtype=np.uint8)
    write_pack(folder, pictures, [row["image"] for row in rows])
    write_json(folder / "provenance.json", PROVENANCE_SCHEMA, {"patients_seen": ["p0"]})
    Manifest(make_columns(rows), FINDINGS, labels).write(folder)
    return folder


def test_sets_from_anywhere_filtered_copies_and_the_placebo(manifest: Path, tmp_path: Path) -> None:
    sets = [{"folder": str(synthetic_set(tmp_path / "made")), "n": 4}]
    sets.append({"folder": str(synthetic_set(tmp_path / "foreign", source="external")), "n": 5})
    out = train(manifest, tmp_path / "out", synthetic=sets, filtered={"Edema": 3}, shuffle_labels=True, **SMALL)
    counts = about(out)["composition"]["Edema"]  # type: ignore[index]
    assert counts["filtered"] == 3
    assert counts["synthetic"] + counts["external"] < 9  # by coins that this seed fixes
    other = train(manifest, tmp_path / "other", synthetic=sets, filtered={"Edema": 3}, **SMALL)
    counts = about(other)["composition"]["Edema"]  # type: ignore[index]
    assert (counts["synthetic"], counts["external"]) == (4, 5)


def test_a_model_of_some_folds_may_be_judged_by_the_fold_left_out(manifest: Path, tmp_path: Path) -> None:
    out = train(manifest, tmp_path / "out", left_out_fold=[1, 4], fraction_seed=3, **SMALL)
    table = read_manifest(manifest)
    everyone = sorted(table.patients(table.rows("train")))
    assert about(out)["patients_seen"] == sorted(leave_out_fold(everyone, [1, 4], 3))
    with pytest.raises(LeakageError, match="not trained on; found 12 others"):
        evaluate(manifest, out / "model.pt", tmp_path / "seen", split="train")
    left = sorted(set(everyone) - set(about(out)["patients_seen"]))  # type: ignore[call-overload]
    answers = evaluate(manifest, out / "model.pt", tmp_path / "left", split="train", where={"patient_id": left})
    assert len(answers.splitlines()) == 1 + 2 * len(left)


def test_a_limit_and_a_total_are_settings(manifest: Path, tmp_path: Path) -> None:
    made = str(synthetic_set(tmp_path / "made", 9))
    limited = {"limit": {"Edema": 3}, "fraction_seed": 1}
    out = train(manifest, tmp_path / "out", synthetic=[made], **limited, top_up={"Edema": 8}, **SMALL)
    counts = about(out)["composition"]["Edema"]  # type: ignore[index]
    assert (counts["real"], counts["synthetic"]) == (3, 5)
    table = read_manifest(manifest)
    rows = PackRows(manifest, "train", **limited)  # type: ignore[arg-type]
    assert about(out)["images"] == len(rows) + 5
    assert about(out)["patients_seen"] == sorted(rows.patients() | {"p0"})
    assert len(rows.patients()) < len(table.patients(table.rows("train")))
    with pytest.raises(InputError, match="top_up 'Edema': needs 17 synthetic images"):
        train(manifest, tmp_path / "few", synthetic=[made], **limited, top_up={"Edema": 20}, **SMALL)


def test_evaluation_refuses_whom_the_model_has_seen_and_prediction_does_not(manifest: Path, tmp_path: Path) -> None:
    model = train(manifest, tmp_path / "out", **SMALL) / "model.pt"
    for split in ("train", None):
        with pytest.raises(LeakageError, match="not trained on; found 16 others, for example 'p0'"):
            evaluate(manifest, model, tmp_path / "seen", split=split)
    assert not (tmp_path / "seen").exists()
    assert evaluate(manifest, model, tmp_path / "val")
    place = {"bundle_root": str(CONFIGS.parent), "output_dir": str(tmp_path / "free"), "manifest": str(manifest)}
    run_stage(CONFIGS / "inference.json", {**place, "checkpoint": str(model), "threads": 1, "device": "cpu"})
    assert len((tmp_path / "free" / "predictions.csv").read_text().splitlines()) == 65
