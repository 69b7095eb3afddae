"""Mixed columns as matrices: what is learned from both samples, and what is refused."""

import numpy as np
import pytest

from homeostat.errors import InvalidInput
from homeostat.stats.drift.multivariate import compare_samples, design_matrix
from homeostat.stats.drift.multivariate.matrix import checked_pair, median_distance, standardised


def strings(*values):
    return np.array(values, dtype=object)


def test_rare_categories_are_hashed_and_every_row_has_one_indicator():
    rng = np.random.default_rng(0)
    before = strings(*(f"c{k}" for k in rng.integers(0, 60, 300)))
    after = strings(*(f"c{k}" for k in rng.integers(0, 60, 100)))
    made = design_matrix({"c": before}, {"c": after}, categories=5, buckets=4)
    assert len(made.names) == 9
    assert set(made.features) == {"c"}
    assert (np.concatenate((made.reference, made.current)).sum(axis=1) == 1).all()


def test_the_encoding_does_not_depend_on_which_sample_a_row_is_in():
    first = {"c": strings("a", "b", "c", "a"), "x": np.array([1.0, np.nan, 3.0, 4.0])}
    second = {"c": strings("b", "d"), "x": np.array([np.inf, 9.0])}
    one = design_matrix(first, second, categories=2)
    other = design_matrix(second, first, categories=2)
    assert one.names == other.names
    np.testing.assert_array_equal(one.reference, other.current)
    np.testing.assert_array_equal(one.current, other.reference)


def test_texts_become_shares_of_words_and_gaps_their_own_column():
    made = design_matrix(
        {"t": strings("your account is locked", None, "please pay the bill now")}, {"t": strings("", float("nan"))}
    )
    shares = np.concatenate((made.reference, made.current))[:, :16].sum(axis=1)
    np.testing.assert_allclose(shares, [1, 0, 1, 0, 0])
    assert made.names[-1] == "t is missing"
    assert made.reference[:, -1].tolist() == [0, 1, 0]
    assert made.current[:, -1].tolist() == [0, 1]


def test_numbers_and_booleans_of_objects_are_numbers():
    made = design_matrix({"x": strings(1, None, True)}, {"x": np.array([2, 3])})
    assert made.names == ("x", "x is missing")
    assert made.reference[:, 0].tolist() == [1, 1.5, 1]


@pytest.mark.parametrize(
    ("reference", "current", "words"),
    [
        ({}, {}, "no columns"),
        ({"a": np.ones(2)}, {"b": np.ones(2)}, "same columns"),
        ({"a": np.ones(2), "b": np.ones(3)}, {"a": np.ones(2), "b": np.ones(2)}, "one length"),
        ({"a": np.ones(0)}, {"a": np.ones(2)}, "no rows"),
        ({"a": strings("x", 1)}, {"a": strings("x")}, "numbers or strings only"),
    ],
)
def test_columns_that_can_not_be_compared(reference, current, words):
    with pytest.raises(InvalidInput, match=words):
        design_matrix(reference, current)


@pytest.mark.parametrize(
    ("reference", "current", "words"),
    [
        (np.ones((0, 2)), np.ones((3, 2)), "no rows"),
        (np.ones((3, 2)), np.ones((3, 3)), "same features"),
        (np.array([[np.inf]]), np.ones((1, 1)), "infinite"),
        (np.array([["a"]]), np.ones((1, 1)), "numbers"),
        (np.ones((2, 2, 2)), np.ones((2, 2)), "rows by features"),
    ],
)
def test_matrices_that_can_not_be_compared(reference, current, words):
    with pytest.raises(InvalidInput, match=words):
        checked_pair(reference, current)
    with pytest.raises(InvalidInput, match=words):
        compare_samples(reference, current)


def test_gaps_become_the_joint_median():
    pair = checked_pair([[1.0], [np.nan]], [[2.0], [6.0]], ["x"])
    assert pair.names == ("x", "x is missing")
    assert pair.reference.tolist() == [[1, 0], [2, 1]]


def test_standardising_survives_huge_and_constant_columns():
    found = standardised(np.array([[1e300, 5.0], [-1e300, 5.0]]))
    np.testing.assert_allclose(found, [[1, 0], [-1, 0]])


def test_the_median_distance_of_equal_rows_is_0():
    assert median_distance(np.ones((5, 2)), np.random.default_rng(0)) == 0
    assert median_distance(np.array([[0.0], [3.0]]), np.random.default_rng(0)) == pytest.approx(3)
