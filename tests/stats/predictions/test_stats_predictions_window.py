"""All checks of a window together: silence where nothing changed, the right name where something did."""

import math

import numpy as np
import pytest
from scipy import stats

from homeostat.errors import InvalidInput
from homeostat.stats.multiplicity import holm
from homeostat.stats.predictions import PredictionWindow, prediction_anomalies


def scored(rng, rows, *, hours=24.0, a=1.0, b=9.0, cut=0.2):
    scores = rng.beta(a, b, rows)
    return PredictionWindow((scores >= cut).astype(int), scores, np.sort(rng.random(rows) * hours))


def names(report):
    return {anomaly.name for anomaly in report.anomalies if anomaly.verdict == "harmed"}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def before(rng):
    return scored(rng, 4000, hours=96.0)


def test_windows_in_which_nothing_changed_are_healthy():
    rng = np.random.default_rng(1)
    runs = 12
    alarms = {"calibrated": 0, "classic": 0}
    for _ in range(runs):
        reference, current = scored(rng, 3000, hours=96.0), scored(rng, 750)
        for preset in alarms:
            alarms[preset] += prediction_anomalies(reference, current, preset=preset).verdict == "harmed"
    assert alarms["calibrated"] <= stats.binom.ppf(0.9999, runs, 0.01)
    # Thresholds that ignore the size of the window do not keep quiet.
    assert alarms["classic"] > 0.9 * runs


def test_each_anomaly_is_named(rng, before):
    quiet = scored(rng, 1000)
    ten = {
        "class_balance": PredictionWindow(np.repeat([0, 1], 500), quiet.scores, quiet.times),
        "confidence_collapse": PredictionWindow(quiet.outputs, rng.normal(0.5, 0.02, 1000), quiet.times),
        "constant_score": PredictionWindow(quiet.outputs, np.full(1000, 0.1), quiet.times),
        "constant_output": PredictionWindow(np.zeros(1000, dtype=int), quiet.scores, quiet.times),
        "out_of_range": PredictionWindow(quiet.outputs, np.append(quiet.scores[:-1], 1.5), quiet.times),
        "volume_spike": PredictionWindow(
            quiet.outputs, quiet.scores, np.sort(np.append(quiet.times[:500], rng.uniform(12, 12.5, 500)))
        ),
        "share_spike": PredictionWindow(
            np.where((quiet.times > 5) & (quiet.times < 7), 1, quiet.outputs), quiet.scores, quiet.times
        ),
        "positive_rate": PredictionWindow(quiet.outputs, quiet.scores, quiet.times / 10),
        "confidence_decay": PredictionWindow(
            quiet.outputs, np.clip(0.02 + 0.45 * quiet.times / 24 + rng.normal(0, 0.02, 1000), 0, 1), quiet.times
        ),
    }
    for name, window in ten.items():
        report = prediction_anomalies(before, window)
        assert name in names(report), name
        assert report.verdict == "harmed"
        assert report.severity != "none"
        assert report[name].p_adjusted >= report[name].p
    assert names(prediction_anomalies(before, quiet)) == set()
    assert names(prediction_anomalies(before, ten["share_spike"], rng=1)) <= {"share_spike", "class_balance"}


def test_p_values_are_holms_over_all_checks(rng, before):
    report = prediction_anomalies(before, scored(rng, 1000, a=1.3))
    known = [anomaly for anomaly in report.anomalies if not math.isnan(anomaly.p)]
    assert len(known) >= 8
    assert [one.p_adjusted for one in known] == pytest.approx(holm(np.array([one.p for one in known])).tolist())
    for anomaly in known:
        assert (anomaly.verdict == "harmed") <= (anomaly.p_adjusted < 0.01)


def test_regressors(rng):
    before = PredictionWindow(rng.normal(100, 10, 3000))
    options = {"regression": True, "output_range": (0, 200)}
    assert prediction_anomalies(before, PredictionWindow(rng.normal(100, 10, 500)), **options).verdict == "healthy"
    wild = np.append(rng.normal(100, 10, 480), np.full(20, 170.0))
    assert names(prediction_anomalies(before, PredictionWindow(wild), **options)) == {"outlying_outputs"}
    stray = np.append(rng.normal(100, 10, 499), 201.0)
    assert names(prediction_anomalies(before, PredictionWindow(stray), **options)) == {"out_of_range"}
    stuck = prediction_anomalies(before, PredictionWindow(np.full(500, 100.0)), **options)
    assert names(stuck) == {"constant_output"}
    assert "All 500 outputs are 100" in stuck.sentence


def test_several_classes_and_named_ones(rng):
    shares = rng.dirichlet([2, 2, 4], 3000)
    before = PredictionWindow(np.array(["a", "b", "c"])[shares.argmax(axis=1)], shares)
    later = rng.dirichlet([2, 2, 4], 800)
    same = PredictionWindow(np.array(["a", "b", "c"])[later.argmax(axis=1)], later)
    assert prediction_anomalies(before, same, positive=None).verdict == "healthy"
    moved = rng.dirichlet([9, 2, 2], 800)
    window = PredictionWindow(np.array(["a", "b", "c"])[moved.argmax(axis=1)], moved)
    assert "class_balance" in names(prediction_anomalies(before, window, positive=None))
    only = prediction_anomalies(PredictionWindow(scores=shares), PredictionWindow(scores=moved), positive=None)
    assert "class_balance" in names(only)


def test_scores_alone_are_cut_at_a_half(rng):
    before, after = PredictionWindow(scores=rng.beta(1, 9, 2000)), PredictionWindow(scores=rng.beta(9, 1, 500))
    report = prediction_anomalies(before, after, positive="spam")
    assert report["class_balance"].estimate > 0.9


def test_rows_without_a_score_are_a_finding_and_stop_nothing(rng, before):
    scores = np.array(scored(rng, 1000).scores)
    scores[:100] = np.nan
    report = prediction_anomalies(before, PredictionWindow((scores > 0.2).astype(int), scores, np.arange(1000.0)))
    assert report["out_of_range"].verdict == "harmed"
    assert report["confidence_collapse"].n == 900
    missing = np.where(np.arange(1000) < 5, None, "ham").astype(object)
    two = prediction_anomalies(
        PredictionWindow(np.array(["ham", "spam"] * 500)), PredictionWindow(missing), positive="spam"
    )
    assert two["class_balance"].n == 995
    broken = np.array(rng.dirichlet([1, 1, 1], 500))
    broken[0] = 2
    odd = prediction_anomalies(
        PredictionWindow(scores=rng.dirichlet([1, 1, 1], 500)), PredictionWindow(scores=broken), positive=None
    )
    assert odd["out_of_range"].statistic == 1


def test_no_rows_and_few_rows(before):
    empty = prediction_anomalies(before, PredictionWindow(np.zeros(0), np.zeros(0), np.zeros(0)))
    assert (empty.verdict, empty.severity) == ("no_data", "none")
    few = prediction_anomalies(before, PredictionWindow(np.ones(9), np.full(9, 0.5), np.arange(9.0)))
    # Nine rows are too few for shares, but enough to see that hardly anything comes in.
    assert names(few) <= {"positive_rate"}
    assert few["class_balance"].verdict == "insufficient"
    same_time = prediction_anomalies(before, PredictionWindow(np.ones(200), np.full(200, 0.5), np.zeros(200)))
    assert same_time.verdict == "harmed"
    with pytest.raises(KeyError):
        few["luck"]


def test_input_that_means_nothing_is_refused(rng, before):
    wrong = [
        (PredictionWindow, "outputs or scores"),
        (lambda: PredictionWindow(np.zeros(3), np.zeros(4)), "one entry a row"),
        (lambda: PredictionWindow(np.float64(3)), "one entry a row"),
        (lambda: prediction_anomalies(before, PredictionWindow(np.zeros(200))), "both have"),
        (lambda: prediction_anomalies(before, before, preset="bold"), "preset"),
        (lambda: prediction_anomalies(before, before, periods=1), "4 periods"),
        (lambda: prediction_anomalies(before, before, regression=True, output_range=(2, 1)), "empty"),
        (
            lambda: prediction_anomalies(
                PredictionWindow(scores=np.zeros(9)), PredictionWindow(scores=np.zeros((9, 2)))
            ),
            "same columns",
        ),
        (
            lambda: prediction_anomalies(
                PredictionWindow(scores=np.array(["x"])), PredictionWindow(scores=np.array(["x"]))
            ),
            "must be numbers",
        ),
        (
            lambda: prediction_anomalies(
                before, PredictionWindow(before.outputs, before.scores, np.full(4000, np.nan))
            ),
            "finite",
        ),
    ]
    for call, words in wrong:
        with pytest.raises(InvalidInput, match=words):
            call()
