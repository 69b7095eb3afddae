"""Anytime-valid evidence: right by formula, and right under peeking at every step."""

import math

import numpy as np
import pytest
from scipy import integrate, special, stats

from homeostat.errors import InvalidInput
from homeostat.stats.sequential import betting_log_evidence, change_point, loss_detector, paired_log_evidence

STEPS = 2000
RUNS = 1500
ALPHA = 0.05


def limit(runs, level):
    """More false alarms than this would come up by chance in 1 of 1,000 such simulations."""
    return stats.binom.ppf(0.999, runs, level)


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (1, 0), (0, 7), (13, 5), (60, 40), (200, 300)])
def test_paired_evidence_is_the_integral(wins, losses):
    n = wins + losses
    integral, _ = integrate.quad(lambda p: (2 * p) ** wins * (2 * (1 - p)) ** losses, 0.5, 1, epsabs=0, epsrel=1e-11)
    assert paired_log_evidence(wins, losses) == pytest.approx(math.log(2 * integral), rel=1e-8, abs=1e-10), n


def test_both_directions_together_are_the_two_sided_mixture():
    both = np.logaddexp(paired_log_evidence(30, 50), paired_log_evidence(50, 30))
    assert both == pytest.approx(81 * math.log(2) + special.betaln(31, 51))


def test_paired_evidence_is_stable_at_a_million_rows_and_far_in_the_tail():
    n = 1_000_000
    wins = np.array([0, 1000, 300_000, 480_000, 499_000, 500_000, 501_000, 700_000, n])
    found = paired_log_evidence(wins, n - wins)
    assert np.isfinite(found).all()
    assert (np.diff(found) > 0).all()
    # All losses: the integral is 2 · 2ⁿ · ½ⁿ⁺¹/(n + 1); all wins: 2ⁿ⁺¹/(n + 1).
    assert found[0] == pytest.approx(-math.log(n + 1))
    assert found[-1] == pytest.approx((n + 1) * math.log(2) - math.log(n + 1))
    # Where the tail changes from one formula to the other there is no step.
    near = np.arange(4400, 5000)
    steps = np.diff(paired_log_evidence(near, 10_000 - near))
    assert (steps > 0).all()
    assert np.abs(np.diff(steps, 2)).max() < 1e-5


def test_far_tail_by_integration():
    wins, losses = 100, 3900

    def integrand(t):
        return math.exp(wins * math.log1p(t) + losses * math.log1p(-t))

    integral, _ = integrate.quad(integrand, 0, 0.05, epsabs=0, epsrel=1e-11)
    assert special.betainc(losses + 1, wins + 1, 0.5) < 1e-280
    assert paired_log_evidence(wins, losses) == pytest.approx(math.log(integral), rel=1e-9)


def paired_alarms(rng, runs):
    """Runs of fair coins in which the paired evidence, and a z-test, ever alarm in 2,000 looks."""
    wins = np.cumsum(rng.random((runs, STEPS)) < 0.5, axis=1)
    n = np.arange(1, STEPS + 1)
    z = (wins - n / 2) / np.sqrt(n / 4)
    evidence = (paired_log_evidence(wins, n - wins) >= math.log(1 / ALPHA)).any(axis=1).sum()
    return evidence, (z[:, 20:] > stats.norm.ppf(1 - ALPHA)).any(axis=1).sum()


def bet_alarms(rng, runs, kind):
    """Runs of differences of mean 0 in which the bets ever alarm in 2,000 looks."""
    if kind == "signs":
        differences = rng.choice([-1.0, 0.0, 1.0], size=(runs, STEPS))
    elif kind == "skewed":
        differences = np.where(rng.random((runs, STEPS)) < 0.1, 0.9, -0.1)
    else:
        # The variance depends on the past, the mean does not.
        differences = rng.normal(0, 1, (runs, STEPS))
        differences[:, 1:] *= np.abs(differences[:, :-1]) > 0.5
    return (betting_log_evidence(differences, 1.0) >= math.log(1 / ALPHA)).any(axis=1).sum()


def run_lengths(rng, runs, rate, threshold, steps):
    """Losses until the detector alarms; a stream that is cut off counts with its length, which shortens the average."""
    alarms = loss_detector((rng.random((runs, steps)) < rate).astype(float), rate) >= threshold
    return np.where(alarms.any(axis=1), alarms.argmax(axis=1) + 1, steps)


@pytest.mark.slow
def test_peeking_at_paired_evidence_at_every_step_keeps_the_level():
    evidence, z_test = paired_alarms(np.random.default_rng(0), RUNS)
    assert 0 < evidence <= limit(RUNS, ALPHA)
    # A test meant for one look does not keep it.
    assert z_test > 0.3 * RUNS


@pytest.mark.parametrize("kind", ["signs", "skewed", "changing"])
def test_peeking_at_bets_at_every_step_keeps_the_level(kind):
    assert bet_alarms(np.random.default_rng(1), RUNS, kind) <= limit(RUNS, ALPHA)


def test_bets_find_a_positive_mean_and_clip_what_exceeds_the_bound():
    rng = np.random.default_rng(2)
    differences = rng.choice([-1.0, 1.0], p=[0.4, 0.6], size=(200, STEPS))
    found = betting_log_evidence(differences, 1.0) >= math.log(1 / ALPHA)
    assert found.any(axis=1).mean() > 0.99
    assert np.median(found.argmax(axis=1)) < 500
    path = betting_log_evidence(np.array([5.0, 1.0]), 1.0)
    assert path == pytest.approx(betting_log_evidence(np.array([1.0, 1.0]), 1.0))


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.4])
def test_run_length_of_the_detector_on_stationary_streams(rate):
    assert run_lengths(np.random.default_rng(3), 400, rate, 200.0, 3000).mean() > 200


def test_the_detector_follows_its_recursion():
    losses = np.random.default_rng(4).random(60)
    path = loss_detector(losses, 0.4, fractions=(0.3,))
    m, expected = 0.0, []
    for loss in losses:
        m = (m + 1) * (1 + 0.3 * (loss - 0.4) / 0.4)
        expected.append(m)
    assert path == pytest.approx(expected)
    mixture = np.mean([loss_detector(losses, 0.4, fractions=(fraction,)) for fraction in (0.1, 0.5)], axis=0)
    assert loss_detector(losses, 0.4, fractions=(0.1, 0.5)) == pytest.approx(mixture)
    assert np.exp(loss_detector(losses, 0.4, log=True)) == pytest.approx(loss_detector(losses, 0.4))


def test_the_detector_finds_a_late_change_soon():
    rng = np.random.default_rng(5)
    losses = np.concatenate([rng.random((100, 3000)) < 0.05, rng.random((100, 500)) < 0.15], axis=1).astype(float)
    alarms = loss_detector(losses, 0.05) >= 10_000
    assert alarms[:, :3000].any(axis=1).mean() < 0.3
    assert alarms[:, 3000:].any(axis=1).mean() > 0.95


def test_the_detector_takes_a_perfect_baseline_and_overflow():
    assert loss_detector(np.zeros(100), 0.0)[-1] < 100
    assert loss_detector(np.ones(3), 0.0)[-1] > 1000
    assert loss_detector(np.ones(1000), 0.01)[-1] == np.inf
    assert np.isfinite(loss_detector(np.ones(1000), 0.01, log=True)).all()


def test_change_point_of_rates_and_of_means():
    rng = np.random.default_rng(6)
    found = [
        change_point(np.concatenate([rng.random(800) < 0.05, rng.random(300) < 0.3]).astype(float)) for _ in range(50)
    ]
    assert np.median(np.abs(np.array(found) - 800)) <= 10
    means = np.concatenate([rng.normal(5, 1, 200), rng.normal(7, 1, 100)])
    assert abs(change_point(means) - 200) <= 5
    assert change_point(np.ones(50)) == change_point(np.array([0.0, 1.0])) == change_point(np.empty(0)) == 0


def test_input_that_means_nothing_is_refused():
    with pytest.raises(InvalidInput, match="negative"):
        paired_log_evidence(-1, 2)
    with pytest.raises(InvalidInput, match="bound"):
        betting_log_evidence(np.ones(3), 0.0)
    with pytest.raises(InvalidInput, match="missing"):
        betting_log_evidence(np.array([np.nan]), 1.0)
    with pytest.raises(InvalidInput, match="fractions"):
        betting_log_evidence(np.ones(3), 1.0, fractions=(1.0,))
    with pytest.raises(InvalidInput, match="between 0 and 1"):
        loss_detector(np.array([2.0]), 0.5)
    with pytest.raises(InvalidInput, match="baseline"):
        loss_detector(np.ones(2), 1.0)


if __name__ == "__main__":
    evidence, z_test = paired_alarms(np.random.default_rng(0), 4000)
    print(f"alarms at level 5 %, 2,000 looks: paired evidence {evidence / 4000:.1%}, z-test {z_test / 4000:.1%}")
    for kind in ("signs", "skewed", "changing"):
        print(f"bets on {kind} differences: {bet_alarms(np.random.default_rng(1), 4000, kind) / 4000:.1%}")
    for rate in (0.02, 0.1, 0.4):
        mean = run_lengths(np.random.default_rng(3), 400, rate, 200, 20000).mean()
        print(f"run length, A = 200, loss rate {rate}: {mean:.0f}")


@pytest.mark.parametrize(
    "values", [np.ones(5) * 1j, np.arange(5).astype("datetime64[D]"), ["1", "0", "1"], [2**2000, 1], [[1], [1, 2]]]
)
def test_what_numpy_would_read_as_numbers_is_refused(values):
    import homeostat.stats.sequential as s

    for call in (
        lambda: s.betting_log_evidence(values, 1.0),
        lambda: s.product_log_evidence(values),
        lambda: s.loss_detector(values, 0.3),
        lambda: s.share_log_evidence(values, 9, 0.5),
        lambda: s.paired_difference_log_evidence(values, 3),
        lambda: s.quantile_log_evidence(values, 9, 0.5),
        lambda: s.two_bernoulli_log_evidence(values, values),
    ):
        with pytest.raises(InvalidInput):
            call()
