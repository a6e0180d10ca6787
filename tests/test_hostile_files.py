"""Live payloads: files that run code when they are unpickled or evaluated, given to every place that takes a file."""

from __future__ import annotations

import ast
import io
import json
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from monai_cxraug.artifacts import load_json, write_json
from monai_cxraug.calibration import read_calibration
from monai_cxraug.cli import main
from monai_cxraug.data.manifest import Manifest, make_columns, read_manifest
from monai_cxraug.data.pack import Pack, write_pack
from monai_cxraug.data.sources.declaration import read_declaration
from monai_cxraug.data.sources.tables import read_table
from monai_cxraug.errors import CxrAugError
from monai_cxraug.experiments.declaration import load_experiment
from monai_cxraug.experiments.plan import read_plan
from monai_cxraug.handlers.resume import read_checkpoint
from monai_cxraug.networks.classifiers import Classifier
from monai_cxraug.networks.esrgan_weights import read_public
from monai_cxraug.networks.feature_layers import load_features
from monai_cxraug.networks.pretrained import fill, read_state
from monai_cxraug.networks.weights import SCHEMA, load_model, save_model
from monai_cxraug.predictions import read_predictions
from monai_cxraug.reporting.records import load_results
from monai_cxraug.study import distances
from monai_cxraug.study.files import Study, read_answers
from monai_cxraug.study.learned import Ruler
from monai_cxraug.study.serving import export_answers
from monai_cxraug.synthesis.resolvers import Resolver

ROOT = Path(__file__).resolve().parents[1]
FINDINGS = ("Edema", "Mass")


class Attack:
    """Writes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.marker,)  # type: ignore[return-value]


# --- payloads ---


def plain_pickle(path: Path, marker: Path) -> None:
    path.write_bytes(pickle.dumps(Attack(marker)))


def torch_zip(path: Path, marker: Path) -> None:
    document = {"schema": SCHEMA, "kind": "classifier", "settings": {}, "weights": {}, "about": Attack(marker)}
    torch.save({**document, "weight": torch.zeros(1), "resume": {"schema": "cxraug.checkpoint/1"}}, path)


def torch_legacy(path: Path, marker: Path) -> None:
    torch.save({"schema": SCHEMA, "about": Attack(marker)}, path, _use_new_zipfile_serialization=False)


def torch_tar(path: Path, marker: Path) -> None:
    with tarfile.open(path, "w") as archive:
        for name in ("storages", "tensors", "pickle"):
            content = pickle.dumps(Attack(marker))
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def torch_script(path: Path, marker: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("model/constants.pkl", "model/data.pkl"):
            archive.writestr(name, pickle.dumps(Attack(marker)))
        archive.writestr("model/version", "6\n")


def torch_packed(path: Path, marker: Path) -> None:
    """A checkpoint whose one tensor is zeros, deflated: 8 kB that want 8 MB."""
    plain = io.BytesIO()
    torch.save({"weight": torch.zeros(2**21)}, plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in source.namelist():
            archive.writestr(name, source.read(name))
    assert path.stat().st_size < 2**15


def torch_lying(path: Path, marker: Path) -> None:
    """A checkpoint whose directory says that each member has two thousand million bytes."""
    torch.save({"weight": torch.zeros(4)}, path)
    content = bytearray(path.read_bytes())
    place = content.find(b"PK\x01\x02")
    while place >= 0:
        content[place + 24 : place + 28] = (2**31).to_bytes(4, "little")
        place = content.find(b"PK\x01\x02", place + 4)
    path.write_bytes(content)


def numpy_objects(path: Path, marker: Path) -> None:
    with path.open("wb") as stream:
        np.save(stream, np.array([Attack(marker)], dtype=object), allow_pickle=True)


def numpy_archive(path: Path, marker: Path) -> None:
    with path.open("wb") as stream:
        np.savez(stream, images=np.array([Attack(marker)], dtype=object))


def numpy_lying(path: Path, marker: Path) -> None:
    header = "{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000, 1000, 1000)}"
    path.write_bytes(b"\x93NUMPY\x01\x00" + (len(header) + 1).to_bytes(2, "little") + header.encode() + b"\n")


def yaml_object(path: Path, marker: Path) -> None:
    path.write_text(
        f"name: !!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path ['{marker}']]\n"
    )


def expression(path: Path, marker: Path) -> None:
    text = f"$__import__('pathlib').Path({str(marker)!r}).touch()"
    path.write_text(json.dumps({"name": text, "title": text, "_target_": "os.system", "command": f"touch {marker}"}))


def huge_header(path: Path, marker: Path) -> None:
    """A safetensors file whose header claims to be larger than any disk."""
    path.write_bytes((2**63 - 1).to_bytes(8, "little") + b'{"a":1}')


def deep(path: Path, marker: Path) -> None:
    path.write_text("[" * 1_200)


def long_number(path: Path, marker: Path) -> None:
    path.write_text('{"schema": ' + "9" * 10_000 + "}")


def bomb(path: Path, marker: Path) -> None:
    """Nine lines of YAML that stand for ten thousand million values."""
    rows = [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 10) if k else 'ha'}]" for k in range(10)]
    path.write_text("\n".join(rows))


def merging_bomb(path: Path, marker: Path) -> None:
    """The same by merged keys, which the loader itself would copy."""
    rows = [f"a{k}: &a{k} {{<<: [{', '.join([f'*a{k - 1}'] * 10)}]}}" if k else "a0: &a0 {x: 1}" for k in range(10)]
    path.write_text("\n".join(rows))


PICKLES = (plain_pickle, torch_zip, torch_legacy, torch_tar, torch_script, torch_packed, torch_lying)
ARRAYS = (plain_pickle, numpy_objects, numpy_archive, numpy_lying)
TEXTS = (plain_pickle, yaml_object, expression, deep, long_number, bomb, merging_bomb)
Payload = Callable[[Path, Path], None]


@pytest.mark.parametrize("payload", [plain_pickle, torch_zip, torch_legacy, numpy_objects])
def test_payloads_are_live(tmp_path: Path, payload: Payload) -> None:
    """What follows shows nothing unless these do harm where nobody takes care."""
    path, marker = tmp_path / "payload", tmp_path / "ran"
    payload(path, marker)
    if payload is numpy_objects:
        np.load(path, allow_pickle=True)
    elif payload is plain_pickle:
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    assert marker.exists()


# --- what Python calls ---


def refused(call: Callable[[Path], object], path: Path, marker: Path) -> None:
    """It ends in one line of ours, names the file's folder at least, and nothing ran."""
    with pytest.raises(CxrAugError) as caught:
        call(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 2000
    assert not marker.exists()


def _lpips(path: Path) -> object:
    net = SimpleNamespace(state_dict=lambda: {"slice1.0.weight": 0})
    package = SimpleNamespace(LPIPS=lambda **_: SimpleNamespace(eval=lambda: SimpleNamespace(net=net)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distances, "import_module", lambda _: package)
        return distances._load_lpips("alex", path)


def _fill(path: Path) -> object:
    body = SimpleNamespace(state_dict=dict)
    return fill(SimpleNamespace(settings={"architecture": "densenet121"}, body=body), path, "torchvision")  # type: ignore[arg-type]


#: every function that opens a file of tensors.
TENSOR_PLACES: dict[str, Callable[[Path], object]] = {
    "a model": load_model,
    "a classifier for distances": lambda path: Ruler.load(f"name={path}"),
    "a network of features": load_features,
    "a super-resolver": Resolver.load,
    "public ESRGAN weights": read_public,
    "pretrained weights": _fill,
    "a state dict": read_state,
    "LPIPS": _lpips,
    "a checkpoint": read_checkpoint,
}


@pytest.mark.parametrize("payload", PICKLES)
@pytest.mark.parametrize("place", TENSOR_PLACES)
def test_tensor_files(tmp_path: Path, place: str, payload: Payload) -> None:
    path = tmp_path / "given.pt"
    payload(path, tmp_path / "ran")
    if place == "a checkpoint" and payload in (torch_packed, torch_lying):
        pytest.skip("a run's own file, which is not of others")
    refused(TENSOR_PLACES[place], path, tmp_path / "ran")


@pytest.mark.parametrize("payload", [*PICKLES, huge_header])
def test_safetensors(tmp_path: Path, payload: Payload) -> None:
    path = tmp_path / "given.safetensors"
    payload(path, tmp_path / "ran")
    refused(read_state, path, tmp_path / "ran")


def _pack(path: Path) -> object:
    manifest = Manifest(make_columns([{"image": "a.png", "source": "real"}]), (), np.zeros((1, 0), np.float32))
    write_pack(path.parent / "made", np.zeros((1, 4, 4), np.uint8), ["a.png"])
    (path.parent / "made" / "pack.json").replace(path.parent / "pack.json")
    return Pack(path.parent, manifest)


@pytest.mark.parametrize("payload", ARRAYS)
def test_arrays(tmp_path: Path, payload: Payload) -> None:
    payload(tmp_path / "pack.npy", tmp_path / "ran")
    refused(_pack, tmp_path / "pack.npy", tmp_path / "ran")


#: every function that opens a document, and the name that the file has there.
TEXT_PLACES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "an experiment": ("given.yaml", load_experiment),
    "a declaration": ("given.yaml", read_declaration),
    "a calibration": ("calibration.json", read_calibration),
    "any artifact": ("given.json", lambda path: dict(load_json(path)) and refuse_all(path)),
    "a plan": ("plan.json", lambda path: read_plan(path.parent)),
    "results": ("results.json", lambda path: load_results(path.parent)),
    "a study": ("study.json", lambda path: Study.load(path.parent)),
    "answers": ("answers.csv", lambda path: read_answers(path.parent)),
    "a manifest": ("manifest.csv", read_manifest),
    "predictions": ("predictions.csv", read_predictions),
    "a Parquet table": ("given.parquet", read_table),
    "a database": ("answers.sqlite", lambda path: export_answers(path, path.parent / "out")),
}


def refuse_all(path: Path) -> None:
    """A document that can be read is refused by who looks for a schema."""
    raise CxrAugError(path, "readable")


@pytest.mark.parametrize("payload", TEXTS)
@pytest.mark.parametrize("place", TEXT_PLACES)
def test_documents(tmp_path: Path, place: str, payload: Payload) -> None:
    name, call = TEXT_PLACES[place]
    payload(tmp_path / name, tmp_path / "ran")
    if name == "manifest.csv":
        payload(tmp_path / "manifest.json", tmp_path / "ran")
    refused(call, tmp_path / name, tmp_path / "ran")


# --- settings of a model file ---


def model_of(path: Path, **document: Any) -> Path:
    torch.save({"schema": SCHEMA, "kind": "esrgan", "settings": {}, "weights": {}, "about": {}, **document}, path)
    return path


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("esrgan", {"blocks": 10**9, "features": 8, "growth": 8}),
        ("esrgan", {"features": 10**5, "growth": 10**4}),
        ("classifier", {"outputs": 10**9, "architecture": "small_cnn"}),
        ("pggan", {"resolution": 64, "fmap_base": 10**6, "fmap_max": 10**4}),
        ("distortion", {"width": -5}),
        ("distortion", {"channels": "$1"}),
        ("classifier", {"outputs": [1], "architecture": {}}),
        ("pggan", {1: 2}),
        ("infogan", []),
    ],
)
def test_a_number_in_a_small_file_makes_no_large_network(tmp_path: Path, kind: str, settings: Any) -> None:
    path = model_of(tmp_path / "model.pt", kind=kind, settings=settings, weights={"a": torch.zeros(3)})
    refused(load_model, path, tmp_path / "ran")
    if settings in (
        {"outputs": 10**9, "architecture": "small_cnn"},
        {"resolution": 64, "fmap_base": 10**6, "fmap_max": 10**4},
    ):
        with pytest.raises(CxrAugError, match="found 3 numbers for one of more than"):  # before any of it is made
            load_model(path)


def test_a_kind_that_is_no_text_is_not_written_out(tmp_path: Path) -> None:
    nested: Any = ()
    for _ in range(40):
        nested = (nested, nested)  # a few bytes each; as text, a million million
    refused(load_model, model_of(tmp_path / "model.pt", kind=nested), tmp_path / "ran")


# --- what people type ---


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """A folder with a manifest and a pack of eight images."""
    rows = [
        {"image": f"{k}.png", "patient_id": f"P{k}", "split": ("train", "val")[k % 2], "source": "real"}
        for k in range(8)
    ]
    labels = np.tile(np.array([[1, 0], [0, 1]], np.float32), (4, 1))
    folder = tmp_path / "prepared"
    write_pack(folder, np.zeros((8, 8, 8), np.uint8), [row["image"] for row in rows])
    Manifest(make_columns(rows), FINDINGS, labels, {"name": "made for a test"}).write(folder)
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A classifier in a folder of its own."""
    about = {"findings": list(FINDINGS), "size": 8, "patients_seen": ["Q"]}
    save_model(tmp_path / "model" / "model.pt", "classifier", Classifier(2, "small_cnn"), about)
    return tmp_path / "model"


#: commands that take a file of tensors as EVIL; DATA is a prepared set, OUT a folder.
TENSOR_COMMANDS = (
    "predict EVIL --images DATA --out OUT",
    "calibrate EVIL --manifest DATA/manifest.csv",
    "sample EVIL --finding Edema --n 2 --out OUT",
    "enlarge --images DATA --model EVIL --out OUT",
    "enlarge DATA --model EVIL --out OUT",
    "study networks DATA --feature-network EVIL --out OUT --count 1 --steps 1 --size 8",
    "pacs classify EVIL --url https://localhost:1/dicom-web --query Modality=DX --out OUT --patience 0",
)


def type_in(line: str, evil: Path, tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> str:
    words = {"EVIL": str(evil), "DATA": str(data), "OUT": str(tmp_path / "out")}
    for word, path in words.items():
        line = line.replace(word, path)
    assert main(line.split()) == 2
    said = capsys.readouterr().err
    last = said.strip().splitlines()[-1]
    assert last.startswith("cxraug: error: ")
    assert "Traceback" not in said
    assert not (tmp_path / "ran").exists()
    return last


@pytest.mark.parametrize("line", TENSOR_COMMANDS)
def test_commands_that_take_tensors(tmp_path: Path, prepared: Path, line: str, capsys) -> None:
    torch_zip(tmp_path / "evil.pt", tmp_path / "ran")
    assert "evil.pt" in type_in(line, tmp_path / "evil.pt", tmp_path, prepared, capsys)


def test_a_folder_of_the_model_kind(tmp_path: Path, prepared: Path, capsys) -> None:
    """A cell of a run or a bundle is searched for its file; and the calibration beside a sound model is read too."""
    evil = tmp_path / "cell"
    (evil / "models").mkdir(parents=True)
    plain_pickle(evil / "models" / "model.pt", tmp_path / "ran")
    assert "model.pt" in type_in(TENSOR_COMMANDS[0], evil, tmp_path, prepared, capsys)


@pytest.mark.parametrize("payload", [plain_pickle, long_number])
def test_a_calibration_beside_a_sound_model(
    tmp_path: Path, prepared: Path, model: Path, payload: Payload, capsys
) -> None:
    payload(model / "calibration.json", tmp_path / "ran")
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(prepared / "a.png")
    line = "predict EVIL --images DATA/a.png --out OUT"
    assert "calibration.json" in type_in(line, model, tmp_path, prepared, capsys)


@pytest.mark.parametrize("payload", [numpy_objects, numpy_archive])
@pytest.mark.parametrize(
    "line", ["histogram DATA --out OUT/a.svg", "filter DATA --out OUT", "study build DATA --out OUT"]
)
def test_commands_that_take_a_pack(tmp_path: Path, prepared: Path, line: str, payload: Payload, capsys) -> None:
    payload(prepared / "pack.npy", tmp_path / "ran")
    assert "pack.npy" in type_in(line, prepared, tmp_path, prepared, capsys)


#: commands that take a folder or file of texts as EVIL, and what it is called there.
TEXT_COMMANDS = (
    ("run EVIL --out OUT", "given.yaml"),
    ("plan EVIL --out OUT", "given.yaml"),
    ("report EVIL", "results.json"),
    ("evaluate EVIL --manifest DATA/manifest.csv --out OUT", "plan.json"),
    ("study serve EVIL --answers OUT", "study.json"),
    ("study report EVIL --answers OUT --out OUT", "study.json"),
    ("study export EVIL --out OUT", "answers.sqlite"),
    ("prepare external --images DATA --finding Edema --declaration EVIL --out OUT", "given.yaml"),
    ("prepare table --images DATA --labels EVIL --out OUT", "given.parquet"),
    ("train EVIL --out OUT", "manifest.csv"),
    ("pacs export EVIL --out OUT", "manifest.csv"),
)


@pytest.mark.parametrize("payload", [yaml_object, expression])
@pytest.mark.parametrize(("line", "name"), TEXT_COMMANDS)
def test_commands_that_take_documents(
    tmp_path: Path, prepared: Path, line: str, name: str, payload: Payload, capsys
) -> None:
    evil = tmp_path / "evil" / name
    evil.parent.mkdir()
    payload(evil, tmp_path / "ran")
    if name == "manifest.csv":
        payload(evil.with_suffix(".json"), tmp_path / "ran")
    type_in(line, evil if name.startswith("given") else evil.parent, tmp_path, prepared, capsys)


@pytest.mark.parametrize("cell", ["../../escaped", "/tmp/escaped", "a/../../../escaped", "..\\escaped", "C:escaped"])
def test_a_run_of_others_writes_nothing_elsewhere(tmp_path: Path, cell: str) -> None:
    run = tmp_path / "run"
    experiment = {
        "name": "x",
        "data": {"train": {"manifest": "m"}, "validation": {"manifest": "m"}},
        "findings": ["Edema"],
        "arms": ["plain", "gan"],
        "seeds": [0],
        "endpoint": {"arm": "gan", "reference": "plain", "finding": "Edema"},
    }
    one = {"id": cell, "arm": "plain", "fraction": 1.0, "ratio": None, "seed": 0, "counts": {}, "synthetic": []}
    document = {"name": "x", "experiment": experiment, "data": {}, "classes": [], "generators": [], "synthetic": []}
    write_json(run / "plan.json", "cxraug.plan/2", {**document, "cells": [{**one, "id": "fine"}]})
    assert read_plan(run).cells[0].id == "fine"
    write_json(run / "plan.json", "cxraug.plan/2", {**document, "cells": [one]})
    with pytest.raises(CxrAugError, match="names must lead below the folder"):
        read_plan(run)


def test_terminals_are_not_told_what_to_do(tmp_path: Path, capsys) -> None:
    """A file's name may hold what clears a screen or hides a line; an error writes it out."""
    assert main(["report", str(tmp_path / "\x1b[2Jrun")]) == 2
    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert "\\x1b[2Jrun" in said


# --- experiments are data ---

EXPERIMENT = """
name: x
data: {train: {manifest: m}, validation: {manifest: m}}
findings: [Edema]
arms: [plain, gan]
seeds: [0]
endpoint: {arm: gan, reference: plain, finding: Edema}
"""


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("title: $__import__('os').system('touch MARKER')", "may not begin with"),
        ("title: '@data'", "may not begin with"),
        ("title: '%other.json#a'", "may not begin with"),
        ("title: !!python/object/apply:os.system ['touch MARKER']", "YAML"),
        ("title: !!python/name:os.system", "YAML"),
        ("title: ${HOME}", "only ${CXRAUG_DATA} is substituted"),
        ("title: ${CXRAUG_DATA:-$(touch MARKER)}", "only ${CXRAUG_DATA} is substituted"),
        ("budget: {classifier: {network: {_target_: os.system, command: touch MARKER}}}", "components are not allowed"),
        ("budget: {classifier: {'initialize#0#_target_': os.system}}", "unknown key"),
        ("budget: {classifier: {weights: '$1'}}", "may not begin with"),
        ("published: [{_target_: os.system}]", "components are not allowed"),
        ("title: 2026-02-31", "YAML"),
        ("title: &a [*a]", "alias"),
    ],
)
def test_experiments_never_evaluate(tmp_path: Path, monkeypatch, line: str, word: str) -> None:
    monkeypatch.setenv("CXRAUG_DATA", "data")
    marker = tmp_path / "ran"
    path = tmp_path / "given.yaml"
    path.write_text(EXPERIMENT)
    load_experiment(path)
    path.write_text(EXPERIMENT + line.replace("MARKER", str(marker)) + "\n")
    with pytest.raises(CxrAugError) as caught:
        plan_of(path)
    assert word in str(caught.value)
    assert not marker.exists()
    setting = line.partition(":")[0] + "=" + line.partition(":")[2].replace("MARKER", str(marker)).strip()
    path.write_text(EXPERIMENT)
    with pytest.raises(CxrAugError):
        plan_of(path, [setting])
    assert not marker.exists()


def plan_of(path: Path, settings: list[str] | None = None) -> None:
    """Read an experiment as far as its keys are looked at."""
    from monai_cxraug.experiments.work import check_budget

    check_budget(load_experiment(path, settings or []))


# --- what runs beside ---


def test_a_federations_job_of_others_is_not_built(tmp_path: Path, monkeypatch, capsys) -> None:
    """``apps/nvflare/collect_model.py`` builds the network that a job describes, and reads the simulator's weights."""
    found = spec_from_file_location("collect_model", ROOT / "apps" / "nvflare" / "collect_model.py")
    assert found is not None
    assert found.loader is not None
    collecting = module_from_spec(found)
    found.loader.exec_module(collecting)
    marker, job, space = tmp_path / "ran", tmp_path / "job", tmp_path / "space"
    network = job / "server" / "bundle" / "configs" / "network.json"
    network.parent.mkdir(parents=True)
    expression(network, marker)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(SystemExit) as caught:
        collecting.main([str(job), str(space), "--out", str(tmp_path / "model.pt")])
    assert caught.value.code == 2
    assert "--trust" in capsys.readouterr().err
    weights = space / collecting._GLOBAL
    weights.parent.mkdir(parents=True)
    for payload in PICKLES:
        payload(weights, marker)
        refused(collecting._read_weights, weights, marker)


# --- the house ---


def calls(tree: ast.AST) -> list[tuple[str, ast.Call]]:
    return [(ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]


SOURCES = [
    file
    for folder in ("monai_cxraug", "apps", "scripts")
    for file in sorted((ROOT / folder).rglob("*.py"))
    if "_resources" not in file.parts
]
# ``scripts/mutants.py`` may run code: ours, broken on purpose
SHELLS = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "pty.spawn", "os.execl"}
#: pickles that our own processes hand each other through pipes that nobody else holds.
PIPES = {"monai_cxraug/data/decoding.py", "monai_cxraug/handlers/measuring.py"}


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_shell_and_nothing_unpickled(file: Path) -> None:
    for name, call in calls(ast.parse(file.read_text(encoding="utf-8"))):
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        assert name not in SHELLS
        assert name not in {"eval", "exec", "compile"} or str(file.relative_to(ROOT)) == "scripts/mutants.py"
        assert name not in {"yaml.load", "yaml.unsafe_load", "yaml.full_load"}
        assert given.get("shell") != "True" or name == "shtab.complete"
        assert name not in {"torch.load", "torch.jit.load"} or given.get("weights_only") == "True"
        assert name != "np.load" or given.get("allow_pickle") == "False"
        assert name not in {"pickle.load", "pickle.loads"} or str(file.relative_to(ROOT)) in PIPES
        assert name not in {"tarfile.open", "shutil.unpack_archive"}
        assert not name.endswith(".extractall")


def test_shipped_configurations_load_no_checkpoint_but_weights() -> None:
    for file in [*(ROOT / "bundles").rglob("*.json"), *(ROOT / "configs").rglob("*.json")]:
        text = file.read_text(encoding="utf-8")
        assert "torch.load" not in text
        assert "pickle" not in text
        assert '"CheckpointLoader"' not in text or "weights_only" in text
