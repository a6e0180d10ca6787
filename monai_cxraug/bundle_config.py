"""Bundle configurations: refuse what no stage knows, run a stage, say errors in one line.

MONAI accepts any misspelt key or override silently. Every configuration of ours therefore begins with :func:`guard`,
which works under plain ``python -m monai.bundle run`` as well as from Python.
"""

from __future__ import annotations

import gc
import inspect
import json
import logging
import os
import re
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from pydoc import locate
from typing import Any, cast

import torch
import yaml
from monai.bundle import ConfigParser, ConfigWorkflow
from monai.bundle.utils import DEFAULT_MLFLOW_SETTINGS

from monai_cxraug.artifacts import content_hash, file_hash
from monai_cxraug.errors import ConfigError, CxrAugError, InputError, find_cause, nearest
from monai_cxraug.resources import resource_root
from monai_cxraug.tracking import fit_tracking, without_tracking

#: keys of a component that are not arguments of its target.
_COMPONENT_KEYS = frozenset({"_target_", "_disabled_", "_requires_", "_desc_", "_mode_"})
#: keys that MONAI adds on its own account: metadata, and what ``--tracking`` brings.
_MONAI_KEYS = frozenset({"_meta_", "bundle_root", *cast("dict[str, Any]", DEFAULT_MLFLOW_SETTINGS["configs"])})
#: sections that MONAI evaluates item by item.
_PROGRAM = frozenset({"imports", "initialize", "run", "check", "finalize"})
#: first characters that make MONAI evaluate, resolve or read a string instead of passing it on.
_ACTIVE = ("$", "@", "%")
#: settings that are text although their default is null or an expression; ``--finding 7`` arrives as a number.
_TEXT = frozenset(
    {
        "bundle_root",
        "checkpoint",
        "dataset_dir",
        "device",
        "experiment",
        "feature_network",
        "feature_source",
        "finding",
        "images",
        "imitated",
        "labels",
        "lists",
        "manifest",
        "out",
    }
    | {"output_dir", "predictions", "run_folder", "source", "split", "synthetic_set"}
)
#: those of them that may be several.
_SEVERAL = frozenset({"experiment"})
#: smallest and largest values of settings that go to libraries which say no in words of their own.
_RANGES = {"seed": (0, 2**32 - 1), "fraction_seed": (0, 2**32 - 1), "threads": (1, 1024)}
#: settings that say where and how fast a stage runs and not what it computes.
_IDLE = frozenset(
    {"_desc_", "_meta_", "imports", "initialize", "run", "finalize", "bundle_root", "dataset_dir", "output_dir"}
    | {"device", "threads", "fingerprint", "keep_checkpoint", "interpolation"}
    | {"val_interval", "validate"}
    | {"grid_columns", "grid_images", "traversal_images", "device_share"}
    | {"fidelity_images", "fidelity_split", "classifier"}
)
#: settings that name what must be there.
_INPUTS = frozenset({"checkpoint", "dataset_dir", "feature_network", "images", "manifest", "run_folder"})
_INPUTS |= {"synthetic_set"}
_INTERRUPTED = 130

_embedded: ContextVar[bool] = ContextVar("cxraug_embedded", default=False)


# --- what a configuration calls ---


def guard(base: str | Sequence[str], required: Sequence[str] = ()) -> None:
    """Refuse unknown keys at any depth, values of the wrong kind, and missing required ones.

    It is the first item of ``initialize``, so that nothing is built or written before.

    Args:
        base: configuration file, or files, whose keys are the known ones; relative to the running configuration.
        required: keys that must not be null or empty; of ``"a|b"``, one must not.

    Raises:
        SystemExit: 2, after one line on standard error; from :func:`run_stage` a
            :class:`~monai_cxraug.errors.ConfigError` comes out instead.
    """
    with one_line_errors():
        workflow = _running_workflow()
        files = [base] if isinstance(base, str) else list(base)
        known = ConfigParser.load_config_files([str(workflow.config_root_path / file) for file in files])
        config = workflow.parser.get()
        _Keys(files[0], workflow.parser.locator.get_component_module_name).check(config, known)
        for key, value in config.items():
            _check_value(value, known.get(key), f"{files[0]} key {key!r}", key)
        for key in required:
            choices = key.split("|")
            if all(_followed(config, choice) in (None, [], {}) for choice in choices):
                mend = " or ".join(f"--{choice} VALUE" for choice in choices)
                raise ConfigError(
                    f"{files[0]} key {' or '.join(map(repr, choices))}", "a value is required", "none", f"give {mend}"
                )
        fit_tracking(workflow.parser)


def run(component: str, close: str | None = None) -> Any:
    """Build one component of the running configuration and call its ``run()``. An item of ``run``.

    Args:
        component: its id, for example ``"train#trainer"``.
        close: id of a component it uses whose ``close()`` is called in the end, whatever happens.

    Returns:
        What ``run()`` returned.

    Raises:
        SystemExit: 2, after one line on standard error, when building or running fails for a reason the user can mend;
            130 after Ctrl-C.
    """
    with one_line_errors(), _silent_writers():
        parser = _running_workflow().parser
        job = parser.get_parsed_content(component)
        closing = None if close is None else parser.get_parsed_content(close)  # None too where it is disabled
        try:
            return job.run()
        finally:
            if closing is not None:
                closing.close()


def plain_settings() -> dict[str, Any]:
    """The running configuration's settings that are numbers, texts, true or false and decide what it computes."""
    config = without_tracking(_running_workflow().parser.get())
    plain = {key: value for key, value in config.items() if isinstance(value, bool | int | float | str)}
    return {key: value for key, value in plain.items() if key not in _IDLE and not str(value).startswith(_ACTIVE)}


def attempt(action: Callable[[], Any]) -> Any:
    """Call something of a configuration that may refuse. An item of ``initialize``, as ``$attempt(join)``.

    Args:
        action: takes no argument.

    Returns:
        What it returned.

    Raises:
        SystemExit: 2, after one line on standard error, for a reason the user can mend.
    """
    with one_line_errors():
        return action()


def settings_key() -> str:
    """Identify what the running configuration computes, so that a checkpoint of other settings is refused.

    Returns:
        Sixteen hexadecimal digits: a hash of every setting but those that say where and how fast it runs, with the
        manifest's content in place of its path.
    """
    config = without_tracking(_running_workflow().parser.get())
    settings = {key: value for key, value in config.items() if key not in _IDLE}
    if (manifest := _followed(config, "manifest")) is not None:
        path = Path(manifest)
        settings["manifest"] = file_hash(path / "manifest.csv" if path.is_dir() else path)
    return content_hash(json.loads(json.dumps(settings, default=str)))[:16]


# --- what Python calls ---


def run_stage(config: str | Path | Sequence[str | Path], overrides: Mapping[str, Any]) -> list[Any]:
    """Run a configuration in this process, as ``python -m monai.bundle run`` would.

    Args:
        config: configuration file, or a base and its overlays in order.
        overrides: keys, or ids of nested ones (``"train#trainer#max_epochs"``), to values. They are data: a value that
            MONAI would evaluate is refused.

    Returns:
        What each item of ``run`` returned.

    Raises:
        CxrAugError: the reason a user can mend, without MONAI's wrapping.
    """
    return _stage(config, overrides, "run")


def check_stage(config: str | Path | Sequence[str | Path], overrides: Mapping[str, Any]) -> None:
    """Check what :func:`run_stage` would check before its work: keys, kinds of values, what is required, inputs.

    A configuration may have a section ``check`` of things to look at besides.

    Args:
        config: as of :func:`run_stage`.
        overrides: as of :func:`run_stage`.

    Raises:
        CxrAugError: the reason a user can mend.
    """
    for key in _INPUTS & set(overrides):
        if overrides[key] is not None and not Path(overrides[key]).exists():
            raise InputError(overrides[key], f"{key} must be a file or folder", "nothing there", "check the path")
    _stage(config, overrides, "check")


def _stage(config: str | Path | Sequence[str | Path], overrides: Mapping[str, Any], section: str) -> list[Any]:
    files = [str(file) for file in ([config] if isinstance(config, str | Path) else config)]
    refuse_active(overrides, files[0])
    _refuse_program(overrides, files[0])
    _require_sections(_load(files), overrides, files[0])
    token = _embedded.set(True)
    try:
        return _run_workflow(files, overrides, section)
    except Exception as error:
        cause = _user_error(error)
        if cause is None or cause is error:
            raise
        raise cause from None
    finally:
        _embedded.reset(token)
        # engines and their handlers hold each other: networks would stay until a collection that large tensors, being
        # few objects, do not bring about, and an experiment of many cells would run out of memory
        gc.collect()


def _run_workflow(files: Sequence[str], overrides: Mapping[str, Any], section: str) -> list[Any]:
    with _quiet_monai():
        workflow = ConfigWorkflow(files, run_id=section, logging_file=False, workflow_type=None, **overrides)
        workflow.initialize()
        results: list[Any] = workflow.run() if section in workflow.parser else []
        workflow.finalize()
        return results


def bundle_file(bundle: str, stage: str) -> Path:
    """Return the configuration of a shipped bundle's stage, for example ``("chest_xray_pggan", "train")``."""
    return resource_root() / "bundles" / bundle / "configs" / f"{stage}.json"


def refuse_active(value: Any, where: str) -> None:
    """Refuse data that MONAI would evaluate: expressions, references, file macros and components.

    Args:
        value: JSON value, searched at every depth.
        where: file to name in the error.

    Raises:
        ConfigError: something active is inside.
    """
    if isinstance(value, str) and value.startswith(_ACTIVE):
        rule = f"values may not begin with {' '.join(_ACTIVE)}"
        raise ConfigError(where, rule, repr(value), "write a plain value; a path may begin with ./")
    if isinstance(value, Mapping):
        if "_target_" in value:
            raise ConfigError(where, "components are not allowed here", "'_target_'", "write a plain value")
        for key, item in value.items():
            refuse_active(item, f"{where} key {key!r}")
    elif isinstance(value, list | tuple):
        for item in value:
            refuse_active(item, where)


def _refuse_program(overrides: Mapping[str, Any], where: str) -> None:
    """Refuse ids that would change what is called: of a plain text, ``job#_target_`` makes a component.

    Nothing at all may be called: a section may be emptied.
    """
    for name, value in overrides.items():
        keys = re.split("#|::", str(name).removeprefix("+"))
        if (keys[0] in _PROGRAM and (len(keys) > 1 or value != [])) or _COMPONENT_KEYS & set(keys):
            rule = "settings change values, not what is called"
            raise ConfigError(f"{where} key {name!r}", rule, repr(name), "write a configuration of your own")


# --- errors ---

_WRITER = re.compile("inline_container|iostream error")


@contextmanager
def _silent_writers() -> Iterator[None]:
    """Let TensorBoard's thread end without a traceback when it cannot write: it tells its writer, which raises here."""
    before = threading.excepthook

    def tell(failed: threading.ExceptHookArgs) -> None:
        if not isinstance(failed.exc_value, OSError):
            before(failed)

    threading.excepthook = tell
    try:
        yield
    finally:
        threading.excepthook = before


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn an error the user can mend, however wrapped, into one line and exit status 2; a Ctrl-C ends quietly.

    MONAI wraps ``Exception`` but not ``SystemExit``, so this is the way out of a configuration without a traceback.
    """
    try:
        yield
    except Exception as error:
        cause = _user_error(error)
        if cause is None:
            raise
        if _embedded.get():
            raise cause from None
        print(f"error: {cause}", file=sys.stderr)
        raise SystemExit(CxrAugError.exit_status) from None
    except KeyboardInterrupt:
        if _embedded.get():
            raise
        print("interrupted; the same command continues", file=sys.stderr)
        raise SystemExit(_INTERRUPTED) from None


def _user_error(error: Exception) -> CxrAugError | None:
    """Our own error, an argument that a component of MONAI or torch refuses, or trouble with a file; else None."""
    ours = find_cause(error)
    link: BaseException | None = error
    while ours is None and link is not None:
        ours = _refused_argument(link) or _file_trouble(link) or _memory_trouble(link)
        link = link.__cause__  # what was wrapped on purpose, not what happened to be handled at the time
    return ours


def _refused_argument(error: BaseException) -> ConfigError | None:
    """Components of ours raise our errors for bad values; a ``ValueError`` out of one is a mistake of ours."""
    built = re.match(r"Failed to instantiate component '([\w.]+)' with keywords: (\S*)", str(error))
    if built is None or built[1].startswith("monai_cxraug.") or not isinstance(error.__cause__, ValueError | TypeError):
        return None
    mend = f"mend the settings that it takes as {built[2].replace(',', ', ')}"
    return ConfigError(built[1], "refuses an argument", error.__cause__, mend)


def _file_trouble(error: BaseException) -> InputError | None:
    mend = "check path, rights and free space"
    if isinstance(error, RuntimeError) and _WRITER.search(str(error)):  # torch's own writer knows no OSError
        return InputError("file system", "must be possible to write a checkpoint", str(error).splitlines()[0], mend)
    if not isinstance(error, OSError) or error.errno is None:
        return None
    where = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else "file system"
    return InputError(where, "must be possible to read or write", error.strerror, mend)


def _memory_trouble(error: BaseException) -> ConfigError | None:
    if not isinstance(error, torch.OutOfMemoryError):
        return None
    mend = "give a smaller batch_size or network, or free the device; the same command continues"
    return ConfigError("memory of the device", "must hold a batch", str(error).split(".")[0], mend)


# --- keys ---


class _Keys:
    """Compares the keys of a configuration with the base file's and with the signatures of its targets.

    A section that holds components is closed to other keys than the base file's; a component, to other keys than its
    target's arguments. What lies in a component's argument, or in a section of plain values, is the user's data.
    """

    def __init__(self, file: str, find_module: Callable[[str], list[str] | str | None]) -> None:
        self.file, self._find_module = file, find_module

    def check(self, config: Mapping[str, Any], known: Mapping[str, Any], path: str = "") -> None:
        """Check a section and all below it."""
        for key, value in config.items():
            name = f"{path}#{key}" if path else key
            if key not in known and not (path == "" and key in _MONAI_KEYS):
                raise ConfigError(f"{self.file} key {name!r}", "unknown key", repr(key), nearest(key, known))
            beside = known.get(key)
            if _is_section(value) and isinstance(beside, Mapping) and _holds_components(beside):
                self.check(value, beside, name)
            elif key != "_meta_":
                self._check_components(value, name)

    def _check_components(self, value: Any, path: str) -> None:
        if isinstance(value, Mapping):
            if isinstance(value.get("_target_"), str):
                self._check_arguments(value, path)
            for key, item in value.items():
                self._check_components(item, f"{path}#{key}")
        elif isinstance(value, list):
            for index, item in enumerate(value):
                self._check_components(item, f"{path}#{index}")

    def _check_arguments(self, component: Mapping[str, Any], path: str) -> None:
        name = component["_target_"]
        if name.startswith(_ACTIVE):
            return
        target = self._locate(name)
        if target is None:
            raise ConfigError(f"{self.file} key {path!r}", "_target_ must exist", repr(name), "check the name")
        known = _arguments(target)
        for key in component:
            if known is not None and key not in _COMPONENT_KEYS and key not in known:
                where = f"{self.file} key {path + '#' + key!r}"
                raise ConfigError(where, f"{name} has no such argument", repr(key), nearest(key, known))

    def _locate(self, name: str) -> Any:
        """Find a target as MONAI does: a class or function of MONAI by its bare name, else a full name."""
        module = self._find_module(name)
        if isinstance(module, list):
            module = module[0]
        return locate(name if module is None else f"{module}.{name}")


def _arguments(target: Any) -> list[str] | None:
    """Names of a target's arguments; None when it takes any."""
    try:
        parameters = inspect.signature(target).parameters
    except (TypeError, ValueError):
        return None
    return None if any(one.kind is one.VAR_KEYWORD for one in parameters.values()) else list(parameters)


def _is_section(value: Any) -> bool:
    return isinstance(value, Mapping) and "_target_" not in value


def _holds_components(section: Mapping[str, Any]) -> bool:
    items = [item for value in section.values() for item in (value if isinstance(value, list) else [value])]
    return any(isinstance(item, Mapping) and ("_target_" in item or _holds_components(item)) for item in items)


def _load(files: Sequence[str]) -> dict[str, Any]:
    """Load a base and its overlays; an overlay's ids of nested keys must lead somewhere."""
    config: dict[str, Any] = {}
    for count, file in enumerate(files, start=1):
        try:
            content = ConfigParser.load_config_file(file)
        except (OSError, ValueError, yaml.YAMLError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise InputError(file, "must be a readable configuration", reason, "mend the file") from None
        if not isinstance(content, Mapping):
            raise InputError(file, "must be a configuration", type(content).__name__, "write keys and values")
        _require_sections(config, content, file)
        config = ConfigParser.load_config_files(files[:count])
    return config


def _require_sections(known: Mapping[str, Any], changes: Mapping[str, Any], file: str) -> None:
    """Check that ids of nested keys lead somewhere: MONAI's own complaint names no valid key."""
    for name in changes:
        section: Any = known
        for key in re.split("#|::", name.removeprefix("+"))[:-1]:
            keys = section if isinstance(section, Mapping) else _indices(section)
            if key not in keys:
                raise ConfigError(f"{file} key {name!r}", "unknown key", repr(key), nearest(key, keys))
            section = section[key if isinstance(section, Mapping) else int(key)]


def _indices(items: Any) -> list[str]:
    return [str(index) for index in range(len(items))] if isinstance(items, list) else []


# --- values ---


def _check_value(value: Any, known: Any, where: str, key: str) -> None:
    """Check a top-level setting against its default's kind: text, number, true or false, list, mapping."""
    if value is None or (isinstance(value, str) and value.startswith(_ACTIVE)):
        return
    several = value if key in _SEVERAL and isinstance(value, list | tuple) else [value]
    if key in _TEXT and not all(isinstance(one, str | Path) for one in several):
        raise ConfigError(where, "must be text", repr(value), f"""write '"{value}"', or ./{value} for a path""")
    if key in _RANGES:
        least, most = _RANGES[key]
        if not (_is_whole(value) and least <= value <= most):
            raise ConfigError(where, f"must be a whole number from {least} to {most}", repr(value), f"mend {key}")
    if key == "device":
        _check_device(str(value), where)
    kind = _kind(known)
    if isinstance(value, Mapping) and kind in _NUMBERS:
        return  # one number for each of several cases, such as a batch size for each resolution: its user judges
    if kind is not None and not _KINDS[kind](value):
        raise ConfigError(where, f"must be {kind}", repr(value), f"the default is {json.dumps(known)}")


def _check_device(name: str, where: str) -> None:
    try:
        torch.empty(0, device=torch.device(name))
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(where, "must be a device that is here", f"{name!r} ({reason})", "give cpu or cuda") from None


def _followed(config: Mapping[str, Any], key: str) -> Any:
    """Value of a key, or of the key that it refers to: ``"manifest": "@dataset_dir"`` is what ``dataset_dir`` is."""
    value = config.get(key)
    return config.get(value[1:]) if isinstance(value, str) and value.startswith("@") else value


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_KINDS: dict[str, Callable[[Any], bool]] = {
    "true or false": lambda value: isinstance(value, bool),
    "a whole number": _is_whole,
    "a number": lambda value: _is_whole(value) or isinstance(value, float),
    "text": lambda value: isinstance(value, str | Path),
    "a list": lambda value: isinstance(value, list | tuple),
    "a mapping": lambda value: isinstance(value, Mapping),
}
_NUMBERS = ("a whole number", "a number")


def _kind(default: Any) -> str | None:
    """Kind that a default asks for; None for null, expressions, components and sections, which fit anything."""
    if isinstance(default, str) and default.startswith(_ACTIVE):
        return None
    if isinstance(default, Mapping | list) and default:
        return None
    return next((kind for kind, fits in _KINDS.items() if fits(default)), None)


@contextmanager
def _quiet_monai() -> Iterator[None]:
    """Silence MONAI's remarks on files we know and trust, and ignite's second report of an exception that is raised."""
    loggers = [logging.getLogger(name) for name in ("monai.bundle.workflows", "ignite.engine.engine")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="parsing config_file")
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _running_workflow() -> ConfigWorkflow:
    """Find the workflow that is evaluating us; MONAI hands it to no component."""
    frame = inspect.currentframe()
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, ConfigWorkflow):
            return owner
        frame = frame.f_back
    raise InputError("monai_cxraug.bundle_config", "works inside a MONAI configuration only", "no workflow running")
