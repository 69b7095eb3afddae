"""Packed uploads: they hold no more than what may be uploaded, so that a small file can't fill the memory."""

from __future__ import annotations

import gzip
import zipfile
import zlib
from pathlib import Path

from homeostat.errors import InvalidData, TooLarge

CHUNK = 1 << 20
BYTES_A_VALUE = 8


def unpacked(path: Path, name: str, most_bytes: int) -> Path:
    """The file to read for an upload: the same, or for gzip the unpacked one beside it.

    Raises `TooLarge` where it holds more than so many bytes, `InvalidData` where it can't be read at all.
    """
    if path.name.endswith(".csv.gz"):
        return _gunzip(path, name, most_bytes)
    if path.suffix == ".skops":
        _check(_zipped_bytes(path), name, most_bytes)
    if path.suffix in (".parquet", ".pq"):
        _check(_table_bytes(path, name), name, most_bytes)
    return path


def _check(found: int, name: str, most_bytes: int) -> None:
    if found > most_bytes:
        raise TooLarge(f"'{name}' unpacks to more than {most_bytes:,} bytes, which is what this server takes.")


def _gunzip(path: Path, name: str, most_bytes: int) -> Path:
    target = path.with_suffix("")
    size = 0
    try:
        with gzip.open(path) as packed, target.open("wb") as file:
            while part := packed.read(CHUNK):
                size += len(part)
                _check(size, name, most_bytes)
                file.write(part)
    except (OSError, EOFError, zlib.error):
        raise InvalidData(f"'{name}' can't be unpacked: it is no gzip file, or not a whole one.") from None
    path.unlink()
    return target


def _zipped_bytes(path: Path) -> int:
    """What a zip file says that it holds; reading it never gives more."""
    try:
        with zipfile.ZipFile(path) as file:
            return sum(entry.file_size for entry in file.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        # Whoever loads it says what is wrong with it.
        return 0


def _table_bytes(path: Path, name: str) -> int:
    """How large a Parquet table is in memory, at least: a million equal values are a few bytes in the file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_metadata(path)
    except (pa.ArrowException, OSError):
        raise InvalidData(f"'{name}' is no Parquet file, or not a whole one.") from None
    return int(metadata.num_rows) * int(metadata.num_columns) * BYTES_A_VALUE
