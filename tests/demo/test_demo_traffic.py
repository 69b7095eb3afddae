"""The demo's e-mail traffic: the same rows however they are asked for, and figures that tell the demo's story."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeostat.demo.traffic import (
    KINDS,
    LEGITIMATE,
    PHISHING,
    YEAR_START,
    Batch,
    Change,
    EmailTraffic,
    bad_training_data,
    changes,
)
from homeostat.demo.traffic.changes import base_rate, shares
from homeostat.demo.traffic.looks import LOOKS, Look
from homeostat.errors import InvalidSettings
from homeostat.frames import Kind, concatenate, content_hash, missing, to_pandas

MARCH = datetime(2025, 3, 3, tzinfo=UTC)


def at(month: int, day: int = 1, year: int = 2025) -> datetime:
    return datetime(year, month, day, tzinfo=UTC)


@pytest.fixture(scope="module")
def year() -> Batch:
    return EmailTraffic(seed=7).batch(at(1), at(12))


def window(whole: Batch, start: datetime, end: datetime) -> Batch:
    low, high = (np.datetime64(moment.replace(tzinfo=None), "us") for moment in (start, end))
    return whole.take((whole.times >= low) & (whole.times < high))


def same(left: Batch, right: Batch) -> bool:
    return content_hash(left.columns) == content_hash(right.columns) and all(
        np.array_equal(getattr(left, name), getattr(right, name))
        for name in ("label", "times", "entities", "delays", "ids")
    )


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**40),
    minutes=st.lists(st.integers(0, 4 * 1440), min_size=3, max_size=6).map(sorted),
    backwards=st.booleans(),
)
def test_the_rows_do_not_depend_on_the_intervals_they_are_asked_in(
    seed: int, minutes: list[int], backwards: bool
) -> None:
    moments = [MARCH + timedelta(minutes=minute) for minute in minutes]
    traffic = EmailTraffic(seed, volume_per_day=60)
    pieces = list(itertools.pairwise(moments))
    order = pieces[::-1] if backwards else pieces
    made = {piece: traffic.batch(*piece) for piece in order}
    whole = EmailTraffic(seed, volume_per_day=60).batch(moments[0], moments[-1])
    joined = concatenate([made[piece].columns for piece in pieces])
    assert content_hash(joined) == content_hash(whole.columns)
    for name in ("label", "times", "entities", "delays", "ids"):
        parts = [getattr(made[piece], name) for piece in pieces]
        assert np.array_equal(np.concatenate(parts), getattr(whole, name))


def test_other_seeds_give_other_rows() -> None:
    days = {content_hash(EmailTraffic(seed).day(MARCH.date()).columns) for seed in range(5)}
    assert len(days) == 5


def test_the_waves_change_nothing_before_november() -> None:
    plain, waving = EmailTraffic(3), EmailTraffic(3, waves=True)
    assert same(plain.batch(at(11, 15), at(11, 24)), waving.batch(at(11, 15), at(11, 24)))
    assert not same(plain.batch(at(11, 24), at(11, 25)), waving.batch(at(11, 24), at(11, 25)))
    assert (plain.end, waving.end) == (at(1, year=2026), at(3, year=2026))


def test_times_are_ascending_and_inside_the_interval(year: Batch) -> None:
    assert year.times.dtype == np.dtype("datetime64[us]")
    assert (np.diff(year.times) >= np.timedelta64(0)).all()
    part = EmailTraffic(7).batch(MARCH + timedelta(hours=9), MARCH + timedelta(hours=11))
    assert part.rows > 20
    assert part.times[0] >= np.datetime64("2025-03-03T09:00")
    assert part.times[-1] < np.datetime64("2025-03-03T11:00")
    assert set(part.columns["hour"]) == {9.0, 10.0}
    assert set(part.columns["weekday"]) == {0.0}


def test_an_interval_in_another_time_zone_is_the_same_interval() -> None:
    tokyo = timezone(timedelta(hours=9))
    traffic = EmailTraffic(2)
    there = traffic.batch(datetime(2025, 3, 4, 2, tzinfo=tokyo), datetime(2025, 3, 4, 20, tzinfo=tokyo))
    assert same(there, traffic.batch(MARCH + timedelta(hours=17), MARCH + timedelta(hours=35)))


def test_an_empty_interval_has_all_columns_and_no_rows() -> None:
    empty = EmailTraffic(2).batch(MARCH, MARCH)
    assert (empty.rows, list(empty.columns)) == (0, list(KINDS))


@pytest.mark.parametrize(
    ("start", "end"), [(MARCH.replace(tzinfo=None), MARCH), (MARCH, MARCH - timedelta(microseconds=1))]
)
def test_an_interval_that_means_nothing_is_refused(start: datetime, end: datetime) -> None:
    with pytest.raises(InvalidSettings):
        EmailTraffic(2).batch(start, end)


@pytest.mark.parametrize("arguments", [{"seed": -1}, {"seed": 1, "volume_per_day": 0}])
def test_settings_that_mean_nothing_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidSettings):
        EmailTraffic(**arguments)


def test_every_column_has_the_form_of_its_kind(year: Batch) -> None:
    assert list(year.columns) == list(KINDS) == list(year.kinds)
    for name, kind in KINDS.items():
        values = year.columns[name]
        assert len(values) == year.rows
        if kind is Kind.CATEGORICAL:
            assert {type(value) for value in values} <= {str, type(None)}, name
        else:
            assert values.dtype == np.float64, name
            assert (values[~np.isnan(values)] >= 0).all(), name
        if kind is Kind.BOOLEAN:
            assert set(np.unique(values)) == {0.0, 1.0}, name


def test_values_are_missing_where_and_as_often_as_meant(year: Batch) -> None:
    columns = year.columns
    share = {name: missing(columns[name]).mean() for name in KINDS}
    assert share["sender_domain_age_days"] == pytest.approx(0.04, abs=0.003)
    assert share["sender_reputation"] == pytest.approx(0.02, abs=0.002)
    assert share["language"] == pytest.approx(0.01, abs=0.002)
    whole = {name for name, part in share.items() if part == 0.0}
    assert len(whole) == len(KINDS) - 9
    no_links = columns["link_count"] == 0
    assert np.array_equal(missing(columns["longest_url_length"]), no_links)
    assert np.array_equal(missing(columns["mismatched_link_share"]), no_links)
    assert np.array_equal(missing(columns["minutes_since_last_mail"]), columns["first_time_sender"] == 1.0)
    without = columns["attachment_kind"] == "none"
    assert np.array_equal(missing(columns["attachment_size_kb"]), without)
    assert np.array_equal(columns["attachment_count"] == 0, without)
    assert (columns["url_shortener_count"] <= columns["link_count"]).all()


def test_mail_has_a_daily_and_a_weekly_cycle_and_the_asked_volume(year: Batch) -> None:
    days = (at(12) - at(1)).days
    assert year.rows / days == pytest.approx(500, rel=0.01)
    weekend = year.columns["weekday"] >= 5
    assert weekend.mean() == pytest.approx(0.75 / 7, abs=0.004)
    office = (year.columns["hour"] >= 8) & (year.columns["hour"] < 17)
    assert office.mean() > 0.6


@pytest.mark.parametrize(
    ("start", "end", "rate"), [((1, 1), (8, 1), 0.12), ((8, 1), (10, 1), 0.15), ((10, 1), (12, 1), 0.12)]
)
def test_base_rates(year: Batch, start: tuple[int, int], end: tuple[int, int], rate: float) -> None:
    part = window(year, at(*start), at(*end))
    assert set(part.label) == {PHISHING, LEGITIMATE}
    assert (part.label == PHISHING).mean() == pytest.approx(rate, abs=3.5 * (rate * (1 - rate) / part.rows) ** 0.5)


def test_labels_come_days_late(year: Batch) -> None:
    assert year.delays.min() >= 1.0
    assert year.delays.max() <= 10.0
    assert np.median(year.delays) == pytest.approx(3.0, rel=0.02)
    gap = (year.labelled_at - year.times) / np.timedelta64(1, "s") / 86_400
    assert np.allclose(gap, year.delays, atol=1e-9)


def test_ids_are_unique_and_mailboxes_recur(year: Batch) -> None:
    assert len(set(year.ids)) == year.rows
    assert 1500 < len(set(year.entities)) <= 2000


def test_history_is_the_autumn_before() -> None:
    history = EmailTraffic(7).history(months=4)
    assert 55_000 < history.rows < 65_000
    assert history.times[0] >= np.datetime64("2024-09-01")
    assert history.times[-1] < np.datetime64(YEAR_START.replace(tzinfo=None))


def p_values(left: Batch, right: Batch) -> dict[str, float]:
    """Of one two-sample test a feature: KS for numbers, chi-squared for the others; missing counts as a value."""
    from scipy.stats import chi2_contingency, ks_2samp

    found = {}
    for name, kind in KINDS.items():
        first, second = left.columns[name], right.columns[name]
        if kind is not Kind.NUMERIC:
            seen = sorted({str(value) for value in (*first, *second)})
            counts = [[np.sum(values.astype(str) == value) for value in seen] for values in (first, second)]
            found[name] = float(chi2_contingency(counts).pvalue)
        else:
            filled = (np.nan_to_num(values, nan=-1.0) for values in (first, second))
            found[name] = float(ks_2samp(*filled, method="asymp").pvalue)
    return found


def rejected(found: dict[str, float], rate: float) -> set[str]:
    """Benjamini–Hochberg: the features called different at this false discovery rate."""
    names = sorted(found, key=lambda name: found[name])
    passing = [rank for rank, name in enumerate(names, 1) if found[name] <= rate * rank / len(names)]
    return set(names[: max(passing, default=0)])


def test_nothing_changes_before_august(year: Batch) -> None:
    # Whole weeks, since the weekday is a feature.
    spring, summer = window(year, at(2, 3), at(3, 31)), window(year, at(5, 5), at(6, 30))
    assert min(spring.rows, summer.rows) > 25_000
    assert rejected(p_values(spring, summer), 0.01) == set()


def test_august_changes_features(year: Batch) -> None:
    before = window(year, at(6, 2), at(7, 28))
    for after in (window(year, at(8, 4), at(9, 29)), window(year, at(10, 6), at(11, 24))):
        changed = rejected(p_values(before, after), 0.01)
        assert {"qr_code", "attachment_kind", "sending_platform"} <= changed
        forged = rejected(p_values(*(part.take(part.label == PHISHING) for part in (before, after))), 0.01)
        assert {"sentence_evenness", "spelling_error_rate", "greeting"} <= forged
        assert not {"weekday", "language"} & changed


def test_the_campaign_is_sudden_and_the_machines_come_gradually(year: Batch) -> None:
    def marked(start: datetime, end: datetime) -> tuple[float, float]:
        part = window(year, start, end)
        forged = part.label == PHISHING
        return (
            float((part.columns["qr_code"][forged] == 1.0).mean()),
            float((part.columns["sentence_evenness"][forged] > 0.76).mean()),
        )

    july, august, ramp, late = (
        marked(at(7), at(8)),
        marked(at(8), at(8, 15)),
        marked(at(8, 15), at(9, 15)),
        marked(at(9, 15), at(10)),
    )
    assert july[0] < 0.01
    assert august[0] > 0.09
    assert max(july[1], august[1]) < 0.02
    assert 0.04 < ramp[1] < 0.12 < late[1]


@given(st.dates(date(2024, 9, 1), date(2026, 2, 28)), st.sampled_from([PHISHING, LEGITIMATE]), st.booleans())
def test_shares_of_looks_sum_to_one_on_every_day(day: date, label: str, waves: bool) -> None:
    mix = shares(day, label, changes(waves=waves))
    assert mix.sum() == pytest.approx(1.0)
    assert (mix >= 0).all()
    assert 0.1 < base_rate(day, waves=waves) < 0.2


def test_every_look_has_shares_that_sum_to_one() -> None:
    for name, look in LOOKS.items():
        for parameter in Look.__slots__:
            value = getattr(look, parameter)
            if isinstance(value, tuple) and len(value) > 2:
                assert sum(value) == pytest.approx(1.0), (name, parameter)


def test_changes_are_in_order_of_time_and_name_known_looks() -> None:
    happened: tuple[Change, ...] = EmailTraffic(1, waves=True).changes
    assert len(happened) == 7
    assert [change.start for change in happened] == sorted(change.start for change in happened)
    for change in happened:
        assert change.start <= change.full
        assert set(change.shares) <= set(LOOKS)


def classifier() -> Any:
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OrdinalEncoder

    categorical = [name for name, kind in KINDS.items() if kind is Kind.CATEGORICAL]
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan, encoded_missing_value=np.nan)
    return make_pipeline(
        make_column_transformer((encoder, categorical), remainder="passthrough"),
        HistGradientBoostingClassifier(max_iter=60, early_stopping=False, random_state=0),
    )


def fitted(batch: Batch) -> Any:
    from threadpoolctl import threadpool_limits

    # One thread, since threads that wait for each other are slow where other tests run beside this one.
    with threadpool_limits(limits=1):
        return classifier().fit(to_pandas(batch.columns, batch.kinds), batch.label)


class Figures:
    def __init__(self, model: Any, batch: Batch) -> None:
        truth = batch.label == PHISHING
        self.scores: npt.NDArray[np.float64] = model.predict_proba(to_pandas(batch.columns, batch.kinds))[:, 1]
        self.truth = truth
        self.alerts = self.scores > 0.5
        self.right = self.alerts == truth
        self.true_positive_rate = float(self.alerts[truth].mean())
        self.false_positive_rate = float(self.alerts[~truth].mean())
        self.precision = float(truth[self.alerts].mean())
        self.false_alerts = float((self.alerts & ~truth).mean())


@pytest.mark.slow
def test_the_figures_tell_the_story(year: Batch) -> None:
    from scipy.stats import binomtest
    from sklearn.metrics import roc_auc_score

    stable, drifting, after = (window(year, at(2), at(8)), window(year, at(8), at(9, 20)), window(year, at(10), at(12)))
    assert min(stable.rows, drifting.rows, after.rows) > 15_000
    first = fitted(EmailTraffic(7).history())
    calm, drift, old = (Figures(first, part) for part in (stable, drifting, after))
    assert 0.85 <= calm.true_positive_rate <= 0.90
    assert 0.03 <= calm.false_positive_rate <= 0.05
    assert 0.70 <= calm.precision <= 0.80
    assert 0.90 <= roc_auc_score(calm.truth, calm.scores) <= 0.95
    assert 0.70 <= drift.true_positive_rate <= 0.75
    assert 0.06 <= drift.false_positive_rate <= 0.08
    assert 0.60 <= drift.precision <= 0.70

    recent = window(year, at(7), at(9, 15))
    labelled = recent.labelled_at < np.datetime64("2025-09-15")
    second = fitted(recent.take(labelled))
    new = Figures(second, after)
    assert 0.88 <= new.true_positive_rate <= 0.93
    assert 0.02 <= new.false_positive_rate <= 0.04
    assert 0.75 <= new.precision <= 0.85
    assert new.false_alerts < 0.6 * drift.false_alerts
    gained, lost = int((new.right & ~old.right).sum()), int((~new.right & old.right).sum())
    assert binomtest(gained, gained + lost).pvalue < 0.01
    assert gained > lost

    # The blunder of November: fine on rows of its own kind, worse on live mail, by false alerts above all.
    traffic = EmailTraffic(7)
    model = fitted(bad_training_data(traffic, at(8), at(10)))
    tested, live = Figures(model, bad_training_data(traffic, at(10), at(11))), window(year, at(11), at(12))
    wrong, right = Figures(model, live), Figures(second, live)
    assert tested.right.mean() > right.right.mean()
    assert wrong.right.mean() < right.right.mean() - 0.04
    assert wrong.false_alerts > 2 * right.false_alerts


def test_the_blunder_changes_only_what_is_known_of_genuine_senders() -> None:
    traffic = EmailTraffic(7)
    good, bad = traffic.batch(at(8), at(9)), bad_training_data(traffic, at(8), at(9))
    touched = {"first_time_sender", "minutes_since_last_mail", "sender_reputation"}
    assert touched == {
        name for name in KINDS if content_hash(good.columns.select([name])) != content_hash(bad.columns.select([name]))
    }
    forged = good.label == PHISHING
    assert content_hash(good.columns.take(forged)) == content_hash(bad.columns.take(forged))
    assert np.array_equal(good.label, bad.label)
    assert np.array_equal(missing(bad.columns["minutes_since_last_mail"]), bad.columns["first_time_sender"] == 1.0)
    assert same(bad, bad_training_data(EmailTraffic(7), at(8), at(9)))
