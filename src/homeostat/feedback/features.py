"""Features of single served rows, read from the log when they are asked for: the joined table does without them."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import numpy.typing as npt

from homeostat.feedback.growing import grown
from homeostat.feedback.joined import JoinedLog
from homeostat.feedback.labelled import id_texts
from homeostat.ports import FEATURE, PredictionLog
from homeostat.records import as_datetime


class RowFeatures:
    """Values of some features by row of a joined table; what was read once is not read again."""

    def __init__(self, log: PredictionLog, model: str) -> None:
        self._log = log
        self._model = model
        self._values: dict[str, npt.NDArray[np.object_]] = {}
        self._known: dict[str, npt.NDArray[np.bool_]] = {}

    def of(self, name: str, places: npt.NDArray[np.int64], joined: JoinedLog) -> npt.NDArray[np.object_]:
        """The feature's value in each of these rows; `None` where it is missing.

        Reads one column of the log, and of the span of time alone in which rows lie that were not asked for before.
        """
        rows = joined.rows()
        values, known = self._grown(name, rows.count)
        wanted = np.unique(places[~known[places]])
        if len(wanted):
            ids = joined.ids()
            place_of = {ids[place]: place for place in wanted.tolist()}
            times = rows.event_time[wanted]
            since, until = (as_datetime(np.datetime64(int(end), "us")) for end in (times.min(), times.max()))
            column = f"{FEATURE}{name}"
            for table in self._log.scan(
                self._model, ["prediction_id", column], since=since, until=until + timedelta(microseconds=1)
            ):
                found = table.column(column).to_pylist()
                for id_, value in zip(id_texts(table.column("prediction_id")), found, strict=True):
                    place = place_of.get(id_)
                    if place is not None:
                        values[place] = value
            known[wanted] = True
        return values[places]

    def _grown(self, name: str, count: int) -> tuple[npt.NDArray[np.object_], npt.NDArray[np.bool_]]:
        self._values[name] = grown(self._values.get(name, np.empty(0, dtype=object)), count, None)
        self._known[name] = grown(self._known.get(name, np.empty(0, dtype=bool)), count, False)  # noqa: FBT003 # a value
        return self._values[name], self._known[name]
