"""Options of sources: read from the fields, checked by kind, all of them documented."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import pytest

from monai_cxraug.data.request import SOURCES
from monai_cxraug.data.sources.options import Names, Pairs, options_of, read_names, read_pairs
from monai_cxraug.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Sample:
    images: Annotated[str, "where", "PATH"]
    mode: Annotated[Literal["a", "b"], "which"] = "a"
    some_count: Annotated[int, "how many"] = 3
    share: Annotated[float | None, "part"] = None
    on: Annotated[bool, "whether"] = False
    names: Annotated[Names, "names"] = ""
    pairs: Annotated[Pairs, "pairs"] = ""
    seed: int = 0


def test_fields_become_options() -> None:
    known = options_of(Sample)
    assert list(known) == ["images", "mode", "some_count", "share", "on", "names", "pairs"]
    assert [name for name, one in known.items() if one.required] == ["images"]
    assert known["mode"].choices == ("a", "b")
    assert known["some_count"].flag == "--some-count"
    assert [one.metavar for one in known.values()] == ["PATH", "TEXT", "N", "X", "", "A,B", "A=B,C=D"]
    assert known["some_count"].default == 3


@pytest.mark.parametrize(
    ("name", "good", "bad", "word"),
    [
        ("images", "x", 5, "text"),
        ("images", "x", "", "text"),
        ("mode", "b", "c", "unknown choice"),
        ("mode", "b", ["a"], "unknown choice"),
        ("some_count", 4, True, "whole number"),
        ("some_count", 4, 4.0, "whole number"),
        ("share", 0.5, "0.5", "a number"),
        ("share", 1, True, "a number"),
        ("on", True, 1, "true or false"),
        ("names", ["a"], [1], "names"),
        ("names", "a,b", {"a": 1}, "names"),
        ("pairs", {"a": "b"}, ["a"], "pairs"),
    ],
)
def test_values_are_checked(refuses, name: str, good: object, bad: object, word: str) -> None:
    known = options_of(Sample)[name]
    known.check(good)
    with refuses(ConfigError, known.flag, word):
        known.check(bad)


def test_lists_and_pairs_as_text() -> None:
    assert read_names(" a , b,,") == read_names(["a", "b"]) == ["a", "b"]
    assert read_names(None) == read_names("") == []
    assert read_pairs("a=b, c = d=e", "--x") == read_pairs({"a": "b", "c": "d=e"}, "--x") == {"a": "b", "c": "d=e"}


@pytest.mark.parametrize("text", ["a", "=b", "a=", "a=b,a=c"])
def test_pairs_that_are_none(refuses, text: str) -> None:
    with refuses(ConfigError, "--x", "NAME=VALUE"):
        read_pairs(text, "--x")


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_tells_what_it_is(name: str) -> None:
    source = SOURCES[name]
    assert source.__doc__
    assert source.examples
    assert all("--out " in example for example in source.examples)
    assert all(one.help for one in options_of(source).values())
