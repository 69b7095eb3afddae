"""What an HTTP operation is: one table says what the server does and what its OpenAPI document tells."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from homeostat.errors import HomeostatError, InvalidRequest
from homeostat.http.callers import ANYBODY, Caller
from homeostat.records import KeyRole

MOST_NUMBER = 1_000_000_000
# What tells nothing but what the server is, and what it serves.
ANY_KEY = frozenset(("/health", "/api/v1/openapi.json"))
# Where the control plane lies, and a model in it.
API = "/api/v1"
ONE = f"{API}/models/{{model}}"
# Who acts where an order does not say.
DEFAULT_ACTOR = "api"
# Texts without what may break a terminal or a file that shows them.
PRINTED = r"^[^\x00-\x1f\x7f-\x9f]*$"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def is_printed(text: str) -> bool:
    """Whether a text has no control characters.

    >>> is_printed("größer"), is_printed(chr(27))
    (True, False)
    """
    return _CONTROL.search(text) is None


class Pool(StrEnum):
    """Whose threads do the work: slow orders must not hold up predictions."""

    PREDICT = "predict"
    CONTROL = "control"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A part of the path or of the query, and what it holds."""

    name: str
    help: str
    type: type[str] | type[int] | type[bool] = str
    minimum: int = 0
    pattern: str | None = None

    def read(self, text: str) -> Any:
        """The value of a text. Raises `InvalidRequest`."""
        if not is_printed(text):
            raise InvalidRequest(f"'{self.name}' has control characters.")
        if self.type is bool:
            if text not in ("true", "false"):
                raise InvalidRequest(f"'{self.name}' is true or false.")
            return text == "true"
        if self.type is int:
            is_number = text.isascii() and text.isdecimal() and len(text) <= len(str(MOST_NUMBER))
            if not is_number or not self.minimum <= int(text) <= MOST_NUMBER:
                raise InvalidRequest(f"'{self.name}' is a whole number from {self.minimum} to {MOST_NUMBER:,}.")
            return int(text)
        if self.pattern is not None and not re.fullmatch(self.pattern, text):
            raise InvalidRequest(f"'{self.name}' can't be that. {self.help}")
        return text


@dataclass(frozen=True, slots=True)
class Upload:
    """A file of a form, where it lies on this machine until the request is over."""

    name: str
    path: str


@dataclass(slots=True)
class Request:
    """What a handler is given: everything was read and checked. `said` goes into the line of the log.

    Where the operation takes a body of another type as it comes, that is in `content`, and `body` is `None`. `headers`
    holds the ones that the operation asks for, by their names in lower case.
    """

    path: Mapping[str, Any]
    query: Mapping[str, Any]
    body: Any
    id: str
    files: Mapping[str, Upload] = field(default_factory=dict)
    content: bytes = b""
    content_type: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    said: dict[str, Any] = field(default_factory=dict)
    caller: Caller = ANYBODY

    def actor(self, given: str = "") -> str:
        """Who orders it, as decisions keep it: the one who is named, and the key that was used."""
        return self.caller.as_actor(given, DEFAULT_ACTOR)


@dataclass(frozen=True, slots=True)
class Raw:
    """A reply that is no JSON."""

    content: bytes
    content_type: str
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class FormField:
    """A field of a form: an upload whose name has one of some suffixes, true or false (`is_flag`), or a text."""

    name: str
    help: str
    required: bool = False
    suffixes: tuple[str, ...] = ()
    is_flag: bool = False
    longest: int = 1000

    @property
    def is_file(self) -> bool:
        """Whether it is an upload."""
        return bool(self.suffixes)


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path.

    `body` is the struct that the JSON body must fit, `form` the fields where it is a form instead; `reply` is what
    comes back, under the name `wrapped` where that is given. `errors` are those that the handler may raise beside
    the ones that any request may get. `also_takes` names types of bodies that are given to the handler as they come,
    beside JSON; with `reads_body` every body is, whatever its type. `also_gives` names types of replies beside JSON.
    `headers` are the ones that the handler reads, `header_parameters` those of them that callers are told of. `role`
    is what a key needs to call it, where that is not what `needs` makes of the path.
    """

    method: str
    path: str
    summary: str
    handle: Callable[[Request], Any]
    reply: Any
    tag: str
    wrapped: str | None = None
    body: Any = None
    body_required: bool = True
    also_takes: tuple[str, ...] = ()
    reads_body: bool = False
    also_gives: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    header_parameters: tuple[Parameter, ...] = ()
    form: tuple[FormField, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    query: tuple[Parameter, ...] = ()
    errors: tuple[type[HomeostatError], ...] = ()
    status: int = 200
    pool: Pool = Pool.CONTROL
    is_open: bool = False
    content_type: str = "application/json"
    most_bytes: int | None = None
    role: KeyRole | None = None

    @property
    def needs(self) -> KeyRole | None:
        """The role that a key needs; `None` where any key will do.

        Pages, metrics and questions to the control plane need `read`, orders to it `operate`, and the rest, which is
        predictions and what describes them, `predict`.
        """
        if self.role is not None or self.is_open or self.path in ANY_KEY:
            return self.role
        if self.path.startswith(f"{API}/") or self.tag == "pages" or self.path == "/metrics":
            return KeyRole.READ if self.method == "GET" else KeyRole.OPERATE
        return KeyRole.PREDICT


NEW_MODEL = Parameter(
    "model",
    "The model's name: 1 to 100 letters, digits, '-', '_' or '.', beginning with no '-' or '.'.",
    pattern=r"^\w[\w.-]{0,99}$",
)
MODEL = Parameter("model", "The model's name.")
VERSION = Parameter("version", "The version's number.", int, 1)
LIMIT = Parameter("limit", "The latest so many.", int, 1)
