"""Decoders of types, each built once and by one thread at a time.

msgspec builds what it knows of a struct at the struct's first use. Two threads that use the same one first at the same
time can break the process: a server that loaded two models at once died so at one start in thirty.
"""

from __future__ import annotations

import threading
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

_building = threading.Lock()
_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}


def decoder_of(kind: type[T]) -> msgspec.json.Decoder[T]:
    """The decoder of a type from JSON, whichever thread asks first.

    >>> decoder_of(list[int]).decode(b"[1, 2]")
    [1, 2]
    """
    held = _decoders.get(kind)
    if held is None:
        with _building:
            held = _decoders.get(kind)
            if held is None:
                held = _decoders[kind] = msgspec.json.Decoder(kind)
    return held


def converted(data: Any, kind: type[T], *, strict: bool = True) -> T:
    """Plain data as a type. Raises `msgspec.ValidationError`.

    >>> converted({"a": 1}, dict[str, int])
    {'a': 1}
    """
    decoder_of(kind)
    return msgspec.convert(data, kind, strict=strict)
