"""The pages of settings: no key of a configuration or of an experiment file lacks a line, no line lacks its key."""

from __future__ import annotations

import json
from dataclasses import MISSING, fields, is_dataclass

import pytest

from monai_cxraug.experiments import experiment
from scripts.site_reference import (
    CLASSES,
    STAGES,
    arguments,
    bundle_page,
    bundles,
    configuration,
    experiment_keys,
    experiment_page,
    keys,
    meanings,
    place_of_meaning,
    plain,
    shown,
)

EVERY_STAGE = [(bundle, stage) for bundle in bundles() for stage in STAGES]


def test_every_bundle_has_a_page() -> None:
    assert len(bundles()) >= 5


@pytest.mark.parametrize(("bundle", "stage"), EVERY_STAGE)
def test_no_key_of_a_configuration_lacks_a_meaning(bundle: str, stage: str) -> None:
    known = meanings()
    missing = [key for key in keys(bundle, stage) if place_of_meaning(key, bundle, stage, known) is None]
    assert not missing, f"say in docs/guide/settings.yaml what {missing} of {bundle}/{stage}.json mean"


def test_no_meaning_is_left_of_a_key_that_went() -> None:
    known = meanings()
    used = {
        (*place, key)
        for bundle, stage in EVERY_STAGE
        for key in keys(bundle, stage)
        if (place := place_of_meaning(key, bundle, stage, known)) is not None
    }
    written = {
        (bundle, stage, key) for bundle, stages in known.items() for stage, lines in stages.items() for key in lines
    }
    left = {one for one in written - used if one[0] != "experiment files"}
    assert not left, f"take {sorted(left)} out of docs/guide/settings.yaml"


def test_meanings_are_lines() -> None:
    for stages in meanings().values():
        for lines in stages.values():
            for key, line in lines.items():
                assert isinstance(line, str), key
                assert len(line) >= len("of it."), key
                assert "\n" not in line, key


@pytest.mark.parametrize(("bundle", "stage"), EVERY_STAGE)
def test_pages_have_every_key_with_its_default(bundle: str, stage: str) -> None:
    section = bundle_page(bundle).split(f"## `{stage}.json`")[1].split("\n## ")[0]
    values = configuration(bundle, stage)
    for key in keys(bundle, stage):
        (row,) = [line for line in section.splitlines() if line.startswith(f"| `{key}` |")]
        assert shown(values[key]) in row
        assert not row.endswith("|  |"), key


def test_overlays_are_on_the_page_of_their_bundle() -> None:
    page = bundle_page("chest_xray_classification").split("## Overlays")[1]
    assert "| `loss_alpha` | Alpha-weighted cross-entropy" in page
    assert "`metadata`" not in page


# --- experiment files ---


def declared() -> dict[str, type]:
    """The dataclasses of experiment files, as Python knows them."""
    found = {name: one for name, one in vars(experiment).items() if isinstance(one, type) and is_dataclass(one)}
    return {name: one for name, one in found.items() if one.__module__ == experiment.__name__}


def test_every_class_of_an_experiment_file_has_its_place() -> None:
    assert set(CLASSES) == set(declared())


@pytest.mark.parametrize("name", CLASSES)
def test_keys_and_defaults_are_those_of_python(name: str) -> None:
    page = experiment_keys()[name]
    known = {entry.name: entry for entry in fields(declared()[name])}
    assert list(page) == list(known)
    for key, (kind, default, meaning) in page.items():
        assert meaning, f"say in the docstring of {name} what {key} means"
        assert kind
        value = known[key].default
        if value is not MISSING:
            assert json.loads(default) == json.loads(json.dumps(value)), key
        else:
            assert bool(default) == (known[key].default_factory is not MISSING), key


def test_the_page_of_experiment_files_names_every_key() -> None:
    page = experiment_page()
    for name, entries in experiment_keys().items():
        for key in entries:
            assert f"| `{key}` |" in page, f"{name}.{key}"


# --- docstrings ---


def test_arguments_of_a_docstring() -> None:
    text = (
        "One.\n\nArgs:\n    a: first,\n        over two lines.\n    b_2: see :class:`~x.y.Z`.\n\nRaises:\n    E: no.\n"
    )
    assert arguments(text) == {"a": "first, over two lines.", "b_2": "see `Z`."}
    assert arguments("Nothing here.") == {}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("``a`` and\n  :func:`b.c`", "`a` and `b.c`"), (":data:`~b.C`s", "`C`s"), ("no roles", "no roles")],
)
def test_roles_become_code(text: str, wanted: str) -> None:
    assert plain(text) == wanted


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (None, "`null`"),
        ("a|b", r"`a\|b`"),
        (["x"], '`["x"]`'),
        ({"_target_": "a.b.C", "d": 1}, "`C`"),
        ({"one": {"_target_": "C"}, "two": {}}, "`one`, `two`"),
        ([{"_target_": "C"}], "1 item"),
    ],
)
def test_defaults_in_a_table(value: object, wanted: str) -> None:
    assert shown(value) == wanted
