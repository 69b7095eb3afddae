"""`judge`: the verdict of an experiment that holds at any moment, from units or from their summary."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from homeostat.errors import InvalidInput
from homeostat.stats.experiments.pairs import Pair, paired_with_control
from homeostat.stats.experiments.results import Check, Judgement, MetricJudgement, Standing, Verdict
from homeostat.stats.experiments.summary import Summary
from homeostat.stats.experiments.units import MetricPlan, Plan, Units
from homeostat.stats.sequential.result import Floats, odds

# So few units seen in several arms are an accident, whatever their share.
FEW_TWICE = 10
# Of the Dirichlet prior of a split, as in `SampleRatio`.
CONCENTRATION = 100.0
_WATCHED = ("success", "guardrail", "deterioration")


def judge(units: Units, plan: Plan, *, final: bool = False) -> Judgement:
    """What can be said about an experiment now; it may be asked after every unit, and acted upon at any time.

    An arm **wins** once some success metric is shown to be better by more than its margin, every guardrail is shown
    not to be worse by its margin, and nothing is shown to be worse. It **loses** once any metric is shown to be worse:
    a success metric at all, a guardrail or deterioration metric by more than its margin. It is **flat** once the
    interval of every success metric lies within ± its minimum effect.

    Budgets. `plan.alpha` bounds the chance that an arm ever wins wrongly. It is divided evenly among the arms, and
    within an arm among the success metrics by their weights, since any of them may bring the win (Bonferroni). The
    guardrails need no part of it: a win wants all of them shown not to be worse, each at the arm's whole part, so that
    a broken guardrail lets the arm win with no more than that chance (intersection-union test: Berger 1982; for this
    rule Schultzberg, Ankargren and Frånberg 2024). `plan.rollback_error` bounds the chance that an arm ever loses that
    is worse in nothing; it is divided among all arms and metrics, since each alone may bring the loss. Neither budget
    pays for the other. By Ville's inequality both hold at every stopping time.

    The experiment is **held** while units do not reach the arms by the plan's weights, while units with a value do not
    (labels come more often in one arm, and nothing is known by which to weigh them), while too many units were seen in
    several arms, or while a quality metric differs.

    The effect is pooled over strata of epoch and segment with the weights n·w(1 − w) and never over their borders, so
    that weights which change together with the level of a metric do not turn the effect around (Simpson's paradox).
    Bounded metrics are judged exactly at every sample size; metrics without bounds, ratios of sums and weighted labels
    by an asymptotic confidence sequence after 100 units an arm. See `homeostat.stats.experiments.evidence`.

    Args:
        units: what was seen so far; those without a value yet count for the split only.
        plan: arms, weights, metrics and budgets.
        final: the experiment has reached its longest duration: what is not decided is inconclusive. So it is once
            the plan's maximum of units is reached.

    Raises:
        InvalidInput: the units do not fit the plan.

    >>> rng = np.random.default_rng(0)
    >>> arm = rng.integers(0, 2, 4000)
    >>> right = (rng.random(4000) < np.where(arm == 1, 0.9, 0.8)).astype(float)
    >>> plan = Plan(("old", "new"), ((0.5, 0.5),), (MetricPlan("accuracy", bounds=(0, 1)),))
    >>> found = judge(Units(plan.arms, arm, np.zeros(4000, int), np.arange(4000), {"accuracy": right}), plan)
    >>> found.verdict, found.winner, round(found.of("accuracy", "new").effect, 2)
    ('win', 'new', 0.09)
    """
    return judge_summary(Summary.of(units, plan), plan, final=final)


def judge_summary(summary: Summary, plan: Plan, *, final: bool = False) -> Judgement:
    """`judge` from a summary: at the same cost for ten units as for ten million.

    Raises:
        InvalidInput: the summary has other arms, or more epochs than the plan has weights for.
    """
    if tuple(summary.arms) != tuple(plan.arms):
        raise InvalidInput(f"The summary's arms {list(summary.arms)} are not the plan's {list(plan.arms)}.")
    if len(summary.exposed) > len(plan.weights):
        raise InvalidInput(f"The plan has weights for {len(plan.weights)} epochs, the summary has more.")
    split, coverage, held = _checks(summary, plan)
    totals = summary.exposed.sum(axis=0)
    ended = _why_over(int(totals.sum()), plan, final=final)
    judged: list[MetricJudgement] = []
    pairs: dict[tuple[str, int], Pair] = {}
    for metric in plan.metrics:
        if (sums := summary.metrics.get(metric.name)) is None:
            continue
        for arm in plan.treatments:
            pair = pairs[metric.name, arm] = paired_with_control(sums, metric, plan, arm)
            judged.append(_judged(pair, metric, plan, arm, (int(totals[0]), int(totals[arm]))))
    held += [
        f"The quality metric {each.metric} differs between {plan.arms[0]} and {each.arm}; what made it differ may have "
        "made the other differences too."
        for each in judged
        if each.standing == "differs"
    ]
    arms: dict[str, Verdict] = {}
    reasons: list[str] = []
    chances: dict[str, float] = {}
    for arm in plan.treatments:
        name = plan.arms[arm]
        own = [each for each in judged if each.arm == name]
        chances[name] = _chance_to_win({metric: pairs[metric, at] for metric, at in pairs if at == arm}, plan)
        found = _arm_verdict(own, plan, chances[name], ended)
        arms[name] = found.verdict
        reasons.append(found.reason)
    verdict, winner = _overall(arms, judged, plan, final=bool(ended))
    if held:
        verdict, winner, reasons = "held", None, [*held, *reasons]
    return Judgement(
        verdict,
        winner,
        tuple(reasons),
        arms,
        tuple(judged),
        split,
        coverage,
        tuple(int(n) for n in totals),
        summary.exposed_twice,
        plan.alpha,
        plan.rollback_error,
        chances,
        _sentence(verdict, winner, reasons, int(totals.sum())),
    )


def shares_of_budget(metric: MetricPlan, plan: Plan) -> tuple[float, float]:
    """What a metric may spend in one arm: on a wrong "better" or "not worse", and on a wrong "worse".

    >>> metrics = (MetricPlan("a"), MetricPlan("b"), MetricPlan("c", "guardrail", 0.1))
    >>> plan = Plan(("old", "new"), ((0.5, 0.5),), metrics, alpha=0.05, rollback_error=0.03)
    >>> [shares_of_budget(metric, plan) for metric in metrics]
    [(0.025, 0.01), (0.025, 0.01), (0.05, 0.01)]
    """
    treatments = len(plan.arms) - 1
    if metric.role == "quality":
        each = _check_error(plan) / treatments / 2
        return each, each
    better = plan.alpha / treatments
    if metric.role == "success":
        better *= metric.weight / sum(one.weight for one in plan.metrics if one.role == "success")
    watched = sum(one.weight for one in plan.metrics if one.role in _WATCHED)
    return better, plan.rollback_error / treatments * metric.weight / watched


def gates(metric: MetricPlan) -> tuple[float, float]:
    """The effects, more being better, beyond which a metric is called better (or not worse), and worse."""
    if metric.role == "success":
        return metric.margin, 0.0
    return (0.0, 0.0) if metric.role == "quality" else (-metric.margin, -metric.margin)


def _check_error(plan: Plan) -> float:
    """The part of the mismatch error for each check: the split, every metric's coverage, every quality metric."""
    return plan.mismatch_error / (1 + len(plan.metrics) + sum(metric.role == "quality" for metric in plan.metrics))


def _judged(pair: Pair, metric: MetricPlan, plan: Plan, arm: int, exposed: tuple[int, int]) -> MetricJudgement:
    better, worse = shares_of_budget(metric, plan)
    above, below = gates(metric)
    scale = metric.range if pair.penalty is not None else 1.0
    log_better = pair.log_evidence(above / scale, better)
    log_worse = pair.log_evidence_below(below / scale, worse)
    low, high = -math.inf, math.inf
    if pair.is_ready:
        low = scale * (pair.score - pair.reach(better)) / pair.information
        high = scale * (pair.score + pair.reach(worse)) / pair.information
        if pair.penalty is not None:
            low, high = max(low, -scale), min(high, scale)
    elif metric.bounds is not None:
        low, high = -metric.range, metric.range
    interval = (low, high) if metric.sign > 0 else (-high, -low)
    standing = _standing(metric, pair, log_better + math.log(better), log_worse + math.log(worse), (low, high))
    lift = pair.effect / abs(pair.levels[0]) if pair.levels[0] else math.nan
    name = plan.arms[arm]
    return MetricJudgement(
        metric.name,
        metric.role,
        name,
        pair.method,
        pair.levels,
        pair.effect,
        lift,
        interval,
        1 - better - worse,
        log_better,
        log_worse,
        better,
        worse,
        metric.margin,
        pair.sizes,
        exposed,
        standing,
        _told(metric, pair, name, interval, 1 - better - worse, standing),
    )


def _standing(
    metric: MetricPlan, pair: Pair, surplus_better: float, surplus_worse: float, limits: tuple[float, float]
) -> Standing:
    if not min(pair.sizes):
        return "no data"
    if metric.role == "quality":
        return "differs" if max(surplus_better, surplus_worse) >= 0 else "open"
    if surplus_worse >= 0 and surplus_worse >= surplus_better:
        return "worse"
    if surplus_better >= 0:
        return "better" if metric.role == "success" else "not worse"
    if metric.minimum_effect is not None and max(-limits[0], limits[1]) < metric.minimum_effect:
        return "flat"
    return "open"


def _told(
    metric: MetricPlan, pair: Pair, arm: str, interval: tuple[float, float], confidence: float, standing: Standing
) -> str:
    if not min(pair.sizes):
        return f"{metric.name}, {arm}: there are {pair.sizes[0]:,} and {pair.sizes[1]:,} values, too few to compare."
    words = {
        "better": "shown to be better" + (f" by more than {metric.margin:g}" if metric.margin else ""),
        "not worse": f"shown not to be worse by {metric.margin:g}",
        "worse": "shown to be worse"
        + (f" by more than {metric.margin:g}" if metric.margin and metric.role != "success" else ""),
        "flat": f"shown to differ by less than {metric.minimum_effect}",
        "differs": "shown to differ",
        "open": "not decided",
        "no data": "not decided",
    }[standing]
    span = (
        f"{100 * confidence:.4g} % confidence sequence {interval[0]:+.4g} to {interval[1]:+.4g}"
        if math.isfinite(interval[0]) and math.isfinite(interval[1])
        else "too few or too uneven values for an interval"
    )
    return (
        f"{metric.name}, {arm}: {words}; {pair.levels[0]:.4g} became {pair.levels[1]:.4g}, {pair.effect:+.4g} "
        f"({span}), from {pair.sizes[0]:,} and {pair.sizes[1]:,} units."
    )


def _checks(summary: Summary, plan: Plan) -> tuple[Check, tuple[Check, ...], list[str]]:
    error = _check_error(plan)
    split = _check("split", summary.exposed, plan, error, "units")
    held = [split.sentence] if split.failed else []
    coverage = []
    for metric in plan.metrics:
        sums = summary.metrics.get(metric.name)
        if sums is None:
            continue
        counts = sums.counts.sum(axis=0)
        is_weighted = sums.is_weighted and not sums.unknown
        found = _check(metric.name, counts, plan, error, f"units with a value of {metric.name}")
        coverage.append(found)
        if found.failed and not split.failed and not is_weighted:
            unknown = f" For {sums.unknown:,} units nobody knows how likely a label was." if sums.unknown else ""
            held.append(
                f"{found.sentence} Values come more often in one arm, and without the chance of each unit to get one "
                f"they can't be compared.{unknown}"
            )
    seen = summary.exposed.sum() + summary.exposed_twice
    if summary.exposed_twice >= FEW_TWICE and summary.exposed_twice > plan.multiple_exposure * seen:
        held.append(
            f"{summary.exposed_twice:,} of {int(seen):,} units ({summary.exposed_twice / seen:.2%}) were seen in "
            f"several arms; {plan.multiple_exposure:.2%} are allowed."
        )
    return split, tuple(coverage), held


def _check(name: str, counts: Floats, plan: Plan, alpha: float, what: str) -> Check:
    """Whether counts by (epoch, arm) follow the weights; the evidence of epochs, one after the other, multiplies."""
    weights = np.array(plan.weights[: len(counts)], dtype=np.float64)
    expected = counts.sum(axis=1) @ weights
    total = counts.sum(axis=0)
    taking = weights > 0
    stray = float(counts[~taking].sum())
    log_e = 0.0
    # Epochs with the same arms are weighed together: a bandit has hundreds of them.
    for pattern in np.unique(taking[counts.any(axis=1)], axis=0):
        rows = (taking == pattern).all(axis=1) & counts.any(axis=1)
        if pattern.sum() > 1:
            log_e += float(mismatch_log_evidence(counts[rows][:, pattern], weights[rows][:, pattern]).sum())
    failed = log_e >= -math.log(alpha) or stray > 0
    worst = int(np.argmax(np.abs(total - expected)))
    if not total.sum():
        sentence = f"There are no {what} yet."
    else:
        shown = (
            f"{plan.arms[worst]} has {int(total[worst]):,} of {int(total.sum()):,} {what} where "
            f"{expected[worst]:,.0f} were to be expected"
        )
        odd = f", and {int(stray):,} are in an arm without weight" if stray else ""
        verdict = "the split is not the planned one" if failed else "no mismatch has shown"
        sentence = f"{shown}{odd}: {verdict} (evidence {odds(log_e)}; {1 / alpha:.4g} to 1 decides)."
    return Check(
        name,
        tuple(int(n) for n in total),
        tuple(float(n) for n in expected),
        log_e,
        alpha,
        bool(failed and total.sum() > 0),
        sentence,
    )


def mismatch_log_evidence(counts: Floats, weights: Floats) -> Floats:
    """`sample_ratio_log_evidence` of rows of counts that each have weights of their own.

    >>> from homeostat.stats.sequential import sample_ratio_log_evidence
    >>> ours = mismatch_log_evidence(np.array([[80.0, 20.0]]), np.array([[0.5, 0.5]]))
    >>> bool(np.isclose(ours, sample_ratio_log_evidence(np.array([80, 20]), [1, 1]))[0])
    True
    """
    from scipy.special import gammaln

    shares = weights / weights.sum(axis=1, keepdims=True)
    prior = CONCENTRATION * shares
    ratio = gammaln(CONCENTRATION) - gammaln(CONCENTRATION + counts.sum(axis=1))
    ratio = ratio + (gammaln(prior + counts) - gammaln(prior) - counts * np.log(shares)).sum(axis=1)
    return np.asarray(ratio)


@dataclass(frozen=True)
class _ArmVerdict:
    verdict: Verdict
    reason: str


def _why_over(units: int, plan: Plan, *, final: bool) -> str:
    """Why nothing more is waited for; empty where more is to come."""
    if plan.maximum_units is not None and units >= plan.maximum_units:
        return f"all of the {plan.maximum_units:,} units are in"
    return "the time is up" if final else ""


def _arm_verdict(own: Sequence[MetricJudgement], plan: Plan, chance: float, ended: str) -> _ArmVerdict:
    worse = [each for each in own if each.standing == "worse"]
    if worse:
        return _ArmVerdict("loss", " ".join(each.sentence for each in worse))
    success = [each for each in own if each.role == "success"]
    guardrails = [each for each in own if each.role == "guardrail"]
    planned = {role: sum(metric.role == role for metric in plan.metrics) for role in ("success", "guardrail")}
    better = [each for each in success if each.standing == "better"]
    kept = [each for each in guardrails if each.standing == "not worse"]
    is_enough = all(min(each.units) >= plan.minimum_units for each in (*better, *guardrails))
    shown = bool(better) if planned["success"] else planned["guardrail"] > 0
    if shown and len(kept) == planned["guardrail"]:
        if is_enough:
            return _ArmVerdict("win", " ".join(each.sentence for each in (*better, *kept)))
        return _ArmVerdict("running", f"{own[0].arm}: the minimum of {plan.minimum_units:,} units is not reached yet.")
    flat = [each for each in success if each.standing == "flat"]
    if success and len(flat) == planned["success"]:
        if all(min(each.units) >= plan.minimum_units for each in flat):
            return _ArmVerdict("flat", " ".join(each.sentence for each in flat))
        return _ArmVerdict("running", f"{own[0].arm}: the minimum of {plan.minimum_units:,} units is not reached yet.")
    if ended:
        waiting = [each.sentence for each in (*success, *guardrails) if each.standing in ("open", "no data")]
        return _ArmVerdict("inconclusive", f"{own[0].arm if own else 'All arms'}: {ended}. " + " ".join(waiting))
    if plan.futility is not None and chance < plan.futility and is_enough and own:
        return _ArmVerdict(
            "inconclusive",
            f"{own[0].arm}: the chance to win by {plan.maximum_units:,} units is {chance:.1%}, below the limit of "
            f"{plan.futility:.1%}.",
        )
    waiting = [each.sentence for each in (*success, *guardrails) if each.standing in ("open", "no data")]
    return _ArmVerdict("running", " ".join(waiting) or "No metric has a value yet.")


def _overall(
    arms: dict[str, Verdict], judged: Sequence[MetricJudgement], plan: Plan, *, final: bool
) -> tuple[Verdict, str | None]:
    winners = [arm for arm, verdict in arms.items() if verdict == "win"]
    if winners:
        lead = next((metric for metric in plan.metrics if metric.role == "success"), None) or plan.metrics[0]
        effects = {
            each.arm: lead.sign * each.effect for each in judged if each.metric == lead.name and each.arm in winners
        }
        return "win", max(winners, key=lambda arm: effects.get(arm, -math.inf))
    found = set(arms.values())
    if "running" in found:
        return ("inconclusive" if final else "running"), None
    if found == {"loss"}:
        return "loss", None
    return ("inconclusive" if "inconclusive" in found else "flat"), None


def _chance_to_win(pairs: dict[str, Pair], plan: Plan) -> float:
    """The predicted chance that an arm has won once all units are in, if things go on as they did; NaN without a plan.

    The prediction allows for what is not known about the effect yet, as for a flat prior (Spiegelhalter, Freedman and
    Blackburn 1986). It stops an experiment that can't win; it never makes one win, so that no error rate depends on it.
    """
    if plan.maximum_units is None:
        return math.nan
    success: list[float] = []
    guardrails: list[float] = []
    for metric in plan.metrics:
        pair = pairs.get(metric.name)
        if metric.role not in ("success", "guardrail") or pair is None:
            continue
        (success if metric.role == "success" else guardrails).append(_predicted(pair, metric, plan))
    if not success and not guardrails:
        return math.nan
    return min([max(success), *guardrails] if success else guardrails)


def _predicted(pair: Pair, metric: MetricPlan, plan: Plan) -> float:
    n = sum(pair.sizes)
    if not pair.is_ready or not n or plan.maximum_units is None or not pair.error > 0:
        return 1.0
    ahead = max(plan.maximum_units / n, 1.0)
    alpha, _ = shares_of_budget(metric, plan)
    scale = metric.range if pair.penalty is not None else 1.0
    gate = gates(metric)[0] / scale
    spread = pair.error / scale * pair.information
    gap = ahead * (pair.score - gate * pair.information) - pair.reach(alpha, ahead=ahead)
    left = spread * math.sqrt(ahead * (ahead - 1))
    if left == 0:
        return float(gap >= 0)
    return float(0.5 * math.erfc(-gap / left / math.sqrt(2)))


def _sentence(verdict: Verdict, winner: str | None, reasons: Sequence[str], units: int) -> str:
    told = {
        "running": "Nothing is decided yet.",
        "win": f"{winner} wins.",
        "loss": "Every new arm is worse.",
        "flat": "No arm differs by an amount that matters.",
        "inconclusive": "The experiment ends without a decision.",
        "held": "The data can't be trusted, so that nothing is decided.",
    }[verdict]
    return f"{told} {reasons[0]} ({units:,} units.)" if reasons else f"{told} ({units:,} units.)"
