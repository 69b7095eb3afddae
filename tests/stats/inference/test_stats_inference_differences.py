"""Effect size, power, days to go and the interval for every look, of a comparison on plain frames."""

from __future__ import annotations

import math

import numpy as np
import pytest

import homeostat
from homeostat.errors import InvalidInput
from homeostat.stats.inference.differences import Difference


def compared(first, second):
    arms = np.repeat(["old", "new"], [len(first), len(second)])
    data = {"arm": arms, "spent": np.concatenate([first, second])}
    return homeostat.analyze_experiment(data, arm="arm", metrics=["spent"], control="old").comparisons[0]


@pytest.fixture(scope="module")
def found() -> Difference:
    rng = np.random.default_rng(3)
    return compared(rng.normal(10, 2, 800), rng.normal(10.5, 2, 800))


def test_effect_size_is_cohens_d(found):
    rng = np.random.default_rng(3)
    one, two = rng.normal(10, 2, 800), rng.normal(10.5, 2, 800)
    expected = (two.mean() - one.mean()) / math.sqrt((one.var(ddof=1) + two.var(ddof=1)) / 2)
    assert found.effect_size == pytest.approx(expected, rel=1e-9)


def test_power_and_days_agree_with_the_plan(found):
    # The smallest difference that is mostly found is found with the power asked for, and needs no more days.
    assert found.power_to_find(found.minimum_effect) == pytest.approx(0.8, abs=0.005)
    assert found.days_to_go(found.minimum_effect, 100) == pytest.approx(0, abs=0.2)
    # Half of the difference needs four times the units.
    assert found.days_to_go(found.minimum_effect / 2, 100) == pytest.approx(3 * 1600 / 100, rel=0.01)
    with pytest.raises(InvalidInput):
        found.power_to_find(0)
    with pytest.raises(InvalidInput):
        found.days_to_go(1, 0)


@pytest.mark.slow
def test_the_interval_for_every_look_is_wider_and_holds(found):
    low, high = found.always_interval
    assert low < found.interval[0] < found.interval[1] < high
    rng = np.random.default_rng(0)
    missed = fixed = 0
    for _ in range(60):
        first, second = rng.normal(size=(2, 1600))
        looks = [compared(first[:n], second[:n]) for n in range(100, 1601, 100)]
        missed += any(not look.always_interval[0] <= 0 <= look.always_interval[1] for look in looks)
        fixed += any(not look.interval[0] <= 0 <= look.interval[1] for look in looks)
    # 5 % of 60 is 3; a binomial of that chance passes 8 once in a hundred times. Intervals of one look miss far more.
    assert missed <= 8 < fixed


def test_too_few_units_say_nothing():
    few = compared(np.arange(50.0), np.arange(50.0) + 1)
    assert few.always_interval == (-math.inf, math.inf)
    same = compared(np.ones(200), np.ones(200))
    assert math.isnan(same.effect_size)
    assert math.isnan(same.power_to_find(1))
