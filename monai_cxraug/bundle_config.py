"""Bundle configurations: load a base with overlays, refuse unknown keys, run a stage, say errors in one line.

MONAI accepts any misspelt key or override silently. Every configuration of ours therefore begins with :func:`guard`, which
works under plain ``python -m monai.bundle run`` as well as from Python.
"""

from __future__ import annotations

import inspect
import logging
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import reduce
from pathlib import Path
from pydoc import locate
from typing import Any

from monai.bundle import ConfigParser, ConfigWorkflow
from monai.bundle.utils import DEFAULT_MLFLOW_SETTINGS

from monai_cxraug.errors import ConfigError, CxrAugError, InputError, find_cause, nearest
from monai_cxraug.resources import resource_root

#: keys of a component that are not arguments of its target.
_COMPONENT_KEYS = frozenset({"_target_", "_disabled_", "_requires_", "_desc_", "_mode_"})
#: keys that MONAI adds on its own account: metadata, and what ``--tracking`` brings.
_MONAI_KEYS = frozenset({"_meta_", "bundle_root", *DEFAULT_MLFLOW_SETTINGS["configs"]})
#: first characters that make MONAI evaluate, resolve or read a string instead of passing it on.
_ACTIVE = ("$", "@", "%")

_embedded: ContextVar[bool] = ContextVar("cxraug_embedded", default=False)


def guard(base: str | Sequence[str], required: Sequence[str] = ()) -> None:
    """Refuse unknown keys, at any depth, and missing required ones. The first item of ``initialize``.

    Args:
        base: configuration file, or files, whose keys are the known ones; relative to the running configuration.
        required: keys that must not be null.

    Raises:
        SystemExit: 2, after one line on standard error, when a key is unknown or missing; from :func:`run_stage` a
            :class:`~monai_cxraug.errors.ConfigError` comes out instead.
    """
    with one_line_errors():
        workflow = _running_workflow()
        files = [base] if isinstance(base, str) else list(base)
        known = ConfigParser.load_config_files([str(workflow.config_root_path / file) for file in files])
        config = workflow.parser.get()
        _check_section(config, known, files[0], "")
        for key in required:
            if config.get(key) is None:
                raise ConfigError(f"{files[0]} key {key!r}", "a value is required", "none", f"give --{key} VALUE")


def run(component: str) -> Any:
    """Build one component of the running configuration and call its ``run()``. An item of ``run``.

    Args:
        component: its id, for example ``"train#trainer"``.

    Returns:
        What ``run()`` returned.

    Raises:
        SystemExit: 2, after one line on standard error, when building or running fails for a reason the user can mend.
    """
    with one_line_errors():
        return _running_workflow().parser.get_parsed_content(component).run()


def run_stage(config: str | Path | Sequence[str | Path], overrides: Mapping[str, Any]) -> None:
    """Run a configuration in this process, as ``python -m monai.bundle run`` would.

    Args:
        config: configuration file, or a base and its overlays in order.
        overrides: top-level keys to values. They are data: a value that MONAI would evaluate is refused.

    Raises:
        CxrAugError: the reason a user can mend, without MONAI's wrapping.
    """
    files = [config] if isinstance(config, str | Path) else list(config)
    refuse_active(overrides, str(files[0]))
    token = _embedded.set(True)
    try:
        with _quiet_monai():
            workflow = ConfigWorkflow(
                [str(file) for file in files], logging_file=False, workflow_type=None, **overrides
            )
            workflow.initialize()
            workflow.run()
            workflow.finalize()
    except Exception as error:
        cause = find_cause(error)
        if cause is None or cause is error:
            raise
        raise cause from None
    finally:
        _embedded.reset(token)


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
        raise ConfigError(where, f"values may not begin with {' '.join(_ACTIVE)}", repr(value), "write a plain value")
    if isinstance(value, Mapping):
        if "_target_" in value:
            raise ConfigError(where, "components are not allowed here", "'_target_'", "write a plain value")
        for key, item in value.items():
            refuse_active(item, f"{where} key {key!r}")
    elif isinstance(value, list | tuple):
        for item in value:
            refuse_active(item, where)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn our error, however wrapped, into one line and exit status 2; a Ctrl-C ends quietly.

    MONAI wraps ``Exception`` but not ``SystemExit``, so this is the way out of a configuration without a traceback.
    """
    try:
        yield
    except Exception as error:
        cause = find_cause(error)
        if cause is None:
            raise
        if _embedded.get():
            raise cause from None
        print(f"error: {cause}", file=sys.stderr)
        raise SystemExit(CxrAugError.exit_status) from None


def _running_workflow() -> ConfigWorkflow:
    """Find the workflow that is evaluating us; MONAI hands it to no component."""
    frame = inspect.currentframe()
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, ConfigWorkflow):
            return owner
        frame = frame.f_back
    raise InputError("monai_cxraug.bundle_config", "works inside a MONAI configuration only", "no workflow running")


def _check_section(config: Mapping[str, Any], known: Mapping[str, Any], file: str, path: str) -> None:
    """Compare the keys of a mapping of the configuration with the base file's and with the target's signature."""
    if isinstance(config.get("_target_"), str):
        _check_component(config, file, path)
    elif _holds_components(known) or not path:
        for key in config:
            if key not in known and not (path == "" and key in _MONAI_KEYS):
                name = f"{path}#{key}" if path else key
                raise ConfigError(f"{file} key {name!r}", "unknown key", repr(key), nearest(key, known))
    for key, value in config.items():
        if key != "_meta_":
            _check_value(value, known.get(key), file, f"{path}#{key}" if path else key)


def _check_value(value: Any, known: Any, file: str, path: str) -> None:
    if isinstance(value, Mapping):
        _check_section(value, known if isinstance(known, Mapping) else {}, file, path)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            same = known[index] if isinstance(known, list) and index < len(known) else None
            _check_value(item, same, file, f"{path}#{index}")


def _check_component(config: Mapping[str, Any], file: str, path: str) -> None:
    name = config["_target_"]
    if name.startswith(_ACTIVE):
        return
    target: Any = locate(name) or locate(f"monai.{name}")
    if target is None and "." in name:
        raise ConfigError(f"{file} key {path!r}", "_target_ must exist", repr(name), "check the name")
    try:
        parameters = inspect.signature(target).parameters
    except (TypeError, ValueError):
        return  # no target by a short MONAI name, or one without a readable signature
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    for key in config:
        if key not in _COMPONENT_KEYS and key not in parameters:
            where = f"{file} key {path + '#' + key!r}"
            raise ConfigError(where, f"{name} has no such argument", repr(key), nearest(key, parameters))


def _holds_components(section: Mapping[str, Any]) -> bool:
    """A section is closed to new keys when it holds components; otherwise it is the user's data."""
    values = list(section.values())
    flat: list[Any] = reduce(lambda found, item: found + (item if isinstance(item, list) else [item]), values, [])
    return any(isinstance(item, Mapping) and ("_target_" in item or _holds_components(item)) for item in flat)


@contextmanager
def _quiet_monai() -> Iterator[None]:
    """Silence MONAI's remarks on files we know and trust; an experiment runs dozens of stages."""
    logger = logging.getLogger("monai.bundle.workflows")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="parsing config_file")
        try:
            yield
        finally:
            logger.setLevel(level)
