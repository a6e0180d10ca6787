"""The bundles' papers are true: commands pass the guard, and what MONAI's model zoo asks for is there."""

from __future__ import annotations

import ast
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from monai_cxraug import __version__
from monai_cxraug.bundle_config import run_stage
from monai_cxraug.cli import build_parser
from monai_cxraug.labels import NIH_FINDINGS

ROOT = Path(__file__).resolve().parents[2]
BUNDLES = (
    "chest_xray_classification",
    "chest_xray_pggan",
    "chest_xray_distortion",
    "image_superresolution",
    "image_infogan",
)
EACH = pytest.mark.parametrize("bundle", BUNDLES)


def commands(bundle: str) -> list[list[str]]:
    """The commands in the README's shell blocks and in its lines of code, as words."""
    text = (ROOT / "bundles" / bundle / "docs" / "README.md").read_text()
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", text, flags=re.S)).replace("\\\n", " ")
    lines = [*blocks.splitlines(), *re.findall(r"`(cxraug (?:sample|enlarge|predict|prepare) [^`]+)`", text)]
    words = [shlex.split(line.replace("$B", f"bundles/{bundle}"), comments=True) for line in lines]
    return [line for line in words if line and not line[0].startswith("B=")]


def value_of(text: str) -> Any:
    """A value as ``python -m monai.bundle`` reads it."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


@EACH
def test_commands_of_the_readme_are_accepted(bundle: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    stages = set()
    for words in commands(bundle):
        if words[0] == "cxraug":
            build_parser(words[1]).parse_args(words[1:])
            continue
        if words[0] == "torchrun":
            files = value_of(words[words.index("--config_file") + 1])
            assert [Path(file).name for file in files] == ["train.json", "multi_gpu_train.json"]
            continue  # run by test_several_processes
        assert words[:3] == ["python", "-m", "monai.bundle"]
        if words[3] in ("ckpt_export", "onnx_export"):
            continue  # run by test_exports
        assert words[3] == "run"
        options = {name.removeprefix("--"): value_of(text) for name, text in zip(words[4::2], words[5::2], strict=True)}
        files = options.pop("config_file")
        run_stage(files, {**options, "run": []})
        stages.add(Path(files if isinstance(files, str) else files[0]).stem)
    assert stages == {"train", "evaluate", "inference"}


@EACH
def test_settings_that_the_readme_names_exist(bundle: str) -> None:
    text = (ROOT / "bundles" / bundle / "docs" / "README.md").read_text()
    settings = re.findall(r"`--([\w#]+)(?: ([^`]+))?`", text)
    assert settings
    known = [
        set(json.loads((ROOT / "bundles" / bundle / "configs" / f"{stage}.json").read_text()))
        for stage in ("train", "evaluate", "inference")
    ]
    assert {name.split("#")[0] for name, _ in settings} <= set.union(*known) | {"tracking"}  # of MONAI itself


@EACH
def test_readme_has_the_sections_of_the_model_zoo(bundle: str) -> None:
    text = (ROOT / "bundles" / bundle / "docs" / "README.md").read_text()
    wanted = ["Model Overview", "Data", "Training configuration", "Performance", "MONAI Bundle Commands"]
    headings = re.findall(r"^## (.+)$", text, flags=re.M)
    assert [name for name in headings if name in wanted] == wanted
    assert headings[-2:] == ["References", "License"]


@EACH
def test_bundle_has_what_the_model_zoo_asks_for(bundle: str) -> None:
    folder = ROOT / "bundles" / bundle
    assert all(file.stat().st_size <= 25 * 2**20 for file in folder.rglob("*") if file.is_file())
    configs = {"train", "evaluate", "inference", "multi_gpu_train"}
    assert configs <= {file.stem for file in (folder / "configs").glob("*.json")}
    for name in ("LICENSE", "docs/README.md", "configs/metadata.json", "configs/logging.conf", "models"):
        assert (folder / name).exists()
    assert (folder / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    train = json.loads((folder / "configs" / "train.json").read_text())
    assert {"dataset", "handlers", "trainer"} <= set(train["train"])
    assert {"bundle_root", "device", "network_def"} <= set(train)


@EACH
def test_metadata_is_true(bundle: str) -> None:
    meta = json.loads((ROOT / "bundles" / bundle / "configs" / "metadata.json").read_text())
    pins = dict(
        line.split("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if re.fullmatch(r"[\w.-]+==[\w.]+", line)
    )
    stated = {"monai": meta["monai_version"], "torch": meta["pytorch_version"], "numpy": meta["numpy_version"]}
    packages = {**stated, **meta["required_packages_version"]}
    assert packages.pop("monai-cxraug") == meta["version"] == __version__
    assert packages == {name: pins[name] for name in packages}
    assert meta["version"] in meta["changelog"]


def test_classes_of_the_metadata_are_those_of_the_data_set() -> None:
    meta = json.loads((ROOT / "bundles" / BUNDLES[0] / "configs" / "metadata.json").read_text())
    named = meta["network_data_format"]["outputs"]["pred"]["channel_def"]
    assert tuple(named[str(index)] for index in range(len(named))) == NIH_FINDINGS
