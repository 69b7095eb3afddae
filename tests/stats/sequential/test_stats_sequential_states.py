"""States carried along: the same answers as over whole arrays, written down and read back, and bad input refused."""

import json
import math

import numpy as np
import pytest

from homeostat.errors import InvalidInput
from homeostat.stats.sequential import (
    AsymptoticDifference,
    AsymptoticMean,
    BoundedMean,
    ELond,
    NonInferiority,
    PairedDifference,
    Quantile,
    QuantileDifference,
    SampleRatio,
    Share,
    TwoBernoulli,
    asymptotic_difference,
    asymptotic_mean,
    bounded_log_evidence,
    bounded_mean,
    noninferiority_log_evidence,
    paired_difference_log_evidence,
    quantile_log_evidence,
    sample_ratio_log_evidence,
    share_log_evidence,
    two_bernoulli_log_evidence,
)

RNG = np.random.default_rng(3)
NORMAL = RNG.normal(5.1, 1.0, 700)
ARMS = RNG.random(700) < 0.3
YES = RNG.random(600) < 0.3
NO = RNG.random(600) < 0.4
SIGNS = RNG.choice([-1.0, 0.0, 1.0], p=[0.1, 0.85, 0.05], size=500)
LATENCY = RNG.lognormal(3, 0.7, 900)

STATES = {
    "mean": (lambda: AsymptoticMean(5.0), (NORMAL,)),
    "mean above": (lambda: AsymptoticMean(5.0, alternative="greater"), (NORMAL,)),
    "difference": (lambda: AsymptoticDifference(0.1, alternative="less"), (NORMAL, NORMAL + RNG.normal(0, 1, 700))),
    "bounded": (lambda: BoundedMean(0, 20, null=5.0), (np.clip(NORMAL, 0, 20),)),
    "share": (lambda: Share(0.5), (YES,)),
    "two Bernoulli": (lambda: TwoBernoulli((2, 1)), (YES, NO)),
    "with a margin": (lambda: TwoBernoulli(margin=-0.05, alternative="greater"), (YES, NO)),
    "non-inferiority": (lambda: NonInferiority(0.02), (SIGNS,)),
    "quantile": (lambda: Quantile(0.9, null=40.0), (LATENCY,)),
    "exact quantile": (lambda: Quantile(0.9, accuracy=0), (LATENCY,)),
    "quantile difference": (lambda: QuantileDifference(0.5), (LATENCY, LATENCY[::-1] * 1.2)),
    "paired": (PairedDifference, (YES, NO)),
}


@pytest.mark.parametrize("name", STATES)
def test_parts_written_and_read_give_what_the_whole_gives(name):
    make, values = STATES[name]
    whole = make().update(*values).result()
    carried = make()
    for start, end in ((0, 0), (0, 1), (1, 250), (250, 251), (251, None)):
        carried.update(*(part[start:end] for part in values))
        written = json.dumps(carried.to_dict(), allow_nan=False)
        carried = type(carried).from_dict(json.loads(written))
    found = carried.result()
    for field in ("estimate", "interval", "log_e", "n"):
        assert getattr(found, field) == pytest.approx(getattr(whole, field), rel=1e-9, abs=1e-9), field
    assert found.sentence == whole.sentence
    assert math.isfinite(found.log_e)


@pytest.mark.parametrize("name", STATES)
def test_nothing_in_says_nothing(name):
    result = STATES[name][0]().result()
    assert math.isnan(result.estimate)
    assert result.log_e == pytest.approx(0.0, abs=1e-12)
    assert (result.p if hasattr(result, "p") else 1.0) == pytest.approx(1.0)
    assert result.n == 0
    assert len(result.sentence) > 20


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
def test_states_equal_the_whole_array_functions(alternative):
    settings = {"alternative": alternative, "alpha": 0.1}
    path = asymptotic_mean(NORMAL, 5.0, **settings)
    result = AsymptoticMean(5.0, **settings).update(NORMAL).result()
    assert (path.estimate[-1], path.log_e[-1]) == pytest.approx((result.estimate, result.log_e))
    assert (path.lower[-1], path.upper[-1]) == pytest.approx(result.interval)
    path = asymptotic_difference(NORMAL, ARMS, 0.1, **settings)
    result = AsymptoticDifference(0.1, **settings).update(NORMAL[~ARMS], NORMAL[ARMS]).result()
    assert (path.estimate[-1], path.log_e[-1]) == pytest.approx((result.estimate, result.log_e))
    assert (path.lower[-1], path.upper[-1]) == pytest.approx(result.interval)
    values = np.clip(NORMAL, 0, 10)
    path = bounded_mean(values, 0, 10, null=4.9, grid=200, **settings)
    result = BoundedMean(0, 10, null=4.9, grid=200, **settings).update(values).result()
    assert (path.estimate[-1], path.log_e[-1]) == pytest.approx((result.estimate, result.log_e))
    assert (path.lower[-1], path.upper[-1]) == pytest.approx(result.interval)
    assert bounded_log_evidence(values, 4.9, 0, 10, **settings) == pytest.approx(path.log_e)
    path = two_bernoulli_log_evidence(
        YES.reshape(-1, 2).sum(axis=1), NO[:300], (2, 1), margin=0.05, alternative=alternative
    )
    result = TwoBernoulli((2, 1), margin=0.05, **settings).update(YES, NO[:300]).result()
    assert path[-1] == pytest.approx(result.log_e)


def test_counts_equal_the_states():
    assert share_log_evidence(YES.sum(), 600, 0.5) == pytest.approx(Share(0.5).update(YES).result().log_e)
    wins, losses = (YES < NO).sum(), (YES > NO).sum()
    found = PairedDifference().update(YES, NO).result()
    assert paired_difference_log_evidence(wins, losses) == pytest.approx(found.log_e)
    holds, broken = noninferiority_log_evidence(SIGNS, 0.02)
    margin = NonInferiority(0.02).update(SIGNS).result()
    assert (holds[-1], broken[-1]) == pytest.approx((margin.log_e, margin.log_e_worse))
    ratio = SampleRatio([2, 1]).update([300, 100]).update([30, 60]).result()
    assert sample_ratio_log_evidence(np.array([330, 160]), [2, 1]) == pytest.approx(ratio.log_e)
    at = Quantile(0.9, null=40.0, accuracy=0).update(LATENCY).result()
    assert quantile_log_evidence((LATENCY <= 40).sum(), 900, 0.9) == pytest.approx(at.log_e)


def test_many_streams_at_once_are_each_their_own():
    values = np.random.default_rng(0).beta(2, 5, (7, 300))
    together = BoundedMean(streams=7, grid=100).update(values[:, :120]).update(values[:, 120:]).results()
    assert len(together) == 7
    for row, found in zip(values, together, strict=True):
        alone = BoundedMean(grid=100).update(row).result()
        assert found.interval == pytest.approx(alone.interval)
        assert found.log_e == pytest.approx(alone.log_e)
    paths = bounded_mean(values, grid=100)
    assert paths.lower[:, -1] == pytest.approx([found.interval[0] for found in together])
    assert paths.upper[:, -1] == pytest.approx([found.interval[1] for found in together])
    with pytest.raises(InvalidInput, match="7 streams"):
        BoundedMean(streams=7).update(values[0])
    with pytest.raises(InvalidInput, match="7 streams"):
        BoundedMean(streams=7).result()


def test_outcomes_that_fill_no_block_wait():
    state = TwoBernoulli((3, 1)).update([1, 0], [1, 1])
    assert state.result().n == 0
    assert "3 and 1" in state.result().sentence
    state.update([1], [])
    assert state.result().sizes == (3, 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AsymptoticMean(alpha=0), "alpha"),
        (lambda: AsymptoticMean(alternative="more"), "two-sided, greater, less"),
        (lambda: AsymptoticMean(math.nan), "between"),
        (lambda: AsymptoticMean(burn_in=1.5), "whole number"),
        (lambda: AsymptoticMean(alpha=0.6, alternative="less"), "below 0.5"),
        (lambda: AsymptoticMean().update([1.0, math.nan]), "missing"),
        (lambda: AsymptoticMean().update([1.0, math.inf]), "infinite"),
        (lambda: AsymptoticMean().update([1.0, "two"]), "must be numbers"),
        (lambda: AsymptoticMean().update([1.0, None]), "missing"),
        (lambda: asymptotic_difference(np.ones(3), np.array([1, 0, 1])), "truth value"),
        (lambda: BoundedMean(1, 0), "below the largest"),
        (lambda: BoundedMean().update([1.5]), "between 0 and 1"),
        (lambda: BoundedMean(null=2.0), "between 0 and 1"),
        (lambda: BoundedMean(grid=2), "at least 10"),
        (lambda: Share(1.0), "single outcome"),
        (lambda: Share().update([0.5]), "0 or 1"),
        (lambda: Share().update([[0, 1]]), "shape"),
        (lambda: share_log_evidence(5, 3, 0.5), "between 0 and"),
        (lambda: share_log_evidence(1, 3, 0.0), "single outcome"),
        (lambda: TwoBernoulli((1,)), "two arms"),
        (lambda: TwoBernoulli((1, 0)), "at least 1"),
        (lambda: TwoBernoulli(margin=1.0), "leaves nothing"),
        (lambda: two_bernoulli_log_evidence(np.array([2]), np.array([0])), "whole numbers"),
        (lambda: two_bernoulli_log_evidence(np.array([1, 1]), np.array([0])), "as many blocks"),
        (lambda: NonInferiority(1.0), "smaller"),
        (lambda: NonInferiority(0.1, bound=0), "above 0"),
        (lambda: NonInferiority(0.1).update([2.0]), "between -1 and 1"),
        (lambda: SampleRatio([1]), "two arms"),
        (lambda: SampleRatio([1, 0]), "above 0"),
        (lambda: SampleRatio([1, 1]).update([1, 2, 3]), "2 arms"),
        (lambda: SampleRatio([1, 1]).update([1.5, 2]), "whole numbers"),
        (lambda: SampleRatio([1, 1]).update([-1, 2]), "between 0"),
        (lambda: Quantile(0.0), "bounds the quantiles"),
        (lambda: Quantile(0.5, accuracy=1e-12), "at least 1e-8"),
        (lambda: quantile_log_evidence(4, 3, 0.5), "between 0 and"),
        (lambda: PairedDifference().update([1], [1, 0]), "same rows"),
        (lambda: paired_difference_log_evidence(-1, 0), "counts"),
    ],
)
def test_bad_input_is_refused_with_what_to_do(make, message):
    with pytest.raises(InvalidInput, match=message):
        make()


def test_written_states_of_another_kind_or_shape_are_refused():
    written = AsymptoticMean().to_dict()
    with pytest.raises(InvalidInput, match="AsymptoticMean"):
        Share.from_dict(written)
    with pytest.raises(InvalidInput, match="kind"):
        Share.from_dict([1])
    with pytest.raises(InvalidInput, match="lacks"):
        AsymptoticMean.from_dict({"kind": "AsymptoticMean"})
    with pytest.raises(InvalidInput, match="other entries"):
        AsymptoticMean.from_dict({**written, "settings": {"null": 0}})
    with pytest.raises(InvalidInput, match="shape"):
        AsymptoticMean.from_dict({**written, "carried": {"_moments": [1.0, 2.0]}})
    with pytest.raises(InvalidInput, match="can't be read"):
        ELond.from_dict({"kind": "ELond", "settings": {"alpha": 0.1}, "carried": {"tested": "x", "rejected": 0}})
