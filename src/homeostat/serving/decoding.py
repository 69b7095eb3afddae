"""JSON of one row, decoded straight into the signature's types: what nearly every request of a server is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np

from homeostat.frames import Columns, Kind
from homeostat.records import Feature, Signature
from homeostat.serving.rows import LONGEST_TEXT

LONGEST_ID = 256


class Row(NamedTuple):
    """One row as it was sent: its values in the signature's order, and whose it is."""

    values: Sequence[Any]
    prediction_id: str | None
    entity: str | int | None


class RowDecoder:
    """Decodes `{"features": {...}}` or `{"features": [...]}` for one signature.

    It knows the common case only: `decode` gives `None` for whatever is not plainly right, and whoever reads
    carefully then says what is wrong with it, or finds that nothing is.

    >>> from homeostat.records import Task
    >>> features = (Feature(name="x", kind=Kind.NUMERIC), Feature(name="c", kind=Kind.CATEGORICAL))
    >>> decoder = RowDecoder(Signature(task=Task.REGRESSION, features=features, target="y"))
    >>> decoder.decode(b'{"features": {"c": "a", "x": 1}, "entity": "me"}')
    Row(values=(1.0, 'a'), prediction_id=None, entity='me')
    >>> decoder.decode(b'{"features": [1, "a"]}')
    Row(values=(1.0, 'a'), prediction_id=None, entity=None)
    >>> decoder.decode(b'{"features": {"c": "a", "x": "1"}}') is None
    True
    """

    def __init__(self, signature: Signature) -> None:
        types = [_type_of(feature) for feature in signature.features]
        features: Any = msgspec.defstruct(
            "Features",
            [(f"f{place}", kind) for place, kind in enumerate(types)],
            rename={f"f{place}": feature.name for place, feature in enumerate(signature.features)},
            forbid_unknown_fields=True,
            gc=False,
        )
        body = msgspec.defstruct(
            "Body",
            [
                ("features", features | tuple[tuple(types)]),  # type: ignore[misc]  # made when the program runs
                ("prediction_id", str | None, None),
                ("entity", str | int | None, None),
            ],
            forbid_unknown_fields=True,
            gc=False,
        )
        self._decoder = msgspec.json.Decoder(body)
        # Those of the names in an object.
        self._colons = len(signature.features) + sum(feature.name.count(":") for feature in signature.features)
        self._booleans = [place for place, feature in enumerate(signature.features) if feature.kind is Kind.BOOLEAN]
        self._texts = [place for place, feature in enumerate(signature.features) if not feature.kind.is_number]

    def decode(self, content: bytes) -> Row | None:
        """The row, or `None` where the body needs a closer look."""
        try:
            body: Any = self._decoder.decode(content)
        except (msgspec.MsgspecError, RecursionError, UnicodeError):
            return None
        colons = 1
        if type(body.features) is tuple:
            values = body.features
        else:
            values = msgspec.structs.astuple(body.features)
            colons += self._colons
        for name in (body.prediction_id, body.entity):
            if name is None:
                continue
            colons += 1
            if isinstance(name, str):
                if not 0 < len(name) <= LONGEST_ID or not name.isprintable():
                    return None
                colons += name.count(":")
        for place in self._texts:
            if values[place] is not None:
                colons += values[place].count(":")
        # A name that stands twice has a colon too many, unless the colon of a text is escaped.
        if content.count(b":") != colons or b"\\u003" in content:
            return None
        for place in self._booleans:
            if values[place] not in (0, 1, None):
                return None
        return Row(values, body.prediction_id, body.entity)


def _type_of(feature: Feature) -> Any:
    kind: Any
    if feature.kind is Kind.NUMERIC:
        kind = float
    elif feature.kind is Kind.BOOLEAN:
        kind = bool | int | float
    else:
        kind = Annotated[str, msgspec.Meta(max_length=LONGEST_TEXT)]
    return kind | None if feature.nullable else kind


def columns_of_rows(rows: Sequence[Sequence[Any]], signature: Signature) -> Columns:
    """Typed columns of rows that were decoded for a signature; `None` is a missing value."""
    names = list(signature.kinds)
    if signature.is_numeric:
        return Columns.of_matrix(names, np.array(rows, dtype=np.float64).reshape(len(rows), len(names)))
    columns: dict[str, Any] = {}
    for (name, kind), values in zip(signature.kinds.items(), zip(*rows, strict=True), strict=True):
        if kind.is_number:
            columns[name] = np.array(values, dtype=np.float64)
        else:
            columns[name] = np.empty(len(rows), dtype=object)
            columns[name][:] = values
    return Columns(columns, len(rows))
