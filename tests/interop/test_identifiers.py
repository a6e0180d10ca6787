"""Identifiers: valid, the same for the same names, and none that names a file outside its folder."""

from __future__ import annotations

import subprocess
import sys
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import UID

from monai_cxraug.interop.identifiers import derive_uid, is_uid


@given(st.lists(st.text(), max_size=4))
def test_derived_uid_is_a_uuid_under_its_root(names: list[str]) -> None:
    text = derive_uid(*names)
    assert UID(text).is_valid
    assert is_uid(text)
    root, _, number = text.rpartition(".")
    assert root == "2.25"
    assert uuid.UUID(int=int(number)).version == 5
    assert uuid.UUID(int=int(number)).variant == uuid.RFC_4122


def test_names_keep_their_borders() -> None:
    assert derive_uid("a", "bc") != derive_uid("ab", "c") != derive_uid("abc")
    assert derive_uid("map", "k", "1.2", "Edema") != derive_uid("map", "k", "1.2", "Mass")


def test_another_process_derives_the_same() -> None:
    """The number stands here because objects in archives carry it: a changed rule would store them twice."""
    code = "from monai_cxraug.interop.identifiers import derive_uid; print(derive_uid('report', 'key', '1.2.3'))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    namespace = uuid.UUID("5d1f6a52-8f0e-4c3b-9a55-2b8a6f6f0c41")
    number = uuid.uuid5(namespace, '["report", "key", "1.2.3"]').int
    assert said == f"2.25.{number}" == derive_uid("report", "key", "1.2.3")


@pytest.mark.parametrize(
    "text", ["", ".", "..", "1", "../1.2", "1.2/3", "1..2", ".1", "1.", "1.2\n", "1.²", "1." + "2" * 63]
)
def test_what_is_no_uid(text: str) -> None:
    assert not is_uid(text)


@pytest.mark.parametrize("text", ["1.2", "2.25.0", "1.2.840.10008.1.1", "1." + "2" * 62, "1.02"])
def test_what_is_a_uid(text: str) -> None:
    assert is_uid(text)
