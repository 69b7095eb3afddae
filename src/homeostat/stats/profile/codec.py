"""Profiles written down: as plain data for JSON, and as compact bytes.

The bytes are a signature, a format number, and compressed JSON that names arrays lying behind it; the compression
carries a checksum. Format 1 of the plain data, with moments about the mean, is still read.
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput
from homeostat.stats.profile.categorical import CategoricalSummary
from homeostat.stats.profile.numeric import NumericSummary, origin_of
from homeostat.stats.profile.profile import Profile, Summary
from homeostat.stats.profile.sample import RowSample
from homeostat.stats.profile.text import TextSummary

Array = npt.NDArray[Any]

FORMAT = 2
SIGNATURE = b"HSPF"
_LARGEST = 1 << 30


def to_dict(profile: Profile) -> dict[str, Any]:
    """See `Profile.to_dict`."""
    return _document(profile, _listed)


def _listed(array: Array) -> list[Any]:
    values: list[Any] = array.tolist()
    return [_number(value) for value in values] if array.dtype.kind == "f" else values


def from_dict(data: Mapping[str, Any]) -> Profile:
    """See `Profile.from_dict`."""
    if data.get("format") not in (1, FORMAT):
        raise InvalidInput(
            f"This profile has format {data.get('format')!r}; this version reads formats 1 and {FORMAT}."
        )
    return _read_document(data, lambda value, dtype: np.array(_numbers(value), dtype=dtype))


def to_bytes(profile: Profile) -> bytes:
    """See `Profile.to_bytes`."""
    arrays: list[bytes] = []

    def put(array: Array) -> dict[str, Any]:
        small = array.astype(_smallest(array)) if array.dtype.kind in "iu" else array
        arrays.append(np.ascontiguousarray(small).tobytes())
        return {"dtype": small.dtype.str, "size": len(small)}

    document = _document(profile, put)
    if profile.sample is not None:
        document["sample"] = {
            "size": profile.sample.size,
            "priorities": put(profile.sample.priorities),
            "columns": {
                name: {"texts": values.tolist()} if values.dtype.kind == "O" else put(values)
                for name, values in profile.sample.columns.items()
            },
        }
    header = json.dumps(document, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode()
    body = struct.pack("<I", len(header)) + header + b"".join(arrays)
    return SIGNATURE + bytes([FORMAT]) + zlib.compress(body, 6)


def from_bytes(content: bytes) -> Profile:
    """See `Profile.from_bytes`."""
    if content[:4] != SIGNATURE:
        raise InvalidInput("These bytes are no profile.")
    if content[4:5] != bytes([FORMAT]):
        raise InvalidInput(f"This profile has format {content[4:5].hex() or 'none'}; this version reads {FORMAT}.")
    try:
        unpacker = zlib.decompressobj()
        body = unpacker.decompress(content[5:], _LARGEST)
        if not unpacker.eof:
            raise ValueError("it is cut off, or larger than a profile can be")
        (length,) = struct.unpack_from("<I", body)
        document = json.loads(body[4 : 4 + length])
        place = 4 + length

        def get(value: Any, dtype: Any) -> Array:
            nonlocal place
            stored = np.dtype(value["dtype"])
            if stored.kind not in "iuf":
                raise ValueError(f"an array of {stored} is none of a profile")
            array = np.frombuffer(body, dtype=stored, count=int(value["size"]), offset=place)
            place += array.nbytes
            return array.astype(dtype)

        profile = _read_document(document, get)
        return _with_sample(profile, document.get("sample"), get)
    except (KeyError, TypeError, ValueError, IndexError, struct.error, zlib.error, AttributeError) as error:
        raise InvalidInput(f"This profile is damaged: {error}.") from error


def _with_sample(profile: Profile, data: Any, get: Callable[[Any, Any], Array]) -> Profile:
    if data is None:
        return profile
    priorities = get(data["priorities"], np.uint64)
    columns = {
        name: np.array([*value["texts"], None], dtype=object)[:-1] if "texts" in value else get(value, np.float64)
        for name, value in data["columns"].items()
    }
    if any(len(values) != len(priorities) for values in columns.values()) or columns.keys() != profile.features.keys():
        raise ValueError("its sample does not fit")
    return Profile(profile.rows, profile.features, RowSample(int(data["size"]), priorities, columns), profile.booleans)


def _smallest(array: Array) -> Any:
    if array.dtype == np.uint64:
        return np.uint64
    most = int(array.max(initial=0))
    return next(kind for kind in (np.uint8, np.uint16, np.uint32, np.int64) if most <= np.iinfo(kind).max)


def _document(profile: Profile, put: Callable[[Array], Any]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "rows": profile.rows,
        "booleans": sorted(profile.booleans),
        "features": {name: _written(summary, put) for name, summary in profile.features.items()},
    }


def _written(summary: Summary, put: Callable[[Array], Any]) -> dict[str, Any]:
    if isinstance(summary, CategoricalSummary):
        return {
            "kind": "categorical",
            "categories": list(summary.categories),
            "counts": put(summary.counts),
            "buckets": put(summary.buckets),
            "missing": summary.missing,
            "unseen": summary.unseen,
            "exhaustive": summary.exhaustive,
        }
    if isinstance(summary, TextSummary):
        return {
            "kind": "text",
            "descriptors": {name: _written(part, put) for name, part in summary.descriptors.items()},
            "documents": put(summary.documents),
            "count": summary.count,
            "missing": summary.missing,
        }
    return {
        "kind": "numeric",
        "edges": put(summary.edges),
        "counts": put(summary.counts),
        "missing": summary.missing,
        "infinite": summary.infinite,
        "minimum": _number(summary.minimum),
        "maximum": _number(summary.maximum),
        "count": summary.count,
        "total": _number(summary.total),
        "squares": _number(summary.squares),
    }


def _read_document(data: Mapping[str, Any], get: Callable[[Any, Any], Array]) -> Profile:
    try:
        features = {name: _read(summary, get) for name, summary in data["features"].items()}
        return Profile(int(data["rows"]), features, None, frozenset(data.get("booleans", ())))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidInput(f"This profile is damaged: {error!r}.") from error


def _read(data: Mapping[str, Any], get: Callable[[Any, Any], Array]) -> Summary:
    if data["kind"] == "categorical":
        categories, counts = tuple(data["categories"]), get(data["counts"], np.int64)
        if len(categories) != len(counts):
            raise ValueError(f"{len(categories)} categories but {len(counts)} counts")
        # Format 1 knew how many other values there were, not which: all of them in one bucket.
        other = [data["other"]] if "other" in data else []
        buckets = get(data["buckets"], np.int64) if "buckets" in data else np.array(other, dtype=np.int64)
        exhaustive = bool(data["exhaustive"])
        return CategoricalSummary(
            categories,
            counts,
            buckets[:0] if exhaustive else buckets,
            int(data["missing"]),
            int(data["unseen"]),
            exhaustive,
        )
    if data["kind"] == "text":
        parts = {name: _numeric(part, get) for name, part in data["descriptors"].items()}
        return TextSummary(parts, get(data["documents"], np.int64), int(data["count"]), int(data["missing"]))
    return _numeric(data, get)


def _numeric(data: Mapping[str, Any], get: Callable[[Any, Any], Array]) -> NumericSummary:
    edges, counts = get(data["edges"], np.float64), get(data["counts"], np.int64)
    if len(counts) != len(edges) + 1:
        raise ValueError(f"{len(edges)} edges but {len(counts)} counts")
    count = int(data["count"])
    if "m2" in data:
        distance = _back(data["mean"]) - origin_of(edges) if count else 0.0
        total, squares = count * distance, _back(data["m2"]) + count * distance * distance
    else:
        total, squares = _back(data["total"]), _back(data["squares"])
    return NumericSummary(
        edges,
        counts,
        int(data["missing"]),
        int(data["infinite"]),
        _back(data["minimum"]),
        _back(data["maximum"]),
        count,
        total,
        squares,
    )


def _number(value: float) -> float | str | None:
    if math.isfinite(value):
        return value
    return None if math.isnan(value) else str(value)


def _back(value: float | str | None) -> float:
    return math.nan if value is None else float(value)


def _numbers(values: Any) -> list[Any]:
    """A list of JSON; an edge just below the least float is minus infinity, written as text."""
    return [_back(value) if isinstance(value, str) or value is None else value for value in values]
