"""Label shift from predictions, and drift of a model's outputs."""

import math
import warnings

import numpy as np
import pytest
from scipy.stats import binom

from homeostat.errors import InvalidInput
from homeostat.stats.drift.label_shift import black_box_detector, black_box_shift

RATES = np.array([[0.8, 0.1, 0.1], [0.1, 0.85, 0.05], [0.2, 0.1, 0.7]])


def predicted(truth, rng):
    """Predictions of a model with these confusion rates."""
    return (rng.random(len(truth))[:, None] > RATES[truth].cumsum(axis=1)[:, :2]).sum(axis=1)


def drawn(before, after, n, m, rng):
    truth = rng.choice(3, n, p=before)
    return truth, predicted(truth, rng), predicted(rng.choice(3, m, p=after), rng)


@pytest.mark.parametrize("after", [(0.5, 0.3, 0.2), (0.2, 0.3, 0.5)])
def test_intervals_cover_and_the_level_holds(after):
    rng, runs = np.random.default_rng(0), 80
    before = np.array([0.5, 0.3, 0.2])
    distance = 0.5 * np.abs(before - after).sum()
    alarms = whole = 0
    each = np.zeros(3)
    for _ in range(runs):
        result = black_box_shift(*drawn(before, after, 400, 200, rng), draws=200, rng=rng)
        alarms += result.p <= 0.05
        whole += result.interval[0] <= distance <= result.interval[1]
        each += [one.interval[0] <= share <= one.interval[1] for one, share in zip(result.classes, after, strict=True)]
    assert whole >= binom.ppf(1e-4, runs, 0.95)
    assert each.min() >= binom.ppf(1e-4, runs, 0.93)
    if distance:
        assert alarms >= 0.9 * runs
    else:
        assert alarms <= binom.ppf(0.9999, runs, 0.05)


def test_weights_are_ratios_of_shares():
    rng = np.random.default_rng(1)
    result = black_box_shift(*drawn((0.5, 0.3, 0.2), (0.2, 0.3, 0.5), 5_000, 5_000, rng), draws=200)
    shares = np.array([one.share for one in result.classes])
    assert shares.sum() == pytest.approx(1)
    np.testing.assert_allclose(shares, [0.2, 0.3, 0.5], atol=0.06)
    for one in result.classes:
        assert one.weight == pytest.approx(one.share / one.reference)
        assert one.weight_interval[0] < one.weight < one.weight_interval[1]
    assert result.identified
    assert "If each class still looks as it did" in result.sentence


def test_a_model_that_can_not_tell_classes_identifies_nothing():
    labels = np.repeat(["a", "b"], 50)
    coin = np.tile(["a", "b"], 50)
    result = black_box_shift(labels, coin, np.repeat(["a", "b"], [90, 10]))
    assert not result.identified
    assert result.condition == math.inf
    assert math.isnan(result.estimate)
    assert all(math.isnan(one.share) for one in result.classes)
    assert result.p < 1e-6
    assert "can't be told" in result.sentence


def test_a_class_that_is_never_predicted_identifies_nothing():
    labels = np.repeat([0, 1, 2], 30)
    result = black_box_shift(labels, np.minimum(labels, 1), np.repeat([0, 1], 20))
    assert not result.identified


def test_impossible_shares_are_clipped_and_said_so():
    labels = np.repeat([0, 1], 100)
    noisy = np.concatenate((np.repeat([0, 1], [80, 20]), np.repeat([0, 1], [20, 80])))
    # Fewer predictions of 1 than the model makes where there is no 1 at all.
    result = black_box_shift(labels, noisy, np.repeat([0, 1], [95, 5]))
    assert result.clipped
    assert [one.share for one in result.classes] == [1.0, 0.0]


def test_numbers_booleans_and_floats_name_the_same_classes():
    labels, window = np.repeat([0, 1], 40), np.repeat([0, 1], [10, 30])
    first = black_box_shift(labels, labels, window)
    assert first == black_box_shift(labels.astype(bool), labels.astype(float), window.astype(object))


@pytest.mark.parametrize(
    ("labels", "predictions", "window", "words"),
    [
        ([], [], [0], "at least one row"),
        ([0, 1], [0], [0], "same rows"),
        ([0, 0], [0, 0], [0], "2 classes"),
        ([0, 1], [0, 1], [2], "which no reference label is"),
        ([0, 1], [0, 1], [], "at least one row"),
        ([0, None], [0, 1], [0], "missing"),
        ([0.0, np.nan], [0.0, 1.0], [0.0], "missing"),
        ([[0, 1]], [[0, 1]], [0], "one dimension"),
    ],
)
def test_bad_labels_are_refused(labels, predictions, window, words):
    with pytest.raises(InvalidInput, match=words):
        black_box_shift(labels, predictions, window)


@pytest.mark.parametrize("options", [{"confidence": 1.0}, {"draws": 5}, {"largest_condition": 0.5}])
def test_settings_that_mean_nothing(options):
    with pytest.raises(InvalidInput):
        black_box_shift([0, 1], [0, 1], [0], **options)


@pytest.mark.parametrize("ties", [False, True])
def test_the_detectors_level_holds(ties):
    rng, runs, alarms = np.random.default_rng(0), 100, 0
    for _ in range(runs):
        outputs = rng.dirichlet(np.full(4, 0.4), size=240)
        outputs = np.round(outputs, 1) if ties else outputs
        alarms += black_box_detector(outputs[:160], outputs[160:]).p <= 0.05
    assert alarms <= binom.ppf(0.9999, runs, 0.05)


def test_the_detector_finds_changed_outputs_and_says_which():
    rng = np.random.default_rng(0)
    before, after = rng.dirichlet([4.0, 1, 1], size=300), rng.dirichlet([1.0, 4, 1], size=200)
    result = black_box_detector(before, after)
    assert max(result.p, result.ks_p, result.decisions_p) < 1e-6
    assert result.interval[0] <= result.estimate <= result.interval[1]
    assert len(result.by_output) == 3
    assert "output 0" in result.sentence
    assert "200 rows" in result.sentence


def test_one_score_needs_no_correction():
    rng = np.random.default_rng(0)
    result = black_box_detector(rng.random(100), rng.random(80))
    assert result.p == result.ks_p == result.by_output[0]
    assert result.decisions_p == 1


def test_the_detectors_edges():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert black_box_detector(np.ones((10, 3)), np.ones((5, 3))).p == 1
        assert black_box_detector([0.5], [0.7]).p == 1
    for before, after in (
        ([], [1.0]),
        ([np.nan], [1.0]),
        (np.ones((3, 2)), np.ones((3, 3))),
        (["a"], [1.0]),
        (np.ones((2, 2, 2)), np.ones((2, 2, 2))),
    ):
        with pytest.raises(InvalidInput):
            black_box_detector(before, after)
    with pytest.raises(InvalidInput):
        black_box_detector([1.0], [1.0], confidence=0.0)


@pytest.mark.parametrize("outputs", [np.ones(9) * 1j, np.arange(9).astype("datetime64[D]"), ["1"] * 9, [2**2000] * 9])
def test_outputs_that_are_no_numbers_are_refused(outputs):
    from homeostat.stats.drift.label_shift import _outputs

    with pytest.raises(InvalidInput, match="must be numbers"):
        _outputs(outputs, "reference")
