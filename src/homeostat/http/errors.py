"""From the tree of errors to HTTP: which status each has, and the body that all of them share."""

from __future__ import annotations

import re
from http import HTTPStatus

import msgspec

from homeostat.errors import (
    CompilationFailed,
    Conflict,
    Forbidden,
    HomeostatError,
    IntegrityError,
    InternalError,
    InvalidInput,
    InvalidRequest,
    MethodNotAllowed,
    MissingDependency,
    NotFound,
    NotReady,
    Overloaded,
    ScoringFailed,
    StorageFailed,
    TooLarge,
    TooManyRequests,
    TooSlow,
    TrainingFailed,
    Unauthorized,
    UnknownModel,
    UnknownRecord,
)

MOST_TEXT = 2000
STATUS: dict[type[HomeostatError], HTTPStatus] = {
    TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    InvalidInput: HTTPStatus.BAD_REQUEST,
    # Both are about files that the caller sent.
    CompilationFailed: HTTPStatus.BAD_REQUEST,
    TrainingFailed: HTTPStatus.BAD_REQUEST,
    Unauthorized: HTTPStatus.UNAUTHORIZED,
    Forbidden: HTTPStatus.FORBIDDEN,
    NotFound: HTTPStatus.NOT_FOUND,
    MethodNotAllowed: HTTPStatus.METHOD_NOT_ALLOWED,
    Conflict: HTTPStatus.CONFLICT,
    IntegrityError: HTTPStatus.SERVICE_UNAVAILABLE,
    StorageFailed: HTTPStatus.SERVICE_UNAVAILABLE,
    NotReady: HTTPStatus.SERVICE_UNAVAILABLE,
    Overloaded: HTTPStatus.SERVICE_UNAVAILABLE,
    TooManyRequests: HTTPStatus.TOO_MANY_REQUESTS,
    TooSlow: HTTPStatus.REQUEST_TIMEOUT,
    MissingDependency: HTTPStatus.NOT_IMPLEMENTED,
    ScoringFailed: HTTPStatus.INTERNAL_SERVER_ERROR,
    InternalError: HTTPStatus.INTERNAL_SERVER_ERROR,
    HomeostatError: HTTPStatus.INTERNAL_SERVER_ERROR,
}


class ErrorReply(msgspec.Struct, frozen=True, kw_only=True):
    """What every error says: in words, and as a code that never changes."""

    error: str
    code: str


def status_of(kind: type[HomeostatError]) -> HTTPStatus:
    """The status of an error: its own, or that of the nearest class above it.

    >>> from homeostat.errors import UnknownModel
    >>> int(status_of(UnknownModel))
    404
    """
    return next(STATUS[above] for above in kind.__mro__ if above in STATUS)


def reply_of(error: HomeostatError) -> ErrorReply:
    """The body for an error. Names that the caller made up are not repeated."""
    return ErrorReply(error=shortened(_described(error), MOST_TEXT), code=error.code)


def _described(error: HomeostatError) -> str:
    if isinstance(error, UnknownModel) and error.data.get("model"):
        names = ", ".join(str(name) for name in error.data.get("known", ())) or "none"
        return f"There is no model of that name. Registered: {shortened(names, MOST_TEXT // 2)}."
    if isinstance(error, UnknownRecord) and error.message == UnknownRecord.template.format(**error.data):
        return f"There is no {error.data['kind']} with that id."
    return error.message


def shortened(text: str, length: int) -> str:
    """A text with its end left out where it is longer than that.

    >>> shortened("Homeostat", 5)
    'Home…'
    """
    return text if len(text) <= length else f"{text[: length - 1]}…"


_QUOTED = re.compile(r"unknown field `[^`]*`|value '.*'|value \"[^\"]*\"|value -?[0-9]+(?= )", re.DOTALL)
_MALFORMED = "The body is no JSON"


def unreadable(error: Exception) -> InvalidRequest:
    """What a decoder says of a body, without the parts that repeat what was sent."""
    if isinstance(error, msgspec.ValidationError):
        said = _QUOTED.sub(lambda match: match[0].split()[0] + " (not shown)", str(error))
        said = said.replace("unknown (not shown)", "a field that is not known")
        return InvalidRequest(f"The request does not fit: {said}.")
    if isinstance(error, RecursionError):
        return InvalidRequest(f"{_MALFORMED} that can be read: it is nested too deeply.")
    if isinstance(error, UnicodeError):
        return InvalidRequest(f"{_MALFORMED}: it is not UTF-8.")
    return InvalidRequest(
        f"{_MALFORMED}, or not a complete one. JSON has no NaN and no Infinity: a missing value is null."
    )
