"""Tests of fixed samples: effects, intervals and their edges."""

import math

import numpy as np
import pytest
from scipy import stats

from homeostat.errors import InvalidInput
from homeostat.stats.inference import mcnemar, two_proportions


def test_mcnemar_directions_and_edges():
    first, second = mcnemar(30, 10), mcnemar(10, 30)
    assert first.estimate == -second.estimate == 0.5
    assert first.p == second.p == pytest.approx(stats.binomtest(10, 40).pvalue)
    assert first.interval[0] < 0.5 < first.interval[1]
    assert (first.odds_ratio, first.n) == (3.0, 40)
    assert "first was right more often" in first.sentence
    assert mcnemar(5, 5).p == 1.0
    assert mcnemar(5, 0).odds_ratio == math.inf
    nothing = mcnemar(0, 0)
    assert (nothing.p, nothing.n, nothing.interval) == (1.0, 0, (-1.0, 1.0))
    with pytest.raises(InvalidInput):
        mcnemar(-1, 3)


def test_two_proportions_interval_covers_and_level_holds():
    rng = np.random.default_rng(0)
    runs = 400
    covered = alarms = 0
    for _ in range(runs):
        result = two_proportions(int(rng.binomial(150, 0.1)), 150, int(rng.binomial(300, 0.1)), 300)
        covered += result.interval[0] <= 0 <= result.interval[1]
        alarms += result.p < 0.05
    assert covered >= stats.binom.ppf(0.001, runs, 0.94)
    assert alarms <= stats.binom.ppf(0.999, runs, 0.06)


def test_two_proportions_edges():
    same = two_proportions(0, 10, 0, 20)
    assert (same.estimate, same.p, same.n) == (0.0, 1.0, 30)
    # Newcombe's own example: 56/70 against 48/80 gives 0.0524 to 0.3339.
    published = two_proportions(48, 80, 56, 70)
    assert published.interval == pytest.approx((0.0524, 0.3339), abs=1e-4)
    with pytest.raises(InvalidInput):
        two_proportions(0, 0, 1, 2)
