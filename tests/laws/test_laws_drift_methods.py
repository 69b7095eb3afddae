"""Every method of the table obeys the laws that it claims, on numbers and on categories."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeostat.errors import InvalidInput
from homeostat.stats import laws
from homeostat.stats.drift.methods import METHODS, methods_for, run_method

SAMPLES = st.lists(st.floats(-100, 100, width=32), min_size=2, max_size=50).map(np.array)
FEW = st.lists(st.integers(-2, 2).map(float), min_size=2, max_size=50).map(np.array)
CATEGORIES = st.lists(st.sampled_from(["a", "b", "c", "d"]), min_size=2, max_size=50).map(
    lambda values: np.array(values, dtype=object)
)
NUMERIC, CATEGORICAL = methods_for("numeric"), methods_for("categorical")


def distance(name, kind):
    """A method's estimate as a distance: how far it lies from that of like samples."""
    method = METHODS[name]
    return lambda a, b: abs(run_method(name, a, b, kind=kind).estimate - method.alike)


def statistic_and_p(name, kind):
    def test(a, b):
        result = run_method(name, a, b, kind=kind)
        return result.statistic, result.p

    return test


def hold(name, kind, reference, current):
    if min(len(reference), len(current)) < 2:
        return
    method = METHODS[name]
    upper = None if math.isinf(method.upper) else method.upper - method.alike
    # One-sided by nature, Mann–Whitney's distance from one half is symmetric all the same.
    symmetric = method.symmetric or name == "mann_whitney"
    results = laws.distance_laws(distance(name, kind), reference, current, symmetric=symmetric, upper=upper)
    results.append(laws.p_in_range(statistic_and_p(name, kind), reference, current))
    assert [result for result in results if not result.holds] == []
    result = run_method(name, reference, current, kind=kind)
    low, high = result.interval
    assert low <= result.estimate + 1e-9
    # Where the interval leaves out the part of noise, it can end below the estimate.
    assert high >= result.estimate - 1e-9 or name == "psi"
    assert low >= 0
    assert (result.n_reference, result.n_current) == (len(reference), len(current))
    assert "p = " in result.sentence or "p < " in result.sentence
    if not math.isnan(result.threshold) and result.expected > 0:
        assert result.threshold >= 0
    assert math.isnan(result.expected) or result.adjusted <= result.estimate + 1e-9


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", NUMERIC)
@settings(max_examples=30, deadline=None)
@given(reference=st.one_of(SAMPLES, FEW), current=st.one_of(SAMPLES, FEW))
def test_methods_of_numbers_obey_the_laws(name, reference, current):
    if len(reference) + len(current) >= 4:
        hold(name, "numeric", reference, current)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", CATEGORICAL)
@settings(max_examples=30, deadline=None)
@given(reference=CATEGORIES, current=CATEGORIES)
def test_methods_of_categories_obey_the_laws(name, reference, current):
    hold(name, "categorical", reference, current)


@pytest.mark.parametrize("name", NUMERIC)
@pytest.mark.parametrize("seed", range(2))
def test_p_values_fall_with_the_shift(name, seed):
    sample = np.random.default_rng(seed).normal(size=200)
    result = laws.p_falls_with_shift(statistic_and_p(name, "numeric"), sample)
    assert result.holds, result.words


@pytest.mark.parametrize("name", NUMERIC)
def test_missing_values_are_left_out(name):
    rng = np.random.default_rng(3)
    before, after = rng.normal(size=50), rng.normal(1, 1, 40)
    gone = np.full(20, np.nan)
    full = run_method(name, before, after, kind="numeric")
    assert run_method(name, np.r_[before, gone], np.r_[gone, after], kind="numeric") == full


@pytest.mark.parametrize("name", CATEGORICAL)
def test_missing_categories_are_left_out_and_gaps_rename_nothing(name):
    before, after = np.array([1, 2, 2, 3, 3, 3] * 5), np.array([1, 1, 2, 3] * 5)
    full = run_method(name, before, after, kind="categorical")
    with_gap = np.r_[after.astype(float), np.nan]
    assert run_method(name, before, with_gap, kind="categorical") == full
    named = np.array([None, *map(str, after)], dtype=object)
    assert run_method(name, before, named, kind="categorical") == full
    assert run_method(name, before > 1, after > 1, kind="boolean").n_current == 20


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", NUMERIC)
def test_units_and_extremes_do_not_break_a_method(name):
    rng = np.random.default_rng(4)
    before, after = rng.normal(size=60), rng.normal(0.5, 1, 50)
    plain = run_method(name, before, after, kind="numeric")
    for scale, offset in ((1e-200, 0.0), (1e150, 0.0), (1.0, 1e6)):
        found = run_method(name, before * scale + offset, after * scale + offset, kind="numeric")
        assert found.p == pytest.approx(plain.p, rel=1e-3)
        assert np.isfinite([found.estimate, *found.interval]).all()
    infinite = run_method(name, np.r_[before, np.inf], np.r_[after, -np.inf], kind="numeric")
    assert 0 <= infinite.p <= 1
    assert np.isfinite(infinite.estimate)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", METHODS)
def test_constants_and_single_rows_have_a_defined_result(name):
    for kind in sorted(METHODS[name].kinds):
        cases = [(np.full(9, 2.0), np.full(7, 2.0)), (np.full(9, 2.0), np.full(7, 3.0)), (np.arange(9.0), np.ones(1))]
        for before, after in cases:
            result = run_method(name, before, after, kind=kind)
            assert np.isfinite([result.estimate, result.p, *result.interval]).all(), (kind, before, after)
        alike = run_method(name, *cases[0], kind=kind)
        assert (alike.estimate, alike.p) == (METHODS[name].alike, 1.0)


@pytest.mark.parametrize("name", METHODS)
def test_nothing_to_compare_is_refused(name):
    kind = "numeric" if name in NUMERIC else "categorical"
    for before, after in (([], [1.0]), ([np.nan, np.nan], [1.0, 2.0])):
        with pytest.raises(InvalidInput, match="holds no"):
            run_method(name, np.array(before), np.array(after), kind=kind)


def test_what_does_not_fit_is_refused_with_what_does():
    with pytest.raises(InvalidInput, match=r"no drift method 'wassertein'.*wasserstein"):
        run_method("wassertein", np.ones(2), np.ones(2), kind="numeric")
    with pytest.raises(InvalidInput, match=r"does not apply to a categorical feature.*chi_square"):
        run_method("ks", np.ones(2), np.ones(2), kind="categorical")
    with pytest.raises(InvalidInput, match="must hold numbers"):
        run_method("ks", np.array(["a"]), np.ones(2), kind="numeric")
    with pytest.raises(InvalidInput, match="one dimension"):
        run_method("energy", np.ones((2, 2)), np.ones(2), kind="numeric")
    with pytest.raises(InvalidInput, match="confidence"):
        METHODS["energy"].compare(np.ones(2), np.ones(2), confidence=2.0)  # type: ignore[call-arg]


def test_every_method_is_under_its_own_name_and_all_kinds_have_some():
    assert all(name == method.name for name, method in METHODS.items())
    assert len(METHODS) == 13
    assert len(methods_for("numeric")) == 13
    assert methods_for("boolean") == methods_for("categorical") != []
    assert methods_for("text") == []
