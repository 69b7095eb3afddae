"""The tables of the prediction log, and how blocks get into them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from homeostat.errors import StorageFailed
from homeostat.records import PredictionBlock
from homeostat.records import ids as prediction_ids
from homeostat.stores import packing
from homeostat.stores.sqlite import batches, sealing
from homeostat.stores.sqlite.writer import OnceMore

SCHEMA_VERSION = 4
SERVED = 0
MICROSECONDS = 3_600_000_000

_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS block (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, model TEXT NOT NULL, shadow INTEGER NOT NULL, hour INTEGER NOT NULL,
    rows INTEGER NOT NULL, core BLOB NOT NULL, features BLOB NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS block_by_model ON block (model, sequence)",
    "CREATE INDEX IF NOT EXISTS block_by_hour ON block (hour, model, shadow)",
    "CREATE TABLE IF NOT EXISTS model (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
    # Every id that there is and that no run of `batches` holds, sealed hours included: 25 bytes a row where ids are
    # UUIDs. `version` is SERVED, or says which version ran in the shadow.
    """CREATE TABLE IF NOT EXISTS known (
    id BLOB NOT NULL, model INTEGER NOT NULL, version INTEGER NOT NULL, PRIMARY KEY (id, model, version))
    WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS label (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, model TEXT NOT NULL, source TEXT NOT NULL, confidence REAL NOT NULL,
    rows INTEGER NOT NULL, body BLOB NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS label_by_model ON label (model, sequence)",
    """CREATE TABLE IF NOT EXISTS sealed (
    path TEXT PRIMARY KEY, model TEXT NOT NULL, shadow INTEGER NOT NULL, first INTEGER NOT NULL,
    last INTEGER NOT NULL, rows INTEGER NOT NULL, sha256 TEXT NOT NULL, earliest INTEGER, latest INTEGER)""",
    *batches.SCHEMA,
    *sealing.SCHEMA,
)
_KNOW = "INSERT OR IGNORE INTO known (id, model, version) VALUES (?, ?, ?)"
# Nothing is taken for a model that has no number yet, nor beside a run that may hold one of the ids.
_KNOW_ONE = """INSERT OR IGNORE INTO known (id, model, version)
    SELECT ?1, (SELECT number FROM model WHERE name = ?2), ?3
    WHERE NOT EXISTS (SELECT 1 FROM known_run WHERE model = (SELECT number FROM model WHERE name = ?2)
    AND version = ?3 AND low BETWEEN ?4 AND ?5 AND high >= ?6)"""
# The rows are made inside the database: handing it one after the other costs three times as much.
_KNOW_ALL = """WITH RECURSIVE row (place) AS (SELECT 0 UNION ALL SELECT place + 1 FROM row WHERE place + 1 < ?7)
    INSERT OR IGNORE INTO known (id, model, version)
    SELECT substr(?1, place * 16 + 1, 16), (SELECT number FROM model WHERE name = ?2), ?3 FROM row
    WHERE NOT EXISTS (SELECT 1 FROM known_run WHERE model = (SELECT number FROM model WHERE name = ?2)
    AND version = ?3 AND low BETWEEN ?4 AND ?5 AND high >= ?6)"""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A block as it goes into the database. All that can fail without the database is done by then.

    `keys` are its ids, 16 bytes each after each other where all are UUIDs; `roles` the version of each shadow row,
    one number where it is the same for all. `runs` are the keys of a large block as `batches` keeps them.
    """

    block: PredictionBlock
    keys: bytes | list[bytes | str]
    roles: int | list[int]
    hour: int
    core: bytes
    features: bytes
    runs: list[batches.Run] | None = None


def encode(block: PredictionBlock) -> Encoded:
    """Raises `ValueError` for what can't be kept."""
    keys = prediction_ids.packed(block.ids)
    if len(block.version) != block.rows:
        raise ValueError(f"The lengths of a block's columns differ: {block.rows} and {len(block.version)}.")
    roles: int | list[int] = SERVED
    if block.shadow:
        same = block.rows == 1 or (block.rows > 1 and bool((block.version == block.version[0]).all()))
        roles = _role(int(block.version[0])) if same else [_role(version) for version in block.version.tolist()]
    return Encoded(
        block=block,
        keys=[prediction_ids.key_of(id_) for id_ in block.ids] if keys is None else keys,
        roles=roles,
        hour=hour_of(block.event_time[0] if block.rows == 1 else block.event_time.max()) if block.rows else 0,
        core=packing.pack_core(block, keys),
        features=b"" if block.shadow else packing.pack_features(block.features),
        runs=None if keys is None or not isinstance(roles, int) else batches.runs_of(keys),
    )


def _role(version: int) -> int:
    return version + 1 if version >= SERVED else version


def hour_of(moment: np.datetime64) -> int:
    """The number of the hour since 1970 that a moment lies in."""
    return int(moment.astype("datetime64[us]").view(np.int64)) // MICROSECONDS


class Written(NamedTuple):
    """The last sequence number, and how many rows were new; `served` are those that no version scored in the shadow."""

    sequence: int
    rows: int
    served: int


class Insertion:
    """Blocks on their way into the log: work for a transaction, which may be done twice.

    The first time every row is taken for new, as nearly all are: that takes half of the statements. Where one is not,
    it is done once more, and then each row is looked at.
    """

    def __init__(self, encoded: Sequence[Encoded], *, is_careful: bool = False) -> None:
        self._encoded = encoded
        self._is_careful = is_careful

    def __call__(self, connection: sqlite3.Connection) -> Written:
        """Write the blocks; says what was new."""
        try:
            return _insert_blocks(connection, self._encoded, is_careful=self._is_careful)
        except OnceMore:
            self._is_careful = True
            raise


def _insert_blocks(connection: sqlite3.Connection, encoded: Sequence[Encoded], *, is_careful: bool) -> Written:
    sequence, rows, served = None, 0, 0
    for given in encoded:
        is_new = not is_careful and _know_at_once(connection, given)
        fresh = None if is_new else _fresh_rows(connection, given)
        kept = given if fresh is None else encode(given.block.take(fresh))
        block = kept.block
        if not block.rows:
            continue
        rows += block.rows
        served += 0 if block.shadow else block.rows
        sequence = connection.execute(
            "INSERT INTO block (model, shadow, hour, rows, core, features) VALUES (?, ?, ?, ?, ?, ?)",
            (block.model, int(block.shadow), kept.hour, block.rows, kept.core, kept.features),
        ).lastrowid
    return Written(last_sequence(connection, "block") if sequence is None else sequence, rows, served)


def insert_labels(connection: sqlite3.Connection, rows: Sequence[tuple[str, str, float, int, bytes]]) -> int:
    """Write blocks of labels; returns the last one's sequence number."""
    insert = "INSERT INTO label (model, source, confidence, rows, body) VALUES (?, ?, ?, ?, ?)"
    connection.executemany(insert, rows)
    return last_sequence(connection, "label")


def _know_at_once(connection: sqlite3.Connection, given: Encoded) -> bool:
    """Note the ids of a block, of which the log knows none; `False` where its rows have to be looked at.

    Raises `OnceMore` where one was known, or may have been: then some were noted.
    """
    keys, roles, model = given.keys, given.roles, given.block.model
    if given.runs is not None:
        return False
    listed = _listed(keys)
    reach = batches.reach_of(listed)
    if reach is None:
        return False
    before = connection.total_changes
    if given.block.rows == 1:
        role = roles if isinstance(roles, int) else roles[0]
        connection.execute(_KNOW_ONE, (listed[0], model, role, *reach))
    elif isinstance(keys, bytes) and isinstance(roles, int):
        connection.execute(_KNOW_ALL, (keys, model, roles, *reach, given.block.rows))
    else:
        versions = [roles] * len(listed) if isinstance(roles, int) else roles
        each = [(key, model, role, *reach) for key, role in zip(listed, versions, strict=True)]
        connection.executemany(_KNOW_ONE, each)
    if connection.total_changes - before != given.block.rows:
        raise OnceMore
    return True


def _fresh_rows(connection: sqlite3.Connection, given: Encoded) -> npt.NDArray[np.bool_] | None:
    """Which rows of a block the log does not hold yet, `None` for all; the first of two with one id wins."""
    rows = given.block.rows
    if not rows:
        return None
    model = _number_of(connection, given.block.model)
    keys, roles = given.keys, given.roles
    if given.runs is not None and isinstance(roles, int) and batches.insert_runs(connection, model, roles, given.runs):
        return None
    listed = _listed(keys)
    versions = [roles] * rows if isinstance(roles, int) else roles
    in_runs = _in_runs(connection, model, listed, roles)
    fresh = np.array(
        [
            (key, role) not in in_runs and connection.execute(_KNOW, (key, model, role)).rowcount == 1
            for key, role in zip(listed, versions, strict=True)
        ],
        dtype=bool,
    )
    return None if fresh.all() else fresh


def _in_runs(
    connection: sqlite3.Connection, model: int, keys: Sequence[bytes | str], roles: int | Sequence[int]
) -> set[tuple[bytes | str, int]]:
    """Those keys, each with its role, that a run says already."""
    keys_of: dict[int, Sequence[bytes | str]] = {}
    if isinstance(roles, int):
        keys_of[roles] = keys
    else:
        for role in set(roles):
            keys_of[role] = [key for key, own in zip(keys, roles, strict=True) if own == role]
    return {
        (key, role)
        for role, own_keys in keys_of.items()
        for key in batches.keys_in_runs(connection, model, role, own_keys)
    }


def _listed(keys: bytes | list[bytes | str]) -> Sequence[bytes | str]:
    if not isinstance(keys, bytes):
        return keys
    size = prediction_ids.KEY_BYTES
    return [keys[start : start + size] for start in range(0, len(keys), size)]


def _number_of(connection: sqlite3.Connection, model: str) -> int:
    row = connection.execute("SELECT number FROM model WHERE name = ?", (model,)).fetchone()
    if row is not None:
        return int(row[0])
    return int(connection.execute("INSERT INTO model (name) VALUES (?)", (model,)).lastrowid or 0)


def count_known(connection: sqlite3.Connection, model: str, ids: Sequence[str]) -> int:
    """How many of these different ids have a served row."""
    row = connection.execute("SELECT number FROM model WHERE name = ?", (model,)).fetchone()
    if row is None:
        return 0
    keys = [prediction_ids.key_of(id_) for id_ in ids]
    marks = ", ".join("?" * len(ids))
    query = f"SELECT count(*) FROM known WHERE model = ? AND version = ? AND id IN ({marks})"  # noqa: S608
    single = int(connection.execute(query, (row[0], SERVED, *keys)).fetchone()[0])
    # An id is in one of both places.
    return single + (len(batches.keys_in_runs(connection, row[0], SERVED, keys)) if single < len(ids) else 0)


def last_sequence(connection: sqlite3.Connection, table: str) -> int:
    """The highest sequence number that a table ever gave."""
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
    return int(row[0]) if row else 0


def is_ready(connection: sqlite3.Connection) -> bool:
    """Whether the tables are there, as this version knows them. Raises `StorageFailed` for those of a newer one."""
    found = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if found > SCHEMA_VERSION:
        raise StorageFailed(
            f"The prediction log was written by a newer Homeostat (schema {found}, this one knows {SCHEMA_VERSION}). "
            "Upgrade: pip install -U homeostat."
        )
    return found == SCHEMA_VERSION


def create(connection: sqlite3.Connection) -> None:
    """Make the tables, or what those of an earlier version lack. What is there stays."""
    for statement in _SCHEMA:
        connection.execute(statement)
    if "earliest" not in {row[1] for row in connection.execute("PRAGMA table_info(sealed)")}:
        connection.execute("ALTER TABLE sealed ADD COLUMN earliest INTEGER")
        connection.execute("ALTER TABLE sealed ADD COLUMN latest INTEGER")
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'seen'").fetchone():
        # Ids were texts, with the model's name beside each.
        connection.create_function("key_of", 1, prediction_ids.key_of, deterministic=True)
        connection.create_function("role_of", 1, lambda version: SERVED if version == -1 else _role(version))
        connection.execute("INSERT OR IGNORE INTO model (name) SELECT DISTINCT model FROM seen")
        connection.execute(
            "INSERT OR IGNORE INTO known (id, model, version) SELECT key_of(prediction_id), number, role_of(version) "
            "FROM seen JOIN model ON name = seen.model"
        )
        connection.execute("DROP TABLE seen")
    connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
