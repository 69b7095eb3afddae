"""What may be asked for in a new experiment. Pure: a draft in, the same with its defaults filled in out."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from homeostat.errors import InvalidExperiment
from homeostat.experiments import ranges
from homeostat.frames import Kind
from homeostat.records import BUCKETS, Arm, ExperimentDraft, ExperimentMetric, MetricRole, Signature, Strategy, Task

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
TOLERANCE = 1e-6
MOST_ARMS, MOST_METRICS, MOST_STAGES = 20, 20, 50
MOST_SEGMENTS = 3
LONGEST = 3650 * 86400.0


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a built-in metric: for which tasks it is, which way is better, its bounds, what it needs."""

    tasks: tuple[Task, ...]
    lower_is_better: bool = False
    bounds: tuple[float, float] | None = None
    needs_label: bool = True


BINARY, CLASSES = (Task.BINARY,), (Task.BINARY, Task.MULTICLASS)
METRICS: dict[str, Known] = {
    "accuracy": Known(CLASSES, bounds=(0.0, 1.0)),
    "precision": Known(BINARY),
    "recall": Known(BINARY),
    "false_positive_rate": Known(BINARY, lower_is_better=True),
    "f1": Known(BINARY),
    "auc": Known(BINARY, bounds=(0.0, 1.0)),
    "brier": Known(BINARY, lower_is_better=True, bounds=(0.0, 1.0)),
    "cost": Known(BINARY, lower_is_better=True),
    "absolute_error": Known((Task.REGRESSION,), lower_is_better=True),
    "latency": Known(tuple(Task), lower_is_better=True, needs_label=False),
    "errors": Known(tuple(Task), lower_is_better=True, bounds=(0.0, 1.0), needs_label=False),
}


def check_name(text: str, what: str) -> None:
    """Raise `InvalidExperiment` where something can't be called that."""
    if not NAME.fullmatch(text):
        raise InvalidExperiment(
            f"{what} is 1 to 64 letters, digits, '-', '_' or '.', and begins with a letter or a digit."
        )


def check_weights(weights: Sequence[float], arms: int) -> tuple[float, ...]:
    """The weights of all arms, the control's first. Raises `InvalidExperiment`."""
    if len(weights) != arms:
        raise InvalidExperiment(
            f"There are {arms} arms but {len(weights)} weights. Give each arm one, the control first."
        )
    if any(not 0 <= weight <= 1 for weight in weights):
        raise InvalidExperiment("A weight is a share from 0 to 1.")
    if abs(math.fsum(weights) - 1) > TOLERANCE:
        raise InvalidExperiment(f"The weights add up to {math.fsum(weights):g}. They must add up to 1.")
    if weights[0] == 0:
        raise InvalidExperiment("The control needs a weight above 0: without it there is nothing to compare with.")
    return tuple(float(weight) for weight in weights)


def checked_draft(draft: ExperimentDraft, task: Task) -> ExperimentDraft:
    """The draft with what is known of its metrics filled in. Raises `InvalidExperiment`."""
    check_name(draft.name, "The name of an experiment")
    if draft.namespace:
        check_name(draft.namespace, "The name of a namespace")
    if len(draft.salt) > 100:
        raise InvalidExperiment("A salt has 100 characters at the most.")
    _check_arms(draft.arms)
    _check_numbers(draft)
    _check_ramp(draft)
    _check_segments(draft.segments)
    metrics = _checked_metrics(draft.metrics, task)
    _check_labelling(draft, task)
    if draft.strategy is Strategy.RANDOM or draft.labelling_depends:
        # A request is a unit that is measured once; and chances to be labelled are those of single rows.
        draft = msgspec.structs.replace(draft, observation_seconds=0.0)
    if draft.strategy is Strategy.RANDOM and any(metric.is_own for metric in metrics):
        raise InvalidExperiment(
            "Values of your own metrics belong to entities, which a random experiment does not keep."
        )
    if draft.strategy is Strategy.BANDIT and first_success(metrics).bounds is None:
        raise InvalidExperiment(
            "A bandit needs a success metric with bounds, such as accuracy, that says what is better."
        )
    return msgspec.structs.replace(draft, metrics=metrics, ranges=ranges.checked(draft.ranges))


def first_success(metrics: tuple[ExperimentMetric, ...]) -> ExperimentMetric:
    """The metric that a bandit goes by."""
    return next(metric for metric in metrics if metric.role is MetricRole.SUCCESS)


def _check_segments(segments: tuple[str, ...]) -> None:
    if len(segments) > MOST_SEGMENTS or len(set(segments)) != len(segments):
        raise InvalidExperiment(
            f"An experiment is shown by at most {MOST_SEGMENTS} different features; the more tables are looked at, the "
            "more of them show what is not there."
        )


def check_segment_features(segments: tuple[str, ...], signature: Signature) -> None:
    """Raise `InvalidExperiment` where a segment is no feature that has few values, or can be cut."""
    fitting = [one.name for one in signature.features if one.kind is not Kind.TEXT]
    if not set(segments) <= set(fitting):
        raise InvalidExperiment(
            "A segment is not a feature of the control's version, or one of texts. What an experiment may be shown by: "
            f"{', '.join(fitting) or 'nothing'}."
        )


def _check_labelling(draft: ExperimentDraft, task: Task) -> None:
    chances = (draft.labelled_positive, draft.labelled_negative)
    if not draft.labelling_depends and chances == (None, None):
        return
    if not draft.labelling_depends or task is not Task.BINARY:
        raise InvalidExperiment(
            "Chances to be labelled are for binary models whose labels depend on the answer ('labelling_depends')."
        )
    if any(chance is None or not 0 < chance <= 1 for chance in chances):
        raise InvalidExperiment(
            "Where labels depend on what was answered, arms that answer differently are labelled differently, and what "
            "is labelled can't be compared as it is. Say with what chance, above 0 to 1, a row is labelled after each "
            "answer ('labelled_positive', 'labelled_negative'), such as 1 for alerts and 0.05 for an audit of the rest."
        )


def _check_arms(arms: tuple[Arm, ...]) -> None:
    if not 2 <= len(arms) <= MOST_ARMS:
        raise InvalidExperiment(
            f"An experiment has 2 to {MOST_ARMS} arms, the control and others; {len(arms)} are given."
        )
    for arm in arms:
        check_name(arm.name, "The name of an arm")
    if len({arm.name for arm in arms}) != len(arms):
        raise InvalidExperiment("Two arms have the same name.")
    check_weights([arm.weight for arm in arms], len(arms))


def _checked_metrics(metrics: tuple[ExperimentMetric, ...], task: Task) -> tuple[ExperimentMetric, ...]:
    if not 1 <= len(metrics) <= MOST_METRICS:
        raise InvalidExperiment(f"An experiment has 1 to {MOST_METRICS} metrics; {len(metrics)} are given.")
    if len({metric.name for metric in metrics}) != len(metrics):
        raise InvalidExperiment("Two metrics have the same name.")
    if not any(metric.role is MetricRole.SUCCESS for metric in metrics):
        raise InvalidExperiment("An experiment needs a metric with the role 'success': nothing else can win it.")
    return tuple(_checked_metric(metric, task) for metric in metrics)


def _checked_metric(metric: ExperimentMetric, task: Task) -> ExperimentMetric:
    check_name(metric.name, "The name of a metric")
    if not math.isfinite(metric.margin) or metric.margin < 0:
        raise InvalidExperiment(
            f"The margin of '{metric.name}' is below 0 or no number. A margin says how much worse, or better, an arm "
            "may be in the metric's own unit; which way is better is known of the metric."
        )
    if metric.role is MetricRole.GUARDRAIL and metric.margin == 0:
        raise InvalidExperiment(
            f"The guardrail '{metric.name}' needs a margin above 0: that an arm is not worse at all can't be shown."
        )
    if metric.minimum_effect is not None and not 0 < metric.minimum_effect < math.inf:
        raise InvalidExperiment(f"The minimum effect of '{metric.name}' must be above 0.")
    known = METRICS.get(metric.name)
    if known is None and not metric.is_own:
        fitting = ", ".join(name for name, one in METRICS.items() if task in one.tasks)
        raise InvalidExperiment(
            f"There is no metric of that name for a {task.value} model. There are: {fitting}. A metric of your own, "
            "whose values come over the API, has to be marked as such."
        )
    if known is None or metric.is_own:
        if known is not None:
            raise InvalidExperiment(f"'{metric.name}' is built in; call your own metric something else.")
        _check_bounds(metric)
        return metric
    if task not in known.tasks:
        raise InvalidExperiment(f"The metric '{metric.name}' means nothing for a {task.value} model.")
    if known.bounds is not None and metric.margin >= known.bounds[1] - known.bounds[0]:
        raise InvalidExperiment(f"The margin of '{metric.name}' is a share below 1, such as 0.02 for two points.")
    return msgspec.structs.replace(metric, lower_is_better=known.lower_is_better, bounds=known.bounds)


def _check_bounds(metric: ExperimentMetric) -> None:
    if metric.bounds is None:
        return
    low, high = metric.bounds
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InvalidExperiment(f"The bounds of '{metric.name}' are its lowest and its highest value, in that order.")
    if metric.margin >= high - low:
        raise InvalidExperiment(f"The margin of '{metric.name}' is as wide as its bounds: it would allow everything.")


# Name, lowest and highest value, and whether the lowest is out; what is left out is fine.
_LIMITS: tuple[tuple[str, float, float, bool], ...] = (
    ("share", 1 / BUCKETS, 1, False),
    ("false_promotion", 0, 0.5, True),
    ("false_rollback", 0, 0.5, True),
    ("power", 0, 0.999, True),
    ("futility", 0, 0.999, True),
    ("observation_seconds", 0, LONGEST, False),
    ("label_seconds", 0, LONGEST, False),
    ("shadow_seconds", 0, LONGEST, False),
    ("maximum_seconds", 0, LONGEST, True),
    ("reweigh_seconds", 0, LONGEST, True),
    ("minimum_units", 0, 1e9, False),
    ("maximum_units", 1, 1e9, False),
    ("shadow_rows", 0, 1e9, False),
    ("cost_false_positive", 0, 1e12, False),
    ("cost_false_negative", 0, 1e12, False),
)


def _check_numbers(draft: ExperimentDraft) -> None:
    for name, low, high, is_open in _LIMITS:
        value = getattr(draft, name)
        if value is not None and not (low <= value <= high and not (is_open and value == low)):
            raise InvalidExperiment(
                f"'{name}' must be {'above' if is_open else 'at least'} {low:g} and at most {high:g}."
            )
    if draft.futility is not None and draft.maximum_units is None:
        raise InvalidExperiment("'futility' looks ahead to 'maximum_units': give that too.")
    if draft.observation_seconds + draft.label_seconds >= draft.maximum_seconds:
        raise InvalidExperiment(
            "No unit would be ripe in time: 'observation_seconds' and 'label_seconds' together must be less than "
            "'maximum_seconds'."
        )


def _check_ramp(draft: ExperimentDraft) -> None:
    if (draft.strategy is Strategy.GRADUAL) != bool(draft.ramp):
        raise InvalidExperiment(
            "A gradual experiment needs a ramp, such as 5% for 1d, 20% for 2d, 100%, and no other has one."
        )
    shares = [stage.share for stage in draft.ramp]
    if len(shares) > MOST_STAGES or any(not 0 < share <= 1 for share in shares) or shares != sorted(set(shares)):
        raise InvalidExperiment(
            f"The stages of a ramp raise the share of the arms' weights, from above 0 to 1 at the most, in "
            f"{MOST_STAGES} stages at the most."
        )
    if any(not 0 <= stage.seconds <= LONGEST for stage in draft.ramp):
        raise InvalidExperiment("A stage of a ramp takes a number of seconds from 0 to ten years.")
