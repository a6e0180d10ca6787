"""YAML that is data alone reads as YAML does, and what would grow or run is refused at once."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from monai_cxraug.errors import InputError
from monai_cxraug.plain_yaml import MOST_BYTES, MOST_VALUES, parse_yaml, read_yaml
from monai_cxraug.resources import resource_root

EXPERIMENTS = sorted((resource_root() / "configs" / "experiments").rglob("*.yaml"))


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.name)
def test_it_reads_as_yaml_does(path: Path) -> None:
    assert read_yaml(path) == yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "text", ["", "1", "a: {b: [1, 2.5, null, true, x]}", "a: &x [1]\nb: *x", "2026-01-02", "- - - 1"]
)
def test_documents_of_any_kind(text: str) -> None:
    assert parse_yaml(text, "here") == yaml.safe_load(text)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("a: !!python/object/apply:os.getcwd []", "YAML"),
        ("a: !!python/name:os.system", "YAML"),
        ("a: !unknown 1", "YAML"),
        ("a: &a [*a]", "alias"),
        ("a: &a {b: *a}", "alias"),
        ("a: *b", "YAML"),
        ("{a: 1", "YAML"),
        ("--- 1\n--- 2", "YAML"),
        ("a: 2026-02-31", "YAML"),
        ("a: " + "9" * 5000, "YAML"),
        ("[" * 500, "nested"),
        ("a: \0", "YAML"),
        ("{[1]: 2}", "YAML"),
    ],
)
def test_everything_else_is_one_line(text: str, word: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_yaml(text, "here")
    assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_bound_is_exact() -> None:
    """An alias counts as all that it stands for."""
    inner = 99
    times = (MOST_VALUES - 2) // (inner + 1)
    text = f"- &a [{'1, ' * inner}]\n- [{'*a, ' * (times - 1)}{'1, ' * ((MOST_VALUES - 2) % (inner + 1))}]"
    assert len(parse_yaml(text, "here")) == 2
    with pytest.raises(InputError, match="more, by aliases"):
        parse_yaml(text + "\n- 1", "here")


def test_a_bomb_costs_no_time() -> None:
    rows = [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 10) if k else 'ha'}]" for k in range(60)]
    with pytest.raises(InputError, match="more, by aliases"):
        parse_yaml("\n".join(rows), "here")  # would never end if every value were visited


def test_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must exist"):
        read_yaml(tmp_path / "none.yaml")
    (tmp_path / "a.yaml").write_bytes(b"a: \xff")
    with pytest.raises(InputError, match="UTF-8"):
        read_yaml(tmp_path / "a.yaml")
    (tmp_path / "a.yaml").write_bytes(b" " * (MOST_BYTES + 1))
    with pytest.raises(InputError, match="at most"):
        read_yaml(tmp_path / "a.yaml")
    with pytest.raises(InputError, match="at most"):
        read_yaml("/dev/zero")
