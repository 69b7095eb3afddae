"""Multivariate drift and label shift against other implementations and closed forms; each names where it comes from."""

import numpy as np
import pytest
from scipy import stats
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.preprocessing import StandardScaler

from homeostat.stats.drift.label_shift import black_box_detector, black_box_shift
from homeostat.stats.drift.multivariate import classifier, columns, compare_samples, mmd
from homeostat.stats.drift.multivariate.matrix import standardised
from homeostat.stats.drift.multivariate.pca import _errors, _welch


def samples():
    rng = np.random.default_rng(7)
    return rng.normal(size=(40, 3)), rng.normal(size=(25, 3)) + 0.4


def test_mmd_is_the_unbiased_estimate_of_gretton_by_brute_force():
    # Gretton et al. 2012, equation 3, with scikit-learn's kernel.
    before, after = samples()
    result = mmd(before, after, widths=(1.0,), permutations=19)
    pooled = StandardScaler().fit_transform(np.concatenate((before, after)))
    kernel = rbf_kernel(pooled, gamma=0.5 / result.widths[0] ** 2)
    n, m = len(before), len(after)
    first = sum(kernel[i, j] for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    second = sum(kernel[n + i, n + j] for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    across = sum(kernel[i, n + j] for i in range(n) for j in range(m)) / (n * m)
    assert result.estimate == pytest.approx(first + second - 2 * across, abs=1e-6)


def test_mmds_p_is_that_of_scipys_permutation_test():
    before, after = samples()
    result = mmd(before, after + 0.1, widths=(1.0,), permutations=1_999)
    pooled = StandardScaler().fit_transform(np.concatenate((before, after + 0.1)))
    kernel = rbf_kernel(pooled, gamma=0.5 / result.widths[0] ** 2)
    np.fill_diagonal(kernel, 0)

    def statistic(first, second):
        first, second = first.astype(int), second.astype(int)
        n, m = len(first), len(second)
        return (
            kernel[np.ix_(first, first)].sum() / (n * (n - 1))
            + kernel[np.ix_(second, second)].sum() / (m * (m - 1))
            - 2 * kernel[np.ix_(first, second)].mean()
        )

    expected = stats.permutation_test(
        (np.arange(40), np.arange(40, 65)), statistic, n_resamples=1_999, alternative="greater", rng=0
    )
    assert result.p == pytest.approx(expected.pvalue, abs=0.03)


def test_the_median_width_is_scipys_median_distance():
    before, after = samples()
    pooled = StandardScaler().fit_transform(np.concatenate((before, after)))
    from scipy.spatial.distance import pdist

    width = mmd(before, after, widths=(1.0,), permutations=19).widths[0]
    assert width == pytest.approx(np.median(pdist(pooled)))


def test_random_waves_approximate_mmd():
    # Rahimi and Recht 2007: the mean product of waves is the kernel.
    before, after = samples()
    pooled = standardised(np.concatenate((before, after)))
    rng = np.random.default_rng(0)
    waves = np.hstack([columns.waves(pooled, rng) for _ in range(40)]).astype(float)
    found = ((waves[40:].mean(axis=0) - waves[:40].mean(axis=0)) ** 2).sum() / (40 * columns.FREQUENCIES)
    kernel = rbf_kernel(pooled, gamma=0.5 / columns.median_distance(pooled, rng) ** 2)
    expected = kernel[:40, :40].mean() + kernel[40:, 40:].mean() - 2 * kernel[:40, 40:].mean()
    assert found == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("width", [2, 70])
def test_ridge_scores_are_scikit_learns(width):
    # 70 columns with 48 training rows take the dual form.
    rng = np.random.default_rng(0)
    rows, labels = rng.normal(size=(60, width)), rng.integers(0, 2, 60).astype(float)
    fold = np.arange(60) % 5
    found = classifier._out_of_fold(rows, labels[:, None], fold, 5)[:, 0]
    for number in range(5):
        out = fold == number
        model = Ridge(alpha=classifier.PENALTY * (~out).sum()).fit(rows[~out], labels[~out])
        expected = model.predict(rows[out]) - labels[~out].mean()
        np.testing.assert_allclose(found[out], expected, atol=1e-9)


def test_the_auc_within_one_fold_is_scikit_learns():
    rng = np.random.default_rng(0)
    scores, labels = np.round(rng.normal(size=200), 1), rng.random(200) < 0.4
    found = classifier._auc(scores[:, None], labels[:, None], np.zeros(200, dtype=int), 1)[0]
    assert found == pytest.approx(roc_auc_score(labels, scores))


def test_shuffling_changes_scores_as_the_fit_does():
    # Importance moves the score by a formula; the fit itself, on the moved rows, is the oracle.
    rng = np.random.default_rng(0)
    rows, moved = rng.normal(size=(30, 4)), rng.normal(size=(30, 4))
    slope = rng.normal(size=4 + 4 + 6)
    first, second = np.triu_indices(4, 1)
    twice = np.zeros((4, 4))
    twice[first, second] = twice[second, first] = slope[8:]
    places = [1, 3]
    mixed = rows.copy()
    mixed[:, places] = moved[:, places]
    expected = (classifier._products(mixed) - classifier._products(rows)) @ slope
    np.testing.assert_allclose(classifier._change(rows, moved, places, slope, twice), expected, atol=1e-9)


def test_reconstruction_errors_are_scikit_learns():
    rng = np.random.default_rng(0)
    fitted, rows = rng.normal(size=(50, 5)) @ rng.normal(size=(5, 5)), rng.normal(size=(20, 5))
    found, count, explained = _errors(fitted, rows, 0.8)
    scale = StandardScaler().fit(fitted)
    model = PCA(count).fit(scale.transform(fitted))
    back = model.inverse_transform(model.transform(scale.transform(rows)))
    np.testing.assert_allclose(found, ((scale.transform(rows) - back) ** 2).sum(axis=1))
    assert explained == pytest.approx(model.explained_variance_ratio_.sum())


def test_welchs_t_is_scipys():
    values = np.random.default_rng(0).normal(size=30)
    chosen = np.arange(30) >= 18
    expected = stats.ttest_ind(values[18:], values[:18], equal_var=False).statistic
    assert _welch(values, chosen[None])[0] == pytest.approx(expected)


def test_the_largest_gap_is_scipys_ks_distance_at_the_cuts():
    # Values 0 to 4, each with a pooled share of .2, lie exactly on the cuts at .1, .25, .5, .75 and .9.
    before, after = np.repeat(np.arange(5.0), [30, 25, 20, 15, 10]), np.repeat(np.arange(5.0), [10, 15, 20, 25, 30])
    expected = stats.ks_2samp(before, after).statistic
    assert compare_samples(before, after, permutations=99).estimate == pytest.approx(expected)


def test_one_binary_feature_gives_fishers_exact_p():
    before, after = np.repeat([0.0, 1.0], [24, 6]), np.repeat([0.0, 1.0], [8, 7])
    # Doubled tails and summed probabilities differ; the permutation test orders tables by |z|, as summing does here.
    expected = stats.fisher_exact([[24, 6], [8, 7]]).pvalue
    result = compare_samples(before, after, permutations=9_999)
    assert result.parts["a feature"] == pytest.approx(expected, abs=0.01)


def test_class_weights_of_a_known_confusion_matrix():
    # Lipton, Wang and Smola 2018: w = C⁻¹ q̂. For two classes with rates a = P(1|1), b = P(1|0) the share of ones is
    # (q − b) / (a − b), as Rogan and Gladen (1978) found for prevalence.
    labels = np.repeat([0, 1], [200, 100])
    predictions = np.concatenate((np.repeat([0, 1], [180, 20]), np.repeat([0, 1], [30, 70])))
    window = np.repeat([0, 1], [60, 40])
    result = black_box_shift(labels, predictions, window)
    share = (0.4 - 0.1) / (0.7 - 0.1)
    assert [one.share for one in result.classes] == pytest.approx([1 - share, share])
    joint = np.array([[180, 30], [20, 70]]) / 300
    expected = np.linalg.solve(joint, [0.6, 0.4])
    assert [one.weight for one in result.classes] == pytest.approx(expected.tolist())
    assert result.condition == pytest.approx(np.linalg.cond([[0.9, 0.3], [0.1, 0.7]]))
    assert result.estimate == pytest.approx(share - 1 / 3)


def test_the_test_of_label_shift_is_scipys_chi_square():
    labels = np.repeat([0, 1], [200, 100])
    result = black_box_shift(labels, labels, np.repeat([0, 1], [50, 50]))
    expected = stats.chi2_contingency([[200, 100], [50, 50]], correction=False)
    assert (result.statistic, result.p, result.degrees) == pytest.approx((expected.statistic, expected.pvalue, 1))


def test_the_detector_is_scipys_ks_with_bonferroni():
    rng = np.random.default_rng(0)
    before, after = rng.dirichlet([1, 1, 1], size=80), rng.dirichlet([1, 2, 1], size=60)
    expected = [stats.ks_2samp(before[:, k], after[:, k], method="exact").pvalue for k in range(3)]
    result = black_box_detector(before, after)
    assert result.by_output == pytest.approx(expected)
    assert result.ks_p == pytest.approx(min(1, 3 * min(expected)))
