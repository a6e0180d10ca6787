"""The guard, the way out of a configuration, and the identity of its settings, on small configurations and on ours."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import monai.bundle
import pytest
import torch

from monai_cxraug.bundle_config import bundle_file, one_line_errors, refuse_active, run_stage
from monai_cxraug.errors import ConfigError, CxrAugError, InputError, find_cause
from monai_cxraug.networks.encoder_decoder import EncoderDecoder
from monai_cxraug.networks.infogan import InfoGenerator
from monai_cxraug.resources import resource_root

#: a small stage: its job writes the file ``out``, so that one sees whether it ran.
STAGE: dict[str, Any] = {
    "imports": [
        "$import pathlib",
        "$import types",
        "$import torch",
        "$from monai_cxraug.bundle_config import settings_key",
    ],
    "bundle_root": ".",
    "output_dir": "$@bundle_root + '/output'",
    "out": None,
    "manifest": None,
    "steps": 4,
    "rate": 0.5,
    "split": "train",
    "amp": True,
    "synthetic": [],
    "where": {},
    "seed": 0,
    "device": "cpu",
    "threads": 1,
    "section": {
        "optimizer": {
            "_target_": "torch.optim.SGD",
            "params": "$[torch.zeros(1, requires_grad=True)]",
            "lr": "@rate",
        },
        "transform": {"_target_": "Compose", "transforms": [{"_target_": "ScaleIntensityd", "keys": "image"}]},
    },
    "write": "$lambda: pathlib.Path(@out).write_text('ran')",
    "job": "$types.SimpleNamespace(run=@write)",
    "initialize": [{"_target_": "monai_cxraug.bundle_config.guard", "base": "stage.json", "required": ["out"]}],
    "run": [{"_target_": "monai_cxraug.bundle_config.run", "component": "job"}],
}

Run = Callable[..., bool]


@pytest.fixture
def stage(tmp_path: Path) -> Path:
    """The small stage as a file; its folder is named as a bundle's."""
    return write(tmp_path / "configs" / "stage.json", STAGE)


@pytest.fixture
def ran(stage: Path, tmp_path: Path) -> Run:
    """Runs the stage with overrides and an optional overlay file; tells whether the job ran."""

    def call(overlay: dict[str, Any] | None = None, **overrides: Any) -> bool:
        out = tmp_path / "out.txt"
        out.unlink(missing_ok=True)
        files = [stage] if overlay is None else [stage, write(stage.parent / "overlay.json", overlay)]
        run_stage(files, {"out": str(out), **overrides})
        return out.exists()

    return call


def write(path: Path, content: dict[str, Any]) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))
    return path


# --- keys ---


@pytest.mark.parametrize(
    ("overlay", "key", "hint"),
    [
        ({"stps": 3}, "stps", "did you mean 'steps'"),
        ({"section#optimzer": {}}, "section#optimzer", "did you mean 'optimizer'"),
        ({"section#optimizer#momentm": 0.9}, "section#optimizer#momentm", "did you mean 'momentum'"),
        ({"section#transform#transforms#0#key": "x"}, "section#transform#transforms#0#key", "did you mean 'keys'"),
        ({"section": {"optimizer": {"_target_": "torch.optim.SGD", "lrr": 1}}}, "optimizer#lrr", "did you mean 'lr'"),
        ({"job": {"_target_": "monai.data.Datset"}}, "job", "_target_ must exist; found 'monai.data.Datset'"),
        ({"job": {"_target_": "SupervisedTrainr"}}, "job", "_target_ must exist; found 'SupervisedTrainr'"),
    ],
)
def test_unknown_key_is_refused_at_every_depth(ran: Run, overlay: dict[str, Any], key: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ran(overlay)
    assert "stage.json key" in str(caught.value)
    assert key in str(caught.value)
    assert hint in str(caught.value)


def test_refusal_comes_before_anything_is_built_or_written(ran: Run, tmp_path: Path) -> None:
    before = set(tmp_path.rglob("*"))
    with pytest.raises(ConfigError):
        ran(output=str(tmp_path / "new"))
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("sectoin#optimizer#lr", "unknown key; found 'sectoin'; did you mean 'section'?"),
        ("section#optimzer#lr", "unknown key; found 'optimzer'; did you mean 'optimizer'?"),
        ("section::transform::transforms::7::keys", "unknown key; found '7'; known: 0"),
    ],
)
def test_id_that_leads_nowhere_is_named(ran: Run, key: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ran(**{key: 1})
    assert hint in str(caught.value)
    with pytest.raises(ConfigError, match=r"overlay\.json key"):
        ran({key: 1})


@pytest.mark.parametrize(
    "overlay",
    [
        {},
        {"steps": 5, "rate": 1, "amp": False, "synthetic": ["a"], "where": {"any": "key"}, "split": None},
        {"section#optimizer#momentum": 0.9},
        {"section#optimizer": {"_target_": "torch.optim.Adam", "params": "$[]", "betas": [0.0, 0.99]}},
        {"section#transform": {"_target_": "Compose", "transforms": {"_desc_": "x", "free": {"form": 1}}}},
        {"+where": {"resample": "area"}},
        {"rate": "$0.25 * 2", "steps": "$2 + 2", "device": "$'cpu'"},
        {"experiment_name": "what --tracking mlflow adds", "_meta_": {"any": "thing"}},
    ],
)
def test_known_keys_and_user_data_pass(ran: Run, overlay: dict[str, Any]) -> None:
    assert ran(overlay)


def test_override_is_refused_like_an_overlay(ran: Run) -> None:
    with pytest.raises(ConfigError, match=r"stage.json key 'stps': unknown key; .*did you mean 'steps'"):
        ran(stps=3)
    with pytest.raises(ConfigError, match=r"no such argument; .*did you mean 'momentum'"):
        ran(**{"section#optimizer#momentm": 3})


def test_missing_value_is_refused(stage: Path) -> None:
    with pytest.raises(ConfigError, match=r"stage.json key 'out': a value is required; found none; give --out VALUE"):
        run_stage(stage, {})


# --- values ---


@pytest.mark.parametrize(
    ("overrides", "rule"),
    [
        ({"steps": "abc"}, "must be a whole number; found 'abc'; the default is 4"),
        ({"steps": 2.5}, "must be a whole number; found 2.5"),
        ({"steps": True}, "must be a whole number; found True"),
        ({"rate": "fast"}, "must be a number; found 'fast'"),
        ({"split": 3}, "must be text; found 3"),
        ({"manifest": 2024}, "must be text; found 2024"),
        ({"output_dir": 2024}, "must be text; found 2024"),
        ({"amp": "yes"}, "must be true or false; found 'yes'"),
        ({"amp": 1}, "must be true or false; found 1"),
        ({"synthetic": "folder"}, "must be a list; found 'folder'"),
        ({"where": "resample=area"}, "must be a mapping; found 'resample=area'"),
        ({"seed": -1}, "must be a whole number from 0 to 4294967295; found -1"),
        ({"seed": 2**32}, "must be a whole number from 0"),
        ({"threads": 0}, "must be a whole number from 1 to 1024; found 0"),
        ({"device": "cuda9"}, "must be a device that is here; found 'cuda9'"),
    ],
)
def test_value_of_the_wrong_kind_is_refused(ran: Run, overrides: dict[str, Any], rule: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ran(**overrides)
    assert f"stage.json key {next(iter(overrides))!r}: {rule}" in str(caught.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_device_that_is_not_here_is_refused(ran: Run) -> None:
    with pytest.raises(ConfigError, match=r"key 'device': must be a device that is here; found 'cuda"):
        ran(device="cuda")


@pytest.mark.parametrize("value", ["$1+1", "@steps", "%file.json", ["x", "$y"], {"a": {"b": "@c"}}, {"_target_": "x"}])
def test_active_value_is_refused(ran: Run, value: Any) -> None:
    with pytest.raises(ConfigError, match=r"may not begin with|components are not allowed"):
        ran(where={"column": value})


def test_harmless_values_are_data() -> None:
    refuse_active({"a": ["x@y", "50 %", "a$", 1, None, {"b": ("c", True)}]}, "file")


# --- errors ---


def job(expression: str) -> dict[str, Any]:
    return {"write": f"$lambda: {expression}"}


def test_errors_of_components_are_told_apart(ran: Run, tmp_path: Path) -> None:
    missing = str(tmp_path / "none" / "file")
    with pytest.raises(InputError, match=f"{missing}: must be possible to read or write; found No such file"):
        ran(job(f"open({missing!r}, 'w')"))
    with pytest.raises(ConfigError, match=r"SGD: refuses an argument; found Invalid learning rate: -1.0"):
        ran({"job": "@section#optimizer"}, rate=-1.0)
    with pytest.raises(
        ConfigError, match=r"SGD: refuses an argument; found .* mend the settings that it takes as params"
    ):
        ran({"job": "@section#optimizer", "section#optimizer#momentum": "much"})
    with pytest.raises(RuntimeError, match="Failed to instantiate"):  # of another kind: no argument's fault for sure
        ran({"job": {"_target_": "torch.ones", "size": [-1]}})
    with pytest.raises(RuntimeError) as caught:  # a mistake of ours keeps its traceback
        ran(job("1 / 0"))
    assert find_cause(caught.value) is None
    with pytest.raises(RuntimeError) as caught:
        ran(job("int('x')"))
    assert not isinstance(caught.value, CxrAugError)


def test_full_disk_is_told_while_torch_saves(ran: Run, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(InputError, match="file system: must be possible to write a checkpoint"):
            ran(job(f"torch.save(torch.zeros(100_000), {str(tmp_path / 'model.pt')!r})"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_refusal_by_a_component_of_ours_without_our_error_is_a_mistake_of_ours(ran: Run) -> None:
    component = {"_target_": "monai_cxraug.labels.require_findings", "names": 3, "vocabulary": [], "where": ""}
    with pytest.raises(RuntimeError, match="Failed to instantiate"):
        ran({"job": component})


def test_file_trouble_that_was_only_being_handled_is_not_blamed() -> None:
    def stumble() -> None:
        try:
            raise FileNotFoundError(2, "No such file or directory", "somewhere")
        except FileNotFoundError:
            raise TypeError("a mistake") from None

    with pytest.raises(TypeError, match="a mistake"), one_line_errors():
        stumble()


def run_by_monai(stage: Path, **overrides: Any) -> None:
    """As ``python -m monai.bundle run`` does."""
    with pytest.warns(UserWarning, match="parsing config_file"):
        monai.bundle.run(config_file=str(stage), workflow_type=None, **overrides)


def test_by_monai_a_refusal_is_one_line_and_status_two(stage: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run_by_monai(stage, out="x", stps=3)
    assert caught.value.code == 2
    lines = capfd.readouterr().err.splitlines()
    assert lines[-1] == "error: stage.json key 'stps': unknown key; found 'stps'; did you mean 'steps'?"
    assert not any("Traceback" in line for line in lines)


def test_by_monai_a_failing_job_is_one_line_and_status_two(stage: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run_by_monai(stage, out=str(stage / "below" / "a file"))
    assert caught.value.code == 2
    assert capfd.readouterr().err.splitlines()[-1].startswith(f"error: {stage}/below/a file: must be possible to read")


def test_by_monai_an_interrupt_ends_quietly(stage: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run_by_monai(stage, out="x", write="$lambda: (_ for _ in ()).throw(KeyboardInterrupt())")
    assert caught.value.code == 130
    assert capfd.readouterr().err.splitlines()[-1] == "interrupted; the same command continues"


def test_from_python_an_interrupt_is_passed_on(ran: Run) -> None:
    with pytest.raises(KeyboardInterrupt):
        ran(job("(_ for _ in ()).throw(KeyboardInterrupt())"))


@pytest.mark.parametrize("name", ["stage.json", "stage.yaml", "stage.txt"])
@pytest.mark.parametrize("text", [None, "{not: [json", "[1, 2]"])
def test_unreadable_configuration_is_refused(tmp_path: Path, name: str, text: str | None) -> None:
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=rf"{name}: must be a .*configuration"):
        run_stage(path, {})


# --- run, nesting, identity ---


def test_component_is_closed_whatever_happens(ran: Run, tmp_path: Path) -> None:
    closing = {
        "run": [{"_target_": "monai_cxraug.bundle_config.run", "component": "job", "close": "section"}],
        "section": "$types.SimpleNamespace(close=lambda: pathlib.Path(@out).write_text('closed'))",
    }
    assert ran(closing)
    assert (tmp_path / "out.txt").read_text() == "closed"
    with pytest.raises(RuntimeError):
        ran({**closing, **job("1 / 0")})
    assert (tmp_path / "out.txt").read_text() == "closed"


def test_stage_within_a_stage_is_guarded_by_its_own_file(ran: Run, stage: Path, tmp_path: Path) -> None:
    inner = {**STAGE, "other": 1, "initialize": [{**STAGE["initialize"][0], "base": "inner.json"}]}
    path = write(stage.parent / "inner.json", inner)
    result = tmp_path / "inner.txt"
    call = "__import__('monai_cxraug.bundle_config').bundle_config.run_stage"
    ran(job(f"{call}({str(path)!r}, {{'out': {str(result)!r}, 'other': 2}})"))
    assert result.exists()
    with pytest.raises(ConfigError, match=r"inner\.json key 'othr'.*did you mean 'other'"):
        ran(job(f"{call}({str(path)!r}, {{'out': {str(result)!r}, 'othr': 2}})"))


@pytest.fixture
def key_of(ran: Run, tmp_path: Path) -> Callable[..., str]:
    """The settings key of a run with these overrides."""
    keyed = {
        "write": "$lambda: pathlib.Path(@out).write_text(@split)",
        "split": "$settings_key()",
    }

    def call(overlay: dict[str, Any] | None = None, **overrides: Any) -> str:
        ran({**keyed, **(overlay or {})}, **overrides)
        return (tmp_path / "out.txt").read_text()

    return call


def test_settings_key_ignores_where_and_how_fast(key_of: Callable[..., str], tmp_path: Path) -> None:
    plain = key_of()
    assert len(plain) == 16
    assert key_of() == plain
    assert key_of(output_dir="elsewhere", bundle_root="b", device="cpu", threads=2) == plain


def test_settings_key_tells_settings_apart(key_of: Callable[..., str]) -> None:
    variants: list[dict[str, Any]] = [{}, {"steps": 5}, {"rate": 0.1}, {"where": {"a": "b"}}, {"seed": 1}]
    keys = [key_of(**variant) for variant in variants]
    keys.append(key_of({"section#optimizer#momentum": 0.9}))
    assert len(set(keys)) == len(keys)


def test_settings_key_follows_the_manifest_and_not_its_path(key_of: Callable[..., str], tmp_path: Path) -> None:
    for name, text in (("a", "same"), ("b", "same"), ("c", "other")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.csv").write_text(text)
    keys = [key_of(manifest=str(tmp_path / name / "manifest.csv")) for name in "abc"]
    assert keys[0] == keys[1] == key_of(manifest=str(tmp_path / "a"))
    assert keys[2] != keys[0]


# --- the configurations that we ship ---

REQUIRED = {
    "prepare": {"source": "phantom", "out": "x"},
    "filter": {"manifest": "x", "out": "y"},
    "run_experiment": {"experiment": "x", "out": "y"},
    "evaluate": {"run_folder": "x", "manifest": "y", "out": "z"},
    "report": {"run_folder": "x"},
    "study_networks": {"manifest": "x", "out": "y"},
    "audit": {"synthetic": "x", "manifest": "y"},
    "reidentifier": {"manifest": "x", "output_dir": "y"},
}
BUNDLES = (
    "chest_xray_classification",
    "chest_xray_pggan",
    "chest_xray_distortion",
    "image_superresolution",
    "image_infogan",
)
#: those that learn the images of a finding.
GENERATORS = (BUNDLES[1], BUNDLES[4])
STAGES = ("train", "evaluate", "inference")


def shipped() -> list[tuple[Path, dict[str, Any]]]:
    root = resource_root()
    given = {"manifest": "x", "finding": "Edema", "n": 2, "synthetic_set": "y"}
    stages = [
        (path, {name: value for name, value in given.items() if name in json.loads(path.read_text())})
        for path in (bundle_file(bundle, stage) for bundle in BUNDLES for stage in STAGES)
    ]
    return stages + [(root / "configs" / f"{name}.json", values) for name, values in REQUIRED.items()]


@pytest.mark.parametrize(("path", "given"), shipped(), ids=lambda value: value.stem if isinstance(value, Path) else "")
def test_shipped_configuration_passes_its_guard_and_refuses_a_misspelling(path: Path, given: dict[str, Any]) -> None:
    run_stage(path, {**given, "run": []})
    key = sorted(name for name in given)[0]
    with pytest.raises(ConfigError, match=rf"{path.name} key '{key}x': unknown key; .*did you mean '{key}'"):
        run_stage(path, {**given, f"{key}x": 1, "run": []})


@pytest.mark.parametrize(
    ("bundle", "key", "hint"),
    [
        (BUNDLES[0], "train#trainer#max_epoch", "SupervisedTrainer has no such argument.*'max_epochs'"),
        (BUNDLES[0], "train#dataset#spilt", "MixedDataset has no such argument.*'split'"),
        (BUNDLES[1], "train#trainer#epoch_lenght", "ProgressiveGanTrainer has no such argument.*'epoch_length'"),
        (BUNDLES[1], "train#handlers#0#evry", "Resume has no such argument.*'every'"),
        (BUNDLES[1], "network_def#fmapmax", "ProgressiveGenerator has no such argument.*'fmap_max'"),
        (
            BUNDLES[2],
            "train#trainer#adversarial_wieght",
            "DistortionTrainer has no such argument.*'adversarial_weight'",
        ),
        (BUNDLES[2], "network_def#skip", "EncoderDecoder has no such argument.*'skips'"),
        (BUNDLES[4], "network_def#catgories", "InfoGenerator has no such argument.*'categories'"),
        (BUNDLES[4], "side_task#wieght", "CodeTask has no such argument.*'weight'"),
        (BUNDLES[4], "schedule#scales", "infogan_schedule has no such argument.*'scale'"),
    ],
)
def test_shipped_components_refuse_misspelt_arguments(bundle: str, key: str, hint: str, tmp_path: Path) -> None:
    given = {"manifest": "x", "output_dir": str(tmp_path / "out"), key: 3}
    with pytest.raises(ConfigError, match=hint):
        run_stage(bundle_file(bundle, "train"), {**given, **({"finding": "Edema"} if bundle in GENERATORS else {})})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("bundle", BUNDLES)
def test_smoke_overlay_changes_known_keys_only(bundle: str) -> None:
    given = {"manifest": "x", "run": [], **({"finding": "Edema"} if bundle in GENERATORS else {})}
    run_stage([bundle_file(bundle, "train"), bundle_file(bundle, "smoke")], given)


def test_generator_that_is_verified_is_the_one_that_is_trained() -> None:
    """Metadata, the default training and the network of ``verify_net_in_out`` agree."""
    train, inference, meta = (
        json.loads(bundle_file(BUNDLES[1], name).read_text()) for name in ("train", "inference", "metadata")
    )
    names = ("resolution", "latent_size", "fmap_base", "fmap_max")
    assert {name: train[name] for name in names} == {name: inference["network_def"][name] for name in names}
    formats = meta["network_data_format"]
    assert formats["inputs"]["image"]["num_channels"] == train["latent_size"]
    assert formats["outputs"]["pred"]["spatial_shape"] == [train["resolution"]] * 2


def test_infogan_that_is_verified_is_the_one_that_is_trained() -> None:
    train, inference, meta = (
        json.loads(bundle_file(BUNDLES[4], name).read_text()) for name in ("train", "inference", "metadata")
    )
    network = InfoGenerator(**{key: v for key, v in inference["network_def"].items() if not key.startswith("_")})
    names = ("resolution", "categories", "continuous", "width", "most")
    assert {name: train[name] for name in names} == {name: network.settings[name] for name in names}
    assert train["latent_size"] == network.settings["noise"]
    formats = meta["network_data_format"]
    assert formats["inputs"]["image"]["num_channels"] == network.latent_size
    assert formats["outputs"]["pred"]["spatial_shape"] == [train["resolution"]] * 2


def test_distorter_that_is_verified_is_the_one_that_is_trained() -> None:
    """The default training is that of the network's own defaults, which ``verify_net_in_out`` builds."""
    train, inference, meta = (
        json.loads(bundle_file(BUNDLES[2], name).read_text()) for name in ("train", "inference", "metadata")
    )
    settings = EncoderDecoder(**{key: v for key, v in inference["network_def"].items() if not key.startswith("_")})
    assert {
        name: train[name] for name in train["network_def"] if name != "_target_"
    }.items() <= settings.settings.items()
    assert meta["network_data_format"]["inputs"]["image"]["spatial_shape"] == [f"{2 * settings.stride}*n"] * 2
