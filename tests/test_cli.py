"""The command line: what it parses, which stage it runs with which settings, and how it refuses."""

from __future__ import annotations

import csv
import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monai_cxraug import __version__, bundle_config, resources
from monai_cxraug.cli import build_parser, main, spread_settings
from monai_cxraug.errors import InputError
from tests.study.server.small_study import write_study

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = (
    "prepare",
    "filter",
    "histogram",
    "phantom",
    "plan",
    "run",
    "evaluate",
    "calibrate",
    "report",
    "sample",
    "audit",
    "reidentifier",
    "enlarge",
    "train",
    "predict",
    "bundles copy",
    "bundles inspect",
    "bundles run",
    "pacs pull",
    "pacs classify",
    "pacs export",
    "study networks",
    "study build",
    "study serve",
    "study export",
    "study report",
    "doctor",
    "completion",
)

Call = tuple[list[Path], dict[str, Any]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """Stages that the command line asks for, instead of running them."""
    asked: list[Call] = []

    def run(config: list[Path], settings: dict[str, Any]) -> list[Any]:
        asked.append((config, dict(settings)))
        return []

    monkeypatch.setattr(bundle_config, "run_stage", run)
    return asked


#: a run trains its own generators unless it is told otherwise.
OWN = {"reuse_generators": False}


@pytest.mark.parametrize(
    ("line", "config", "settings"),
    [
        (
            "prepare nih --images a.zip --labels l.csv --lists d --out o --size 32",
            "configs/prepare.json",
            {"source": "nih", "images": "a.zip", "labels": "l.csv", "lists": "d", "out": "o", "size": 32}
            | {"fit": "pad", "seed": 0, "folds": 0},
        ),
        (
            "prepare phantom --out o",
            "configs/prepare.json",
            {"source": "phantom", "out": "o", "size": 64, "fit": "pad", "seed": 0, "folds": 0},
        ),
        (
            "prepare chexpert --images c --views all --uncertainty ones --folds 5 --validation 0.2 --salt s --out o",
            "configs/prepare.json",
            {"source": "chexpert", "images": "c", "out": "o", "size": 64, "fit": "pad", "seed": 0, "folds": 5}
            | {"validation": 0.2, "salt": "s", "options": {"views": "all", "uncertainty": "ones"}},
        ),
        (
            "prepare dicom --images d --patient-key PatientID --for-processing keep --fit squash --out o",
            "configs/prepare.json",
            {"source": "dicom", "images": "d", "out": "o", "size": 64, "fit": "squash", "seed": 0, "folds": 0}
            | {"options": {"patient_key": "PatientID", "for_processing": "keep"}},
        ),
        ("filter d --out o", "configs/filter.json", {"manifest": "d", "out": "o"}),
        ("histogram d --out o.svg", "configs/histogram.json", {"manifest": "d", "out": "o.svg"}),
        (
            "filter d/manifest.csv --filters unsharp minimum --out o",
            "configs/filter.json",
            {"manifest": "d/manifest.csv", "out": "o", "filters": ["unsharp", "minimum"]},
        ),
        (
            "run e.yaml --set a.b=1 --set seeds=[0] --out r --smoke",
            "configs/run_experiment.json",
            {"experiment": "e.yaml", "set": ["a.b=1", "seeds=[0]"], "out": "r", "smoke": True} | OWN,
        ),
        ("run e.yaml", "configs/run_experiment.json", {"experiment": "e.yaml", "set": [], "smoke": False} | OWN),
        (
            "run e.yaml --set data.test=m.csv --reuse-generators",
            "configs/run_experiment.json",
            {"experiment": "e.yaml", "set": ["data.test=m.csv"], "smoke": False, "reuse_generators": True},
        ),
        (
            "run e.yaml o.yaml --scheduler local[2]",
            "configs/run_experiment.json",
            {"experiment": ["e.yaml", "o.yaml"], "set": [], "smoke": False, "scheduler": "local[2]"} | OWN,
        ),
        (
            "plan e.yaml --assume auroc=0.7 --out r",
            "configs/plan_experiment.json",
            {"experiment": "e.yaml", "set": [], "out": "r", "assume": {"auroc": "0.7"}},
        ),
        (
            "pacs pull --url u --query Modality=DX --query StudyDate=20260101- --out o",
            "configs/pacs_pull.json",
            {"url": "u", "query": ["Modality=DX", "StudyDate=20260101-"], "out": "o"},
        ),
        (
            "pacs classify m --url u --query Modality=DX --out o --maps 3 --store --patience 5",
            "configs/pacs_classify.json",
            {"checkpoint": "m", "url": "u", "query": ["Modality=DX"], "out": "o"}
            | {"maps": 3, "store": True, "patience": 5},
        ),
        ("pacs export s --out o", "configs/pacs_export.json", {"synthetic": "s", "out": "o"}),
        (
            "pacs export s --out o --allow-copies",
            "configs/pacs_export.json",
            {"synthetic": "s", "out": "o", "allow_copies": True},
        ),
        (
            "study networks d --out o --count 3 --where resample=area",
            "configs/study_networks.json",
            {"manifest": "d", "out": "o", "count": 3, "where": {"resample": "area"}},
        ),
        (
            "study build d --out o --networks n --choices 9 --whole --per-reader 5 --split val",
            "configs/study_build.json",
            {"manifest": "d", "out": "o", "networks": "n", "choices": 9, "whole": True, "per_reader": 5}
            | {"split": "val", "where": {}},
        ),
        (
            "study report s --answers a b --models ResNet=m --out o --language ko",
            "configs/study_report.json",
            {"study": "s", "answers": ["a", "b"], "models": ["ResNet=m"], "out": "o", "language": "ko"},
        ),
        ("report r", "configs/report.json", {"run_folder": "r"}),
        (
            "audit s --manifest m --membership --checkpoint c --reidentifier r --where view=PA",
            "configs/audit.json",
            {"synthetic": "s", "manifest": "m", "membership": True, "checkpoint": "c", "reidentifier": "r"}
            | {"where": {"view": "PA"}},
        ),
        (
            "reidentifier d --out o --steps 50 --batch-size 8 --where resample=area",
            "configs/reidentifier.json",
            {"manifest": "d", "output_dir": "o", "steps": 50, "batch_size": 8, "where": {"resample": "area"}},
        ),
        ("report r --language ko", "configs/report.json", {"run_folder": "r", "language": "ko"}),
        (
            "evaluate r --manifest m.csv --out o --where resample=area --where view=PA=x",
            "configs/evaluate.json",
            {"run_folder": "r", "manifest": "m.csv", "out": "o", "where": {"resample": "area", "view": "PA=x"}},
        ),
        (
            "evaluate r --manifest m.csv --out o --split test",
            "configs/evaluate.json",
            {"run_folder": "r", "manifest": "m.csv", "out": "o", "split": "test", "where": {}},
        ),
        (
            "sample g --finding Edema --n 5 --seed 7 --manifest m.csv --out o",
            "bundles/chest_xray_pggan/configs/inference.json",
            {"checkpoint": "g", "finding": "Edema", "n": 5, "seed": 7, "manifest": "m.csv", "output_dir": "o"},
        ),
        (
            "sample g --finding Edema --n 5 --out o --start 5 --truncation 0.5 --depth 16 --crop 8 6 --png",
            "bundles/chest_xray_pggan/configs/inference.json",
            {
                **{"checkpoint": "g", "finding": "Edema", "n": 5, "seed": 0, "output_dir": "o"},
                **{"start": 5, "truncation": 0.5, "depth": 16, "crop": [8, 6], "png": True},
            },
        ),
        ("audit s --manifest m.csv", "configs/audit.json", {"synthetic": "s", "manifest": "m.csv", "where": {}}),
        (
            "audit s --manifest m.csv --classifier c --out o",
            "configs/audit.json",
            {"synthetic": "s", "manifest": "m.csv", "classifier": "c", "out": "o", "where": {}},
        ),
        (
            "enlarge s --model m --out o --manifest r.csv --depth 16 --png",
            "bundles/image_superresolution/configs/inference.json",
            {
                **{"checkpoint": "m", "synthetic_set": "s", "output_dir": "o"},
                **{"manifest": "r.csv", "depth": 16, "png": True},
            },
        ),
        (
            "enlarge --images p --model m --out o",
            "bundles/image_superresolution/configs/inference.json",
            {"checkpoint": "m", "images": "p", "output_dir": "o"},
        ),
        (
            "train d --out o",
            ["train"],
            {"manifest": "d", "output_dir": "o", "seed": 0, "fraction_seed": 0},
        ),
        (
            "train d --out o --finding Edema --finding Mass --split train --where view=PA --limit Edema=50"
            " --top-up Edema=90 --synthetic a --synthetic b --held-out e --allow-synthetic-majority --allow-copies"
            " --architecture small_cnn --overlay recipe_adam --overlay loss_alpha --size 32 --steps 100"
            " --batch-size 9 --seed 3",
            ["train", "recipe_adam", "loss_alpha"],
            {"manifest": "d", "output_dir": "o", "seed": 3, "fraction_seed": 3, "findings": ["Edema", "Mass"]}
            | {"split": "train", "where": {"view": "PA"}, "limit": {"Edema": 50}, "top_up": {"Edema": 90}}
            | {
                "synthetic": ["a", "b"],
                "held_out": [{"manifest": "e"}],
                "allow_synthetic_majority": True,
                "allow_copies": True,
            }
            | {"architecture": "small_cnn", "size": 32, "steps": 100, "batch_size": 9},
        ),
        (
            "predict m --images p --out o",
            "bundles/chest_xray_classification/configs/inference.json",
            {"checkpoint": "m", "images": "p", "output_dir": "o", "maps": 0},
        ),
        (
            "predict m --images p --out o --maps 4",
            "bundles/chest_xray_classification/configs/inference.json",
            {"checkpoint": "m", "images": "p", "output_dir": "o", "maps": 4},
        ),
        (
            "calibrate m --manifest d.csv --where view=PA --rule specificity=0.9",
            ["evaluate", "calibrate"],
            {"checkpoint": "m", "manifest": "d.csv", "split": "val", "where": {"view": "PA"}}
            | {"summary#rule": "specificity=0.9", "summary#say": True},
        ),
    ],
)
def test_command_runs_the_stage_that_monai_would(
    calls: list[Call], line: str, config: str | list[str], settings: dict[str, Any]
) -> None:
    assert main(line.split()) == 0
    (asked, given) = calls[0]
    given.pop("bundle_root", None)
    folder = ROOT / "bundles" / "chest_xray_classification" / "configs"
    wanted = [ROOT / config] if isinstance(config, str) else [folder / f"{name}.json" for name in config]
    assert (asked, given) == (wanted, settings)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_has_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*command.split(), "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert f"examples:\n  cxraug {command}" in text
    assert "exit status 2" in text


@pytest.mark.parametrize("source", ["nih", "chexpert", "kermany", "folder", "table", "dicom", "external", "phantom"])
def test_help_of_every_source_has_its_options_and_examples(source: str, capsys: pytest.CaptureFixture[str]) -> None:
    from monai_cxraug.data.request import SOURCES
    from monai_cxraug.data.sources.options import options_of

    with pytest.raises(SystemExit) as caught:
        main(["prepare", source, "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert all(f"  {one.flag}" in text for one in options_of(SOURCES[source]).values())
    assert all(f"  {flag} " in text for flag in ("--out", "--size", "--fit", "--folds", "--validation", "--salt"))
    assert all(f"\n  cxraug prepare {source} {example}\n" in text for example in SOURCES[source].examples)


def test_every_example_of_a_source_is_a_request(capsys: pytest.CaptureFixture[str], calls: list[Call]) -> None:
    from monai_cxraug.data.request import Request

    with pytest.raises(SystemExit):
        main(["prepare", "--help"])
    lines = [shlex.split(line) for line in capsys.readouterr().out.splitlines() if line.startswith("  cxraug ")]
    assert len(lines) >= 9
    for line in lines:
        assert main(line[1:]) == 0
        _, settings = calls.pop()
        settings.pop("out")
        Request(**settings).build()


def test_phantoms_in_a_layout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = f"phantom skin --out {tmp_path / 'skin'} --count 10 --size 16"
    assert main(line.split()) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'skin'}\n"
    assert len(list((tmp_path / "skin").rglob("*.jpg"))) == 10
    assert main(line.split()) == 2
    assert "new or empty folder" in capsys.readouterr().err


def test_every_example_of_the_help_is_a_command_line(
    calls: list[Call], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from monai_cxraug import config_audit
    from monai_cxraug.data.sources.phantom import layouts
    from monai_cxraug.study import serving

    monkeypatch.setattr(resources, "copy_bundles", lambda target: [])
    monkeypatch.setattr(layouts, "write_layout", lambda *arguments: Path())
    monkeypatch.setattr(config_audit, "audit", lambda files: config_audit.Audit(keys={"run"}))
    for job in (serving.ServeStudy, serving.ExportAnswers):
        monkeypatch.setattr(job, "run", lambda self: Path())
    with pytest.raises(SystemExit):
        main(["--help"])
    said = capsys.readouterr().out.splitlines()
    lines = [shlex.split(line.partition(" > ")[0]) for line in said if line.startswith("  cxraug ")]
    assert {tuple(line[1:3]) if line[1] in ("bundles", "pacs", "study") else line[1] for line in lines} == {
        tuple(command.split()) if " " in command else command for command in COMMANDS
    }
    assert [main(line[1:]) for line in lines] == [0] * len(lines)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "prepare phantom --otu x --out y",
            "cxraug prepare phantom: error: unknown option '--otu'; did you mean '--out'?",
        ),
        (
            "prepare phantom --siz=3 --out y",
            "cxraug prepare phantom: error: unknown option '--siz'; did you mean '--size'?",
        ),
        ("prepare phantom stray --out y", "cxraug prepare phantom: error: unexpected argument 'stray'"),
        ("prepare kermany --images x --lists y --out z", "cxraug prepare kermany: error: unknown option '--lists'; "),
        (
            "prepare chexpert --images x --uncertianty ones --out z",
            "cxraug prepare chexpert: error: unknown option '--unc",
        ),
        (
            "prepare chexpert --images x --uncertainty one --out z",
            "cxraug prepare chexpert: error: argument --uncertainty: invalid choice: 'one'; did you mean 'ones'?",
        ),
        ("prepare phantom", "cxraug prepare phantom: error: the following arguments are required: --out"),
        (
            "prepare phantom --out y --size big",
            "cxraug prepare phantom: error: argument --size: invalid int value: 'big'",
        ),
        ("prepare nhi --out y", "cxraug prepare: error: argument SOURCE: invalid choice: 'nhi'; did you mean 'nih'?"),
        ("prepare nih --out y", "cxraug prepare nih: error: the following arguments are required: --images"),
        ("prepar phantom", "cxraug: error: argument COMMAND: invalid choice: 'prepar'; did you mean 'prepare'?"),
        (
            "train d --out o --overlay loss_alfa",
            "cxraug train: error: argument --overlay: invalid choice: 'loss_alfa'; did you mean 'loss_alpha'?",
        ),
        ("train d --out o --topup Edema=9", "cxraug train: error: unknown option '--topup'; did you mean '--top-up'?"),
        ("bundles copy x --frce", "cxraug bundles copy: error: unknown option '--frce'"),
    ],
)
def test_wrong_usage_is_one_line_and_status_two(
    calls: list[Call], line: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(line.split())
    assert caught.value.code == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(message)
    assert calls == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("prepare nih --images {out}/none --out {out}", "{out}/none: "),
        ("prepare phantom --count 19 --out {out}", "count: must be a whole number of at least 20; found 19"),
        ("prepare folder --images . --patient-pattern P --out {out}", "--patient-pattern: needs one group; found 0"),
        ("phantom skin --out {file}/below", "{file}/below: must be a folder that can be made; found "),
        ("phantom chexprt --out {out}", "layout: unknown layout; found 'chexprt'; did you mean 'chexpert'?"),
        ("prepare phantom --out {out} --size 0", "size: must be a whole number of at least 4; found 0"),
        ("prepare phantom --out {out} --seed -1", "prepare.json key 'seed': must be a whole number from 0"),
        ("prepare phantom --out @out", "configs/prepare.json key 'out': values may not begin with $ @ %; found '@out'"),
        ("prepare phantom --out {file}/below --count 20", "must be a folder that can be written; found "),
        ("filter {out}/none --out {out}", "{out}/none: manifest must exist"),
        ("filter {file} --filters unshrap --out {out}", "filters: unknown filter; found 'unshrap'; did you mean 'un"),
        ("run none.yaml --out {out}", "none.yaml: file must exist"),
        ("run configs/experiments/demo.yaml --set seds=[0] --out {out}", "key 'seds': unknown key; found 'seds'"),
        ("run configs/experiments/demo.yaml --set seeds --out {out}", "--set seeds: must read KEY=VALUE"),
        (
            "evaluate none --manifest m.csv --out {out}",
            "none: must be a run (plan.json), or a bundle that ships models",
        ),
        ("evaluate r --manifest m.csv --out {out} --where area", "--where area: must read NAME=VALUE"),
        ("report {out}", "{out}/results.json: file must exist"),
        ("sample none --finding Edema --n 2 --out {out}", "none: must be a model file, or a folder that holds"),
        ("enlarge s --model none --out {out}", "none: must be a model file, or a folder that holds"),
        ("enlarge --model none --out {out}", "key 'synthetic_set' or 'images': a value is required"),
        (
            "enlarge s --images p --model none --out {out}",
            "synthetic_set, images: one of them must be given; found both",
        ),
        ("predict none --images . --out {out}", "none: must be a model file, or a folder that holds"),
        ("bundles copy {file}", "must be a folder that can be written"),
        ("train none --out {out}", "none: manifest must exist"),
        ("train none --limit Edema --out {out}", "--limit Edema: must read NAME=VALUE; found 'Edema'; for example"),
        ("train none --top-up Edema=1.5 --out {out}", "--top-up Edema: must be a whole number; found '1.5'"),
        ("pacs pull --url http://127.0.0.1:9/x --query Modality=DX --out {out}", "must be a server that answers;"),
        ("pacs pull --url dicom://127.0.0.1:9/X --query Modality=DX --out {out}", "must be a DICOM node that"),
        ("pacs pull --url http://a:b@localhost --query Modality=DX --out {out}", "--url: may not carry a password"),
        ("pacs pull --url pacs --query Modality=DX --out {out}", "--url: must be the address of a DICOMweb"),
        ("pacs pull --url http://x --query Modalty=DX --out {out}", "unknown keyword; found 'Modalty'; did you"),
        ("pacs pull --url http://x --query StudyDate=2026 --out {out}", "must be a day or a range of days; found"),
        ("pacs pull --url http://x --query Modality --out {out}", "--query Modality: must read Keyword=value"),
        ("pacs classify none --url http://x --query Modality=DX --out {out}", "none: must be a model file"),
        ("pacs export {out}/none --out {out}/new", "{out}/none: manifest must exist"),
    ],
)
def test_bad_input_is_one_line_status_two_and_writes_nothing(
    line: str, message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    out, file = tmp_path / "out", tmp_path / "file"
    file.touch()
    assert main(line.format(out=out, file=file).split()) == 2
    captured = capfd.readouterr()
    (said,) = captured.err.splitlines()
    assert said.startswith("cxraug: error: ")
    assert message.format(out=out, file=file) in said
    assert captured.out == ""
    assert set(tmp_path.iterdir()) == {file}


@pytest.mark.parametrize(
    ("given", "settings"),
    [
        (["run", "e.yaml", "--set", "a=1", "b=2"], ["a=1", "b=2"]),
        (["run", "--set", "a=1", "b=[2,3]", "e.yaml", "--smoke"], ["a=1", "b=[2,3]"]),
        (["run", "--set", "a=1", "--set", "b=2", "e.yaml"], ["a=1", "b=2"]),
        (["run", "e.yaml"], []),
    ],
)
def test_one_set_takes_several_settings(given: list[str], settings: list[str]) -> None:
    args = build_parser().parse_args(spread_settings(given))
    assert (args.experiment, args.set) == (["e.yaml"], settings)


def test_interrupt_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(config: Path, settings: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(bundle_config, "run_stage", interrupt)
    assert main(["report", "r"]) == 130
    assert capsys.readouterr().err == "cxraug: interrupted; the same command continues\n"


def test_mistake_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble(config: Path, settings: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(bundle_config, "run_stage", stumble)
    with pytest.raises(ZeroDivisionError):
        main(["report", "r"])


def python(code: str) -> str:
    """Run code in a fresh interpreter; returns its output."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_version_and_help_load_nothing_heavy(option: str) -> None:
    code = (
        "import sys\nfrom monai_cxraug.cli import main\n"
        f"try:\n    main([{option!r}])\nexcept SystemExit as end:\n    assert not end.code\n"
        "print(sorted({'torch', 'monai', 'numpy', 'yaml'} & set(sys.modules)))"
    )
    written = python(code)
    assert written.splitlines()[-1] == "[]"
    assert (f"cxraug {__version__}" if option == "--version" else "usage: cxraug") in written


# --- on small models, in this process ---


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """An untrained generator and classifier as folders of a run hold them."""
    from monai_cxraug.networks.classifiers import Classifier
    from monai_cxraug.networks.pggan import ProgressiveGenerator
    from monai_cxraug.networks.weights import save_model

    about = {"findings": ["Edema", "Hernia"], "patients_seen": ["1"], "manifest": "0" * 64, "images_seen": 0}
    generator = ProgressiveGenerator(resolution=16, latent_size=8, fmap_base=32, fmap_max=8)
    save_model(tmp_path / "generator" / "model.pt", "pggan", generator, {**about, "finding": "Edema"})
    save_model(tmp_path / "cell" / "model.pt", "classifier", Classifier(2), {**about, "size": 32})
    return tmp_path


def write_radiographs(folder: Path) -> Path:
    from PIL import Image

    folder.mkdir()
    for name in ("a", "b"):
        ramp = np.add.outer(np.arange(40), np.arange(40)) + ord(name)
        Image.fromarray(ramp.astype(np.uint8)).save(folder / f"{name}.png")
    return folder


def test_sample_writes_a_synthetic_set(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def sample(seed: int, name: str) -> Path:
        out = models / name
        line = ["sample", models / "generator", "--finding", "Edema", "--n", "3", "--seed", seed, "--out", out]
        assert main(list(map(str, line))) == 0
        assert capsys.readouterr().out == f"{out / 'manifest.csv'}\n"
        return out

    first, again, other = sample(1, "first"), sample(1, "again"), sample(2, "other")
    for name in ("manifest.csv", "manifest.json", "pack.npy", "pack.json", "provenance.json"):
        assert (first / name).read_bytes() == (again / name).read_bytes()
    assert not np.array_equal(np.load(first / "pack.npy"), np.load(other / "pack.npy"))
    assert json.loads((first / "provenance.json").read_text())["n"] == 3


def test_predict_writes_probabilities_by_name(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = write_radiographs(models / "images")
    out = models / "out"
    assert main(["predict", str(models / "cell"), "--images", str(images), "--out", str(out)]) == 0
    with (out / "predictions.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["image", "patient_id", "label:Edema", "label:Hernia", "prob:Edema", "prob:Hernia"]
    assert [row["image"] for row in rows] == ["a.png", "b.png"]
    assert all(0 < float(row[f"prob:{name}"]) < 1 for row in rows for name in ("Edema", "Hernia"))


def test_calibrate_and_predict_again(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, out = write_radiographs(models / "images"), models / "out"
    manifest = prepared(models / "data")
    line = ["calibrate", str(models / "cell"), "--manifest", str(manifest), "--rule", "sensitivity=0.5"]
    assert main(line) == 0
    said = capsys.readouterr()
    assert said.out == f"{models / 'cell' / 'calibration.json'}\n"
    assert "Edema: temperature" in said.err
    assert "(sensitivity=0.5)" in said.err
    assert main(["predict", str(models / "cell"), "--images", str(images), "--out", str(out), "--maps", "1"]) == 0
    with (out / "predictions.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert {row["call:Edema"] for row in rows} <= {"0", "1"}
    assert all(0 <= float(row["calibrated:Hernia"]) <= 1 for row in rows)
    assert sorted(path.name for path in out.glob("maps/*/*.png")) == ["thought_likeliest_1.png"] * 2


def test_a_rule_that_is_none_leaves_no_calibration(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = prepared(models / "data")
    assert main(["calibrate", str(models / "cell"), "--manifest", str(manifest), "--rule", "best"]) == 2
    assert "must name a rule for thresholds" in capsys.readouterr().err
    assert not (models / "cell" / "calibration.json").exists()


def prepared(folder: Path) -> Path:
    """Ten images of ten patients in val, half of them with each finding."""
    from monai_cxraug.data.manifest import Manifest, make_columns
    from monai_cxraug.data.pack import write_pack

    rows = [{"image": f"{k}.png", "patient_id": f"p{k}", "split": "val", "source": "real"} for k in range(10)]
    pixels = np.random.default_rng(0).integers(0, 256, (10, 32, 32), dtype=np.uint8)
    write_pack(folder, pixels, [row["image"] for row in rows])
    labels = np.stack([np.arange(10) % 2, np.arange(10) < 5], axis=1).astype(np.float32)
    return Manifest(make_columns(rows), ("Edema", "Hernia"), labels, {"name": "ten"}).write(folder, {})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "sample {0}/generator --finding Edma --n 2 --out {0}/out",
            "found 'Edma'; did you mean 'Edema'?",
        ),
        (
            "sample {0}/generator --finding Edema --n 0 --out {0}/out",
            "n: must be a whole number of at least 1",
        ),
        ("sample {0}/cell --finding Edema --n 2 --out {0}/out", "must be a pggan or infogan or dcgan or fastgan"),
        ("predict {0}/generator --images {0} --out {0}/out", "model.pt: must be a classifier; found pggan"),
        ("predict {0}/cell --images {0}/none --out {0}/out", "{0}/none: "),
    ],
)
def test_models_refuse_what_they_are_not_for(
    models: Path, line: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(line.format(models).split()) == 2
    assert message.format(models) in capsys.readouterr().err
    assert not (models / "out").exists()


def test_copied_bundle_is_usable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bundles", "copy", str(tmp_path)]) == 0
    names = ["chest_xray_classification", "chest_xray_distortion", "chest_xray_pggan"]
    copied = [*names, "image_infogan", "image_superresolution"]
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / name) for name in copied]
    with pytest.raises(InputError, match=r"/output or .*must be a model file, or a folder that holds"):
        bundle_config.run_stage(
            tmp_path / names[-1] / "configs" / "inference.json",
            {"bundle_root": str(tmp_path / names[-1]), "finding": "Edema", "n": 1},
        )
    assert main(["bundles", "copy", str(tmp_path)]) == 2


def test_a_folder_that_cannot_be_made_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    study = ["study", "serve", str(write_study(tmp_path / "study").folder), "--answers", str(tmp_path / "file" / "x")]
    for command in (["phantom", "native", "--count", "10", "--out", str(tmp_path / "file" / "x")], study):
        assert main(command) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"cxraug: error: {tmp_path / 'file'}")
    assert line.endswith("found Not a directory; check path, rights and free space")


# --- as processes ---


@pytest.mark.slow
@pytest.mark.e2e
def test_prepare_by_command_and_by_monai_agree(tmp_path: Path) -> None:
    options = ["--out", "{}", "--size", "16", "--count", "40"]
    ours = ["monai_cxraug.cli", "prepare", "phantom", *options]
    monais = ["monai.bundle", "run", "--config_file", "configs/prepare.json", "--source", "phantom", *options]

    def start(arguments: Sequence[str], out: Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", *(text.format(out) for text in arguments)]
        return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    processes = [start(ours, tmp_path / "ours"), start(monais, tmp_path / "monais")]
    outputs = [process.communicate(timeout=200) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert outputs[0][0] == f"{tmp_path / 'ours' / 'manifest.csv'}\n"
    for name in ("manifest.csv", "pack.npy", "quarantine.csv", "summary.json", "contact_sheet.png"):
        assert (tmp_path / "ours" / name).read_bytes() == (tmp_path / "monais" / name).read_bytes()
