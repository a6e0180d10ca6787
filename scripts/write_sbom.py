"""Write ``sbom.cdx.json``, the software bill of materials: what ``requirements.lock`` installs, as CycloneDX 1.6.

    python -m scripts.write_sbom

Names, versions, conditions and hashes are the lock's. Licences are those that installed packages declare: run it where
the lock is installed; of a package that is not installed, such as CUDA's on a machine without, none is given.
"""

from __future__ import annotations

import argparse
import json
import re
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any, Final

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from monai_cxraug import __version__
from monai_cxraug.artifacts import file_hash, write_text

ROOT: Final = Path(__file__).resolve().parents[1]
LOCK, SBOM = ROOT / "requirements.lock", ROOT / "sbom.cdx.json"
_NAMESPACE: Final = uuid.UUID("0b9c1d3e-3f64-4f0e-8a52-6f6f4e1f7a10")
#: what old packages write in place of an SPDX expression.
_SPDX: Final = {
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "Apache Software License 2.0": "Apache-2.0",
    "BSD 3-Clause License": "BSD-3-Clause",
    "BSD 3-Clause": "BSD-3-Clause",
    "3-Clause BSD License": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
}


@dataclass(frozen=True)
class Pinned:
    """One package of the lock.

    Args:
        name: normalised.
        version: the only one.
        marker: where it is installed; "" everywhere.
        hashes: SHA-256 of each of its files that may be installed.
    """

    name: str
    version: str
    marker: str
    hashes: tuple[str, ...]


def read_lock(path: Path) -> Iterator[Pinned]:
    """Read the packages of a lock file, in its order.

    Raises:
        ValueError: a line pins no version.
    """
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        hashes = tuple(re.findall(r"--hash=sha256:([0-9a-f]{64})", line))
        wanted = Requirement(line.partition("--hash")[0].strip())
        (pin,) = wanted.specifier
        if pin.operator != "==":
            raise ValueError(f"{path}: {wanted} pins no version")
        yield Pinned(canonicalize_name(wanted.name), pin.version, str(wanted.marker or ""), hashes)


def describe(lock: Path) -> dict[str, Any]:
    """Return the bill of materials of a lock file; the same lock and installed packages give the same bytes."""
    pinned = list(read_lock(lock))
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, __version__ + file_hash(lock))}",
        "version": 1,
        "metadata": {"component": _own()},
        "components": [_component(one) for one in pinned],
        "dependencies": [{"ref": _own()["bom-ref"], "dependsOn": sorted(map(_purl, pinned))}],
    }


def _own() -> dict[str, Any]:
    return {
        "type": "application",
        "bom-ref": f"pkg:pypi/monai-cxraug@{__version__}",
        "name": "monai-cxraug",
        "version": __version__,
        "licenses": [{"license": {"id": "Apache-2.0"}}],
        "purl": f"pkg:pypi/monai-cxraug@{__version__}",
    }


def _component(one: Pinned) -> dict[str, Any]:
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": _purl(one),
        "name": one.name,
        "version": one.version,
        "purl": _purl(one),
    }
    if licences := _licences(one.name):
        component["licenses"] = licences
    # not as the component's own hashes: these are of its files, of which any one may be installed
    hashes = [{"alg": "SHA-256", "content": digest} for digest in one.hashes]
    component["externalReferences"] = [{"type": "distribution", "url": _purl(one), "hashes": hashes}]
    if one.marker:
        component["properties"] = [{"name": "python:marker", "value": str(Marker(one.marker))}]
    return component


def _purl(one: Pinned) -> str:
    return f"pkg:pypi/{one.name}@{one.version}"


def _licences(name: str) -> list[dict[str, Any]]:
    """As the installed package declares it: an expression, else a known name, else its own words."""
    try:
        about = metadata(name)
    except PackageNotFoundError:
        return []
    if expression := about.get("License-Expression"):
        return [{"expression": expression}]
    classified = [
        text.rpartition(" :: ")[2] for text in about.get_all("Classifier", []) if text.startswith("License ::")
    ]
    said = [text for text in [about.get("License") or "", *classified] if text and len(text) < 100 and "\n" not in text]
    known = dict.fromkeys(_SPDX.get(text, text) for text in said)
    ids = [
        text for text in known if text in _SPDX.values() or re.fullmatch(r"(BSD|Apache|MIT|MPL|ISC|PSF)[-.\w]*", text)
    ]
    if ids:
        return [{"license": {"id" if ids[0] in _IDS else "name": ids[0]}}]
    return [{"license": {"name": text}} for text in list(known)[:1]]


#: SPDX identifiers, of those that occur.
_IDS: Final = frozenset({*_SPDX.values(), "BSD-2-Clause", "HPND", "0BSD"})


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description="Write the software bill of materials of the lock file.")
    parser.add_argument("--lock", type=Path, default=LOCK, help="lock file (%(default)s)")
    parser.add_argument("--out", type=Path, default=SBOM, help="file to write (%(default)s)")
    given = parser.parse_args(arguments)
    write_text(given.out, json.dumps(describe(given.lock), indent=0, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
