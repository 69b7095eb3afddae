"""Which features a model can do without: found by leaving each out once, so that a row it can't answer is refused."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from homeostat.frames import Columns, missing
from homeostat.ports import Predictor
from homeostat.records import Signature


def with_nullable(signature: Signature, predictor: Predictor, columns: Columns) -> Signature:
    """The signature with `nullable` as the model behaves on its own training rows.

    A model that answers no whole row either says nothing about single features: they stay nullable.
    """
    names = list(signature.kinds)
    if not names or not columns.rows:
        return signature
    gone = np.sum([missing(columns[name]) for name in names], axis=0)
    whole = columns.select(names).take(np.array([int(np.argmin(gone))]))
    if not _answers(predictor, whole):
        return signature
    each = Columns({name: _left_out(whole[name], place, len(names)) for place, name in enumerate(names)}, len(names))
    if _answers(predictor, each):
        answered = set(names)
    else:
        rows = {name: each.take(slice(place, place + 1)) for place, name in enumerate(names)}
        answered = {name for name, row in rows.items() if _answers(predictor, row)}
    return msgspec.structs.replace(
        signature,
        features=tuple(
            msgspec.structs.replace(feature, nullable=feature.name in answered) for feature in signature.features
        ),
    )


def _left_out(value: npt.NDArray[Any], place: int, rows: int) -> npt.NDArray[Any]:
    column = np.repeat(value, rows)
    column[place] = np.nan if column.dtype.kind == "f" else None
    return column


def _answers(predictor: Predictor, columns: Columns) -> bool:
    try:
        return bool(np.isfinite(np.asarray(predictor.predict(columns), dtype=np.float64)).all())
    except Exception:
        # Whatever a model raises, it gave no answer.
        return False
