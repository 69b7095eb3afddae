"""The drift report as plain text: every verdict, aligned, narrow, and safe whatever the names."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from homeostat.reports.drift import DriftReport
from homeostat.reports.drift.text import WIDTH, columns, fitted, p_words, share_words
from homeostat.stats.drift.comparison import compare_profiles
from homeostat.stats.profile import Profile

HOSTILE = "\x1b[31mred\x07\nname\u202e" + "<script>" * 20
TEXTS = ["your account is closed", "thanks for the order of today", "hello", "see you there at noon"]


def frame(rows: int, shift: float = 0.0, *, seed: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    gone = rng.normal(size=rows)
    gone[rng.random(rows) < 0.02 + 0.5 * shift] = np.nan
    return {
        "amount": rng.normal(shift, 1, rows),
        "quiet": rng.normal(size=rows),
        "gone": gone,
        "channel": rng.choice(np.array(["mail", "web"], dtype=object), rows, p=[0.5 + 0.3 * shift, 0.5 - 0.3 * shift]),
        "body": np.array([f"{TEXTS[i % 4]} {i} " * (2 if shift else 1) for i in range(rows)], dtype=object),
        HOSTILE: rng.normal(shift, 1, rows),
        "長い名前の列" * 20: rng.normal(size=rows),
    }


def compared(reference: dict[str, np.ndarray], current: dict[str, np.ndarray], **settings: str) -> DriftReport:
    before = Profile.of(reference)
    after = Profile.of(current, like=before)
    return DriftReport(compare_profiles(before, after, **settings), before, after)


@pytest.fixture(scope="module")
def drifted() -> DriftReport:
    return compared(frame(800), frame(400, 1.0, seed=2))


def feature_line(text: str, name: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(name + " "))


def test_the_verdict_comes_first_then_words_and_advice(drifted: DriftReport) -> None:
    text = drifted.to_text()
    count = sum(one.drifted for one in drifted.features.values())
    assert count >= 4
    assert text.splitlines()[0] == f"DRIFT: {count} of 7 features drifted, severity {drifted.severity}"
    flat = " ".join(text.split())
    assert flat.index("What to do:") < flat.index("Rows 800 → 400") < flat.index("feature kind severity")
    assert drifted.advice.split(". ")[-1] in flat


def test_lines_are_narrow_aligned_and_hold_no_control_characters(drifted: DriftReport) -> None:
    text = drifted.to_text()
    assert max(columns(line) for line in text.splitlines()) <= WIDTH
    assert not any(letter in text for letter in "\x1b\x07\u202e\r")
    lines = text.splitlines()
    start = next(place for place, line in enumerate(lines) if line.startswith("feature "))
    table = lines[start : start + 2 + len(drifted.features)]
    assert {columns(line) for line in table} == {columns(table[1])}


def test_drifted_features_come_first_with_their_measures(drifted: DriftReport) -> None:
    text = drifted.to_text()
    assert text.index("\namount") < text.index("\nquiet")
    amount = drifted.features["amount"]
    line = feature_line(text, "amount")
    assert f"{amount.ks:.2f}" in line
    assert f"{amount.psi:.2f}" in line
    assert amount.severity in line
    assert p_words(amount.p_adjusted) in line
    assert "█" in line
    gone = drifted.features["gone"]
    assert f"{share_words(gone.missing_reference)} → {share_words(gone.missing_current)}" in feature_line(text, "gone")
    assert "- 'amount' has moved: mean" in text
    assert "'quiet'" not in text


def test_a_measure_that_applies_to_no_feature_is_no_column() -> None:
    rng = np.random.default_rng(3)
    report = compared({"x": rng.normal(size=200)}, {"x": rng.normal(size=200)})
    header = next(line for line in report.to_text().splitlines() if line.startswith("feature"))
    assert "missing" not in header
    assert "KS" in header


@pytest.mark.parametrize(
    ("rows", "verdict", "words"),
    [
        (400, "healthy", "NO DRIFT: none of 7 features drifted"),
        (20, "insufficient", "TOO FEW ROWS"),
        (0, "no_data", "NO DATA"),
    ],
)
def test_every_other_verdict_has_words(rows: int, verdict: str, words: str) -> None:
    report = compared(frame(800), frame(rows, seed=5))
    assert report.verdict == verdict
    text = report.to_text()
    assert text.startswith(words)
    assert ("not judged" in text) == (verdict in ("insufficient", "no_data"))
    assert ("\nfeature " in text) == (verdict != "no_data")


def test_columns_tests_together_and_further_measures_are_told(drifted: DriftReport) -> None:
    @dataclass(frozen=True)
    class Result:
        estimate: float
        p: float
        sentence: str = ""

    report = replace(
        drifted,
        lost={"old": "the current table lacks it"},
        added=("new_one", HOSTILE),
        together={
            "domain_classifier": Result(0.8, 0.001, "A classifier tells the rows apart."),
            "bare": Result(1.5, 0.02),
        },
        methods={"amount": {"wasserstein": Result(0.97, 0.0004), "distance": 1.25}},
    )
    text = report.to_text()
    assert "- old: the current table lacks it" in text
    assert "Columns that the reference lacks: new_one, " in text
    assert "- Domain classifier: A classifier tells the rows apart." in text
    assert "- Bare: estimate 1.5, p 0.02" in text
    assert "wasserstein" in feature_line(text.split("further measure of")[1], "amount")
    assert "1.25" in text
    assert max(columns(line) for line in text.splitlines()) <= WIDTH


def test_of_very_many_features_the_rest_is_counted() -> None:
    rng = np.random.default_rng(4)
    names = [f"f{place:03d}" for place in range(300)]
    report = compared(
        {name: rng.normal(size=200) for name in names},
        {name: rng.normal(3.0 * (place < 100), 1, 200) for place, name in enumerate(names)},
    )
    text = report.to_text()
    assert "… and 220 more features, 40 of them drifted." in text
    assert "… and 80 more drifted features." in text
    assert len(text.splitlines()) < 200


def test_reports_of_nothing_constants_and_missing_columns_are_texts() -> None:
    assert compared({}, {}).to_text().startswith("NO DATA")
    empty = {"never": np.full(100, np.nan), "constant": np.ones(100)}
    text = compared(empty, empty).to_text()
    assert "100% → 100%" in feature_line(text, "never")
    assert "nan" not in text


def test_classic_has_no_level(drifted: DriftReport) -> None:
    text = compared(frame(800), frame(400, 1.0, seed=2), preset="classic").to_text()
    assert "preset classic." in text
    assert "adjusted p below 0.01" in drifted.to_text()


def test_names_are_cut_in_the_middle_by_columns() -> None:
    assert fitted("short", 10) == "short"
    assert columns(fitted("長い名前" * 30, 21)) <= 21
    assert fitted("a\nb", 10) == "a b"
    assert share_words(0.0001) == "<0.1%"
