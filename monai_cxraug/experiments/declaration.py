"""Reading an experiment: a file, overlays that change it, settings of the command line, one substitution."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_cxraug.bundle_config import refuse_active
from monai_cxraug.errors import ConfigError
from monai_cxraug.experiments.experiment import Experiment, make_experiment, require_mapping
from monai_cxraug.plain_yaml import parse_yaml, read_yaml

DATA_VARIABLE = "CXRAUG_DATA"
_SUBSTITUTION = re.compile(r"\$\{([^}]*)\}")
#: begins a key of an overlay whose list is added to what is there.
_MORE = "+"


def load_experiment(
    files: str | Path | Sequence[str | Path], settings: Sequence[str] = (), substitute: bool = True
) -> Experiment:
    """Read, override and check an experiment.

    An overlay is an experiment file with the keys that it changes: mappings are merged, everything else takes the place
    of what is there, and a key that begins with a plus adds its list to the one that is there.

    Args:
        files: YAML file, or several: the experiment and its overlays, in order.
        settings: overrides, ``key.key=value`` each; the value is YAML.
        substitute: replace ``${CXRAUG_DATA}``; a smoke run needs no data and leaves it.

    Returns:
        The experiment.

    Raises:
        InputError: a file is missing or not YAML.
        ConfigError: a key or value breaks a rule; unknown keys come with the nearest known one.
    """
    paths = [Path(files)] if isinstance(files, str | Path) else [Path(file) for file in files]
    where = " + ".join(map(str, paths))
    document = _read_yaml(paths[0])
    for path in paths[1:]:
        document = _merge(document, _read_yaml(path), str(path))
    for setting in settings:
        _override(document, setting)
    if substitute:
        document = _substitute(document, where)
    _refuse_two_axes(document, where)
    refuse_active({key: value for key, value in document.items() if substitute or key != "data"}, where)
    return make_experiment(document, where)


def _refuse_two_axes(document: Mapping[str, Any], where: str) -> None:
    """A grid over numbers of real images has no fractions and no ratios beside them."""
    if document.get("top_up") is None:
        return
    endpoint = document.get("endpoint")
    inner = endpoint if isinstance(endpoint, Mapping) else {}
    places = {"fractions": document, "ratios": document, "endpoint.fraction": inner, "endpoint.ratio": inner}
    for key, place in places.items():
        if place.get(key.rpartition(".")[2]) is not None:
            mend = "leave it out; 'top_up.real' and 'endpoint.real' say how many real images there are"
            raise ConfigError(f"{where} key '{key}'", "says nothing beside 'top_up'", "a value", mend)


def _merge(document: Mapping[str, Any], overlay: Mapping[str, Any], where: str) -> dict[str, Any]:
    merged = dict(document)
    for name, value in overlay.items():
        key = str(name).removeprefix(_MORE)
        there = merged.get(key)
        if str(name).startswith(_MORE):
            if not isinstance(value, list) or not isinstance(there, list):
                raise ConfigError(f"{where} key {name!r}", "a plus adds a list to a list", repr(value), "mend the key")
            merged[key] = [*there, *(item for item in value if item not in there)]
        elif isinstance(value, Mapping) and isinstance(there, Mapping):
            merged[key] = _merge(there, value, where)
        else:
            merged[key] = value
    return merged


def _read_yaml(path: Path) -> dict[str, Any]:
    document = read_yaml(path)
    require_mapping(document, str(path))
    return dict(document)


def _override(document: dict[str, Any], setting: str) -> None:
    name, sign, text = setting.partition("=")
    if not sign or not name:
        raise ConfigError(f"--set {setting}", "must read KEY=VALUE", repr(setting), "for example seeds=[0,1]")
    value = parse_yaml(text, f"--set {name}")
    *parents, last = name.split(".")
    for parent in parents:
        document = document.setdefault(parent, {})
        require_mapping(document, f"--set {name}")
    document[last] = value


def _substitute(value: Any, where: str) -> Any:
    if isinstance(value, str):
        return _SUBSTITUTION.sub(lambda match: _variable(match.group(1), where), value)
    if isinstance(value, Mapping):
        return {key: _substitute(item, where) for key, item in value.items()}
    if isinstance(value, list):
        return [_substitute(item, where) for item in value]
    return value


def _variable(name: str, where: str) -> str:
    if name != DATA_VARIABLE:
        raise ConfigError(where, f"only ${{{DATA_VARIABLE}}} is substituted", f"${{{name}}}", "write the value itself")
    value = os.environ.get(DATA_VARIABLE)
    if not value:
        mend = f"set {DATA_VARIABLE} to the folder of the data, or try --smoke"
        raise ConfigError(where, f"uses ${{{DATA_VARIABLE}}}", "the variable is not set", mend)
    return value
