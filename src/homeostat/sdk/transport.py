"""One server: its address, sending requests, and what comes back as records or errors."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
import msgspec

from homeostat import __version__
from homeostat.errors import HomeostatError, InvalidInput, ServerUnreachable
from homeostat.records.decoding import decoder_of

T = TypeVar("T")

# Training, hashing all files or replaying weeks is answered when it is done; an hour is for the largest of them.
LONG_SECONDS = 3600.0
RETRY_PAUSE = 0.2
# Servers close idle connections after five seconds and more; a request must not meet one that is being closed.
IDLE_SECONDS = 3.0
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
# Never tried again: once something was sent, nobody can know whether it was done.
NOT_CONNECTED = (httpx.ConnectError, httpx.ConnectTimeout)


class ErrorReply(msgspec.Struct, frozen=True):
    """What a server says when it refuses."""

    error: str
    code: str


class Transport:
    """Sends requests to one server and reads its replies. Keeps connections open; may be used by many threads."""

    def __init__(self, url: str, *, token: str | None, timeout: float) -> None:
        self.url = checked_url(url)
        headers = {"User-Agent": f"homeostat/{__version__}", "Accept": "application/json"}
        if (secret := _checked_token(token)) is not None:
            headers["Authorization"] = f"Bearer {secret}"
        if not timeout > 0:
            raise InvalidInput(f"A timeout is a number of seconds above 0, not {timeout}.")
        self._timeout = timeout
        self._http = httpx.Client(
            headers=headers,
            timeout=timeout,
            limits=httpx.Limits(keepalive_expiry=IDLE_SECONDS),
            # A proxy of the environment leads elsewhere: from there, this machine can't be reached.
            mounts={f"all://{host}": None for host in LOOPBACK},
        )

    def close(self) -> None:
        """Give back the connections."""
        self._http.close()

    def ask(self, kind: type[T], path: str, **query: Any) -> T:
        """Read something."""
        return self.decoded(kind, self._send("GET", path, params=_given(query)).content)

    def ask_part(self, kind: type[T], part: str, path: str, **query: Any) -> T:
        """Read something that is a field of the reply."""
        return self.part(kind, part, self._send("GET", path, params=_given(query)).content)

    def order(
        self, kind: type[T], path: str, body: Mapping[str, Any] | list[Any] | None = None, *, long: bool = False
    ) -> T:
        """Have something done. Fields of the body that are `None` are left out."""
        content, headers = b"", {}
        if body is not None:
            given = _given(body) if isinstance(body, Mapping) else body
            content, headers = msgspec.json.encode(given), {"Content-Type": "application/json"}
        return self.decoded(kind, self._send("POST", path, long=long, content=content, headers=headers).content)

    def send(self, kind: type[T], path: str, content: bytes, content_type: str) -> T:
        """Have something done with a body that is no JSON."""
        return self.decoded(
            kind, self._send("POST", path, content=content, headers={"Content-Type": content_type}).content
        )

    def upload(self, kind: type[T], path: str, *, fields: Mapping[str, str], files: Mapping[str, Any]) -> T:
        """Send files as a form; they are read while they are sent."""
        return self.decoded(kind, self._send("POST", path, long=True, data=fields, files=files).content)

    def succeeds(self, path: str) -> bool:
        """Whether the server answers a question with success."""
        try:
            return self._reply("GET", path).is_success
        except ServerUnreachable:
            return False

    def decoded(self, kind: type[T], content: bytes) -> T:
        """A reply as a record; fields that this release does not know are passed over."""
        try:
            return decoder_of(kind).decode(content)
        except msgspec.MsgspecError as error:
            raise self._unusable(f"its reply is none that this release understands ({error})") from error

    def part(self, kind: type[T], part: str, content: bytes) -> T:
        """One field of a reply, whatever else is in it."""
        fields = self.decoded(dict[str, msgspec.Raw], content)
        if part not in fields:
            raise self._unusable(f"its reply has no field '{part}'")
        return self.decoded(kind, bytes(fields[part]))

    def _send(self, method: str, path: str, *, long: bool = False, **options: Any) -> httpx.Response:
        reply = self._reply(method, path, long=long, **options)
        if reply.is_success:
            return reply
        try:
            refusal = decoder_of(ErrorReply).decode(reply.content)
        except msgspec.MsgspecError as error:
            raise self._unusable(f"it answered with status {reply.status_code} and no word of Homeostat's") from error
        raise error_of(refusal)

    def _reply(self, method: str, path: str, *, long: bool = False, **options: Any) -> httpx.Response:
        if long:
            seconds = max(LONG_SECONDS, self._timeout)
            options["timeout"] = httpx.Timeout(self._timeout, read=seconds)
        try:
            try:
                return self._http.request(method, self.url + path, **options)
            except NOT_CONNECTED:
                if method != "GET":
                    raise
                time.sleep(RETRY_PAUSE)
                return self._http.request(method, self.url + path, **options)
        except httpx.ConnectTimeout as error:
            raise self._unusable(f"no connection came about within {self._timeout:g} s") from error
        except httpx.TimeoutException as error:
            raise self._unusable("it did not answer in time; what was asked for may still be done") from error
        except httpx.RequestError as error:
            raise self._unusable(str(error) or type(error).__name__) from error

    def _unusable(self, reason: str) -> ServerUnreachable:
        return ServerUnreachable(url=self.url, reason=reason.rstrip("."))


def error_of(refusal: ErrorReply) -> HomeostatError:
    """The error that a server names, as the class that has its code."""
    open_: list[type[HomeostatError]] = [HomeostatError]
    while open_:
        kind = open_.pop()
        if kind.code == refusal.code:
            return kind(refusal.error)
        open_ += kind.__subclasses__()
    return HomeostatError(refusal.error, code=refusal.code)


def checked_url(url: str) -> str:
    """The address of a server without a slash at its end. Raises `InvalidInput`; user and password are never shown.

    >>> checked_url("http://127.0.0.1:8080/")
    'http://127.0.0.1:8080'
    """
    text = url.strip()
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise InvalidInput(f"The address of the server can't be read: {_scrubbed(text)}.") from error
    if "@" in text:
        raise InvalidInput(
            "The address of the server holds a user or a password. Leave them out; the token goes into token=, or into "
            "HOMEOSTAT_TOKEN."
        )
    is_plain = text.isprintable() and " " not in text
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or not is_plain:
        raise InvalidInput(
            f"The address of a server begins with http:// or https:// and a host, such as http://127.0.0.1:8080; "
            f"'{_scrubbed(text)}' does not."
        )
    if parts.query or parts.fragment:
        raise InvalidInput(f"The address of a server has no '?' or '#': '{_scrubbed(text)}'.")
    try:
        httpx.URL(text)
    except (httpx.InvalidURL, ValueError) as error:
        raise InvalidInput(f"The address of the server can't be read: {error}.") from error
    return text.rstrip("/")


def _scrubbed(text: str) -> str:
    """What may be shown of an address: nothing before an @, and nothing from a '?' or '#' on."""
    return text.rpartition("@")[2].partition("?")[0].partition("#")[0][:200]


def _checked_token(token: str | None) -> str | None:
    secret = (token or "").strip()
    if not secret:
        return None
    if not secret.isascii() or not secret.isprintable() or " " in secret:
        raise InvalidInput("The token can't be sent: it may hold printable ASCII characters only, and no spaces.")
    return secret


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
