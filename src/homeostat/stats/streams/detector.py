"""What every detector of changes in a stream offers, and what it says when it alarms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Positions = npt.NDArray[np.int64]
Direction = Literal["worse", "better", "both"]


@dataclass(frozen=True, slots=True)
class Alarm:
    """A change that a detector has reported, and how large it looks.

    Attributes:
        detector: the detector's name.
        position: the index of the loss that raised the alarm, counted over the whole stream from 0.
        direction: "worse" or "better"; "changed" where the detector does not tell.
        since: the most likely index of the first loss after the change; None where the detector does not tell.
        rows: how many losses were read since the start or the alarm before.
        baseline: the mean loss that was in order; NaN where the detector does not know one.
        estimate: the mean loss from `since` to `position`; NaN without `since`.
        interval: of that mean, at the level `confidence`. The start was chosen by the same losses, so the estimate
            leans away from the baseline; the interval allows for the choice and is wide for it.
        statistic: what was compared with `threshold`: for an e-detector log M, for CUSUM its sum.
        threshold: the level that the statistic reached.
        log_e: log of the e-detector or e-CUSUM at the alarm; NaN where the detector has none.
        run_length: at least so many losses lie between alarms on average while nothing changes; None where unknown.
        sentence: the alarm in words.
    """

    detector: str
    position: int
    direction: Literal["worse", "better", "changed"]
    since: int | None
    rows: int
    baseline: float
    estimate: float
    interval: tuple[float, float]
    confidence: float
    statistic: float
    threshold: float
    log_e: float
    run_length: float | None
    sentence: str


@runtime_checkable
class StreamDetector(Protocol):
    """A detector that reads a stream in batches of any size and starts anew after each alarm.

    How the stream is cut into batches never changes the alarms.
    """

    @property
    def name(self) -> str:
        """What the detector is called in tables and sentences."""

    @property
    def run_length(self) -> float | None:
        """The guaranteed average number of losses between alarms while nothing changes; None where none is promised."""

    @property
    def rows(self) -> int:
        """How many losses were read since the construction or the last `reset`."""

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        """Every alarm since the construction or the last `reset`, in order."""

    def update(self, values: npt.ArrayLike) -> Positions:
        """Read further values; the positions in the whole stream, from 0, of those that raised an alarm."""

    def reset(self) -> None:
        """Forget the stream: rows, alarms and evidence."""
