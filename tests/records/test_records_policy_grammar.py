"""The grammar of durations and rollout steps."""

import pytest

from homeostat.errors import InvalidSettings
from homeostat.records import Span, Step, StepKind, parse_span, parse_step, parse_steps, written_step


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", Span(seconds=90)),
        ("5m", Span(seconds=300)),
        ("1.5h", Span(seconds=5400)),
        (" 2 d ", Span(seconds=172_800)),
        ("1w", Span(seconds=604_800)),
        ("500 rows", Span(rows=500)),
        ("1row", Span(rows=1)),
        ("0s", Span()),
    ],
)
def test_spans(text, expected):
    assert parse_span(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "5", "m", "-5m", "5 min", "1h 30m", "5M", "1e3s", ".5h", "1.2.3h", "rows", "0.5 rows", "inf s", "9999d"],
)
def test_what_is_no_span(text):
    with pytest.raises(InvalidSettings):
        parse_span(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("shadow", Step(kind=StepKind.SHADOW)),
        (
            "shadow for 20 pairs until decided max 20000 rows",
            Step(kind=StepKind.SHADOW, pairs=20, until_decided=True, max_rows=20_000),
        ),
        ("shadow for 20pairs", Step(kind=StepKind.SHADOW, pairs=20)),
        ("canary 10% for 2d", Step(kind=StepKind.CANARY, weight=0.1, seconds=172_800)),
        ("canary 0.5 %", Step(kind=StepKind.CANARY, weight=0.005)),
        (
            "ab 50% for 1h and 40 rows and 1 pair until decided max 7d or 90 rows",
            Step(
                kind=StepKind.AB,
                weight=0.5,
                seconds=3600,
                rows=40,
                pairs=1,
                until_decided=True,
                max_seconds=604_800,
                max_rows=90,
            ),
        ),
        ("100%", Step(kind=StepKind.FULL, weight=1.0)),
        ("canary 5% for 200 labels", Step(kind=StepKind.CANARY, weight=0.05, labels=200)),
        ("canary 5% with control", Step(kind=StepKind.CANARY, weight=0.05, control=True)),
        ("ab 50% max 7d then approve", Step(kind=StepKind.AB, weight=0.5, max_seconds=604_800, approval=True)),
        ("bake for 1h", Step(kind=StepKind.BAKE, weight=1.0, seconds=3600)),
        # 'for' may be left out.
        ("shadow 500 pairs", Step(kind=StepKind.SHADOW, pairs=500)),
        ("bake 1d", Step(kind=StepKind.BAKE, weight=1.0, seconds=86_400)),
        ("100% 1h", Step(kind=StepKind.FULL, weight=1.0, seconds=3600)),
        (
            "canary 10% 2d and 5 rows max 3d",
            Step(kind=StepKind.CANARY, weight=0.1, seconds=172_800, rows=5, max_seconds=259_200),
        ),
    ],
)
def test_steps(text, expected):
    assert parse_step(text) == expected
    assert parse_step(written_step(expected)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "50%",
        "99.9%",
        "full",
        "canary",
        "canary 0%",
        "canary 100%",
        "canary 1.2.3%",
        "canary 10",
        "ab 150%",
        "shadow 10%",
        "bake 50%",
        "canary 10% for",
        "canary 10% for 5",
        "canary 10% for ..5 pairs",
        "canary 10% for 1.5 pairs",
        "canary 10% for 1h and 2h",
        "canary 10% for 1 row and 2 rows",
        "shadow for 5 pairs max 5 pairs",
        "shadow max 1h or 2d",
        "canary 10% until",
        "canary -10%",
        "shadow for 1h or 2 rows",
        "canary 10% for 2d for 3d",
        "canary 10% then",
        "canary 10% then approve for 2d",
        "shadow with control",
        "canary 60% with control",
        "ab 50% max 10 labels",
        # Steps that end before they can be left.
        "canary 10% for 2d max 1d",
        "canary 10% for 200 rows max 100 rows",
        "shadow for 200 pairs max 100 rows",
        "ab 50% for 200 labels until decided max 100 rows",
        # Lengths that are none, or that no date can be reckoned with.
        "canary 10% for 0d",
        "canary 10% max 0d",
        "100% for 0 rows",
        "canary 10% for 99999d",
        f"canary 10% for {'9' * 400}d",
        "canary 10% for 10000000000000 rows",
        # A share that nobody would fall into.
        "canary 0.00000001%",
        "shadow500 pairs",
        "canary 10 2d",
        "canary 10% 2d for 3d",
        "c\u00e4nary 10%",
    ],
)
def test_what_is_no_step(text):
    with pytest.raises(InvalidSettings):
        parse_step(text)


@pytest.mark.parametrize(
    "text", ["x" * 10_000, "canary 10% for " + "1d and " * 3_000 + "1d", "canary 10%" + " " * 9_000 + "x"]
)
def test_a_long_text_is_refused_and_not_told_again(text):
    with pytest.raises(InvalidSettings) as refused:
        parse_step(text)
    assert len(refused.value.message) < 300
    with pytest.raises(InvalidSettings, match="at the most"):
        parse_steps(("100%",) * 1000)


def test_a_rollout_raises_the_share_to_all():
    steps = parse_steps(("shadow", "canary 10%", "ab 50%", "100%", "bake for 1h"))
    assert [step.weight for step in steps] == [0, 0.1, 0.5, 1, 1]


@pytest.mark.parametrize(
    "texts",
    [
        (),
        ("shadow",),
        ("canary 10%", "bake"),
        ("canary 50%", "canary 10%", "100%"),
        ("100%", "shadow"),
        ("bake", "100%"),
        ("100%", "bake", "100%"),
        ("canary 10%", "100%", "100%"),
        ("canary 10%", "100% then approve"),
    ],
)
def test_what_is_no_rollout(texts):
    with pytest.raises(InvalidSettings):
        parse_steps(texts)
