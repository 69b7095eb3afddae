"""States that are carried along: they take in values, and can be written down and read back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np

from homeostat.errors import InvalidInput


class State:
    """What a controller carries from one look to the next; as plain data with `to_dict`, and back with `from_dict`.

    `_settings` are what the constructor was given, `_carried` what the values taken in have changed.
    """

    _settings: ClassVar[tuple[str, ...]]
    _carried: ClassVar[tuple[str, ...]]

    def to_dict(self) -> dict[str, Any]:
        """The state as numbers, texts, lists and mappings only, ready for JSON."""
        return {
            "kind": type(self).__name__,
            "settings": {name: _plain(getattr(self, name)) for name in self._settings},
            "carried": {name: _plain(getattr(self, name)) for name in self._carried},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The state that `to_dict` wrote.

        Raises:
            InvalidInput: the data belong to another kind of state, or something is missing or of another shape.
        """
        if not isinstance(data, Mapping) or data.get("kind") != cls.__name__:
            found = data.get("kind") if isinstance(data, Mapping) else type(data).__name__
            raise InvalidInput(f"This is not a written {cls.__name__}: its kind is {found!r}.")
        settings, carried = data.get("settings"), data.get("carried")
        if not isinstance(settings, Mapping) or not isinstance(carried, Mapping):
            raise InvalidInput(f"The written {cls.__name__} lacks its settings or what it carried.")
        if set(settings) != set(cls._settings) or set(carried) != set(cls._carried):
            raise InvalidInput(f"The written {cls.__name__} has other entries than this version of Homeostat knows.")
        state = cls(**settings)
        for name in cls._carried:
            setattr(state, name, _like(getattr(state, name), carried[name], f"{cls.__name__}.{name}"))
        return state


def _plain(value: Any) -> Any:
    if isinstance(value, State):
        return value.to_dict()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def _like(fresh: Any, written: Any, name: str) -> Any:
    """What was written, in the type that a fresh state has there."""
    if isinstance(fresh, State):
        return type(fresh).from_dict(written)
    try:
        if isinstance(fresh, np.ndarray):
            array = np.asarray(written, dtype=fresh.dtype)
            # An empty array is a queue or a bag of any length; the others have the shape of the settings.
            if fresh.size and array.shape != fresh.shape:
                raise InvalidInput(f"{name} was written in shape {array.shape}; {fresh.shape} was expected.")
            return array
        return type(fresh)(written)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{name} was written as {written!r}, which can't be read.") from error
