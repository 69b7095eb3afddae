"""The audit: right intervals rarely fail it however often it looks, wrong ones soon do, few windows tell nothing."""

import dataclasses
import math

import numpy as np
import pytest
from scipy.stats import binom

from homeostat.errors import InvalidInput
from homeostat.stats.performance import audit_estimates, audit_intervals
from homeostat.stats.performance.estimation.results import estimated

ESTIMATE = estimated("accuracy", 0.9, 0.01, 0.0, confidence=0.95, n=900, n_reference=5_000, method="cbpe")


def test_right_intervals_rarely_fail_over_any_number_of_looks():
    rng = np.random.default_rng(0)
    runs = 400
    failed = sum(audit_intervals(rng.random(1_000) < 0.05).failed_at is not None for _ in range(runs))
    assert failed <= binom.ppf(0.9999, runs, 0.05)


def test_wrong_intervals_fail_soon():
    rng = np.random.default_rng(1)
    half = [audit_intervals(rng.random(40) < 0.5).failed_at for _ in range(100)]
    assert np.median(half) <= 5
    third = [audit_intervals(rng.random(200) < 0.2).failed_at or math.inf for _ in range(100)]
    assert np.median(third) <= 40


def test_an_error_that_all_windows_share_does_not_fail_the_audit():
    # Windows are exact and the reference is off: without its error in full, three references in ten would fail.
    rng = np.random.default_rng(2)
    runs, failed, naive = 200, 0, 0
    for _ in range(runs):
        off = rng.normal(0, 0.01)
        shown = 0.9 + off + rng.normal(0, 0.01, 100)
        one = dataclasses.replace(ESTIMATE, reference_error=0.01)
        failed += audit_estimates([one] * 100, shown).failed_at is not None
        naive += audit_intervals(np.abs(shown - 0.9) > 1.96 * 0.01 * math.sqrt(2)).failed_at is not None
    assert failed <= binom.ppf(0.9999, runs, 0.05)
    assert naive > failed


def test_statuses():
    assert audit_estimates([], []).status == "not_audited"
    few = audit_estimates([ESTIMATE] * 3, [0.9, 0.91, 0.89])
    assert (few.status, few.actionable, few.n) == ("not_audited", True, 3)
    assert "too few windows" in few.sentence
    enough = audit_estimates([ESTIMATE] * 6, [0.9] * 6)
    assert (enough.status, enough.estimate, enough.interval[0]) == ("trusted", 0.0, 0.0)
    wrong = audit_estimates([ESTIMATE] * 4, [0.7] * 4)
    assert (wrong.status, wrong.actionable) == ("failing", False)
    assert "must not be acted on" in wrong.sentence
    # One failure is for good: the estimator must be fitted anew.
    later = audit_estimates([ESTIMATE] * 200, [0.7] * 4 + [0.9] * 196)
    assert (later.status, later.failed_at) == ("failing", wrong.failed_at)


def test_the_confidence_sequence_holds_the_share_at_every_look():
    rng = np.random.default_rng(3)
    runs, left = 150, 0
    for _ in range(runs):
        outside = rng.random(200) < 0.1
        looks = (audit_intervals(outside[:n], allowed=0.5).interval for n in (5, 10, 20, 50, 100, 200))
        left += any(not low <= 0.1 <= high for low, high in looks)
    assert left <= binom.ppf(0.9999, runs, 0.05)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: audit_intervals([0, 2]), "0 or 1"),
        (lambda: audit_intervals([0, 1], allowed=0), "between 0 and 1"),
        (lambda: audit_estimates([ESTIMATE], [0.9, 0.9]), "1 estimates but 2"),
        (lambda: audit_estimates([ESTIMATE], [math.nan]), "missing"),
        (
            lambda: audit_estimates([ESTIMATE, dataclasses.replace(ESTIMATE, name="f1")], [0.9, 0.9]),
            "mix metrics",
        ),
        (lambda: audit_estimates([dataclasses.replace(ESTIMATE, estimate=math.nan)], [0.9]), "could not be estimated"),
    ],
)
def test_bad_input_is_refused_in_words(call, words):
    with pytest.raises(InvalidInput, match=words):
        call()
