"""The prediction log in SQLite: blocks of Arrow columns for the open hours, sealed to Parquet when an hour closed."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from homeostat.errors import StorageFailed
from homeostat.ports import FEATURE
from homeostat.records import LabelBlock, PredictionBlock, as_datetime64
from homeostat.stores import arrow, scanning
from homeostat.stores.overflow import NOT_KEPT, Overflow, Policy, SpilledBlock
from homeostat.stores.parquet import SealedReader, hour_folder, remove_leftovers, write_sealed
from homeostat.stores.spill import SpillFolder
from homeostat.stores.sqlite import sealing, tables
from homeostat.stores.sqlite.checkpoints import LOG_JOURNAL_PAGES, Checkpoints
from homeostat.stores.sqlite.database import Database, is_busy
from homeostat.stores.sqlite.writer import WAIT_SECONDS, GroupWriter

if TYPE_CHECKING:
    import pyarrow as pa

IDS_AT_ONCE = 500
SEALING_SECONDS = 5.0


class SqlitePredictionLog:
    """The log in one SQLite file, beside a folder of Parquet files for closed hours.

    What threads append at once goes into one transaction in WAL mode: once `append` returns, the rows survive the
    death of the process, and with `durability="power"` that of the machine. Readers never wait.

    At most `queue_appends` and `queue_bytes` wait to be written, none longer than `wait_seconds`. What becomes of rows
    that can't be written is the `policy`: `block` raises `StorageFailed`, `spill` keeps them in a file of
    `spill_folder`, which is replayed once the log is back, `drop` lets them go. Every row is counted.
    """

    def __init__(
        self,
        path: Path,
        sealed_folder: Path,
        *,
        durability: str = "process",
        policy: str = Policy.BLOCK,
        spill_folder: Path | None = None,
        wait_seconds: float = WAIT_SECONDS,
        queue_appends: int | None = None,
        queue_bytes: int | None = None,
    ) -> None:
        self._folder = sealed_folder
        self._sealed = SealedReader(sealed_folder)
        self._sealing_lock = threading.Lock()
        self._database = Database(
            path, durability=durability, busy_seconds=wait_seconds, journal_pages=LOG_JOURNAL_PAGES
        )
        self._checkpoints = Checkpoints(self._database)
        self._writer = GroupWriter(
            self._database,
            _not_written,
            wait_seconds=wait_seconds,
            most_jobs=queue_appends,
            most_bytes=queue_bytes,
            on_commit=self._checkpoints.committed,
        )
        self._counts = threading.Lock()
        self.counted: Counter[str] = Counter()
        # Who is told of served rows as they are counted.
        self.on_count: Callable[[str, int], object] = lambda _kind, _rows: None
        self._sequence = 0
        try:
            self._database.prepare(tables.is_ready, tables.create)
            self._overflow = Overflow(
                Policy(policy),
                SpillFolder(spill_folder or path.with_suffix(".spilled"), durability=durability),
                probe=lambda: self._writer.do(lambda _: None),
                replay=self._replay,
            )
        except (OSError, sqlite3.Error) as error:
            raise StorageFailed(f"The prediction log {path} can't be opened: {error}.") from error

    @property
    def written(self) -> int:
        """How many prediction rows this process has written; those that were there already do not count."""
        return self.counted["written"]

    @property
    def failed(self) -> int:
        """How many prediction rows this process could not keep; their callers were told."""
        return self.counted["failed"]

    @property
    def spilled(self) -> int:
        """How many prediction rows of this process went to its spill file."""
        return self.counted["spilled"]

    @property
    def replayed(self) -> int:
        """How many prediction rows this process brought from spill files into the log."""
        return self.counted["replayed"]

    @property
    def dropped(self) -> int:
        """How many prediction rows of this process were answered and not kept, because the policy is to drop."""
        return self.counted["dropped"]

    @property
    def trouble(self) -> str:
        """Why rows go past the log now; empty while it takes them."""
        return self._overflow.trouble

    def watch(self, on_count: Callable[[str, int], object], on_trouble: Callable[[str], object]) -> None:
        """Say who is told of served rows as they are counted, and of why the log fails; well again is an empty text."""
        self.on_count, self._overflow.on_trouble = on_count, on_trouble

    def queue_depth(self) -> int:
        """How many appends wait to be written now."""
        return self._writer.queue_depth()

    def append(self, blocks: Sequence[PredictionBlock]) -> int:
        served = sum(block.rows for block in blocks if not block.shadow)
        try:
            encoded = [tables.encode(block) for block in blocks]
            if self._overflow.is_away:
                return self._past_the_log(encoded, None)
            size = sum(len(one.core) + len(one.features) for one in encoded)
            try:
                written = self._writer.do(tables.Insertion(encoded), size=size)
            except StorageFailed as error:
                if self._writer.is_closed:
                    raise
                return self._past_the_log(encoded, error)
        except BaseException:
            self._count("failed", sum(block.rows for block in blocks), served)
            raise
        self._sequence = written.sequence
        self._count("written", written.rows, written.served)
        return written.sequence

    def _past_the_log(self, encoded: Sequence[tables.Encoded], error: StorageFailed | None) -> int:
        self._overflow.take(
            [SpilledBlock(one.block.model, one.block.shadow, one.core, one.features) for one in encoded], error
        )
        self._count(
            self._overflow.outcome,
            sum(one.block.rows for one in encoded),
            sum(one.block.rows for one in encoded if not one.block.shadow),
        )
        return self._sequence

    def _replay(self, blocks: Sequence[PredictionBlock]) -> None:
        encoded = [tables.encode(block) for block in blocks]
        # A spilled row may have reached the log as well.
        written = self._writer.do(tables.Insertion(encoded, is_careful=True))
        self._count("replayed", written.rows, written.served)

    def _count(self, kind: str, rows: int, served: int) -> None:
        with self._counts:
            self.counted[kind] += rows
        if served:
            self.on_count(kind, served)

    def append_labels(self, block: LabelBlock, *more: LabelBlock) -> int:
        rows = [(one.model, one.source, one.confidence, one.rows, arrow.encode_labels(one)) for one in (block, *more)]
        size = sum(len(row[-1]) for row in rows)
        return self._writer.do(lambda connection: tables.insert_labels(connection, rows), size=size)

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        if self._writer.is_closed:
            raise StorageFailed("The prediction log is closed. Open it again to read.")
        try:
            with self._database.reading() as connection:
                yield connection
        except sqlite3.Error as error:
            raise StorageFailed(f"The prediction log can't be read: {error}.") from error

    def blocks_after(self, model: str, sequence: int) -> list[tuple[int, PredictionBlock]]:
        return self._blocks(model, sequence, features=False)

    def features_after(self, model: str, sequence: int) -> list[tuple[int, PredictionBlock]]:
        return self._blocks(model, sequence, features=True)

    def _blocks(self, model: str, sequence: int, *, features: bool) -> list[tuple[int, PredictionBlock]]:
        only_served = " AND shadow = 0" if features else ""
        # One snapshot over both, so that a sealing in another process can't hide rows between the two reads.
        with self._reading() as connection:
            files = connection.execute(
                f"SELECT path, shadow, sha256 FROM sealed WHERE model = ? AND last > ?{only_served} "  # noqa: S608
                "ORDER BY first",
                (model, sequence),
            ).fetchall()
            rows = connection.execute(
                f"SELECT sequence, shadow, core, {'features' if features else 'NULL'} FROM block "  # noqa: S608
                f"WHERE model = ? AND sequence > ?{only_served} AND {sealing.IS_OPEN} ORDER BY sequence",
                (model, sequence),
            ).fetchall()
        found = self._sealed.blocks(model, files, sequence, features=features) if files else []
        for shadow in (False, True):
            for part in arrow.gather([row[:1] + row[2:] for row in rows if bool(row[1]) is shadow]):
                found += zip(part.numbers, arrow.to_blocks(model, part.table, part.lengths, shadow=shadow), strict=True)
        found.sort(key=lambda entry: entry[0])
        return found

    def scan(
        self, model: str, columns: Sequence[str], *, since: datetime | None = None, until: datetime | None = None
    ) -> Iterator[pa.Table]:
        scanning.check_columns(columns)
        first, end = scanning.microseconds(since, until)
        # One snapshot over both, as above. A block's hour is that of its latest row, so the earliest hour prunes.
        with self._reading() as connection:
            files = connection.execute(
                "SELECT path, sha256, earliest, latest FROM sealed WHERE model = ? AND shadow = 0 "
                "AND coalesce(earliest < ? AND latest >= ?, 1) ORDER BY first",
                (model, end, first),
            ).fetchall()
            with_features = any(name.startswith(FEATURE) for name in columns)
            rows = connection.execute(
                f"SELECT sequence, core, {'features' if with_features else 'NULL'} FROM block "  # noqa: S608
                f"WHERE model = ? AND shadow = 0 AND hour >= ? AND {sealing.IS_OPEN} ORDER BY sequence",
                (model, max(first // tables.MICROSECONDS, -(2**62))),
            ).fetchall()
        return self._scanned(columns, files, rows, since=first, until=end)

    def _scanned(
        self,
        columns: Sequence[str],
        files: Sequence[tuple[str, str, int | None, int | None]],
        rows: Sequence[arrow.Entry],
        *,
        since: int,
        until: int,
    ) -> Iterator[pa.Table]:
        for path, sha256, earliest, latest in files:
            known = (
                scanning.BEGINNING if earliest is None else earliest,
                scanning.END if latest is None else latest,
            )
            wanted = scanning.needed(columns, *known, since=since, until=until)
            yield scanning.narrowed(self._sealed.scan(path, sha256, wanted), columns, since=since, until=until)
        for part in arrow.gather(rows):
            table = part.table.append_column("sequence", [part.sequence])
            yield scanning.narrowed(table, columns, since=since, until=until)

    def labels_after(self, model: str, sequence: int) -> list[tuple[int, LabelBlock]]:
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT sequence, source, confidence, body FROM label WHERE model = ? AND sequence > ? "
                "ORDER BY sequence",
                (model, sequence),
            ).fetchall()
        return [
            (number, arrow.to_labels(model, arrow.decode(body), source=source, confidence=confidence))
            for number, source, confidence, body in rows
        ]

    def scan_labels(self, model: str) -> list[pa.Table]:
        with self._reading() as connection:
            rows = connection.execute("SELECT body FROM label WHERE model = ? ORDER BY sequence", (model,)).fetchall()
        return [arrow.decode(body) for (body,) in rows]

    def count_served(self, model: str, ids: Sequence[str]) -> int:
        with self._reading() as connection:
            return sum(
                tables.count_known(connection, model, ids[start : start + IDS_AT_ONCE])
                for start in range(0, len(ids), IDS_AT_ONCE)
            )

    def seal(self, before: datetime) -> int:
        limit = tables.hour_of(as_datetime64(before))
        self._overflow.look()
        with self._reading() as connection:
            # The cheap question first: mostly there is nothing to seal.
            if connection.execute("SELECT 1 FROM block WHERE hour < ? LIMIT 1", (limit,)).fetchone() is None:
                return 0
        with self._sealing() as is_ours:
            if not is_ours:
                return 0
            # What a sealing left that died.
            self._remove()
            with self._reading() as connection:
                hours = sealing.hours_before(connection, limit)
            return sum(self._seal_hour(hour, last) for hour, last in hours)

    @contextmanager
    def _sealing(self) -> Iterator[bool]:
        """One sealing of a log at a time, over all processes: `False` where another one is at it.

        The lock is that of an empty database, because the system frees it whenever its holder dies.
        """
        path = self._database.path.with_suffix(".sealing")
        try:
            with (
                self._sealing_lock,
                closing(sqlite3.connect(path, timeout=SEALING_SECONDS, isolation_level=None)) as connection,
            ):
                try:
                    connection.execute("BEGIN EXCLUSIVE")
                except sqlite3.OperationalError as error:
                    if not is_busy(error):
                        raise
                    yield False
                else:
                    yield True
        except (sqlite3.Error, OSError) as error:
            raise StorageFailed(_not_sealed(error)) from error

    def _seal_hour(self, hour: sealing.Hour, last: int) -> int:
        with self._reading() as connection:
            place = hour_folder(hour.model, hour.hour).as_posix()
            query = "SELECT path FROM sealed WHERE path BETWEEN ? AND ?"
            registered = {path for (path,) in connection.execute(query, (f"{place}/", f"{place}0"))}
        remove_leftovers(self._folder, hour.model, hour.hour, registered, shadow=bool(hour.shadow))
        sealed = 0
        # A file is written first, while others append; then one transaction registers it. A death between the two
        # leaves a file that nobody reads and that the next sealing writes again.
        while rows := self._next_part(hour, last):
            files = write_sealed(self._folder, hour.model, hour.hour, arrow.gather(rows), shadow=bool(hour.shadow))
            sealed += self._writer.do(partial(sealing.register, hour=hour, files=files, last=rows[-1][0]))
            self._remove()
        return sealed

    def _next_part(self, hour: sealing.Hour, last: int) -> list[arrow.Entry]:
        with self._reading() as connection:
            return sealing.next_part(connection, hour, last)

    def _remove(self) -> None:
        with self._reading() as connection:
            noted = sealing.to_remove(connection)
        for hour, last in noted:
            began = time.monotonic()
            while self._writer.do(partial(sealing.remove_some, hour=hour, last=last)):
                # Appends of other processes wait for the same lock, and ask for it only now and then: so that they
                # find it free it rests for as long as it was held, however slow the machine is.
                time.sleep(max(sealing.PAUSE_SECONDS, time.monotonic() - began))
                began = time.monotonic()

    def close(self) -> None:
        """Write what waits, and close the file. Calls after it raise `StorageFailed`."""
        self._overflow.close()
        self._checkpoints.close()
        self._writer.close()
        self._database.close()


def _not_written(error: BaseException) -> str:
    return f"The prediction log can't be written: {error}. {NOT_KEPT}"


def _not_sealed(error: BaseException) -> str:
    return f"Closed hours can't be sealed: {error}. Their rows stay in the database; the next sealing tries again."
