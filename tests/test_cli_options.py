"""What every command can: be checked without being done, be silent, and speak to programs."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from monai_cxraug import console
from monai_cxraug.cli import main

PHANTOM = "prepare phantom --count 24 --size 16"


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


def test_a_dry_run_prints_what_monai_would_run_and_does_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*PHANTOM.split(), "--out", str(tmp_path / "data"), "--dry-run"]) == 0
    words = shlex.split(capsys.readouterr().out)
    assert words[:4] == ["python", "-m", "monai.bundle", "run"]
    assert not files(tmp_path)
    done = subprocess.run([sys.executable, *words[1:]], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "data" / "pack.npy").is_file()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("predict nowhere --images . --out {0}", "nowhere: checkpoint must be a file or folder; found nothing there"),
        ("filter nowhere --out {0}", "nowhere: manifest must be a file or folder"),
        ("report nowhere", "nowhere: run_folder must be a file or folder"),
        ("run nowhere.yaml --out {0}", "nowhere.yaml"),
        ("plan nowhere.yaml --out {0}", "nowhere.yaml"),
        ("run configs/experiments/demo.yaml --set seeds=[a] --out {0}", "seeds"),
    ],
)
def test_a_dry_run_refuses_what_the_command_would(
    line: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*line.format(tmp_path / "out").split(), "--dry-run"]) == 2
    said = capsys.readouterr()
    assert says in said.err
    assert said.err.count("error:") == 1
    assert not said.out
    assert not files(tmp_path)


@pytest.mark.parametrize("line", ["phantom nih --count 5 --out {0}", "bundles copy {0}", "completion bash", "doctor"])
def test_a_dry_run_of_what_is_no_stage_says_its_intent(
    line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*line.format(tmp_path / "out").split(), "--dry-run"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert not files(tmp_path)


def test_quiet_says_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([*PHANTOM.split(), "--out", str(tmp_path / "data"), "--quiet"]) == 0
    assert capfd.readouterr() == ("", "")
    assert (tmp_path / "data" / "pack.npy").is_file()
    assert not console.is_quiet()
    assert main(["filter", str(tmp_path / "nowhere"), "--out", str(tmp_path / "new"), "--quiet"]) == 2
    said = capfd.readouterr()
    assert said.out == ""
    assert "manifest must exist" in said.err


def test_json_is_one_object_and_all_else_goes_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*PHANTOM.split(), "--out", str(tmp_path / "data"), "--json"]) == 0
    said = capsys.readouterr()
    manifest = str(tmp_path / "data" / "manifest.csv")
    assert json.loads(said.out) == {"command": "prepare phantom", "dry_run": False, "products": [manifest]}
    assert "24" in said.err


def test_a_refusal_in_json_has_its_parts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["filter", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out"), "--json"]) == 2
    said = capsys.readouterr()
    error = json.loads(said.out)["error"]
    assert error["where"] == str(tmp_path / "nowhere")
    assert error["mend"] == "make one with 'cxraug prepare'"
    assert f"cxraug: error: {error['where']}: {error['rule']}" in said.err


def test_doctor_tells_versions_and_what_is_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.metadata

    import torch

    before = importlib.metadata.version
    missing = importlib.metadata.PackageNotFoundError("pyarrow")

    def version(name: str) -> str:
        if name == "pyarrow":
            raise missing
        return before(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert main(["doctor", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["products"]
    versions = {part["name"]: part["found"] for part in found["versions"]}
    assert versions["torch"] == importlib.metadata.version("torch")
    assert versions["python"] == sys.version.split()[0]
    (cpu,) = [part for part in found["devices"] if part["name"] == "cpu"]
    assert f"torch uses {torch.get_num_threads()}" in cpu["found"]
    (parquet,) = [part for part in found["optional parts"] if part["name"] == "pyarrow"]
    assert (parquet["found"], parquet["mend"]) == ("", "pip install 'monai-cxraug[parquet]'")
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert "missing (tables in Parquet) -> pip install 'monai-cxraug[parquet]'" in text


def test_completion_knows_commands_and_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("shtab")
    assert main(["completion", "bash"]) == 0
    (tmp_path / "cxraug").write_text(capsys.readouterr().out)
    ask = f"""
source {tmp_path / "cxraug"}
complete() {{ local function; function=$(builtin complete -p cxraug | sed 's/.*-F \\([^ ]*\\).*/\\1/')
  COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); "$function"; echo "${{COMPREPLY[@]}}"; }}
complete cxraug pre
complete cxraug run --sch
"""
    told = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, timeout=60)
    assert sorted(told.stdout.split()) == ["--scheduler", "predict", "prepare"], told.stderr


def test_the_package_runs_as_a_module() -> None:
    told = subprocess.run(
        [sys.executable, "-m", "monai_cxraug", "--version"], capture_output=True, text=True, timeout=60
    )
    assert told.stdout.startswith("cxraug ")
