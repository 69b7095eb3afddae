"""Small versions of the simulations of benchmarks/releases, with the real rollout, within binomial limits."""

from dataclasses import asdict, replace

import numpy as np
import pytest
from benchmarks.releases import better, same, speed, worse
from benchmarks.releases.controller import Simulation
from benchmarks.releases.policies import LIVE, SHADOW_FIRST, with_steps
from benchmarks.releases.runs import Case, Share, run_some
from benchmarks.releases.world import Counts, Evidence, FixedSample, Traffic, Truth, draw
from scipy import stats

from homeostat.records import Policy, Task
from homeostat.rollouts.evidence import Pairs, compare, compare_within, failure_log_evidence
from homeostat.stats.sequential import betting_log_evidence

POLICY = Policy()


def most(runs, level):
    """More than this would come up by chance in 1 of 10,000 such simulations."""
    return stats.binom.ppf(0.9999, runs, level)


def test_rows_are_as_true_as_they_should_be():
    truth = Truth(old=0.9, new=0.85, overlap=0.5, failing=0.1, positive=0.3)
    rows = draw(truth, 200_000, np.random.default_rng(1))
    served = ~rows.failed
    assert rows.failed.mean() == pytest.approx(0.1, abs=0.005)
    assert (rows.wins | rows.both)[served].mean() == pytest.approx(0.85, abs=0.005)
    assert (rows.losses | rows.both)[served].mean() == pytest.approx(0.9, abs=0.005)
    assert rows.positive.mean() == pytest.approx(0.3, abs=0.005)
    assert not (rows.wins & rows.losses).any()


def test_counts_say_what_the_product_reads_from_the_log():
    rows = draw(Truth(overlap=0.2), 700, np.random.default_rng(2))
    truth = rows.positive.astype(np.int64)
    pairs = Pairs(
        Task.BINARY,
        truth,
        np.where(rows.wins | rows.both, truth, 1 - truth),
        np.where(rows.losses | rows.both, truth, 1 - truth),
        np.arange(700),
        positive=1,
    )
    for keep, part in ((None, compare(pairs)), (rows.positive, compare_within(pairs, positives=True))):
        found = Simulation.compare(Counts(rows, Evidence(), keep), 700)
        assert asdict(found) == pytest.approx(asdict(part))


@pytest.mark.parametrize("counts", [(1, 0), (0, 1), (300, 2), (300, 20), (4000, 40)])
def test_evidence_on_failures_depends_on_counts_only(counts):
    rows, failures = counts
    events = np.random.default_rng(0).permutation(np.repeat([-0.01, 0.99], [rows, failures]))
    one, *more = failure_log_evidence(*(np.array([each, each]) for each in counts), 0.01)
    assert [one] == more == [failure_log_evidence(*counts, 0.01)]
    assert one == pytest.approx(betting_log_evidence(events, 1.0)[-1], abs=1e-9)
    assert failure_log_evidence(0, 0, 0.01) == 0.0


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [
        Case(Truth(), POLICY, observations=1500),
        Case(Truth(failing=0.02, slow=0.04), POLICY, observations=1500),
        Case(Truth(), POLICY, by_hand=True, evidence=FixedSample(), observations=1500),
        Case(Truth(new=0.8), with_steps(LIVE), Traffic(1000, 0.2), observations=1500),
        Case(Truth(new=0.97), with_steps(LIVE), Traffic(500, 0.2), observations=1500),
        Case(Truth(new=0.95, slow=0.02), with_steps(SHADOW_FIRST), Traffic(5000), observations=1500),
        Case(Truth(new=0.88), with_steps(LIVE, accuracy_drop=0.02), Traffic(2000, 0.1), observations=1500),
    ],
    ids=lambda case: f"{case.truth.new}, {case.policy.rollout.steps[0]}, {case.traffic.days_late}",
)
def test_looks_that_are_left_out_change_nothing(case):
    for number in range(4):
        fast, full = case.run(number), case.run(number, every=True)
        assert fast.looks < full.looks
        assert replace(fast, looks=0) == replace(full, looks=0)


@pytest.mark.slow
def test_no_difference_keeps_to_both_budgets_and_a_fixed_sample_test_does_not():
    runs, budget = 60, POLICY.rollout
    cases = [replace(case, observations=4000) for case in same.cases().values()]
    for case in cases:
        found = run_some(case, range(runs))
        if not case.by_hand:
            assert sum(one.promoted is not None for one in found) <= most(runs, budget.promotion_error)
        assert sum(one.is_taken_back for one in found) <= most(runs, budget.rollback_error)
    fixed = run_some(same.with_fixed_sample(next(iter(same.cases().values()))), range(runs))
    wrong = sum(one.promoted is not None or one.is_taken_back for one in fixed)
    assert wrong > most(runs, budget.promotion_error + budget.rollback_error)


@pytest.mark.slow
def test_worse_candidates_are_taken_back_and_better_ones_promoted():
    runs = 8
    for (name, points, late), case in worse.cases().items():
        if points == 5 and late < 3:
            found = run_some(case, range(runs))
            assert all(one.is_taken_back for one in found), (name, points, late)
            assert all(one.promoted is None for one in found), (name, points, late)
            assert (name == "shadow first") == all(one.exposed == 0 for one in found)
    for (name, points, late), case in better.cases().items():
        if points == 5 and late < 3 and name != "default":
            found = run_some(replace(case, observations=30_000), range(runs))
            assert all(one.promoted is not None for one in found), (name, points, late)


@pytest.mark.slow
def test_exactly_at_the_margin_hardly_any_is_taken_back():
    runs = 60
    for case in worse.at_the_margin(4000).values():
        found = run_some(case, range(runs))
        assert sum(one.is_taken_back for one in found) <= most(runs, POLICY.rollout.rollback_error)


@pytest.mark.slow
def test_the_same_rows_need_at_most_half_of_the_labels_of_split_traffic():
    truth = worse.worse_by(5)
    paired = run_some(Case(truth, with_steps(SHADOW_FIRST), observations=20_000), range(20))
    split = worse.split_labels(truth, 20, most=10_000)
    assert np.median([one.labelled for one in paired]) <= np.median(split) / 2


def test_the_fixed_horizon_has_the_power_it_was_planned_for():
    truth = better.better_by(5)
    labels = better.fixed_labels(truth, 0.05, 0.8)
    found = better.fixed_share(truth, labels, 0.05, 300)
    low, high = stats.binom.ppf([0.0001, 0.9999], 300, 0.8)
    assert low <= found.count <= high
    assert FixedSample().log(np.array([0]), np.array([0]))[0] == pytest.approx(np.log(2))


def test_shares_have_the_exact_interval():
    # Clopper and Pearson (1934): 0 of n ends at 1 − (α/2)^(1/n).
    low, high = Share(0, 10).interval
    assert (low, high) == (0.0, pytest.approx(1 - 0.025**0.1))
    assert str(Share(1, 1000)) == "0.1% (0.0%–0.6%)"


@pytest.mark.slow
def test_judging_is_timed():
    assert "one experiment of 20,000 units" in speed.run(experiments=3, count=20_000).markdown()
