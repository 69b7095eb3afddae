"""Performance against scikit-learn, statsmodels, published figures, and computations by brute force."""

import math

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from statsmodels.regression.linear_model import GLSAR, OLS
from statsmodels.stats.proportion import proportion_confint
from statsmodels.tools import add_constant

from homeostat.stats.performance import (
    assess_calibration,
    audit_intervals,
    binary_performance,
    brier_decomposition,
    compare_roc_auc,
    fit_calibrator,
    fit_trend,
    multiclass_performance,
    regression_performance,
    roc_auc,
)
from homeostat.stats.performance.estimation.chances import fit_chances
from homeostat.stats.performance.estimation.expected import expected_binary


def rows(n=400, seed=0):
    rng = np.random.default_rng(seed)
    truth = (rng.random(n) < 0.35).astype(int)
    scores = np.round(1 / (1 + np.exp(-(rng.normal(size=n) + 1.3 * truth - 0.8))), 2)
    return truth, scores, (scores > 0.5).astype(int), rng.random(n) + 0.1


@pytest.mark.parametrize("weighted", [False, True])
def test_binary_metrics_of_scikit_learn(weighted):
    truth, scores, predicted, weights = rows()
    given = weights if weighted else None
    found = binary_performance(truth, scores=scores, predicted=predicted, weights=given)
    expected = {
        "accuracy": metrics.accuracy_score(truth, predicted, sample_weight=given),
        "precision": metrics.precision_score(truth, predicted, sample_weight=given),
        "recall": metrics.recall_score(truth, predicted, sample_weight=given),
        "f1": metrics.f1_score(truth, predicted, sample_weight=given),
        "fpr": 1 - metrics.recall_score(truth, predicted, pos_label=0, sample_weight=given),
        "roc_auc": metrics.roc_auc_score(truth, scores, sample_weight=given),
        "pr_auc": metrics.average_precision_score(truth, scores, sample_weight=given),
        "log_loss": metrics.log_loss(truth, scores, sample_weight=given),
        "brier": metrics.brier_score_loss(truth, scores, sample_weight=given),
    }
    assert {name: metric.estimate for name, metric in found.items()} == pytest.approx(expected)


def test_multiclass_metrics_of_scikit_learn():
    rng = np.random.default_rng(1)
    scores = rng.dirichlet(np.ones(4), 300)
    truth = np.array([rng.choice(4, p=row) for row in scores])
    predicted = scores.argmax(axis=1)
    found = multiclass_performance(truth, predicted, classes=4, scores=scores)
    assert {name: metric.estimate for name, metric in found.items()} == pytest.approx(
        {
            "accuracy": metrics.accuracy_score(truth, predicted),
            "f1_macro": metrics.f1_score(truth, predicted, average="macro"),
            "precision_macro": metrics.precision_score(truth, predicted, average="macro"),
            "recall_macro": metrics.recall_score(truth, predicted, average="macro"),
            "log_loss": metrics.log_loss(truth, scores),
            "brier": float(((scores - np.eye(4)[truth]) ** 2).sum(axis=1).mean()),
            "roc_auc_macro": metrics.roc_auc_score(truth, scores, multi_class="ovr"),
        }
    )


def test_regression_metrics_of_scikit_learn():
    rng = np.random.default_rng(2)
    truth = rng.normal(5, 2, 200)
    predicted = truth + rng.normal(0.2, 1, 200)
    found = regression_performance(truth, predicted)
    assert found["mae"].estimate == pytest.approx(metrics.mean_absolute_error(truth, predicted))
    assert found["rmse"].estimate == pytest.approx(metrics.root_mean_squared_error(truth, predicted))
    assert found["r2"].estimate == pytest.approx(metrics.r2_score(truth, predicted))
    error = np.abs(truth - predicted)
    assert found["mae"].standard_error == pytest.approx(error.std(ddof=1) / math.sqrt(200))


def test_wilson_intervals_of_statsmodels():
    truth, _, predicted, _ = rows()
    found = binary_performance(truth, predicted=predicted, confidence=0.9)
    hits = int((truth == predicted).sum())
    assert found["accuracy"].interval == pytest.approx(proportion_confint(hits, 400, alpha=0.1, method="wilson"))
    caught = int((truth & predicted).sum())
    assert found["recall"].interval == pytest.approx(
        proportion_confint(caught, int(truth.sum()), alpha=0.1, method="wilson")
    )


def placements(truth, scores):
    """DeLong's structural components, each pair by itself."""
    up, down = scores[truth == 1], scores[truth == 0]
    kernel = (up[:, None] > down) + 0.5 * (up[:, None] == down)
    return kernel.mean(axis=1), kernel.mean(axis=0)


def test_delongs_variance_by_every_pair():
    truth, scores, _, _ = rows(120, seed=3)
    of_positives, of_negatives = placements(truth, scores)
    variance = of_positives.var(ddof=1) / len(of_positives) + of_negatives.var(ddof=1) / len(of_negatives)
    found = binary_performance(truth, scores=scores)["roc_auc"]
    assert found.estimate == pytest.approx(of_positives.mean())
    assert found.standard_error == pytest.approx(math.sqrt(variance))
    # On the logit scale, as Pepe (2003) has it.
    auc, half = found.estimate, stats.norm.ppf(0.975) * math.sqrt(variance)
    centre = math.log(auc / (1 - auc))
    expected = [1 / (1 + math.exp(-(centre + sign * half / (auc * (1 - auc))))) for sign in (-1, 1)]
    assert found.interval == pytest.approx(expected)


def test_delongs_paired_variance_by_every_pair():
    truth, first, _, _ = rows(120, seed=4)
    second = first + np.random.default_rng(5).normal(0, 0.2, 120)
    (up_1, down_1), (up_2, down_2) = placements(truth, first), placements(truth, second)
    variance = (up_2 - up_1).var(ddof=1) / len(up_1) + (down_2 - down_1).var(ddof=1) / len(down_1)
    found = compare_roc_auc(truth, first, second)
    assert found.estimate == pytest.approx(up_2.mean() - up_1.mean())
    assert found.standard_error == pytest.approx(math.sqrt(variance))


def test_cluster_robust_error_of_statsmodels():
    truth, scores, predicted, _ = rows()
    entity = np.random.default_rng(6).integers(0, 60, 400)
    right = (truth == predicted).astype(float)
    model = OLS(right, np.ones(400)).fit(
        cov_type="cluster", cov_kwds={"groups": np.unique(entity, return_inverse=True)[1], "use_correction": False}
    )
    groups = len(np.unique(entity))
    found = binary_performance(truth, scores=scores, predicted=predicted, clusters=entity)["accuracy"]
    assert found.standard_error == pytest.approx(float(model.bse[0]) * math.sqrt(groups / (groups - 1)))


@pytest.mark.parametrize("lags", [0, 1, 3])
def test_newey_west_slope_of_statsmodels(lags):
    rng = np.random.default_rng(7)
    days = np.arange(40.0)
    values = 0.9 - 0.001 * days + rng.normal(0, 0.01, 40)
    expected = OLS(values, add_constant(days)).fit(
        cov_type="HAC", cov_kwds={"maxlags": lags, "use_correction": True}, use_t=True
    )
    found = fit_trend(days, values, method="newey_west", lags=lags)
    assert (found.estimate, found.statistic, found.p) == pytest.approx(
        (expected.params[1], expected.tvalues[1], expected.pvalues[1])
    )
    assert found.interval == pytest.approx(tuple(expected.conf_int()[1]))


def test_independent_slope_of_statsmodels_and_scipy():
    rng = np.random.default_rng(8)
    days = np.cumsum(rng.random(25) + 0.5)
    values = rng.normal(size=25)
    found, expected = fit_trend(days, values, method="independent"), stats.linregress(days, values)
    assert (found.estimate, found.p) == pytest.approx((expected.slope, expected.pvalue))
    line = OLS(values, add_constant(days)).fit().get_prediction(np.array([[1.0, days[-1]]]))
    assert found.level == pytest.approx(line.predicted_mean[0])
    assert found.level_interval == pytest.approx(tuple(line.conf_int()[0]))


def test_autoregressive_slope_agrees_with_glsar_of_statsmodels():
    # GLSAR drops the first window and Prais and Winsten keep it, so they agree nearly on many windows.
    rng = np.random.default_rng(9)
    noise = np.zeros(600)
    for at in range(1, 600):
        noise[at] = 0.5 * noise[at - 1] + rng.normal()
    days = np.arange(600.0)
    found = fit_trend(days, 0.01 * days + noise)
    expected = GLSAR(0.01 * days + noise, add_constant(days), rho=np.array([found.autocorrelation])).fit()
    assert found.estimate == pytest.approx(expected.params[1], rel=0.02)
    assert found.estimate / found.statistic == pytest.approx(expected.bse[1], rel=0.02)


@pytest.mark.parametrize("weighted", [False, True])
def test_isotonic_calibrator_of_scikit_learn(weighted):
    truth, scores, _, weights = rows()
    given = weights if weighted else None
    theirs = IsotonicRegression(out_of_bounds="clip").fit(scores, truth, sample_weight=given)
    grid = np.linspace(-0.2, 1.2, 500)
    assert fit_calibrator(scores, truth, weights=given).apply(grid) == pytest.approx(theirs.predict(grid))


def test_platt_calibrator_of_scikit_learn():
    truth, scores, _, _ = rows()
    ones, zeros = truth.sum(), (1 - truth).sum()
    target = np.where(truth == 1, (ones + 1) / (ones + 2), 1 / (zeros + 2))
    # Soft targets as two weighted rows each.
    theirs = LogisticRegression(C=1e12, tol=1e-10, max_iter=1000).fit(
        np.tile(scores, 2)[:, None], np.repeat([1, 0], 400), sample_weight=np.concatenate([target, 1 - target])
    )
    grid = np.linspace(0, 1, 11)
    found = fit_calibrator(scores, truth, method="platt").apply(grid)
    assert found == pytest.approx(theirs.predict_proba(grid[:, None])[:, 1], abs=1e-4)


def test_spiegelhalters_z_by_its_definition():
    truth, scores, _, _ = rows()
    expected = ((truth - scores) * (1 - 2 * scores)).sum() / math.sqrt(
        ((1 - 2 * scores) ** 2 * scores * (1 - scores)).sum()
    )
    assert assess_calibration(scores, truth).spiegelhalter_z == pytest.approx(expected)


def test_kumars_debiasing_by_simulation():
    # Kumar, Liang and Ma (2019) draw the bins' shares from their normal limit; ours is that mean in closed form.
    truth, scores, _, _ = rows(1_000, seed=10)
    found = assess_calibration(scores, truth)
    sizes = np.array([one.n for one in found.bins])
    observed = np.array([one.observed for one in found.bins])
    mean = np.array([one.score for one in found.bins])
    guarded = (observed * sizes + 0.5) / (sizes + 1)
    drawn = np.random.default_rng(0).normal(observed, np.sqrt(guarded * (1 - guarded) / sizes), (200_000, len(sizes)))
    bias = (np.abs(drawn - mean) @ sizes / 1_000).mean() - found.ece
    assert found.estimate == pytest.approx(found.ece - bias, abs=2e-4)


def test_brier_decomposition_by_isotonic_regression_of_scikit_learn():
    truth, scores, _, _ = rows()
    best = IsotonicRegression().fit_transform(scores, truth)
    parts = brier_decomposition(scores, truth)
    before, after = metrics.brier_score_loss(truth, scores), float(np.mean((best - truth) ** 2))
    assert parts.miscalibration == pytest.approx(before - after)
    assert parts.discrimination == pytest.approx(truth.mean() * (1 - truth.mean()) - after)


def test_confidence_based_estimates_by_drawing_labels():
    # With calibrated chances, the estimate is the mean of the metric over labels drawn from them.
    rng = np.random.default_rng(11)
    truth, scores, predicted, _ = rows(2_000, seed=12)
    chances = IsotonicRegression(out_of_bounds="clip").fit(scores, truth).predict(scores)
    fitted = fit_chances(scores[:, None], truth[:, None].astype(float))
    assert fitted.chances(scores[:, None])[:, 0] == pytest.approx(chances)
    found = expected_binary(chances, predicted.astype(float), scores)
    drawn = (rng.random((400, 2_000)) < chances).astype(int)
    shares = {
        "accuracy": (drawn == predicted).mean(axis=1),
        "f1": 2 * (drawn & predicted).sum(axis=1) / (drawn.sum(axis=1) + predicted.sum()),
    }
    for name, values in shares.items():
        assert found[name].estimate == pytest.approx(np.mean(values), abs=5 * np.std(values) / 20)
        spread = math.sqrt((chances * (1 - chances) * found[name].gradient[:, 0] ** 2).sum())
        assert spread == pytest.approx(np.std(values), rel=0.2)
    areas = [roc_auc(labels == 1, scores) for labels in drawn]
    assert found["roc_auc"].estimate == pytest.approx(np.mean(areas), abs=5 * np.std(areas) / 20)
    spread = math.sqrt((chances * (1 - chances) * found["roc_auc"].gradient[:, 0] ** 2).sum())
    assert spread == pytest.approx(np.std(areas), rel=0.2)


def test_audit_evidence_by_integration():
    # The uniform mixture of likelihood ratios over (allowed, 1], by quadrature: 2 misses in 7 windows.
    from scipy.integrate import quad

    value, _ = quad(lambda chance: (chance / 0.05) ** 2 * ((1 - chance) / 0.95) ** 5, 0.05, 1)
    found = audit_intervals([0, 1, 0, 0, 1, 0, 0])
    assert found.log_e_path[-1] == pytest.approx(math.log(value / 0.95))
