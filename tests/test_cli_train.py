"""``cxraug train``: a classifier on real and synthetic images, what it refuses, and that it goes on after a stop."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from ignite.engine import Engine

from monai_cxraug.artifacts import write_json
from monai_cxraug.cli import main
from monai_cxraug.data.manifest import Manifest, make_columns
from monai_cxraug.data.mixing import PROVENANCE_SCHEMA
from monai_cxraug.data.pack import write_pack
from monai_cxraug.handlers.progress import Progress
from monai_cxraug.networks.weights import load_model

SIDE = 16
FINDINGS = ("malignant",)


def write_set(folder: Path, rows: list[dict[str, str]], labels: list[float]) -> Path:
    pixels = np.random.default_rng(len(rows)).integers(0, 256, (len(rows), SIDE, SIDE), dtype=np.uint8)
    write_pack(folder, pixels, [row["image"] for row in rows])
    table = np.float32(labels).reshape(-1, 1)
    return Manifest(make_columns(rows), FINDINGS, table, {"name": "lesions"}).write(folder, {})


@pytest.fixture
def lesions(tmp_path: Path) -> Path:
    """90 images of as many patients, a third malignant; 60 for training, 30 to be judged on."""
    rows = [
        {"image": f"{k}.png", "patient_id": f"p{k}", "split": "train" if k < 60 else "test", "source": "real"}
        for k in range(90)
    ]
    return write_set(tmp_path / "lesions", rows, [float(k % 3 == 0) for k in range(90)]).parent


def synthetic(folder: Path, n: int, seen: list[str]) -> Path:
    rows = [{"image": f"s{k}", "split": "train", "source": "synthetic"} for k in range(n)]
    write_set(folder, rows, [1.0] * n)
    write_json(folder / "provenance.json", PROVENANCE_SCHEMA, {"patients_seen": seen})
    return folder


def train(data: Path, out: Path, options: str = "", status: int = 0) -> Path:
    fixed = "--architecture small_cnn --steps 50 --batch-size 8 --overlay recipe_adam"
    assert main(["train", str(data), "--out", str(out), *shlex.split(fixed), *shlex.split(options)]) == status
    return out / "model.pt"


def test_topped_up_training_says_what_it_is_made_of(
    lesions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = synthetic(tmp_path / "made", 30, ["p0"])
    options = f"--limit malignant=5 --synthetic {made} --top-up malignant=20 --seed 0"
    # p0 is malignant: with this seed it stays, else the set would be refused
    out = train(lesions, tmp_path / "out", options)
    said = capsys.readouterr()
    assert said.out == f"{out}\n"
    assert "malignant: 5 real, 15 synthetic; 75% show nobody" in said.err
    about = load_model(out).about
    assert (about["size"], about["images"], about["images_seen"]) == (SIDE, 40 + 20, 50 * 8)
    assert set(about["patients_seen"]) < {f"p{k}" for k in range(60)}
    assert len(about["patients_seen"]) == 45


@pytest.mark.parametrize("stranger", ["p60", "p89"])
def test_a_set_whose_generator_saw_a_test_patient_is_refused(
    lesions: Path, tmp_path: Path, stranger: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made = synthetic(tmp_path / "made", 30, ["p0", stranger])
    train(lesions, tmp_path / "out", f"--synthetic {made} --top-up malignant=30", status=2)
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert line.startswith(f"cxraug: error: {made}: a generator may only have seen training patients")
    assert repr(stranger) in line
    assert said.out == ""
    assert not (tmp_path / "out").exists()


def test_a_generator_of_all_images_is_refused_under_a_limit(
    lesions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = synthetic(tmp_path / "made", 30, [f"p{k}" for k in range(0, 60, 3)])
    train(lesions, tmp_path / "out", f"--synthetic {made} --limit malignant=5 --top-up malignant=20", status=2)
    assert "training patients of this experiment; found 15 others" in capsys.readouterr().err
    assert train(lesions, tmp_path / "all", f"--synthetic {made} --top-up malignant=25").is_file()


def test_a_generator_that_saw_patients_of_another_set_is_refused(
    lesions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clinic = write_set(
        tmp_path / "clinic",
        [{"image": f"c{k}", "patient_id": f"c{k}", "split": "test", "source": "real"} for k in range(4)],
        [0, 1, 0, 1],
    )
    made = synthetic(tmp_path / "made", 30, ["p0", "c1"])
    line = f"--synthetic {made} --top-up malignant=30"
    train(lesions, tmp_path / "out", f"{line} --held-out {clinic}", status=2)
    assert "'c1'" in capsys.readouterr().err
    assert train(lesions, tmp_path / "out", line).is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            "--synthetic {made} --top-up malignant=19",
            "top_up 'malignant': must be a whole number of at least the number",
        ),
        ("--synthetic {made} --top-up malignant=51", "top_up 'malignant': needs 31 synthetic images that show it"),
        ("--top-up malignant=30", "top_up 'malignant': needs 10 synthetic images that show it, beside 20 real ones"),
        ("--synthetic {made} --synthetic {more}", "allow_synthetic_majority: synthetic images may not be the majority"),
        ("--limit malignant=0", "limit 'malignant': must be a whole number of at least 1; found 0"),
        ("--limit maligant=5", "unknown finding; found 'maligant'; did you mean 'malignant'?"),
        ("--size 32", "images must have at least 32 px; found 16 px"),
        ("--architecture small_cn", "architecture: unknown architecture; found 'small_cn'; did you mean 'small_cnn'?"),
        ("--steps 7", "steps: must be a multiple of epoch_length (50); found 7"),
        ("--split tran", "found 'tran'; did you mean 'train'?"),
        ("--where patient_id=p99", "at least one row must have the value asked for"),
        ("--batch-size 61", "batch_size: must be between 1 and the number of training images (60); found 61"),
        ("--finding benign", "unknown finding; found 'benign'"),
        ("--synthetic {data}", "{data}/provenance.json: file must exist"),
    ],
)
def test_what_is_refused_is_one_line_status_two_and_writes_nothing(
    lesions: Path, tmp_path: Path, options: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"made": synthetic(tmp_path / "made", 30, []), "more": synthetic(tmp_path / "more", 31, [])}
    train(lesions, tmp_path / "out", options.format(**places, data=lesions), status=2)
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert line.startswith("cxraug: error: ")
    assert message.format(data=lesions) in line
    assert said.out == ""
    assert not (tmp_path / "out").exists()


def test_leave_is_given_in_so_many_words(lesions: Path, tmp_path: Path) -> None:
    made = synthetic(tmp_path / "made", 61, [])
    options = f"--synthetic {made} --allow-synthetic-majority"
    assert load_model(train(lesions, tmp_path / "out", options)).about["images"] == 60 + 61


def test_a_stopped_training_goes_on_and_ends_as_if_nothing_happened(
    lesions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(self: Progress, engine: Engine) -> None:
        if engine.state.iteration == 77:
            raise KeyboardInterrupt

    options = "--limit malignant=5 --steps 100"
    whole = train(lesions, tmp_path / "whole", options)
    with monkeypatch.context() as patch:
        patch.setattr(Progress, "_step", stop)
        train(lesions, tmp_path / "out", options, status=130)
    assert "interrupted; the same command continues" in capsys.readouterr().err
    assert not (tmp_path / "out" / "model.pt").exists()
    again = train(lesions, tmp_path / "out", options)
    assert again.read_bytes() == whole.read_bytes()
    # other settings are another training
    train(lesions, tmp_path / "out", "--limit malignant=6 --steps 100", status=2)
    assert "checkpoint" in capsys.readouterr().err


def test_a_dry_run_names_the_stage_and_does_nothing(
    lesions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(lesions, tmp_path / "out", "--limit malignant=5 --dry-run")
    words = shlex.split(capsys.readouterr().out)
    assert words[:4] == ["python", "-m", "monai.bundle", "run"]
    assert words[words.index("--limit") + 1] == "{'malignant': 5}"
    assert words[words.index("--size") + 1] == str(SIDE)
    assert not (tmp_path / "out").exists()


def test_the_recipe_is_adam_at_one_rate(lesions: Path, tmp_path: Path) -> None:
    state = torch.load(train(lesions, tmp_path).with_name("checkpoint.pt"), weights_only=True)
    assert {(group["lr"], group["weight_decay"]) for group in state["optimizer"]["param_groups"]} == {(0.001, 0)}
    assert state["scheduler"]["factor"] == 1.0
