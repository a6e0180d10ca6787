import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monai_cxraug.errors import InputError
from monai_cxraug.metrics import benjamini_hochberg, holm

Adjust = Callable[[list[float | None]], list[float]]
P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=7)


def holm_by_closing(p: list[float]) -> list[float]:
    """Every set of hypotheses is tested by Bonferroni; a hypothesis falls when all sets that hold it do."""
    sets = [chosen for size in range(1, len(p) + 1) for chosen in itertools.combinations(range(len(p)), size)]
    return [max(min(1.0, len(s) * min(p[i] for i in s)) for s in sets if k in s) for k in range(len(p))]


def rejected_by_bh(p: list[float], level: float) -> set[int]:
    """Benjamini and Hochberg's own words: the largest k with p_(k) <= k/m q; all up to it fall."""
    ordered = sorted(p)
    largest = max((k for k in range(1, len(p) + 1) if ordered[k - 1] <= k / len(p) * level), default=0)
    return {i for i, value in enumerate(p) if largest and value <= ordered[largest - 1]}


@given(P_VALUES)
def test_holm_is_the_closure_of_bonferroni(p: list[float]) -> None:
    assert holm(p) == pytest.approx(holm_by_closing(p))


@given(P_VALUES, st.floats(0.001, 0.999))
def test_benjamini_hochberg_rejects_what_its_definition_rejects(p: list[float], level: float) -> None:
    adjusted = benjamini_hochberg(p)
    if min(abs(value - level) for value in adjusted) > 1e-9:
        assert {i for i, value in enumerate(adjusted) if value <= level} == rejected_by_bh(p, level)


def test_by_hand() -> None:
    # Holm: sorted .005 .01 .03 .04 times 4 3 2 1 = .02 .03 .06 .04, and the last may not fall below the one before
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    # the same times 4/1 4/2 4/3 4/4 = .02 .02 .04 .04
    assert benjamini_hochberg([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.02, 0.04, 0.04, 0.02])


@pytest.mark.parametrize(("adjust", "expected"), [(holm, (0.04, 1.0)), (benjamini_hochberg, (0.04, 1.0))])
def test_undefined_comparisons_stay_and_count(adjust: Adjust, expected: tuple[float, float]) -> None:
    adjusted = adjust([0.01, math.nan, None, 0.5])
    assert (adjusted[0], adjusted[3]) == pytest.approx(expected)
    assert all(map(math.isnan, adjusted[1:3]))


@pytest.mark.parametrize("adjust", [holm, benjamini_hochberg])
def test_nothing_and_nonsense(adjust: Adjust) -> None:
    assert adjust([]) == []
    for p in ([0.2, 1.2], [-0.01, 0.2], [1.0000001], [-1e-12]):
        with pytest.raises(InputError, match=r"\[0, 1\]"):
            adjust(p)
    assert adjust([0, 1]) == [0, 1]


def test_benjamini_hochberg_never_asks_more_than_holm() -> None:
    p = np.random.default_rng(0).random(30).tolist()
    assert all(one <= other for one, other in zip(benjamini_hochberg(p), holm(p), strict=True))
