"""Finding vocabularies, and names checked against them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monai_cxraug.errors import LabelError
from monai_cxraug.keys import MANIFEST_COLUMNS
from monai_cxraug.labels import CHEXPERT_FINDINGS, KERMANY_FINDINGS, NIH_FINDINGS, NIH_NO_FINDING, require_findings

NAMES = st.text(min_size=1, max_size=6)


@pytest.mark.parametrize("vocabulary", [NIH_FINDINGS, CHEXPERT_FINDINGS, KERMANY_FINDINGS])
def test_a_vocabulary_names_each_finding_once(vocabulary: tuple[str, ...]) -> None:
    assert len(set(vocabulary)) == len(vocabulary)
    assert not set(vocabulary) & set(MANIFEST_COLUMNS)
    assert all(name == name.strip() and name for name in vocabulary)


def test_the_published_vocabularies_have_fourteen_findings() -> None:
    assert len(NIH_FINDINGS) == len(CHEXPERT_FINDINGS) == 14
    assert NIH_NO_FINDING not in NIH_FINDINGS  # absent is 0 in each of them


@given(st.lists(NAMES, min_size=1, max_size=6, unique=True), st.data())
def test_known_names_come_back_in_the_order_asked_for(vocabulary: list[str], data: st.DataObject) -> None:
    asked = data.draw(st.lists(st.sampled_from(vocabulary), unique=True))
    assert require_findings(iter(asked), vocabulary, "here") == asked


@given(st.lists(NAMES, min_size=1, max_size=6, unique=True), NAMES, st.integers(0, 5))
def test_an_unknown_name_is_refused_wherever_it_stands(vocabulary: list[str], name: str, place: int) -> None:
    known = [one for one in vocabulary if one != name]
    asked = [*known[:place], name, *known[place:]]
    with pytest.raises(LabelError) as caught:
        require_findings(asked, known, "here")
    assert repr(name) in str(caught.value)
    assert caught.value.where == "here"
    assert "\n" not in str(caught.value)


@given(st.lists(NAMES, min_size=1, max_size=6, unique=True), st.data())
def test_a_name_asked_for_twice_is_refused(vocabulary: list[str], data: st.DataObject) -> None:
    asked = data.draw(st.lists(st.sampled_from(vocabulary), min_size=1))
    with pytest.raises(LabelError, match="named once") as caught:
        require_findings([*asked, asked[0]], vocabulary, "here")
    assert "\n" not in str(caught.value)
