"""Stores that live in memory: for backtests, tests and trying things out. Same contract as the durable ones."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

import msgspec
import numpy as np

from homeostat.errors import Conflict, NotFound, StaleRevision
from homeostat.ports import M, R
from homeostat.records import LabelBlock, Mutable, PredictionBlock, Record
from homeostat.records.decoding import decoder_of
from homeostat.records.ids import packed
from homeostat.stores import arrow, packing, scanning
from homeostat.stores.schema import SCHEMA, encode, model_of

if TYPE_CHECKING:
    import pyarrow as pa


class MemoryControlStore:
    """Control records in dictionaries, under one lock."""

    def __init__(self) -> None:
        self._tables: dict[str, dict[str, Record]] = {table.name: {} for table in SCHEMA.values()}
        self._lock = threading.RLock()
        self._revision = 0

    @contextmanager
    def begin(self) -> Iterator[MemoryTransaction]:
        """A transaction: changes are undone in reverse where the block raises."""
        with self._lock:
            transaction = MemoryTransaction(self._tables)
            try:
                yield transaction
            except BaseException:
                transaction.undo()
                raise
            self._revision += transaction.has_written

    read = begin

    def revision(self) -> int:
        """A number that grows with every transaction that changed something."""
        return self._revision

    def close(self) -> None:
        """Nothing is held."""


class MemoryTransaction:
    """Reads and writes of one transaction."""

    def __init__(self, tables: dict[str, dict[str, Record]]) -> None:
        self._tables = tables
        self._journal: list[tuple[str, str, Record | None]] = []

    @property
    def has_written(self) -> bool:
        """Whether anything was changed so far."""
        return bool(self._journal)

    def get(self, kind: type[R], key: str) -> R | None:
        return cast("R | None", self._tables[kind.table].get(key))

    def list(
        self,
        kind: type[R],
        *,
        model: str | None = None,
        states: Sequence[str] = (),
        newest_first: bool = False,
        limit: int | None = None,
    ) -> list[R]:
        records = self._tables[kind.table].values()
        state = SCHEMA[kind].state
        found: list[R] = []
        for record in reversed(records) if newest_first else records:
            if limit is not None and len(found) >= limit:
                break
            if (model is None or model_of(record) == model) and (not states or state(record) in states):
                found.append(cast("R", record))
        return found

    def count(self, kind: type[R], *, model: str | None = None) -> int:
        records = self._tables[kind.table].values()
        return len(records) if model is None else sum(model_of(record) == model for record in records)

    def insert(self, record: Record) -> None:
        table = self._tables[record.table]
        if record.key in table:
            raise Conflict(f"There is already a {record.table} '{record.key}'.", kind=record.table, key=record.key)
        self._check_unique(record)
        self._put(record)

    def replace(self, record: M) -> M:
        if SCHEMA[type(record)].is_append_only:
            raise Conflict(f"A {record.table} is append-only: '{record.key}' stays as it is.", kind=record.table)
        held = self._tables[record.table].get(record.key)
        if not isinstance(held, Mutable) or held.revision != record.revision:
            raise StaleRevision(kind=record.table, key=record.key)
        self._check_unique(record)
        following = msgspec.structs.replace(record, revision=record.revision + 1)
        self._put(following)
        return following

    def _put(self, record: Record) -> None:
        table = self._tables[record.table]
        # Through JSON and back, so that what is read is what a durable store would give.
        kept = decoder_of(type(record)).decode(encode(record))
        self._journal.append((record.table, record.key, table.get(record.key)))
        table[record.key] = kept

    def _check_unique(self, record: Record) -> None:
        rule = SCHEMA[type(record)]
        if rule.state(record) not in rule.unique_states:
            return
        for other in self.list(type(record), model=model_of(record), states=tuple(rule.unique_states)):
            if other.key != record.key:
                raise Conflict(
                    f"Model '{model_of(record)}' already has a {record.table} in {rule.state(other)}: '{other.key}'.",
                    kind=record.table,
                    key=record.key,
                )

    def undo(self) -> None:
        """Put everything back as it was before the transaction."""
        for table, key, before in reversed(self._journal):
            if before is None:
                del self._tables[table][key]
            else:
                self._tables[table][key] = before


class MemoryPredictionLog:
    """Predictions and labels in lists."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocks: dict[str, list[tuple[int, PredictionBlock]]] = {}
        self._labels: dict[str, list[tuple[int, LabelBlock]]] = {}
        self._seen: dict[str, set[Any]] = {}
        self._sequence = 0

    def append(self, blocks: Sequence[PredictionBlock]) -> int:
        with self._lock:
            added: dict[str, set[Any]] = {}
            kept = [self._without_duplicates(block, added.setdefault(block.model, set())) for block in blocks]
            # All blocks were looked at, so nothing can fail any more.
            for model, keys in added.items():
                self._seen.setdefault(model, set()).update(keys)
            for block in kept:
                if block.rows:
                    self._sequence += 1
                    self._blocks.setdefault(block.model, []).append((self._sequence, block))
            return self._sequence

    def _without_duplicates(self, block: PredictionBlock, added: set[Any]) -> PredictionBlock:
        seen = self._seen.get(block.model, set())
        keys = block.ids if not block.shadow else list(zip(block.ids, block.version.tolist(), strict=True))
        fresh = np.zeros(block.rows, dtype=bool)
        for position, key in enumerate(keys):
            if key not in seen and key not in added:
                added.add(key)
                fresh[position] = True
        return block if fresh.all() else block.take(fresh)

    def append_labels(self, block: LabelBlock, *more: LabelBlock) -> int:
        with self._lock:
            for one in (block, *more):
                self._sequence += 1
                self._labels.setdefault(one.model, []).append((self._sequence, one))
            return self._sequence

    def blocks_after(self, model: str, sequence: int) -> list[tuple[int, PredictionBlock]]:
        return _after(self._blocks.get(model, []), sequence)

    def features_after(self, model: str, sequence: int) -> list[tuple[int, PredictionBlock]]:
        return [(number, block) for number, block in self.blocks_after(model, sequence) if not block.shadow]

    def scan(
        self, model: str, columns: Sequence[str], *, since: datetime | None = None, until: datetime | None = None
    ) -> Iterator[pa.Table]:
        scanning.check_columns(columns)
        first, end = scanning.microseconds(since, until)
        entries = [
            (number, packing.pack_core(block, packed(block.ids)), packing.pack_features(block.features))
            for number, block in self.features_after(model, 0)
        ]
        for part in arrow.gather(entries):
            table = part.table.append_column("sequence", [part.sequence])
            yield scanning.narrowed(table, columns, since=first, until=end)

    def labels_after(self, model: str, sequence: int) -> list[tuple[int, LabelBlock]]:
        return _after(self._labels.get(model, []), sequence)

    def scan_labels(self, model: str) -> list[pa.Table]:
        return [arrow.label_table(block) for _, block in self.labels_after(model, 0)]

    def count_served(self, model: str, ids: Sequence[str]) -> int:
        with self._lock:
            seen = self._seen.get(model, set())
            return sum(id_ in seen for id_ in ids)

    def seal(self, before: datetime) -> int:  # noqa: ARG002 (memory has one form only)
        return 0

    def close(self) -> None:
        """Nothing is held."""


def _after(entries: list[tuple[int, Any]], sequence: int) -> list[tuple[int, Any]]:
    # Readers follow the end of the log, so the first new entry is looked for from there.
    start = len(entries)
    while start and entries[start - 1][0] > sequence:
        start -= 1
    return entries[start:]


class MemoryFileStore:
    """Content-addressed files in a dictionary."""

    def __init__(self) -> None:
        self._files: dict[str, bytes] = {}

    def write(self, content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        self._files.setdefault(digest, content)
        return digest

    def read(self, sha256: str) -> bytes:
        try:
            return self._files[sha256]
        except KeyError:
            raise NotFound(f"No stored file has the SHA-256 {sha256}.", sha256=sha256) from None
