"""Two models on the same rows."""

import math

import numpy as np
import pytest
from scipy import stats

from homeostat.errors import InvalidInput
from homeostat.stats.inference import compare_losses, compare_models, delong
from homeostat.stats.sequential import paired_log_evidence


@pytest.fixture
def scored():
    rng = np.random.default_rng(3)
    truth = (rng.random(2000) < 0.3).astype(int)
    signal = truth + rng.normal(size=2000)
    return truth, signal + rng.normal(size=2000), signal


def test_the_better_model_is_found_with_its_size(scored):
    truth, noisy, clear = scored
    result = compare_models(truth, noisy > 0.7, clear > 0.7, scores_1=noisy, scores_2=clear)
    assert result.verdict == "better"
    gain = ((clear > 0.7) == truth).mean() - ((noisy > 0.7) == truth).mean()
    assert result.difference.estimate == pytest.approx(gain)
    assert result.difference.interval[0] > 0
    assert result.auc is not None
    assert result.auc.p < 1e-6
    assert result.log_e_better == paired_log_evidence(result.wins, result.losses)
    assert result.log_e_worse < 0 < result.log_e_better
    assert result.mcnemar is not None
    assert result.mcnemar.p == result.difference.p
    assert "accuracy" in result.sentence
    mirrored = compare_models(truth, clear > 0.7, noisy > 0.7, scores_1=clear, scores_2=noisy)
    assert mirrored.verdict == "worse"
    assert mirrored.difference.interval == pytest.approx(tuple(-b for b in result.difference.interval[::-1]))


def test_equal_models_can_not_be_told_apart(scored):
    truth, noisy, _ = scored
    result = compare_models(truth, noisy > 0.7, noisy > 0.7, scores_1=noisy, scores_2=noisy)
    assert result.verdict == "insufficient"
    assert (result.log_e_better, result.log_e_worse) == (0.0, 0.0)
    assert result.auc is not None
    assert math.isnan(result.auc.p)
    assert "alike" in result.auc.sentence
    close = compare_models(np.ones(100), np.r_[np.ones(95), np.zeros(5)], np.r_[np.zeros(4), np.ones(96)])
    assert close.verdict == "inconclusive"
    assert close.minimum_effect > 0


def test_copies_of_rows_are_not_evidence(scored):
    truth, noisy, clear = (values[:60] for values in scored)
    once = compare_models(truth, noisy > 0.7, clear > 0.7, scores_1=noisy, scores_2=clear)
    owner = np.repeat(np.arange(60), 20)
    many = [np.repeat(values, 20) for values in (truth, noisy > 0.7, clear > 0.7, noisy, clear)]
    naive = compare_models(*many[:3], scores_1=many[3], scores_2=many[4])
    honest = compare_models(*many[:3], scores_1=many[3], scores_2=many[4], entities=owner)
    assert naive.difference.p < once.difference.p / 100
    assert honest.difference.error == pytest.approx(once.difference.error, rel=0.02)
    assert (honest.wins, honest.losses) == (once.wins, once.losses)
    assert honest.auc.error == pytest.approx(once.auc.error, rel=0.05)
    assert honest.mcnemar is None
    assert "60 entities" in honest.sentence


def test_losses_of_regressions():
    rng = np.random.default_rng(5)
    first, second = np.abs(rng.normal(0, 1.2, 800)), np.abs(rng.normal(0, 1.0, 800))
    result = compare_losses(first, second)
    expected = stats.ttest_rel(second, first)
    assert result.verdict == "better"
    assert (result.difference.statistic, result.difference.p) == pytest.approx((expected.statistic, expected.pvalue))
    assert compare_losses(second, first).verdict == "worse"
    assert compare_losses(first, first).verdict == "insufficient"


def test_texts_are_classes_too():
    truth = np.array(["cat", "dog", "emu"] * 20)
    guess = np.array(["cat", "dog", "dog"] * 20)
    result = compare_models(truth, guess, truth)
    assert result.difference.estimate == pytest.approx(1 / 3)
    with pytest.raises(InvalidInput, match="2 classes"):
        compare_models(truth, guess, truth, scores_1=np.zeros(60), scores_2=np.ones(60))
    one_class = compare_models(
        truth, guess, truth, scores_1=np.linspace(0, 1, 60), scores_2=1.0 * (truth == "emu"), positive="emu"
    )
    assert one_class.auc is not None


def test_what_can_not_be_compared_is_refused():
    truth = np.array([0, 1, 1, 0])
    score = np.array([0.1, 0.9, 0.4, 0.2])
    for call in (
        lambda: compare_models(truth, truth[:3], truth),
        lambda: compare_models([1], [1], [1]),
        lambda: compare_models([], [], []),
        lambda: compare_models(truth, np.array(list("0110")), truth),
        lambda: compare_models(np.array([0.0, 1.0, np.nan, 1.0]), truth, truth),
        lambda: compare_models(truth, truth, truth, scores_1=score),
        lambda: compare_models(truth, truth, truth, scores_1=score, scores_2=score * np.nan),
        lambda: compare_models(truth, truth, truth, scores_1=score, scores_2=score, positive=7),
        lambda: compare_models(truth, truth, truth, entities=[1, 1, 1, 1]),
        lambda: compare_models(truth, truth, truth, entities=[1, 2, 3]),
        lambda: delong([0, 1, 1, 1], score, score),
        lambda: delong([0, 2, 1, 1], score, score),
        lambda: delong(truth, score, score, entities=[1, 1, 1, 1]),
        lambda: compare_losses([1.0, np.nan], [1.0, 2.0]),
    ):
        with pytest.raises(InvalidInput):
            call()
