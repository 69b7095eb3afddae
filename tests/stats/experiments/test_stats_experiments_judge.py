"""The verdict of an experiment: roles, budgets, strata, checks of the data, and sums that add up."""

import json
import math

import numpy as np
import pytest

from homeostat.errors import InvalidInput
from homeostat.stats.experiments import MetricPlan, Plan, Summary, Units, judge, judge_summary, shares_of_budget

EVEN = ((0.5, 0.5),)
ACCURACY = MetricPlan("accuracy", bounds=(0, 1))


def units_of(arm, metrics, *, arms=("old", "new"), epoch=None, segment=None, **more):
    n = len(arm)
    epochs = np.zeros(n, dtype=int) if epoch is None else epoch
    return Units(arms, np.asarray(arm), epochs, np.arange(n), metrics, segment=segment, **more)


def two_arms(rng, n, first, second, *, weight=0.5):
    arm = (rng.random(n) < weight).astype(int)
    return arm, (rng.random(n) < np.where(arm == 1, second, first)).astype(float)


@pytest.mark.parametrize(
    ("second", "verdict", "standing"), [(0.95, "win", "better"), (0.75, "loss", "worse"), (0.85, "running", "open")]
)
def test_better_wins_worse_loses_and_the_same_goes_on(second, verdict, standing):
    arm, right = two_arms(np.random.default_rng(1), 3000, 0.85, second)
    found = judge(units_of(arm, {"accuracy": right}), Plan(("old", "new"), EVEN, (ACCURACY,)))
    assert (found.verdict, found.of("accuracy", "new").standing) == (verdict, standing)
    assert found.winner == ("new" if verdict == "win" else None)
    low, high = found.of("accuracy", "new").interval
    assert low < second - 0.85 < high
    json.dumps(found.to_dict(), allow_nan=False)


def test_lower_is_better_turns_verdict_and_keeps_the_interval_in_the_metric_s_own_direction():
    arm, wrong = two_arms(np.random.default_rng(1), 3000, 0.25, 0.1)
    metric = MetricPlan("errors", lower_is_better=True, bounds=(0, 1))
    found = judge(units_of(arm, {"errors": wrong}), Plan(("old", "new"), EVEN, (metric,)))
    low, high = found.of("errors", "new").interval
    assert found.verdict == "win"
    assert low < -0.15 < high < 0
    assert found.of("errors", "new").effect < 0


def test_the_interval_leaves_out_the_gate_just_when_the_evidence_decides():
    rng = np.random.default_rng(2)
    for size in (200, 1000, 3000):
        for second in (0.6, 0.85, 0.95):
            arm, right = two_arms(rng, size, 0.85, second)
            each = judge(units_of(arm, {"accuracy": right}), Plan(("old", "new"), EVEN, (ACCURACY,))).metrics[0]
            assert (each.interval[0] > 0) == (each.log_e_better >= -math.log(each.alpha_better))
            assert (each.interval[1] < 0) == (each.log_e_worse >= -math.log(each.alpha_worse))


def test_a_win_needs_every_guardrail_and_a_deteriorated_metric_loses():
    rng = np.random.default_rng(3)
    arm, right = two_arms(rng, 6000, 0.8, 0.9)
    metrics = (
        ACCURACY,
        MetricPlan("errors", "guardrail", 0.01, lower_is_better=True, bounds=(0, 1)),
        MetricPlan("slow", "deterioration", lower_is_better=True, bounds=(0, 1)),
    )
    plan = Plan(("old", "new"), EVEN, metrics)
    same = (rng.random(6000) < 0.01).astype(float)
    unsure = np.where(np.arange(6000) < 150, same, np.nan)
    steady = (rng.random(6000) < 0.3).astype(float)
    worse = (rng.random(6000) < np.where(arm == 1, 0.4, 0.3)).astype(float)
    good = judge(units_of(arm, {"accuracy": right, "errors": same, "slow": steady}), plan)
    open_ = judge(units_of(arm, {"accuracy": right, "errors": unsure, "slow": steady}), plan)
    bad = judge(units_of(arm, {"accuracy": right, "errors": same, "slow": worse}), plan)
    assert [good.verdict, open_.verdict, bad.verdict] == ["win", "running", "loss"]
    assert "slow" in bad.sentence
    assert good.of("errors", "new").standing == "not worse"


def test_budgets_are_kept_apart_and_add_up():
    metrics = (
        MetricPlan("a", weight=3),
        MetricPlan("b"),
        MetricPlan("c", "guardrail", 0.1),
        MetricPlan("d", "deterioration"),
        MetricPlan("e", "quality"),
    )
    plan = Plan(("x", "y", "z"), ((0.4, 0.3, 0.3),), metrics, alpha=0.06, rollback_error=0.12)
    parts = {metric.name: shares_of_budget(metric, plan) for metric in metrics}
    assert parts["a"][0] + parts["b"][0] == pytest.approx(0.03)
    assert parts["a"][0] == pytest.approx(3 * parts["b"][0])
    # A guardrail takes the whole of the arm's part: it can only prevent a win.
    assert parts["c"][0] == pytest.approx(0.03)
    assert 2 * sum(parts[name][1] for name in "abcd") == pytest.approx(0.12)
    assert 2 * 2 * sum(parts["e"]) < 2 * plan.mismatch_error


def test_weights_that_change_with_the_rate_do_not_turn_the_effect_around():
    rng = np.random.default_rng(4)
    epoch = np.repeat([0, 1], 20_000)
    weight = np.where(epoch == 0, 0.1, 0.9)
    arm = (rng.random(40_000) < weight).astype(int)
    # The level falls from 0.9 to 0.5 just as the better arm gets the traffic.
    rate = np.where(epoch == 0, 0.9, 0.5) + 0.03 * arm
    right = (rng.random(40_000) < rate).astype(float)
    plan = Plan(("old", "new"), ((0.9, 0.1), (0.1, 0.9)), (ACCURACY,))
    found = judge(units_of(arm, {"accuracy": right}, epoch=epoch), plan)
    assert right[arm == 1].mean() - right[arm == 0].mean() < -0.2
    assert found.verdict == "win"
    assert found.metrics[0].effect == pytest.approx(0.03, abs=0.015)
    without = judge(
        units_of(arm, {"accuracy": right}, epoch=epoch),
        Plan(("old", "new"), ((0.9, 0.1), (0.1, 0.9)), (MetricPlan("accuracy"),)),
    )
    assert without.metrics[0].method == "asymptotic"
    assert without.metrics[0].effect == pytest.approx(found.metrics[0].effect)


def test_parts_in_time_give_the_numbers_of_the_whole_and_sums_add_up():
    rng = np.random.default_rng(5)
    n = 5000
    epoch = (np.arange(n) >= 3000).astype(int)
    arm = (rng.random(n) < np.where(epoch, 0.5, 0.2)).astype(int)
    metrics = {"accuracy": (rng.random(n) < 0.8).astype(float), "cost": rng.gamma(2, 3, n), "precision": rng.random(n)}
    metrics["accuracy"][rng.random(n) < 0.3] = np.nan
    under = {"precision": rng.integers(0, 3, n).astype(float)}
    plan = Plan(
        ("old", "new"),
        ((0.8, 0.2), (0.5, 0.5)),
        (ACCURACY, MetricPlan("cost", "deterioration"), MetricPlan("precision", "deterioration")),
    )
    units = units_of(arm, metrics, epoch=epoch, segment=rng.integers(0, 3, n), denominators=under)
    whole = judge(units, plan)
    followed, apart, start = None, None, 0
    for end in [*np.sort(rng.integers(0, n, 25)), n]:
        part = units.take(slice(start, end))
        followed = Summary.of(part, plan, after=followed)
        alone = Summary.of(part, plan)
        apart = alone if apart is None else apart + alone
        start = end
    carried, summed = judge_summary(followed, plan), judge_summary(apart, plan)
    for one, other, third in zip(whole.metrics, carried.metrics, summed.metrics, strict=True):
        assert one.log_e_better == pytest.approx(other.log_e_better, abs=1e-8)
        assert one.effect == pytest.approx(other.effect, abs=1e-12)
        assert one.effect == pytest.approx(third.effect, abs=1e-12)
        # Parts that do not know of each other guess their first values anew, which widens the interval a little.
        assert one.interval == pytest.approx(third.interval, abs=0.03)
    shuffled = units.take(rng.permutation(n))
    assert judge(shuffled, plan).metrics[0].log_e_better == pytest.approx(whole.metrics[0].log_e_better)


def test_a_split_that_is_not_the_planned_one_is_held_and_comes_back():
    rng = np.random.default_rng(6)
    arm, right = two_arms(rng, 6000, 0.8, 0.95, weight=0.42)
    plan = Plan(("old", "new"), EVEN, (ACCURACY,))
    held = judge(units_of(arm, {"accuracy": right}), plan)
    assert held.verdict == "held"
    assert held.winner is None
    assert held.split.failed
    assert "split" in held.reasons[0]
    assert held.arm_verdicts == {"new": "win"}
    more, outcome = two_arms(rng, 200_000, 0.8, 0.95)
    balanced = judge(
        units_of(np.concatenate([arm, more]), {"accuracy": np.concatenate([right, outcome])}),
        plan,
    )
    assert not balanced.split.failed
    assert balanced.verdict == "win"


def test_labels_that_come_more_often_in_one_arm_are_refused_unless_they_can_be_weighed():
    rng = np.random.default_rng(7)
    n = 20_000
    arm = (rng.random(n) < 0.5).astype(int)
    # The new arm alerts twice as often, and analysts look at every alert and at a tenth of the rest; the truth is even.
    fraud = rng.random(n) < 0.3
    alert = rng.random(n) < np.where(arm == 1, 0.4, 0.2) * np.where(fraud, 2, 0.5)
    chance = np.where(alert, 1.0, 0.1)
    caught = np.where(rng.random(n) < chance, fraud.astype(float), np.nan)
    plan = Plan(("old", "new"), EVEN, (MetricPlan("fraud", "deterioration", bounds=(0, 1)),))
    refused = judge(units_of(arm, {"fraud": caught}), plan)
    weighed = judge(units_of(arm, {"fraud": caught}, labelled_probability=chance), plan)
    unknown = judge(
        units_of(arm, {"fraud": caught}, labelled_probability=np.where(rng.random(n) < 0.1, np.nan, chance)), plan
    )
    assert refused.verdict == "held"
    assert "can't be compared" in refused.sentence
    assert weighed.verdict == "running"
    assert weighed.metrics[0].method == "asymptotic"
    assert weighed.metrics[0].levels == pytest.approx((0.3, 0.3), abs=0.03)
    assert unknown.verdict == "held"
    assert "nobody knows" in unknown.sentence


def test_multiple_exposure_and_a_quality_metric_that_differs_hold():
    rng = np.random.default_rng(8)
    arm, right = two_arms(rng, 4000, 0.8, 0.9)
    age = rng.random(4000) * np.where(arm == 1, 0.8, 1.0)
    plan = Plan(("old", "new"), EVEN, (ACCURACY, MetricPlan("age", "quality", bounds=(0, 1))))
    differs = judge(units_of(arm, {"accuracy": right, "age": age}), plan)
    assert differs.verdict == "held"
    assert differs.of("age", "new").standing == "differs"
    same = judge(units_of(arm, {"accuracy": right, "age": rng.random(4000)}), plan)
    twice = judge(units_of(arm, {"accuracy": right, "age": rng.random(4000)}, exposed_twice=100), plan)
    assert (same.verdict, twice.verdict) == ("win", "held")
    assert twice.multiple_exposure == pytest.approx(100 / 4100)


def test_several_arms_one_wins_one_is_out():
    rng = np.random.default_rng(9)
    arm = rng.choice(3, 9000, p=[0.4, 0.3, 0.3])
    right = (rng.random(9000) < np.array([0.8, 0.9, 0.7])[arm]).astype(float)
    plan = Plan(("old", "good", "bad"), ((0.4, 0.3, 0.3),), (ACCURACY,))
    found = judge(units_of(arm, {"accuracy": right}, arms=plan.arms), plan)
    assert (found.verdict, found.winner) == ("win", "good")
    assert found.arm_verdicts == {"good": "win", "bad": "loss"}


def test_flat_futile_and_out_of_time():
    rng = np.random.default_rng(10)
    arm, right = two_arms(rng, 30_000, 0.9, 0.9)
    flat = MetricPlan("accuracy", bounds=(0, 1), minimum_effect=0.03)
    units = units_of(arm, {"accuracy": right})
    assert judge(units, Plan(("old", "new"), EVEN, (flat,))).verdict == "flat"
    futile = Plan(("old", "new"), EVEN, (ACCURACY,), maximum_units=32_000, futility=0.05)
    assert judge(units, futile).verdict == "inconclusive"
    assert judge(units, futile).chance_to_win["new"] < 0.05
    patient = Plan(("old", "new"), EVEN, (ACCURACY,), maximum_units=10_000_000, futility=0.001)
    assert judge(units, patient).verdict == "running"
    assert judge(units, Plan(("old", "new"), EVEN, (ACCURACY,)), final=True).verdict == "inconclusive"
    # Without a rule for futility too the last unit is the last one.
    assert judge(units, Plan(("old", "new"), EVEN, (ACCURACY,), maximum_units=30_001)).verdict == "running"
    full = judge(units, Plan(("old", "new"), EVEN, (ACCURACY,), maximum_units=30_000))
    assert (full.verdict, "30,000 units are in" in full.reasons[0]) == ("inconclusive", True)
    assert judge(units, Plan(("old", "new"), EVEN, (flat,), maximum_units=30_000)).verdict == "flat"


def test_the_minimum_binds_a_win_and_not_a_loss():
    rng = np.random.default_rng(11)
    arm, right = two_arms(rng, 900, 0.5, 0.8)
    plan = Plan(("old", "new"), EVEN, (ACCURACY,), minimum_units=1000)
    assert judge(units_of(arm, {"accuracy": right}), plan).verdict == "running"
    assert judge(units_of(1 - arm, {"accuracy": right}), plan).verdict == "loss"


def test_nothing_yet_is_running():
    plan = Plan(("old", "new"), EVEN, (ACCURACY, MetricPlan("cost")))
    nothing = np.zeros(0)
    empty = judge(units_of(nothing.astype(int), {"accuracy": nothing, "cost": nothing}), plan)
    unlabelled = judge(units_of([0, 1, 1, 0], {"accuracy": np.full(4, np.nan)}), plan)
    one_armed = judge(
        units_of(np.zeros(50, dtype=int), {"accuracy": np.ones(50)}), Plan(("old", "new"), EVEN, (ACCURACY,))
    )
    assert [empty.verdict, unlabelled.verdict] == ["running", "running"]
    assert empty.metrics[0].standing == unlabelled.metrics[0].standing == "no data"
    assert one_armed.verdict == "held"
    for found in (empty, unlabelled, one_armed):
        json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Plan(("old",), ((1.0,),), (ACCURACY,)), "at least one other arm"),
        (lambda: Plan(("old", "old"), EVEN, (ACCURACY,)), "name of its own"),
        (lambda: Plan(("old", "new"), ((0.5, 0.6),), (ACCURACY,)), "add up to 1"),
        (lambda: Plan(("old", "new"), ((0.5, 0.3, 0.2),), (ACCURACY,)), "each arm one"),
        (lambda: Plan(("old", "new"), EVEN, ()), "at least one metric"),
        (lambda: Plan(("old", "new"), EVEN, (ACCURACY, ACCURACY)), "planned once"),
        (lambda: Plan(("old", "new"), EVEN, (ACCURACY,), alpha=0), "error rate"),
        (lambda: MetricPlan("a", margin=-0.1), "margin"),
        (lambda: MetricPlan("a", "guardrail"), "margin above 0"),
        (lambda: MetricPlan("a", "guardrail", 2.0, bounds=(0, 1)), "allows every difference"),
        (lambda: MetricPlan("a", "hope"), "roles"),
        (lambda: MetricPlan("a", bounds=(1, 0)), "least and the largest"),
        (lambda: units_of([0, 2], {}), "2 arms"),
        (lambda: units_of([0, 1], {"accuracy": np.zeros(3)}), "one entry for each"),
        (lambda: judge(units_of([0, 1], {"accuracy": [0.0, 2.0]}), Plan(("old", "new"), EVEN, (ACCURACY,))), "bounds"),
        (lambda: judge(units_of([0, 1], {"accuracy": [0.0, np.inf]}), Plan(("old", "new"), EVEN, (ACCURACY,))), "inf"),
        (lambda: judge(units_of([0, 1], {}), Plan(("a", "b"), EVEN, (ACCURACY,))), "arms"),
        (
            lambda: judge(units_of([0, 1], {}, epoch=np.array([0, 1])), Plan(("old", "new"), EVEN, (ACCURACY,))),
            "1 epochs",
        ),
        (lambda: units_of([0, 1], {}, labelled_probability=np.array([0.0, 1.0])), "above 0"),
    ],
)
def test_bad_input_is_told(make, says):
    with pytest.raises(InvalidInput, match=says):
        make()
