"""Packed uploads: they hold no more than what may be uploaded, so that a small file can't fill the memory."""

from __future__ import annotations

import gzip
import mmap
import zipfile
import zlib
from pathlib import Path
from typing import Any

from homeostat.errors import InvalidData, TooLarge
from homeostat.frames.parquet import check_pages, text_bytes

CHUNK = 1 << 20
BYTES_A_VALUE = 8
BATCH_ROWS = 1 << 14


def unpacked(path: Path, name: str, most_bytes: int) -> Path:
    """The file to read for an upload: the same, or for gzip the unpacked one beside it.

    Raises `TooLarge` where it holds more than so many bytes, `InvalidData` where it can't be read at all.
    """
    if path.name.endswith(".csv.gz"):
        return _gunzip(path, name, most_bytes)
    if path.suffix == ".skops":
        _check(_zipped_bytes(path), name, most_bytes)
    if path.suffix in (".parquet", ".pq"):
        _check_table(path, name, most_bytes)
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


def _check_table(path: Path, name: str, most_bytes: int) -> None:
    """Refuse a Parquet table that is larger in memory than may be uploaded.

    Equal values take nothing in the file: a text of 100 KB that stands in 20,000 rows is 2 GB in memory and 5 KB on
    disk. So texts are read as places in a dictionary, and what they come to is added up before anybody spells them out.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with path.open("rb") as opened:
            content = memoryview(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ))
        check_pages(content, most_bytes)
        with pq.ParquetFile(path) as file:
            metadata, schema = file.metadata, file.schema_arrow
        _check(metadata.num_rows * metadata.num_columns * BYTES_A_VALUE, name, most_bytes)
        size = 0
        for field in schema:
            if pa.types.is_fixed_size_binary(field.type):
                size += metadata.num_rows * field.type.byte_width
        _check(size, name, most_bytes)
        texts = [field.name for field in schema if _is_text(field.type)]
        if not texts:
            return
        with pq.ParquetFile(path, read_dictionary=texts) as file:
            for batch in file.iter_batches(BATCH_ROWS, columns=texts):
                size += sum(_spelt_out(column) for column in batch.columns)
                _check(size, name, most_bytes)
    except (InvalidData, TooLarge) as error:
        message = error.message if repr(name) in error.message else f"'{name}' is refused. {error.message}"
        raise type(error)(message) from None
    except (pa.ArrowException, OSError, ValueError):
        raise InvalidData(f"'{name}' is no Parquet file, or not a whole one.") from None


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
    )


def _spelt_out(column: Any) -> int:
    """How many bytes the texts of a column come to, each written as often as it stands there."""
    import pyarrow as pa

    if not pa.types.is_dictionary(column.type):
        return int(column.nbytes)
    return text_bytes(column) + len(column) * BYTES_A_VALUE
