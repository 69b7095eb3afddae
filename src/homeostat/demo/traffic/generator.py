"""The generator: any stretch of time to the e-mails that came in it, the same ones whatever the stretch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import numpy.typing as npt

from homeostat.demo.traffic.changes import LEGITIMATE, PHISHING, Change, base_rate, changes, shares
from homeostat.demo.traffic.features import KINDS, draw_features
from homeostat.errors import InvalidSettings
from homeostat.frames import Array, Columns, Floats, Kind, concatenate

YEAR_START = datetime(2025, 1, 1, tzinfo=UTC)
# Mail per hour of the day (UTC), and per weekday from Monday, as multiples of the mean.
HOURS = np.array([2, 2, 2, 2, 3, 6, 14, 34, 62, 76, 74, 66, 50, 60, 68, 64, 52, 36, 22, 15, 11, 8, 5, 3], dtype=float)
WEEKDAYS = np.array([1.30, 1.32, 1.28, 1.25, 1.10, 0.40, 0.35])
MAILBOXES = np.array([f"mailbox-{number:04d}" for number in range(2000)], dtype=object)
# What the blunder touches: these servers' senders are in the directory, and so many genuine ones have written again.
IN_DIRECTORY = ("exchange", "google", "own_server", "webmail")
SEEN_AGAIN = 0.995


@dataclass(frozen=True, slots=True)
class Batch:
    """E-mails in the order in which they came; every array has one entry an e-mail.

    `label` holds 'phishing' or 'legitimate' (object), `times` are UTC (datetime64[us], ascending), `entities` name the
    recipient's mailbox, `delays` say how many days after the e-mail its label comes, `ids` are unique.
    """

    columns: Columns
    label: Array
    times: npt.NDArray[np.datetime64]
    entities: Array
    delays: Floats
    ids: Array

    @property
    def kinds(self) -> dict[str, Kind]:
        """The kind of each feature, in order."""
        return dict(KINDS)

    @property
    def rows(self) -> int:
        """How many e-mails there are."""
        return len(self.label)

    @property
    def labelled_at(self) -> npt.NDArray[np.datetime64]:
        """When each label comes (UTC, datetime64[us])."""
        late: npt.NDArray[np.timedelta64] = (self.delays * 86_400e6).astype("timedelta64[us]")
        return np.add(self.times, late)

    def take(self, index: npt.NDArray[np.intp] | npt.NDArray[np.bool_] | slice) -> Batch:
        """The e-mails at `index` (positions, a mask or a slice)."""
        return Batch(
            self.columns.take(index),
            self.label[index],
            self.times[index],
            self.entities[index],
            self.delays[index],
            self.ids[index],
        )


class EmailTraffic:
    """E-mail traffic that is the same for a seed however it is asked for.

    Raises `InvalidSettings` where the seed is negative or the volume is not positive.

    >>> day = EmailTraffic(seed=1).day(date(2025, 3, 4))
    >>> day.rows, sorted(set(day.label))
    (679, ['legitimate', 'phishing'])
    """

    def __init__(self, seed: int, volume_per_day: float = 500.0, *, waves: bool = False) -> None:
        if seed < 0:
            raise InvalidSettings(f"The seed of the traffic is {seed}; use 0 or more.", seed=seed)
        if not volume_per_day > 0:
            raise InvalidSettings(
                f"The traffic has {volume_per_day} e-mails a day; use more than 0.", volume_per_day=volume_per_day
            )
        self.seed = seed
        self.volume_per_day = volume_per_day
        self.waves = waves
        self._last: tuple[date, Batch] | None = None

    @property
    def changes(self) -> tuple[Change, ...]:
        """Everything that happens in this traffic, in order of time."""
        return changes(waves=self.waves)

    @property
    def end(self) -> datetime:
        """When the simulated year is over: at the end of December 2025, or of February 2026 with `waves`."""
        return datetime(2026, 3, 1, tzinfo=UTC) if self.waves else datetime(2026, 1, 1, tzinfo=UTC)

    def batch(self, start: datetime, end: datetime) -> Batch:
        """The e-mails from `start` until before `end`, which must know their time zones.

        Raises `InvalidSettings` where a time has no zone or `end` comes before `start`.
        """
        first, last = _utc(start), _utc(end)
        if last < first:
            raise InvalidSettings(f"The traffic can't run from {start} back to {end}; swap them.", start=start, end=end)
        days = (last.date() - first.date()).days + 1
        parts = [self.day(first.date() + timedelta(days=offset)) for offset in range(days)]
        whole = _join(parts)
        low, high = (np.datetime64(moment.replace(tzinfo=None), "us") for moment in (first, last))
        inside = slice(*(int(position) for position in np.searchsorted(whole.times, [low, high])))
        return whole.take(inside)

    def history(self, months: int = 4) -> Batch:
        """The traffic of the months before January 2025, for training version 1."""
        before = YEAR_START.year * 12 - months
        return self.batch(YEAR_START.replace(year=before // 12, month=before % 12 + 1), YEAR_START)

    def day(self, day: date) -> Batch:
        """The e-mails of one day in UTC."""
        if self._last is None or self._last[0] != day:
            self._last = (day, self._make(day))
        return self._last[1]

    def _make(self, day: date) -> Batch:
        rng = np.random.default_rng(np.random.SeedSequence([self.seed, day.toordinal()]))
        rows = int(rng.poisson(self.volume_per_day * WEEKDAYS[day.weekday()] / WEEKDAYS.mean()))
        phishing = rng.random(rows) < base_rate(day, waves=self.waves)
        genuine = HOURS / HOURS.sum()
        # Attackers keep office hours too, since lures are opened then, but less strictly.
        forged = 0.8 * genuine + 0.2 / len(HOURS)
        hour = np.where(phishing, _pick(forged, rng, rows), _pick(genuine, rng, rows))
        within = hour * 3_600_000_000 + rng.integers(0, 3_600_000_000, rows)
        order = np.argsort(within, kind="stable")
        phishing, hour, within = phishing[order], hour[order], within[order]
        of_phishing, of_genuine = (shares(day, label, self.changes) for label in (PHISHING, LEGITIMATE))
        looks = np.where(phishing, _pick(of_phishing, rng, rows), _pick(of_genuine, rng, rows))
        columns = draw_features(looks, hour.astype(np.float64), np.full(rows, float(day.weekday())), rng)
        activity = 1.0 / (10.0 + np.arange(len(MAILBOXES)))
        mailbox = _pick(activity / activity.sum(), rng, rows)
        prefix = f"mail-{day:%Y%m%d}-"
        return Batch(
            columns,
            np.where(phishing, PHISHING, LEGITIMATE).astype(object),
            np.datetime64(datetime.combine(day, time()), "us") + within.astype("timedelta64[us]"),
            MAILBOXES[mailbox],
            np.clip(3.0 * np.exp(0.5 * rng.standard_normal(rows)), 1.0, 10.0),
            np.array([f"{prefix}{number:06d}" for number in range(rows)], dtype=object),
        )


def bad_training_data(traffic: EmailTraffic, start: datetime, end: datetime) -> Batch:
    """Training data with a blunder that is easy to make and hard to see: features from after the fact.

    Whoever exported it joined the sender's standing from the directory as of the day of the export, not as of the
    e-mail's arrival. The directory knows the senders on ordinary mail servers, not those on mass mailers. Nearly every
    genuine sender has written again since, so in these rows hardly any is new and all have a better reputation, while
    attackers write once. A model that is trained and tested on such rows looks excellent; on live mail it takes the
    genuine mail of a new sender for phishing.
    """
    batch = traffic.batch(start, end)
    rng = np.random.default_rng(np.random.SeedSequence([traffic.seed, start.toordinal(), end.toordinal()]))
    columns = dict(batch.columns)
    listed = np.isin(columns["sending_platform"].astype(str), IN_DIRECTORY)
    known = listed & (batch.label == LEGITIMATE) & (rng.random(batch.rows) < SEEN_AGAIN)
    first_time = columns["first_time_sender"] == 1.0
    columns["first_time_sender"] = np.where(known, 0.0, columns["first_time_sender"])
    gap = np.round(4000.0 * np.exp(1.4 * rng.standard_normal(batch.rows)))
    columns["minutes_since_last_mail"] = np.where(known & first_time, gap, columns["minutes_since_last_mail"])
    reputation = columns["sender_reputation"]
    columns["sender_reputation"] = np.where(known, 1.0 - (1.0 - reputation) * 0.5, reputation)
    return replace(batch, columns=Columns(columns))


def _utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise InvalidSettings(f"The time {moment} has no zone; pass an aware one, such as in UTC.", time=moment)
    return moment.astimezone(UTC)


def _pick(weights: Floats, rng: np.random.Generator, rows: int) -> npt.NDArray[np.intp]:
    """Positions drawn with these weights, which sum to 1."""
    return np.minimum(np.searchsorted(np.cumsum(weights), rng.random(rows), side="right"), len(weights) - 1)


def _join(parts: list[Batch]) -> Batch:
    return Batch(
        concatenate([part.columns for part in parts]),
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("label", "times", "entities", "delays", "ids")
        ),
    )
