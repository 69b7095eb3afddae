"""Blocks and logs for tests of the stores."""

import numpy as np

from homeostat.frames import Columns
from homeostat.records import PredictionBlock
from homeostat.stores.sqlite import SqlitePredictionLog

AT = np.datetime64("2025-03-01T09:10", "us")


def objects(values):
    return np.array([*values, None], dtype=object)[:-1]


def block(*ids, at=AT, shadow=False):
    rows = len(ids)
    return PredictionBlock(
        model="spam",
        shadow=shadow,
        ids=objects(ids),
        event_time=np.full(rows, at),
        version=np.full(rows, 1),
        arm=np.full(rows, "control", dtype=object),
        entity=objects(ids),
        output=np.full(rows, "1", dtype=object),
        score=np.linspace(0, 1, rows),
        latency_ms=np.full(rows, 0.5),
        error=np.full(rows, None, dtype=object),
        features=Columns({}, rows) if shadow else Columns({"x": np.arange(rows, dtype=float)}),
    )


def open_log(folder, **more):
    return SqlitePredictionLog(folder / "log.db", folder / "sealed", **more)


def ids_in(log):
    return sorted(id_ for _, found in log.features_after("spam", 0) for id_ in found.ids)
