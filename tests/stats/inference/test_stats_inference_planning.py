"""Sample sizes, power and what can be found."""

import math

import pytest

from homeostat.errors import InvalidInput
from homeostat.stats import inference as i


@pytest.mark.parametrize(
    "given",
    [
        {"baseline": 0.1, "target": 0.12},
        {"baseline": 0.1, "relative": 0.2, "method": "arcsine", "ratio": 3.0},
        {"baseline": 0.5, "difference": -0.1, "alternative": "smaller"},
        {"difference": 2.0, "standard_deviation": 5.0},
        {"baseline": 10.0, "relative": 0.1, "standard_deviation": 2.0, "ratio": 0.25},
        {"alone": (0.03, 0.05)},
        {"rank_effect": 0.6, "ratio": 2.0},
        {"rank_effect": 0.35},
    ],
)
@pytest.mark.parametrize("power", [0.5, 0.8, 0.95])
def test_the_size_reaches_the_power_and_one_row_less_does_not(given, power):
    plan = i.sample_size(power=power, **given)
    assert plan.reached >= power - 1e-9
    assert plan.n_1 - 1 < plan.exact + 1e-5
    assert plan.n == plan.n_1 + plan.n_2
    assert plan.sequential_n > plan.n
    assert f"{plan.n_1}" in plan.sentence
    assert "every row" in plan.sentence


def test_detectable_effects_invert_the_sizes():
    for n_1, n_2 in ((50, 50), (300, 900)):
        assert i.power_proportions(0.1, i.detectable_share(0.1, n_1, n_2), n_1, n_2) == pytest.approx(0.8)
        assert i.power_means(i.detectable_effect(n_1, n_2), n_1, n_2) == pytest.approx(0.8)
        assert i.power_mann_whitney(i.detectable_rank_effect(n_1, n_2), n_1, n_2) == pytest.approx(0.8)
    gain = i.detectable_gain(0.1, 800)
    assert i.power_mcnemar((0.1 - gain) / 2, (0.1 + gain) / 2, 800) == pytest.approx(0.8)
    assert math.isnan(i.detectable_share(0.5, 3, 3))
    assert math.isnan(i.detectable_gain(0.01, 5))


def test_power_without_effect_is_the_level():
    assert i.power_means(0.0, 30, 60) == pytest.approx(0.05)
    assert i.power_proportions(0.3, 0.3, 30, 60) == pytest.approx(0.05)
    assert i.power_mcnemar(0.05, 0.05, 100) == pytest.approx(0.05)
    assert i.power_mann_whitney(0.5, 30, 60) == pytest.approx(0.05)


def test_power_of_large_samples_is_continuous():
    # The noncentral t gives way to the normal distribution at 10,000 degrees of freedom.
    assert i.power_means(0.05, 5000, 5001) == pytest.approx(i.power_means(0.05, 5001, 5002), abs=2e-3)
    assert i.power_means(3.0, 500, 500) == pytest.approx(1.0)


def test_clusters_and_comparisons_need_more():
    plain = i.sample_size(baseline=0.1, target=0.12)
    alike = i.sample_size(baseline=0.1, target=0.12, cluster_effect=2.5)
    assert alike.n_1 == math.ceil(plain.n_1 * 2.5)
    assert "design effect" in alike.sentence
    several = i.sample_size(baseline=0.1, target=0.12, comparisons=5)
    assert (several.n, several.alpha) == (i.sample_size(baseline=0.1, target=0.12, alpha=0.01).n, pytest.approx(0.01))


def test_doubtful_approximations_are_named():
    assert "rarer kind" in i.sample_size(baseline=0.001, target=0.2).warnings[0]
    assert "normally distributed" in i.sample_size(difference=3.0, standard_deviation=1.0).sentence
    assert "exact test" in i.sample_size(alone=(0.0, 0.01)).warnings[0]
    assert i.sample_size(rank_effect=0.98).warnings
    assert i.sample_size(baseline=0.5, target=0.6).warnings == ()


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"baseline": 0.1},
        {"baseline": 0.1, "target": 0.1},
        {"baseline": 0.1, "target": 0.2, "relative": 0.1},
        {"baseline": 0.0, "target": 0.2},
        {"baseline": 0.1, "target": 1.2},
        {"baseline": 0.1, "target": 0.2, "alternative": "smaller"},
        {"baseline": 0.1, "target": 0.2, "alternative": "greater"},
        {"baseline": 0.1, "target": 0.2, "method": "exact"},
        {"baseline": 0.1, "target": 0.2, "power": 1.0},
        {"baseline": 0.1, "target": 0.2, "power": 0.01},
        {"baseline": 0.1, "target": 0.2, "alpha": 0.0},
        {"baseline": 0.1, "target": 0.2, "ratio": 0.0},
        {"baseline": 0.1, "target": 0.2, "ratio": -1.0},
        {"baseline": 0.1, "target": 0.2, "cluster_effect": -1.0},
        {"baseline": 0.1, "target": 0.2, "comparisons": 0},
        {"baseline": math.nan, "target": 0.2},
        {"target": 0.2, "standard_deviation": 1.0},
        {"difference": 0.2, "standard_deviation": 0.0},
        {"difference": 1e-9, "standard_deviation": 1.0},
        {"difference": math.inf, "standard_deviation": 1.0},
        {"alone": (0.6, 0.7)},
        {"alone": (0.1, 0.1)},
        {"rank_effect": 0.5},
        {"rank_effect": 1.5},
    ],
)
def test_what_can_not_be_planned_is_refused(given):
    with pytest.raises(InvalidInput):
        i.sample_size(**given)
