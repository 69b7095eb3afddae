"""What happens to a candidate: which rows it answers rightly beside the old version, and when their labels come."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.stats.sequential import paired_log_evidence

Rng = np.random.Generator
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]
DAY = 86_400.0


@dataclass(frozen=True)
class Truth:
    """Two versions on the same rows.

    `old` and `new` are accuracies; `overlap` says how much their errors have to do with each other: 0 for independent
    errors, 1 for as many errors in common as there can be. `failing` and `slow` are shares of the candidate's answers.
    """

    old: float = 0.90
    new: float = 0.90
    overlap: float = 0.5
    positive: float = 0.5
    failing: float = 0.0
    slow: float = 0.0

    @property
    def wins(self) -> float:
        """The share of rows on which only the candidate is right."""
        return self.new - self._both

    @property
    def losses(self) -> float:
        """The share on which only the old version is."""
        return self.old - self._both

    @property
    def _both(self) -> float:
        independent, most = self.old * self.new, min(self.old, self.new)
        # Two versions with all errors in common that can be would never disagree where they are equally good.
        return independent + self.overlap * (most - independent)


@dataclass(frozen=True)
class Traffic:
    """How many requests come a day, at equal distances, and after how many days each gets its label."""

    a_day: int = 20_000
    days_late: float = 0.0

    @property
    def seconds(self) -> float:
        """Between two requests."""
        return DAY / self.a_day

    @property
    def late(self) -> int:
        """After how many further requests a row's label comes."""
        return round(self.days_late * self.a_day)


@dataclass(frozen=True)
class Rows:
    """The rows of one run, in order: who is right about each, and how the candidate served it."""

    wins: Booleans
    losses: Booleans
    both: Booleans
    positive: Booleans
    failed: Booleans
    slow: Booleans
    chance: Floats

    @property
    def count(self) -> int:
        return len(self.wins)

    def first(self, count: int) -> Rows:
        """The first of them."""
        return replace(self, **{name: getattr(self, name)[:count] for name in self.__dataclass_fields__})


def draw(truth: Truth, count: int, rng: Rng) -> Rows:
    """Independent rows."""
    share = rng.random(count)
    failed = rng.random(count) < truth.failing if truth.failing else np.zeros(count, dtype=bool)
    wins = share < truth.wins
    losses = (share >= truth.wins) & (share < truth.wins + truth.losses)
    both = (share >= truth.wins + truth.losses) & (share < truth.new + truth.losses)
    return Rows(
        # A row that the candidate failed on has no pair.
        wins & ~failed,
        losses & ~failed,
        both & ~failed,
        rng.random(count) < truth.positive,
        failed,
        (rng.random(count) < truth.slow if truth.slow else np.zeros(count, dtype=bool)) & ~failed,
        rng.random(count),
    )


class Evidence:
    """How wins and losses are weighed: by the product's evidence, or by a test that is meant for one look."""

    def log(self, wins: Integers, losses: Integers) -> Floats:
        """The log evidence that wins are likelier than losses."""
        return np.asarray(paired_log_evidence(wins, losses))


class FixedSample(Evidence):
    """McNemar's z-test, one-sided, as if each look were the only one: acts where p ≤ α, so log(1/p) is what it says."""

    def log(self, wins: Integers, losses: Integers) -> Floats:
        from scipy.stats import norm  # noqa: PLC0415

        n = np.maximum(wins + losses, 1)
        return np.asarray(-norm.logsf((wins - losses) / np.sqrt(n)), dtype=np.float64)


class Counts:
    """Running counts of some rows, and the evidence after each that tells the two versions apart."""

    def __init__(self, rows: Rows, evidence: Evidence, keep: Booleans | None = None, start: int = 0) -> None:
        def chosen(values: npt.NDArray[Any]) -> Booleans:
            part = values if keep is None else values & keep
            return np.concatenate([np.zeros(start, dtype=bool), part[start:]]) if start else part

        wins, losses = chosen(rows.wins), chosen(rows.losses)
        self.pairs = _running(chosen(~rows.failed))
        self.wins, self.losses, self.both = _running(wins), _running(losses), _running(chosen(rows.both))
        discordant = np.flatnonzero(wins | losses)
        w = np.concatenate([[0], self.wins[discordant + 1]])
        n = np.concatenate([[0], self.losses[discordant + 1]])
        better, worse = evidence.log(w, n), evidence.log(n, w)
        self._better, self._worse = better.tolist(), worse.tolist()
        self._high = (better, worse)

    def upto(self, count: int) -> tuple[int, int, int, int, float, float]:
        """Of the first rows: pairs, wins, losses, both right, and the log evidence for better and for worse."""
        wins, losses = int(self.wins[count]), int(self.losses[count])
        told = wins + losses
        return int(self.pairs[count]), wins, losses, int(self.both[count]), self._better[told], self._worse[told]

    def better_at(self, counts: Integers) -> Floats:
        """The log evidence for better among so many first rows."""
        return self._high[0][self.wins[counts] + self.losses[counts]]

    def worse_at(self, counts: Integers) -> Floats:
        """The log evidence for worse."""
        return self._high[1][self.wins[counts] + self.losses[counts]]


def _running(values: Booleans) -> Integers:
    found = np.zeros(len(values) + 1, dtype=np.int64)
    np.cumsum(values, out=found[1:])
    return found
