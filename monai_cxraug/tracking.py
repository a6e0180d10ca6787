"""What ``python -m monai.bundle run --tracking mlflow`` adds to a configuration, made to fit our engines.

MONAI appends its ``MLFlowHandler`` to the handlers of a stage before anything is built.
"""

from __future__ import annotations

from collections.abc import Mapping
from pydoc import locate
from typing import Any, Final

#: handler that MONAI appends.
_HANDLER: Final = "MLFlowHandler"
#: settings that MONAI adds beside it; none of them changes what is computed.
_SETTINGS: Final = frozenset({"tracking_uri", "experiment_name", "run_name", "save_execute_config", "is_not_rank0"})
#: what reads the numbers out of an output, decollated or not, of one loss or of several.
_READER: Final = "monai_cxraug.handlers.progress.scalars"


def fit_tracking(parser: Any) -> None:
    """Have MONAI's handler log what our engines give; without ``--tracking`` nothing happens.

    MONAI reads ``loss`` of the first item of a decollated batch. Our engines do not take batches apart, which costs
    time for nothing, and a GAN has several losses: all numbers of the output are logged by their names. Goes when
    MONAI's ``from_engine`` gives a number for one key of a mapping and its settings can name several.

    Args:
        parser: MONAI's, with the configuration parsed and nothing of the handlers built yet.
    """
    resolver = parser.ref_resolver
    for name, item in list(resolver.items.items()):
        config = item.config
        if isinstance(config, Mapping) and config.get("_target_") == _HANDLER and "output_transform" in config:
            resolver.resolved_content[f"{name}{resolver.sep}output_transform"] = locate(_READER)
    saved = parser.get().get("save_execute_config")
    if isinstance(saved, str) and not saved.startswith("$"):
        # MONAI writes an expression also where output_dir is plain text: "output/x + '/config_1.json'"
        resolver.resolved_content["save_execute_config"] = saved.replace(" + '", "").removesuffix("'")


def without_tracking(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration without what ``--tracking`` added: a training goes on with it or without it."""
    return {key: _strip(value) for key, value in config.items() if key not in _SETTINGS}


def _strip(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _strip(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_strip(one) for one in value if not (isinstance(one, Mapping) and one.get("_target_") == _HANDLER)]
    return value
