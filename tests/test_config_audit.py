"""Configurations of others run only when they are trusted, and what they would run is told without running it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from monai_cxraug.bundle_config import run_stage
from monai_cxraug.cli import main
from monai_cxraug.config_audit import audit, require_trust
from monai_cxraug.console import shown
from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.resources import copy_bundles, resource_root


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that one works in."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """A file that configurations make when they run."""
    return tmp_path / "ran"


def touching(marker: Path, **more: Any) -> dict[str, Any]:
    """A configuration whose run makes the marker."""
    return {
        "imports": ["$import pathlib"],
        "where": str(marker),
        "steps": 1,
        "bundle_root": ".",
        "run": ["$pathlib.Path(@where).write_text(str(@steps) + ' ' + str(@bundle_root))"],
        **more,
    }


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    return lines[0]


# --- whose it is ---


def test_ones_own_runs_without_a_question(project: Path, marker: Path, capsys) -> None:
    config = write(project / "mine" / "configs" / "train.json", touching(marker))
    assert main(["bundles", "run", str(config), "--set", "steps=7"]) == 0
    assert marker.read_text() == f"7 {project / 'mine'}"
    assert capsys.readouterr().err == ""
    marker.unlink()
    assert main(["bundles", "run", "mine/configs/train.json", "--set", "bundle_root=elsewhere"]) == 0
    assert marker.read_text() == "1 elsewhere"


def others(project: Path, tmp_path: Path, marker: Path) -> dict[str, list[str]]:
    """Ways to bring in what lies outside; arguments of the command."""
    foreign = write(tmp_path / "foreign" / "configs" / "train.json", touching(marker))
    own = write(project / "configs" / "train.json", touching(marker))
    (project / "link.json").symlink_to(foreign)
    (project / "folder").symlink_to(foreign.parent)
    overlay = write(tmp_path / "foreign" / "overlay.json", {"steps": 2})
    macro = write(project / "macro.json", {**touching(marker), "other": f"%{foreign}#run"})
    inner = write(project / "inner.json", {"part": f"%{macro}"})
    beside = write(project / "beside" / "train.json", touching(marker))
    (project / "beside" / "metadata.json").symlink_to(write(tmp_path / "metadata.json", {"version": "$1"}))
    return {
        "a path": [str(foreign)],
        "a way up": ["../foreign/configs/train.json"],
        "a way down and up": ["configs/../../foreign/configs/train.json"],
        "a link": ["link.json"],
        "a linked folder": ["folder/train.json"],
        "an overlay": [str(own), str(overlay)],
        "a macro": [str(macro)],
        "a macro in a macro": [str(own), str(inner)],
        "metadata": [str(beside)],
    }


WAYS = ("a path", "a way up", "a way down and up", "a link", "a linked folder", "an overlay", "a macro", "metadata")


@pytest.mark.parametrize("way", [*WAYS, "a macro in a macro"])
def test_others_are_refused_in_one_line(project: Path, tmp_path: Path, marker: Path, way: str, capsys) -> None:
    files = others(project, tmp_path, marker)[way]
    for more in ([], ["--dry-run"], ["--quiet"]):
        assert main(["bundles", "run", *files, *more]) == 2
        said = one_line(capsys)
        assert "outside of the package and of the working folder" in said
        assert "--trust" in said
        assert not marker.exists()


@pytest.mark.parametrize("way", ["a path", "a link", "an overlay", "a macro"])
def test_others_run_when_trusted_and_are_described_first(
    project: Path, tmp_path: Path, marker: Path, way: str, capsys
) -> None:
    files = others(project, tmp_path, marker)[way]
    assert main(["bundles", "run", *files, "--trust", "--quiet"]) == 0
    assert marker.exists()
    said = capsys.readouterr().err
    assert said.startswith("trusted: ")
    assert "imports  pathlib" in said
    assert "uses     pathlib.Path" in said


def test_a_prefix_of_the_name_is_not_the_folder(project: Path, tmp_path: Path, marker: Path, capsys) -> None:
    config = write(tmp_path / "project_too" / "train.json", touching(marker))
    assert main(["bundles", "run", str(config)]) == 2
    assert not marker.exists()


@pytest.mark.parametrize("common", ["/", "home", "temporary"])
def test_where_anything_may_lie_is_no_project(tmp_path: Path, marker: Path, monkeypatch, common: str) -> None:
    folder = Path("/") if common == "/" else tmp_path / common
    folder.mkdir(exist_ok=True)
    config = write(tmp_path / common / "train.json" if common != "/" else tmp_path / "train.json", touching(marker))
    monkeypatch.chdir(folder)
    if common != "/":
        require_trust(audit([config]), trusted=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "temporary"))
    with pytest.raises(ConfigError, match="outside"):
        require_trust(audit([config]), trusted=False)


def test_shipped_bundles_and_copies_of_them_are_ones_own(project: Path) -> None:
    for bundle in [*copy_bundles(project / "copies"), *(resource_root() / "bundles").iterdir()]:
        for config in sorted((bundle / "configs").glob("*.json")):
            found = audit([config])
            assert require_trust(found, trusted=False) == []
            assert found.opaque == []
    for config in sorted((resource_root() / "configs").glob("*.json")):
        assert require_trust(audit([config]), trusted=False) == []


# --- what is told ---

CONFIG = {
    "imports": ["$import torch", "$from monai_cxraug.keys import IMAGE as key", "$import os.path"],
    "rate": "$2 * @size + len(@names)",
    "names": "$[name.lower() for name in @part#names]",
    "part": {"_target_": "torch.nn.Linear", "in_features": "$torch.cuda.device_count()", "_requires_": "$print(1)"},
    "list": [{"_target_": "LoadImaged"}, {"deep": [{"_target_": "subprocess.check_output", "args": ["id"]}]}],
    "reference": "@part",
    "plain": "costs 5 $ and os.system",
    "hidden": "$__import__('o' + 's').system('id')",
    "lambda": "$lambda x: x.item() + (lambda y: shutil.rmtree(y))(x)",
    "part#layer#_target_": "antigravity.fly",
}


def test_everything_that_would_run_is_listed(project: Path) -> None:
    write(project / "logging.conf", "[handler_a]\nclass=evil.Handler\nargs=(open('x', 'w'),)\n")
    write(project / "metadata.json", {"version": "$os.getcwd()"})
    found = audit([write(project / "train.json", CONFIG)])
    assert found.files == [project / "train.json", project / "metadata.json"]
    assert found.imports == {"torch", "monai_cxraug.keys.IMAGE", "os.path"}
    assert found.targets == {"torch.nn.Linear", "LoadImaged", "subprocess.check_output", "antigravity.fly"}
    assert {"torch.cuda.device_count", "print", "os.getcwd", "__import__", "shutil.rmtree", "len"} <= found.names
    assert not {"name", "x", "y", "os.system", "_reference_"} & found.names
    assert found.opaque == ["__import__"]
    assert found.logging == ["handler_a class=evil.Handler", "handler_a args=(open('x', 'w'),)"]
    assert found.expressions["train.json#part#_requires_"] == "print(1)"
    assert len(found.expressions) == 10


def test_inspect_runs_nothing(project: Path, tmp_path: Path, marker: Path, capsys) -> None:
    files = others(project, tmp_path, marker)
    assert main(["bundles", "inspect", *files["a macro in a macro"]]) == 0
    said = capsys.readouterr().out
    assert "file     " + str(tmp_path / "foreign") in said
    assert "uses     pathlib.Path" in said
    assert main(["bundles", "inspect", *files["a path"], "--json"]) == 0
    (product,) = json.loads(capsys.readouterr().out)["products"]
    assert product["imports"] == ["pathlib"]
    assert "import pathlib" in product["expressions"].values()
    assert not marker.exists()


@pytest.mark.parametrize(
    "text",
    [
        "$" + "(" * 2000,
        "$" + "-" * 9000 + "1",
        "$import (",
        "$\0",
        "$lambda: (yield",
        "$'" + "a" * 20_000 + "'",
        "$" + "a." * 4000 + "b",
    ],
)
def test_expressions_that_cannot_be_read_are_not_passed_over(project: Path, text: str) -> None:
    found = audit([write(project / "train.json", {"a": text})])
    assert found.opaque or "a.a.a" in found.describe()
    assert len(found.describe().splitlines()) < 6


def test_a_listing_leaves_the_terminal_alone(project: Path, capsys) -> None:
    config = write(project / "train.json", {"a": {"_target_": "\x1b[2Jos.system\n\r\u202eevil"}, "b": "$'\x1b[0m'"})
    assert main(["bundles", "inspect", str(config)]) == 0
    said = capsys.readouterr().out
    assert "\\x1b[2Jos.system\\n\\r\\u202eevil" in said
    assert not {"\x1b", "\r", "\u202e"} & set(said)
    assert shown("é 흉부 ×") == "é 흉부 ×"


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("a.json", "[1]", "list"),
        ("a.json", "{", "readable configuration"),
        ("a.json", "[" * 5000, "readable configuration"),
        ("a.json", '{"a": ' + "9" * 5000 + "}", "readable configuration"),
        ("a.json", " " * (2**22 + 1), "at most"),
        ("a.yaml", "a: !!python/object/apply:os.getcwd []", "YAML"),
        ("a.yml", "a: &a [1]\nb: &b [" + "*a, " * 300 + "]\nc: [" + "*b, " * 400 + "]", "at most 100000 values"),
        ("a.txt", "{}", ".json, .yaml, .yml"),
        ("none.json", None, "check the path"),
        ("a.json", '{"a": "%none.json#a"}', "none.json"),
    ],
)
def test_files_that_are_no_configurations(project: Path, name: str, content: str | None, word: str) -> None:
    if content is not None:
        write(project / name, content)
    with pytest.raises(InputError) as caught:
        audit([name])
    assert word in str(caught.value)


def test_rings_and_chains_of_files(project: Path) -> None:
    (project / "round.json").symlink_to("round.json")
    with pytest.raises(InputError):
        audit(["round.json"])
    write(project / "a.json", {"a": "%b.json", "c": "%a.json#a"})
    write(project / "b.json", {"b": "%a.json"})
    assert len(audit(["a.json"]).files) == 2
    for number in range(60):
        write(project / f"{number}.json", {"next": f"%{number + 1}.json"})
    with pytest.raises(InputError, match="at most 50 files"):
        audit(["0.json"])


def test_macros_are_found_as_monai_finds_them(project: Path) -> None:
    """A line break before the path, a number sign within, capitals."""
    for name in ("b.json", "C.JSON", "d.yaml"):
        write(project / name, "a: 1" if name == "d.yaml" else {"a": 1})
    write(project / "a.json", {"x": "%\nb.json#a", "y": ["%C.JSON::a"], "z": "%d.yaml"})
    assert {path.name for path in audit(["a.json"]).files} == {"a.json", "b.json", "C.JSON", "d.yaml"}


# --- settings are no program ---


@pytest.mark.parametrize(
    "settings",
    [
        {"where": "$1"},
        {"where": "@steps"},
        {"where": "%other.json"},
        {"where": {"_target_": "os.getcwd"}},
        {"where": [[{"a": "$1"}]]},
        {"run#0": {"command": "touch"}, "run#0#_target_": "os.system"},
        {"part#_target_": "os.system"},
        {"part::_target_": "os.system"},
        {"+part#_mode_": "debug"},
        {"initialize": ["x"]},
        {"imports#0": "x"},
        {"finalize": ["x"]},
    ],
)
def test_a_setting_makes_nothing_run(project: Path, marker: Path, settings: dict[str, Any], capsys) -> None:
    content = touching(marker, part={"a": 1}, initialize=[])
    config = write(project / "train.json", content)
    with pytest.raises(ConfigError):
        run_stage(config, settings)
    words = [word for name, value in settings.items() for word in ("--set", f"{name}={json.dumps(value)}")]
    assert main(["bundles", "run", str(config), *words]) == 2
    assert "cxraug: error: " in one_line(capsys)
    assert not marker.exists()


def test_logging_of_a_configuration_is_not_applied(project: Path, marker: Path) -> None:
    evil = f"__import__('pathlib').Path('{marker}').touch()"
    sections = {"loggers": "keys=root", "handlers": "keys=a", "formatters": "keys=", "logger_root": "handlers=a"}
    sections["handler_a"] = f"class={evil}\nargs=()"
    logging = "\n".join(f"[{name}]\n{text}" for name, text in sections.items())
    write(project / "configs" / "logging.conf", logging)
    config = write(project / "configs" / "train.json", {"run": ["$1"]})
    assert main(["bundles", "run", str(config)]) == 0
    assert not marker.exists()


def test_a_configuration_without_a_run_is_told(project: Path, capsys) -> None:
    assert main(["bundles", "run", str(write(project / "a.json", {"steps": 1}))]) == 2
    assert "needs a key 'run'" in one_line(capsys)
    assert main(["bundles", "run", "a.json", "--set", "steps"]) == 2
    assert main(["bundles", "run", "a.json", "--set", "steps=!!python/name:os.system"]) == 2
