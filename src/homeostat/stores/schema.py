"""How each kind of control record is stored: its filter column, and what must be unique."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import msgspec
import numpy as np

from homeostat.errors import InvalidInput
from homeostat.ports import R
from homeostat.records import (
    TABLES,
    Alert,
    Decision,
    Finding,
    Incident,
    Mutable,
    Record,
    Rollout,
    RolloutState,
    Run,
    RunState,
    Stage,
    Version,
)
from homeostat.records.decoding import decoder_of


@dataclass(frozen=True, slots=True)
class Table:
    """One kind of record.

    `state` gives the value that lists filter by; a model may have at most one record in `unique_states`, which the
    store enforces.
    """

    kind: type[Record]
    state: Callable[[Any], str]
    unique_states: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """The table's name."""
        return self.kind.table

    @property
    def is_append_only(self) -> bool:
        """Whether records of this kind are never replaced."""
        return not issubclass(self.kind, Mutable)


_STATES: dict[type[Record], Callable[[Any], str]] = {
    Version: lambda record: record.stage.value,
    Alert: lambda record: record.state.value,
    Run: lambda record: record.state.value,
    Rollout: lambda record: record.state.value,
    Finding: lambda record: record.check,
    Incident: lambda record: "open" if record.is_open else "closed",
    Decision: lambda record: record.kind,
}
_UNIQUE: dict[type[Record], frozenset[str]] = {
    Version: frozenset({Stage.PRODUCTION.value}),
    Run: frozenset(state.value for state in RunState if not state.is_final),
    Rollout: frozenset(state.value for state in RolloutState if state.is_under_way),
}
SCHEMA: dict[type[Record], Table] = {
    kind: Table(kind, _STATES.get(kind, lambda _: ""), _UNIQUE.get(kind, frozenset())) for kind in TABLES
}


def model_of(record: Record) -> str:
    """The model that a record belongs to."""
    found = getattr(record, "model", None) or getattr(record, "name", "")
    return str(found)


def encode(record: Record) -> bytes:
    """A record as JSON that is known to read back. Raises `InvalidInput` where it would not."""
    try:
        body = msgspec.json.encode(record, enc_hook=_plain)
        # JSON has no NaN: a number that must be there would come back as null, and the record never again.
        decoder_of(type(record)).decode(body)
    except (TypeError, ValueError, msgspec.MsgspecError) as error:
        raise InvalidInput(
            f"The {record.table} '{record.key}' can't be stored: {error}. Numbers must be finite.",
            kind=record.table,
            key=record.key,
        ) from error
    return body


# Controllers read the same few records again and again, in every round of every pass.
REMEMBERED = 1024


@lru_cache(maxsize=REMEMBERED)
def _remembered(kind: type[Record], body: bytes) -> Record:
    return decoder_of(kind).decode(body)


def decode(kind: type[R], body: bytes) -> R:
    """A record from its JSON. The same bytes may give the same object: records are never changed in place."""
    return cast("R", _remembered(kind, body))


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a {type(value).__name__} has no JSON form")
