"""Whether an object of a JSON body has the same name twice: parsers differ in which one counts, so it is refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from operator import attrgetter
from typing import Any

import msgspec


def has_duplicates(content: bytes, body: Any) -> bool:
    """Whether a name stands twice in an object of the content, which was decoded as `body`.

    Each name is followed by a colon. Where there are no more colons than what was decoded accounts for, no name was
    lost, and counting costs far less than reading the content once more.

    >>> has_duplicates(b'{"a": 1, "b": ":"}', {"a": 1, "b": ":"})
    False
    >>> has_duplicates(b'{"a": 1, "a": 2}', {"a": 2})
    True
    """
    # An escape may stand for a colon.
    if b"\\" not in content and content.count(b":") == _colons([body]):
        return False
    try:
        json.loads(content, object_pairs_hook=_refuse_duplicates)
    except (_Duplicate, ValueError, RecursionError):
        return True
    return False


class _Duplicate(Exception):
    """A name that stands twice."""


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise _Duplicate


def _colons(values: Sequence[Any]) -> int:
    """How many colons the JSON of some values has at least; they are of one type, the first one's, or not counted."""
    kind = next((type(one) for one in values if one is not None), None)
    if kind is dict:
        return sum(len(one) for one in values if type(one) is dict)
    if kind is list:
        return sum(_colons(one) for one in values if type(one) is list)
    if kind is datetime:
        # Hours, minutes and seconds; a zone may have one more.
        return sum(2 for one in values if type(one) is datetime)
    if kind is None or not issubclass(kind, msgspec.Struct):
        return 0
    count = 0
    for name, default in _defaults(kind):
        given = [one for one in map(attrgetter(name), (one for one in values if type(one) is kind)) if one != default]
        count += len(given) + _colons(given)
    return count


@cache
def _defaults(kind: type[msgspec.Struct]) -> list[tuple[str, Any]]:
    return [
        (field.name, field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory())
        for field in msgspec.structs.fields(kind)
    ]
