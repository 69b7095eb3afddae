"""E-values together, and error rates as budgets."""

import json
import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from homeostat.errors import InvalidInput
from homeostat.stats.sequential import (
    AlphaBudget,
    ELond,
    average_log_evidence,
    e_bh,
    e_to_p,
    p_to_log_e,
    paired_log_evidence,
    product_log_evidence,
    running_p,
)


def test_averages_and_products_along_an_axis():
    e = np.array([[1.0, 3.0], [8.0, 2.0]])
    assert np.exp(average_log_evidence(np.log(e), axis=0)) == pytest.approx(e.mean(axis=0))
    assert np.exp(average_log_evidence(np.log(e), [3, 1])) == pytest.approx([1.5, 6.5])
    assert np.exp(product_log_evidence(np.log(e))) == pytest.approx([3, 16])
    assert average_log_evidence(np.array([5000.0, -np.inf])) == pytest.approx(5000 - math.log(2))
    for wrong, message in ((np.zeros(0), "no e-value"), (np.array([np.nan]), "missing"), (["x"], "numbers")):
        with pytest.raises(InvalidInput, match=message):
            average_log_evidence(wrong)
    for weights in ([1], [0, 0], [-1, 2]):
        with pytest.raises(InvalidInput):
            average_log_evidence(np.zeros(2), weights)


def test_to_p_and_back():
    assert e_to_p(np.array([-1.0, 0.0, math.log(100), np.inf])) == pytest.approx([1, 1, 0.01, 0])
    found = running_p(np.log([[1.0, 4.0, 2.0], [0.5, 0.5, 10.0]]))
    assert found == pytest.approx(np.array([[1, 0.25, 0.25], [1, 1, 0.1]]))
    for calibrator in ("mixture", "square root", "power"):
        path = p_to_log_e(np.array([0.0, 1e-9, 0.01, 0.5, 1.0]), calibrator=calibrator)
        assert path[0] == np.inf
        assert (np.diff(path) < 0).all()
        # Calibrated, a p-value always says less than it did.
        assert (e_to_p(path)[1:] > [1e-9, 0.01, 0.5, 0.999]).all()
    for wrong in ({"calibrator": "best"}, {"calibrator": "power", "kappa": 1.0}):
        with pytest.raises(InvalidInput):
            p_to_log_e(0.5, **wrong)
    with pytest.raises(InvalidInput, match="between 0 and 1"):
        p_to_log_e(1.5)


def test_e_bh_says_which_and_why():
    result = e_bh(np.log([100.0, 1.0, 60.0, 0.1]), 0.05)
    assert result.rejected == (True, False, True, False)
    assert result.estimate == 0.5
    assert "2 of 4" in result.sentence
    assert "60 to 1" in result.sentence
    none = e_bh(np.log([2.0, 1.0]))
    assert none.rejected == (False, False)
    assert none.threshold == math.inf
    assert e_bh(np.zeros(0)).n == 0
    with pytest.raises(InvalidInput, match="shape"):
        e_bh(np.zeros((2, 2)))


def dependent_evidence(rng, hypotheses, true):
    """Log e-values from the same coins: those of true alternatives also see a coin of their own that is biased."""
    shared = rng.random(60) < 0.5
    wins = np.full(hypotheses, shared.sum())
    biased = rng.binomial(60, 0.85, hypotheses)
    wins = np.where(np.arange(hypotheses) < true, biased, wins)
    return paired_log_evidence(wins, 60 - wins)


def test_false_discoveries_of_dependent_e_values():
    rng = np.random.default_rng(0)
    runs, alpha, true = 300, 0.1, 5
    false_shares, none_true, online = [], 0, []
    for _ in range(runs):
        log_e = dependent_evidence(rng, 20, true)
        rejected = np.array(e_bh(log_e, alpha).rejected)
        false_shares.append(rejected[true:].sum() / max(rejected.sum(), 1))
        none_true += any(e_bh(dependent_evidence(rng, 20, 0), alpha).rejected)
        watch = ELond(alpha)
        decided = np.array([watch.decide(float(one)) for one in log_e])
        online.append(decided[true:].sum() / max(decided.sum(), 1))
    assert none_true <= stats.binom.ppf(0.9999, runs, alpha)
    for shares in (false_shares, online):
        assert np.mean(shares) <= alpha + 4 * np.std(shares) / math.sqrt(runs)


def test_levels_of_e_lond_add_up_to_alpha_where_nothing_is_found():
    watch = ELond(0.1)
    levels = []
    for _ in range(500):
        levels.append(watch.level)
        assert not watch.decide(0.0)
    assert sum(levels) == pytest.approx(0.1 * (1 - 1 / 501))
    watch.decide(30.0)
    assert watch.level == pytest.approx(0.1 * 2 / (502 * 503))
    again = ELond.from_dict(json.loads(json.dumps(watch.to_dict())))
    assert (again.tested, again.rejected, again.level) == (501, 1, watch.level)


def test_a_budget_adds_up_exactly():
    budget = AlphaBudget.of(0.05, "rollout")
    parts = budget.split(7)
    assert sum(part.total for part in parts.values()) == Fraction(1, 20)
    thirds = [arm for part in parts.values() for arm in part.split(["a", "b", "c"]).values()]
    assert sum(part.total for part in thirds) == Fraction(1, 20)
    assert sum(part.alpha for part in thirds) <= 0.05
    assert thirds[0].name == "rollout/1/a"
    weighted = budget.split({"accuracy": 0.1, "latency": 0.2})
    assert weighted["latency"].total == Fraction(1, 30)
    steps = [budget.step(k).total for k in range(1, 200)]
    assert sum(steps) == Fraction(1, 20) * Fraction(199, 200)


def test_a_budget_is_never_spent_twice():
    budget = AlphaBudget.of(0.05)
    after = budget.spend(0.02, "canary").spend(0.03, "bake")
    assert (after.spent, after.remaining, after.alpha) == (Fraction(1, 20), 0, 0.0)
    assert budget.spent == 0
    with pytest.raises(InvalidInput, match="only 0 is left"):
        after.spend(0.001, "more")
    with pytest.raises(InvalidInput, match="can't be spent"):
        AlphaBudget(Fraction(1, 20), (("all", Fraction(1, 10)),))
    part = budget.spend(0.02, "canary").split(2)
    assert sum(one.total for one in part.values()) == Fraction(3, 100)
    again = AlphaBudget.from_dict(json.loads(json.dumps(after.to_dict())))
    assert again == after


@pytest.mark.parametrize(
    "make",
    [
        lambda: AlphaBudget.of(1.0),
        lambda: AlphaBudget.of(-0.1),
        lambda: AlphaBudget.of(math.nan),
        lambda: AlphaBudget.of(True),
        lambda: AlphaBudget.of("0.05"),
        lambda: AlphaBudget.of(0.05).split(0),
        lambda: AlphaBudget.of(0.05).split([]),
        lambda: AlphaBudget.of(0.05).split(["a", "a"]),
        lambda: AlphaBudget.of(0.05).split({"a": -1.0}),
        lambda: AlphaBudget.of(0.05).split({"a": 0.0}),
        lambda: AlphaBudget.of(0.05).step(0),
        lambda: AlphaBudget.from_dict({"total": "1/0", "entries": [], "name": ""}),
        lambda: AlphaBudget.from_dict({}),
    ],
)
def test_budgets_refuse_what_means_nothing(make):
    with pytest.raises(InvalidInput):
        make()
