"""The lock file and the bill of materials: complete, with hashes, of the versions that are tested, and in agreement."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from monai_cxraug import __version__
from scripts.write_sbom import LOCK, SBOM, Pinned, describe, read_lock

ROOT = Path(__file__).resolve().parents[1]
#: extras that developers need, or that bring a tool of another kind; the lock is for users.
LEFT_OUT = {"dev", "docs", "test", "itk", "tracking"}


@pytest.fixture(scope="module")
def locked() -> dict[str, Pinned]:
    return {one.name: one for one in read_lock(LOCK)}


def wanted() -> Iterator[Requirement]:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for text in project["dependencies"]:
        yield Requirement(text)
    for name, extra in project["optional-dependencies"].items():
        if name not in LEFT_OUT:
            yield from map(Requirement, extra)


def test_the_lock_has_all_that_the_project_and_its_extras_want(locked: dict[str, Pinned]) -> None:
    for one in wanted():
        pinned = locked[canonicalize_name(one.name)]
        assert pinned.version in one.specifier, f"{one} but {pinned}"


def test_every_package_has_the_hashes_of_its_files(locked: dict[str, Pinned]) -> None:
    assert len(locked) > 50
    for one in locked.values():
        assert one.hashes, one.name
        assert len(set(one.hashes)) == len(one.hashes)


def test_versions_are_those_that_are_tested(locked: dict[str, Pinned]) -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    tested = {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines)}
    both = set(tested) & set(locked)
    assert {name: locked[name].version for name in both} == {name: tested[name] for name in both}
    # what is not tested here belongs to other systems
    assert all(locked[name].marker for name in set(locked) - both)


@pytest.mark.parametrize("file", [LOCK, SBOM], ids=lambda file: file.name)
def test_no_place_of_a_machine_is_named(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert not re.search(
        r"--(extra-)?index-url|--find-links|--trusted-host|file:|@ http|/(tmp|home|root|work|opt)/", text
    )
    assert set(re.findall(r"https?://([^/\s\"]+)", text)) <= {"cyclonedx.org"}


def test_the_bill_of_materials_is_the_locks(locked: dict[str, Pinned]) -> None:
    bill = json.loads(SBOM.read_text(encoding="utf-8"))
    assert bill["metadata"]["component"]["version"] == __version__
    assert {one["name"]: one["version"] for one in bill["components"]} == {
        one.name: one.version for one in locked.values()
    }
    for one in bill["components"]:
        (files,) = one["externalReferences"]
        assert tuple(entry["content"] for entry in files["hashes"]) == locked[one["name"]].hashes
        assert one["purl"] == f"pkg:pypi/{one['name']}@{one['version']}"


def test_the_bill_of_materials_is_up_to_date() -> None:
    """All but licences, which are those of the machine that wrote it."""

    def plain(bill: dict[str, Any]) -> dict[str, Any]:
        return {**bill, "components": [{k: v for k, v in one.items() if k != "licenses"} for one in bill["components"]]}

    assert plain(describe(LOCK)) == plain(json.loads(SBOM.read_text(encoding="utf-8")))


@pytest.mark.parametrize("line", ["torch>=2", "torch", "torch @ https://example.org/torch.whl", "-e ."])
def test_a_lock_that_pins_nothing_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "a.lock").write_text(line + "\n")
    with pytest.raises(ValueError, match=r".+"):
        list(read_lock(tmp_path / "a.lock"))
