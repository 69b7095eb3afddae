"""River's detectors of drift behind the interface of `homeostat.stats.streams`: `pip install homeostat[online]`."""

from __future__ import annotations

import importlib
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput, MissingDependency
from homeostat.stats.streams import Alarm
from homeostat.stats.streams.detector import Floats, Positions

# The name in tables: River's module, its class, and whether it reads only 0 and 1.
METHODS = {
    "ADWIN": ("river.drift", "ADWIN", False),
    "DDM": ("river.drift.binary", "DDM", True),
    "EDDM": ("river.drift.binary", "EDDM", True),
    "HDDM_A": ("river.drift.binary", "HDDMA", True),
    "HDDM_W": ("river.drift.binary", "HDDMW", True),
    "KSWIN": ("river.drift", "KSWIN", False),
    "Page-Hinkley": ("river.drift", "PageHinkley", False),
}


class RiverDetector:
    """One of River's detectors as a `StreamDetector`: the same alarms at the same positions, fed in batches.

    None of them states an average run length, so `run_length` is None; how often each alarms on stationary losses is
    among the measured error rates. They know no baseline: all learn the level of the stream as they go. Every value
    passes through Python, at about a microsecond a value, and several hundred for KSWIN.

    Sources: ADWIN, Bifet and Gavaldà 2007; DDM, Gama et al. 2004; EDDM, Baena-García et al. 2006; HDDM_A and HDDM_W,
    Frías-Blanco et al. 2014; KSWIN, Raab et al. 2020; Page-Hinkley, Page 1954.

    Args:
        method: ADWIN, DDM, EDDM, HDDM_A, HDDM_W, KSWIN or Page-Hinkley.
        options: of River's class, by its own names. KSWIN draws rows by chance; its `seed` is 0 unless given.

    Raises:
        InvalidInput: an unknown method, or options that River refuses.
        MissingDependency: River is not installed.

    >>> detector = RiverDetector("ADWIN")
    >>> detector.update(np.repeat([0, 1], [500, 100])).tolist()
    [511]
    """

    def __init__(self, method: str = "ADWIN", **options: Any) -> None:
        if method not in METHODS:
            raise InvalidInput(f"River has no detector {method!r} here; known: {', '.join(METHODS)}.")
        self._method = method
        self._options = {"seed": 0, **options} if method == "KSWIN" else options
        self.reset()

    @property
    def name(self) -> str:
        """The detector's name."""
        return self._method

    @property
    def run_length(self) -> None:
        """None: River's detectors state no average run length."""
        return

    @property
    def rows(self) -> int:
        """How many values were read since the construction or the last `reset`."""
        return self._rows

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        """Every alarm since the construction or the last `reset`, in order."""
        return tuple(self._alarms)

    def reset(self) -> None:
        """Forget the stream: rows, alarms, and what River's detector has learned."""
        self._river = _built(self._method, self._options)
        self._rows = self._latest = 0
        self._alarms: list[Alarm] = []

    def update(self, values: npt.ArrayLike) -> Positions:
        """Read further values; the positions in the whole stream, from 0, of those that raised an alarm.

        River's detectors start anew by themselves with the value after an alarm.

        Raises:
            InvalidInput: values that are missing, infinite, no numbers, not one stream, or for DDM, EDDM and HDDM not 0
                or 1; nothing is read then.
        """
        binary = METHODS[self._method][2]
        stream = _checked(values, self._method, binary=binary)
        update = self._river.update
        positions = []
        for value in (stream.astype(np.int64) if binary else stream).tolist():
            update(value)
            self._rows += 1
            if self._river.drift_detected:
                positions.append(self._rows - 1)
                self._alarms.append(self._alarm())
                self._latest = self._rows
        return np.array(positions, dtype=np.int64)

    def _alarm(self) -> Alarm:
        position = self._rows - 1
        return Alarm(
            detector=self._method,
            position=position,
            direction="changed",
            since=None,
            rows=self._rows - self._latest,
            baseline=math.nan,
            estimate=math.nan,
            interval=(math.nan, math.nan),
            confidence=math.nan,
            statistic=math.nan,
            threshold=math.nan,
            log_e=math.nan,
            run_length=None,
            sentence=(
                f"{self._method} raised an alarm at value {position:,}; it tells neither how large the change is nor "
                "how often it alarms while nothing changes."
            ),
        )


def _built(method: str, options: dict[str, Any]) -> Any:
    module, name, _ = METHODS[method]
    try:
        kind = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise MissingDependency(package="homeostat[online]") from error
    try:
        return kind(**options)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"River's {method} refuses its options: {error}") from error


def _checked(values: npt.ArrayLike, method: str, *, binary: bool) -> Floats:
    try:
        stream = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"Values of a stream must be numbers; {error}.") from error
    if stream.ndim != 1:
        raise InvalidInput(f"Values must be one stream (a list of numbers); got an array of shape {stream.shape}.")
    if not np.isfinite(stream).all():
        raise InvalidInput("There are missing or infinite values in the stream; leave those rows out first.")
    if binary and not np.isin(stream, (0.0, 1.0)).all():
        raise InvalidInput(f"{method} reads only 0 (right) and 1 (wrong); use ADWIN or EDetector for other losses.")
    return stream
