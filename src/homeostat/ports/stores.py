"""Where records, predictions and files are kept, and where the time comes from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from homeostat.records import (
    LabelBlock,
    Mutable,
    PredictionBlock,
    Record,
)

if TYPE_CHECKING:
    import pyarrow as pa

R = TypeVar("R", bound=Record)
M = TypeVar("M", bound=Mutable)
# What columns of features and of classes' probabilities are called by `PredictionLog.scan`.
FEATURE = "feature."
PROBABILITY = "probability."


class Clock(Protocol):
    """Where the time comes from: the machine, or a simulation."""

    def now(self) -> datetime:
        """The current time, aware, in UTC."""
        ...


class Transaction(Protocol):
    """Reads and writes of control records that happen together or not at all."""

    def get(self, kind: type[R], key: str) -> R | None:
        """The record with that key, or `None`."""
        ...

    def list(
        self,
        kind: type[R],
        *,
        model: str | None = None,
        states: Sequence[str] = (),
        newest_first: bool = False,
        limit: int | None = None,
    ) -> list[R]:
        """Records in the order in which they were inserted; `states` are those of the kind's state column."""
        ...

    def count(self, kind: type[R], *, model: str | None = None) -> int:
        """How many records of a kind there are, without reading them."""
        ...

    def insert(self, record: Record) -> None:
        """Add a record. Raises `Conflict` where its key exists or a uniqueness rule forbids it."""
        ...

    def replace(self, record: M) -> M:
        """Put a record in place of the one with its key and revision; returns it with the next revision.

        Raises `StaleRevision` where somebody else was first.
        """
        ...


class ControlStore(Protocol):
    """Control state: small records, changed in transactions."""

    def begin(self) -> AbstractContextManager[Transaction]:
        """A transaction that writes. An exception inside undoes all of it."""
        ...

    def read(self) -> AbstractContextManager[Transaction]:
        """A consistent view to read from."""
        ...

    def revision(self) -> int:
        """A number that differs from an earlier one whenever any process changed the store since."""
        ...

    def close(self) -> None:
        """Give back what the store holds."""
        ...


class PredictionLog(Protocol):
    """Predictions and labels: append-only, numbered in the order of writing, joined on read."""

    def append(self, blocks: Sequence[PredictionBlock]) -> int:
        """Write blocks durably, all or none; returns the last sequence number.

        Rows whose `prediction_id` is already there, in the same role and version, are left out: the first wins.
        """
        ...

    def append_labels(self, block: LabelBlock, *more: LabelBlock) -> int:
        """Write blocks of labels durably, all or none; returns the last sequence number."""
        ...

    def blocks_after(self, model: str, sequence: int) -> list[tuple[int, PredictionBlock]]:
        """Blocks with a higher sequence number, in order, without their features."""
        ...

    def features_after(self, model: str, sequence: int) -> list[tuple[int, PredictionBlock]]:
        """Blocks of served rows with a higher sequence number, in order, with their features."""
        ...

    def scan(
        self, model: str, columns: Sequence[str], *, since: datetime | None = None, until: datetime | None = None
    ) -> Iterator[pa.Table]:
        """Some columns of the served rows whose event time lies in a span (its end not included), as Arrow tables.

        For reading a lot at once: nothing but those columns is read, and files of other hours are left alone. Columns
        are `sequence`, `prediction_id`, `event_time`, `version`, `arm`, `entity`, `output`, `score`, `latency_ms`,
        `error`, `probability.NUMBER` and `feature.NAME`; one that a part does not have is null in its rows.
        `prediction_id` is a text, or 16 bytes (`records.ids`) in parts where every id is a UUID. Tables come in any
        order, each as of the moment of the call. Raises `InvalidInput` for a column that no log has.
        """
        ...

    def labels_after(self, model: str, sequence: int) -> list[tuple[int, LabelBlock]]:
        """Label blocks with a higher sequence number, in order."""
        ...

    def scan_labels(self, model: str) -> list[pa.Table]:
        """All labels of a model as Arrow tables, oldest first, for reading a lot at once.

        Columns are `prediction_id`, a text, or 16 bytes (`records.ids`) in tables where every id is a UUID; `value`, a
        text; and `event_time`.
        """
        ...

    def count_served(self, model: str, ids: Sequence[str]) -> int:
        """How many of these different ids have a served row."""
        ...

    def seal(self, before: datetime) -> int:
        """Move closed hours that ended before then to their final form; returns how many rows moved."""
        ...

    def close(self) -> None:
        """Give back what the log holds."""
        ...


class FileStore(Protocol):
    """Files addressed by the SHA-256 of their content."""

    def write(self, content: bytes) -> str:
        """Keep the content and return its SHA-256; writing the same content again changes nothing."""
        ...

    def read(self, sha256: str) -> bytes:
        """The bytes as they are stored now; who reads them checks their hash. Raises `NotFound`."""
        ...


class Stages(Protocol):
    """Moves versions between stages inside somebody's transaction."""

    def move(
        self,
        transaction: Transaction,
        model: str,
        number: int,
        target: Any,
        *,
        at: datetime,
        actor: str,
        reason: str,
        evidence: dict[str, Any] | None = None,
        is_rollback: bool = False,
    ) -> Any:
        """Move, and keep the history. Raises `IllegalMove` or `UnknownVersion`."""
        ...
