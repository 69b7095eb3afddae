"""The threshold by costs: against trying every one, and where there is nothing to weigh."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeostat.stats.performance import cheapest_threshold, choose_threshold

ROWS = st.lists(
    st.tuples(st.booleans(), st.sampled_from([0.0, 0.1, 0.2, 0.5, 0.55, 0.9, 1.0])), min_size=1, max_size=30
)
COSTS = st.sampled_from([0.5, 1.0, 3.0, 10.0])


def total(positive, scores, threshold, false_positive, false_negative):
    called = scores >= threshold
    return (called & ~positive).sum() * false_positive + (~called & positive).sum() * false_negative


@given(ROWS, COSTS, COSTS)
def test_no_threshold_costs_less_than_the_one_chosen(rows, false_positive, false_negative):
    positive, scores = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    costs = {"false_positive": false_positive, "false_negative": false_negative}
    chosen = total(positive, scores, cheapest_threshold(positive, scores, **costs), false_positive, false_negative)
    every = [
        total(positive, scores, at, false_positive, false_negative) for at in [*np.linspace(-0.01, 1.01, 205), 2.0]
    ]
    assert chosen == pytest.approx(min(every))


def test_of_equal_costs_the_nearest_to_a_half_is_taken():
    positive = np.array([False, False, True, True])
    assert cheapest_threshold(positive, np.array([0.1, 0.4, 0.6, 0.9]), false_positive=1, false_negative=9) == 0.5
    # Costs are equal between .1 and .2 and above; .15 is where they part.
    assert cheapest_threshold(positive, np.array([0.1, 0.1, 0.2, 0.2]), false_positive=1, false_negative=1) == (
        pytest.approx(0.15)
    )


def test_scores_a_last_digit_apart_are_parted():
    low = 0.3
    high = np.nextafter(low, 1)
    positive = np.array([False, True])
    threshold = cheapest_threshold(positive, np.array([low, high]), false_positive=1, false_negative=1)
    assert (np.array([low, high]) >= threshold).tolist() == [False, True]


@pytest.mark.parametrize(("value", "reason"), [(True, "negative"), (False, "positive")])
def test_with_one_class_only_the_half_stays(value, reason):
    made = choose_threshold(np.full(20, value), np.linspace(0, 1, 20), false_positive=1, false_negative=5)
    assert made.threshold == 0.5
    assert made.reason == f"no row is {reason}"
    assert made.cost == made.default_cost


def test_calibrated_scores_come_to_the_threshold_of_theory():
    generator = np.random.default_rng(0)
    scores = generator.random(20_000)
    positive = generator.random(20_000) < scores
    made = choose_threshold(positive, scores, false_positive=1, false_negative=4)
    assert made.threshold == pytest.approx(1 / 5, abs=0.05)
    assert made.cost < made.default_cost
    assert made.cost_low < made.cost < made.cost_high
    assert made.rows == 20_000


def test_noise_does_not_move_the_threshold():
    # Scores say nothing, so a threshold that fits these rows costs more on others more often than not.
    moved = 0
    for seed in range(40):
        generator = np.random.default_rng(seed)
        made = choose_threshold(generator.random(60) < 0.5, generator.random(60), false_positive=1, false_negative=1)
        assert made.cost <= made.default_cost
        moved += made.threshold != 0.5
    assert moved < 25


@pytest.mark.parametrize("costs", [(0, 1), (1, -1), (np.inf, 1), (1, np.nan)])
def test_costs_that_are_none_are_refused(costs):
    with pytest.raises(ValueError, match="positive"):
        choose_threshold(np.array([True]), np.array([0.5]), false_positive=costs[0], false_negative=costs[1])


def test_rows_that_do_not_fit_are_refused():
    for scores in ([], [0.1], [0.1, np.nan]):
        with pytest.raises(ValueError, match="one finite score"):
            choose_threshold(np.array([True, False]), np.array(scores), false_positive=1, false_negative=1)
