"""Bodies that are tables: labels as CSV, Parquet or JSON lines, and what the address says of them."""

from __future__ import annotations

from homeostat.connectors.feeds.chunks import read_body
from homeostat.connectors.feeds.labels import LabelRows, exact_columns, label_rows, plain_chunk
from homeostat.errors import InvalidRequest
from homeostat.http.operations import Parameter, Request

ASKED_MODEL = Parameter("model", "The model's name, where the body does not say it.")
ASKED_SOURCE = Parameter("source", "Who says so, where the body does not say it: 1 to 100 characters.")
MOST_SOURCE = 100


def labels_of_table(request: Request, most_rows: int) -> LabelRows:
    """The labels of a body that is a table. Raises `InvalidData`, `InvalidLabel` or `TooLarge`."""
    chunk = plain_chunk(read_body(request.content, request.content_type, most_rows=most_rows))
    return label_rows(chunk, exact_columns(list(chunk.columns)))


def said_once(name: str, request: Request, in_body: str | None) -> str | None:
    """What the address or the body says; `None` where neither does. Raises `InvalidRequest` where both do."""
    asked = request.query.get(name)
    if asked is not None and in_body is not None:
        raise InvalidRequest(f"'{name}' is said in the address and in the body. Say it once.")
    if asked is not None and name == "source" and not 0 < len(asked) <= MOST_SOURCE:
        raise InvalidRequest(f"'source' has 1 to {MOST_SOURCE} characters.")
    return asked if asked is not None else in_body
