"""What this tool calls itself in the objects that it makes."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

from monai_cxraug.errors import ConfigError

MANUFACTURER: Final = "monai_cxraug"
#: stands in every report and on every map.
STATEMENT: Final = "Research use only: not a medical device, not for diagnosis, not seen by a physician."
#: coding scheme of what the standard has no code for (PS3.16 8.2: 99 and a local name).
SCHEME: Final = "99CXRAUG"
_PACKAGES: Final = ("dicomweb_client", "pynetdicom", "highdicom")


def require_packages() -> None:
    """Refuse to begin where the packages of the extra ``pacs`` are not installed.

    Raises:
        ConfigError: one of them is missing.
    """
    for name in _PACKAGES:
        if find_spec(name) is None:
            raise ConfigError("cxraug pacs", f"needs {name}", "not installed", "pip install 'monai-cxraug[pacs]'")
