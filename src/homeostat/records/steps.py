"""The grammar of rollout steps and of lengths of the stream."""

from __future__ import annotations

import re

import msgspec

from homeostat.errors import InvalidSettings
from homeostat.records.enums import StepKind
from homeostat.records.rollouts import Step


class Span(msgspec.Struct, frozen=True):
    """A length of the stream: seconds or rows."""

    seconds: float = 0.0
    rows: int = 0


HALF = 0.5
_LONGEST = 3650 * 86400.0
_MOST_ROWS = 10**12
# Weights of arms are kept to so many parts of one.
_LEAST_WEIGHT = 1e-6
_SHOWN = 80
_LONGEST_TEXT = 1000
_MOST_STEPS = 50
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_SPAN = re.compile(r"^\s*([0-9]+(?:\.[0-9]+)?)\s*(rows?|[smhdw])\s*$")


def parse_span(text: str) -> Span:
    """A duration such as `90s`, `5m`, `12h`, `2d`, `1w`, or a number of rows such as `500 rows`.

    >>> parse_span("2d").seconds, parse_span("500 rows").rows
    (172800.0, 500)
    """
    match = _SPAN.match(text)
    if match is None:
        raise InvalidSettings(
            f"'{_shown(text)}' is no length of time or rows. Write 90s, 5m, 12h, 2d, 1w or '500 rows'."
        )
    amount, unit = float(match[1]), match[2]
    is_rows = unit.startswith("row")
    if is_rows and not amount.is_integer():
        raise InvalidSettings(f"'{_shown(text)}' is no number of rows: rows are whole.")
    # What is longer than this can't be added to a date, and nobody waits for it.
    if amount > _MOST_ROWS if is_rows else amount * _UNITS[unit] > _LONGEST:
        raise InvalidSettings(f"'{_shown(text)}' is too long: ten years, or {_MOST_ROWS:,} rows, at the most.")
    return Span(rows=int(amount)) if is_rows else Span(seconds=amount * _UNITS[unit])


def _shown(text: str) -> str:
    """A text in a message: as it was written, unless that is long."""
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_LENGTH = rf"{_NUMBER}\s*(?:rows?|pairs?|labels?|[smhdw])\b"
_STEP = re.compile(
    rf"^\s*(?P<kind>shadow|canary|ab|bake|)\s*(?:(?P<weight>{_NUMBER})\s*%)?"
    r"(?P<control>\s+with control)?"
    rf"(?:(?:\s*for)?\s+(?P<floor>{_LENGTH}(?:\s+and\s+{_LENGTH})*))?"
    r"(?P<decided>\s+until decided)?"
    rf"(?:\s+max\s+(?P<limit>{_LENGTH}(?:\s+or\s+{_LENGTH})*))?"
    r"(?P<approval>\s+then approve)?\s*$"
)


def parse_step(text: str) -> Step:
    """One rollout step, written as `canary 10% for 2d`, `ab 50% for 1h and 40 rows until decided max 7d`, `100%`.

    The word `for` may be left out.

    >>> parse_step("canary 10% for 2d").weight
    0.1
    >>> parse_step("shadow 500 pairs") == parse_step("shadow for 500 pairs")
    True
    >>> parse_step("shadow for 20 pairs until decided").pairs
    20
    >>> step = parse_step("canary 10% with control for 2d and 200 labels then approve")
    >>> step.control, step.labels, step.approval
    (True, 200, True)

    Raises `InvalidSettings` for what is no step, and for a step that ends before it can be left.
    """
    match = _STEP.match(text) if len(text) <= _LONGEST_TEXT else None
    text = _shown(text)
    if match is None or (not match["kind"] and not match["weight"]):
        raise InvalidSettings(
            f"'{text}' is no rollout step. Write 'shadow for 500 pairs', 'canary 10% for 2d', "
            "'ab 50% until decided max 7d then approve', '100%' or 'bake for 1d'."
        )
    kind = StepKind(match["kind"] or "full")
    weight = {StepKind.SHADOW: 0.0, StepKind.FULL: 1.0, StepKind.BAKE: 1.0}.get(kind, float(match["weight"] or 0) / 100)
    if kind in (StepKind.CANARY, StepKind.AB) and not _LEAST_WEIGHT <= weight <= 1 - _LEAST_WEIGHT:
        raise InvalidSettings(
            f"Step '{text}' needs a share of traffic above 0 % and below 100 %, such as '{kind.value} 10%'."
        )
    if kind not in (StepKind.CANARY, StepKind.AB) and match["weight"] and float(match["weight"]) != 100 * weight:
        raise InvalidSettings(
            f"Step '{text}' can't have that share of traffic. Write 'canary {match['weight']}%' for a part of it."
        )
    floor, limit = _lengths(match["floor"], "and"), _lengths(match["limit"], "or")
    if "pairs" in limit or "labels" in limit:
        raise InvalidSettings(f"Step '{text}': a limit is a duration or rows, not pairs or labels.")
    if match["control"] and (kind not in (StepKind.CANARY, StepKind.AB) or weight > HALF):
        raise InvalidSettings(
            f"Step '{text}' can't have a control of the candidate's size: that needs a share of traffic up to 50 %."
        )
    _check_order(text, floor, limit)
    return Step(
        kind=kind,
        weight=weight,
        seconds=floor.get("seconds", 0.0),
        rows=int(floor.get("rows", 0)),
        pairs=int(floor.get("pairs", 0)),
        labels=int(floor.get("labels", 0)),
        until_decided=bool(match["decided"]),
        max_seconds=limit.get("seconds"),
        max_rows=int(limit["rows"]) if "rows" in limit else None,
        approval=bool(match["approval"]),
        control=bool(match["control"]),
    )


def written_step(step: Step) -> str:
    """A step as a text that means the same.

    >>> written_step(parse_step("canary 10% 36h and 50 pairs until decided max 7d or 900 rows"))
    'canary 10% for 36h and 50 pairs until decided max 1w or 900 rows'
    """
    share = f"{float(f'{100 * step.weight:.10g}'):g}%"
    name = {StepKind.FULL: "100%", StepKind.CANARY: f"canary {share}", StepKind.AB: f"ab {share}"}
    floor = [_written_span(step.seconds)] if step.seconds else []
    floor += [f"{count} {what}" for count, what in _counts(step) if count]
    limit = [_written_span(step.max_seconds)] if step.max_seconds is not None else []
    limit += [f"{step.max_rows} rows"] if step.max_rows is not None else []
    parts = [
        name.get(step.kind, step.kind.value),
        "with control" if step.control else "",
        f"for {' and '.join(floor)}" if floor else "",
        "until decided" if step.until_decided else "",
        f"max {' or '.join(limit)}" if limit else "",
        "then approve" if step.approval else "",
    ]
    return " ".join(part for part in parts if part)


def _counts(step: Step) -> tuple[tuple[int, str], ...]:
    return (step.rows, "rows"), (step.pairs, "pairs"), (step.labels, "labels")


def _written_span(seconds: float) -> str:
    """A duration in the largest unit of which it is a whole number."""
    for unit, length in reversed(_UNITS.items()):
        if seconds >= length and (seconds / length).is_integer():
            return f"{seconds / length:.0f}{unit}"
    return f"{seconds:.10f}".rstrip("0").rstrip(".") + "s"


def _check_order(text: str, floor: dict[str, float], limit: dict[str, float]) -> None:
    """Refuse a step that is given up before it can be left: the steps after it would never be reached."""
    late = "seconds" in limit and limit["seconds"] < floor.get("seconds", 0.0)
    # A pair or a label is of a row that was served.
    needed = max(floor.get(name, 0.0) for name in ("rows", "pairs", "labels"))
    if late or ("rows" in limit and limit["rows"] < needed):
        raise InvalidSettings(
            f"Step '{text}' reaches its maximum before it can be left, so no step after it can be reached. Raise what "
            "stands after 'max', or lower what stands after 'for'."
        )


def _lengths(text: str | None, joint: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for part in re.split(rf"\s+{joint}\s+", text.strip()) if text else ():
        name, amount = _length(part)
        if not amount:
            raise InvalidSettings(f"'{_shown(part)}' is no length: leave it out, or write one above 0.")
        if name in found:
            raise InvalidSettings(f"A step gives {name} twice in one list: '{_shown(part)}' is the second.")
        found[name] = amount
    return found


def _length(part: str) -> tuple[str, float]:
    for name in ("pair", "label"):
        if name in part:
            return f"{name}s", float(parse_span(part.replace(name, "row")).rows)
    span = parse_span(part)
    return ("rows", float(span.rows)) if "row" in part else ("seconds", span.seconds)


def parse_steps(texts: tuple[str, ...]) -> tuple[Step, ...]:
    """All steps of a rollout, which must end with the candidate serving everything.

    Raises `InvalidSettings` where no step gives all traffic, or shares of traffic shrink.
    """
    if len(texts) > _MOST_STEPS:
        raise InvalidSettings(f"A rollout has {_MOST_STEPS} steps at the most.")
    steps = tuple(parse_step(text) for text in texts)
    weights = [step.weight for step in steps]
    if not steps or StepKind.FULL not in [step.kind for step in steps]:
        raise InvalidSettings("A rollout needs a step '100%', which is where the candidate becomes production.")
    if weights != sorted(weights):
        raise InvalidSettings("The steps of a rollout may only raise the candidate's share of traffic.")
    if [step.kind for step in steps].count(StepKind.FULL) > 1:
        raise InvalidSettings("'100%' can be one step of a rollout only: the candidate has all traffic from then on.")
    if steps[-1].kind is StepKind.FULL and steps[-1].approval:
        raise InvalidSettings("Nothing follows the last step '100%', so there is nothing to approve.")
    if StepKind.BAKE in [step.kind for step in steps[:-1]]:
        raise InvalidSettings("'bake' can only be the last step of a rollout.")
    return steps
