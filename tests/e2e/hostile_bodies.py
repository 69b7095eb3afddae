"""Requests as somebody sends them who means harm: bodies that were right once, bent in one place or in several.

Each is a whole HTTP request whose `Content-Length` is right, so that what is wrong with it is for the server to find.
Made from a seed: the same requests each time.
"""

from __future__ import annotations

import copy
import gzip
import json
import random
import struct
from collections.abc import Callable, Iterator
from typing import Any

MARKER = "do-not-repeat-7f3a"
TOKENS = (
    b"NaN", b"-Infinity", b"1e999", b"-0", b"9" * 400, b"null", b"true", b'""', b"{}", b"[]", b"\x00", b"\xff\xfe",
    b'"\\ud800"', b'"\\u0000"', b"[" * 600, b'{"a":' * 600, b",,", b"//", b"\xef\xbb\xbf", b"1_000", b"0x10", b"'",
    MARKER.encode(), b'{"features":', b'"shape":[0]', b"\r\n\r\n",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, [], {}, "", 0, -1, 2**63, -(2**63) - 1, 10**400, 1e308, "NaN", MARKER, [[]], [None], {"a": {"b": [1]}},
    "\x00", "\u202e", "x" * 5_000, [MARKER] * 50, ["a", 1], [1e308, -1e308, 0.0], [4_000_000_000, 4_000_000_000],
)  # fmt: skip
TYPES = ("FP64", "FP32", "FP16", "INT64", "INT8", "UINT64", "BOOL", "BYTES", "BF16", "STRING", "", MARKER)
LENGTHS = ("-1", "0", "1", "99999999999999999999", "1e3", " 12", "0x20", MARKER, "")
ODD_HEADS = (
    {"Content-Type": "text/html"},
    {"Content-Type": "application/octet-stream"},
    {"Content-Type": "application/json; charset=utf-16"},
    {"Content-Type": f"multipart/form-data; boundary={MARKER}"},
    {"Content-Encoding": "gzip"},
    {"Content-Encoding": "br"},
    {"Inference-Header-Content-Length": "10"},
    {"X-Request-Id": MARKER},
    {"Accept": "application/x-nothing"},
)


def request(path: str, body: bytes, head: dict[str, str]) -> bytes:
    """A whole request, with the right length."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    return f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n{lines}\r\n".encode() + body


def right_bodies(model: str, row: list[float]) -> list[tuple[str, dict[str, Any]]]:
    """What each address takes."""
    tensor = {"name": "rows", "shape": [1, len(row)], "datatype": "FP64", "data": row}
    named = dict(zip("abc", row, strict=True))
    return [
        (f"/models/{model}/predict", {"features": named, "entity": "e"}),
        (f"/models/{model}/predict", {"features": row, "event_time": "2026-01-01T00:00:00Z"}),
        (f"/models/{model}/batch_predict", {"instances": [row, named], "entities": ["e", None]}),
        ("/predict", {"features": row}),
        (f"/v2/models/{model}/infer", {"id": "1", "inputs": [tensor], "outputs": [{"name": "probability"}]}),
        (f"/v2/models/{model}/versions/1/infer", {"inputs": [tensor], "parameters": {"entity": "e"}}),
        ("/api/v1/labels", {"model": model, "labels": [{"prediction_id": "nobody", "label": "spam"}]}),
        ("/invocations", {"inputs": [row]}),
    ]


def bend_value(value: Any, chance: random.Random) -> Any:
    """The same JSON with one place changed, taken away or doubled."""
    bent = copy.deepcopy(value)
    at = bent
    while True:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        if not keys:
            return bent
        key = chance.choice(keys)
        if isinstance(at[key], dict | list) and at[key] and chance.random() < 0.7:
            at = at[key]
            continue
        what = chance.random()
        if what < 0.6:
            at[key] = chance.choice(TYPES) if key == "datatype" else copy.deepcopy(chance.choice(VALUES))
        elif what < 0.8:
            del at[key]
        elif isinstance(at, dict):
            at[MARKER] = at[key]
        else:
            at.extend([at[key]] * chance.choice((1, 50)))
        return bent


def bend_bytes(body: bytes, chance: random.Random) -> bytes:
    """The same bytes with a few cut out, turned, doubled, or put in."""
    bent = bytearray(body)
    for _ in range(chance.choice((1, 1, 2, 8))):
        at = chance.randrange(len(bent) + 1)
        what = chance.randrange(4)
        if what == 0 and bent:
            bent[at % len(bent)] ^= 1 << chance.randrange(8)
        elif what == 1:
            del bent[at : at + chance.choice((1, 4, 1_000))]
        elif what == 2:
            bent[at:at] = bent[at : at + 40] * chance.choice((1, 20))
        else:
            bent[at:at] = chance.choice(TOKENS)
    return bytes(bent)


def json_request(model: str, row: list[float], chance: random.Random) -> bytes:
    path, right = chance.choice(right_bodies(model, row))
    head = {"content-type": "application/json"}
    value = bend_value(right, chance) if chance.random() < 0.7 else right
    body = json.dumps(value).encode()
    if value == right or chance.random() < 0.4:
        body = bend_bytes(body, chance)
    what = chance.random()
    if what < 0.1:
        head |= chance.choice(ODD_HEADS)
    elif what < 0.13:
        # A small thing that is a large one once it is unpacked.
        body, head = gzip.compress(b" " * 2_000_000 + body), {**head, "content-encoding": "gzip"}
    return request(path, body, head)


def binary_request(model: str, row: list[float], chance: random.Random) -> bytes:
    """Tensors behind a JSON head, with sizes, shapes and types that do not belong together."""
    rows = chance.choice((1, 1, 2, 7))
    kind = chance.choice(TYPES)
    if kind == "BYTES":
        data = b"".join(struct.pack("<I", chance.choice((1, 4, 2**31, 2**32 - 1))) + b"1" for _ in range(3 * rows))
    else:
        numbers = [chance.choice((*row, 0.0, float("nan"), float("inf"), 1e300)) for _ in range(3 * rows)]
        data = struct.pack(f"<{3 * rows}d", *numbers)
    size: Any = chance.choice((len(data), len(data), len(data) - 1, 0, -8, 2**62, MARKER, None, 1.5))
    shape: Any = chance.choice(([rows, 3], [rows, 3], [3 * rows], [2**62, 3], [-1, 3], [], [0, 3], [1] * 64, MARKER))
    tensor: dict[str, Any] = {
        "name": "rows",
        "shape": shape,
        "datatype": kind,
        "parameters": {"binary_data_size": size},
    }
    head: Any = {
        "inputs": [tensor] * chance.choice((1, 1, 2)),
        "outputs": [{"name": "probability", "parameters": {"binary_data": chance.choice((True, False, MARKER))}}],
    }
    if chance.random() < 0.3:
        head = bend_value(head, chance)
    text = json.dumps(head).encode()
    if chance.random() < 0.2:
        data = bend_bytes(data, chance)
    given = str(len(text)) if chance.random() < 0.6 else chance.choice((*LENGTHS, str(len(text) + len(data) + 1)))
    headers = {"content-type": "application/octet-stream", "inference-header-content-length": given}
    return request(f"/v2/models/{model}/infer", text + data, headers)


def requests(model: str, rows: list[list[float]], seed: int) -> Iterator[bytes]:
    """Such requests without end."""
    chance = random.Random(seed)  # noqa: S311
    kinds: tuple[Callable[[str, list[float], random.Random], bytes], ...] = (json_request, json_request, binary_request)
    while True:
        yield chance.choice(kinds)(model, chance.choice(rows), chance)
