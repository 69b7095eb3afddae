"""The certificate that a server answers HTTPS with, read again when its files are renewed."""

from __future__ import annotations

import logging
import ssl
import threading
from pathlib import Path

from homeostat.errors import InvalidSettings

RENEW_SECONDS = 60.0
_LOG = logging.getLogger("homeostat.server")


class Certificate:
    """A chain of certificates and its private key, as PEM files; without `key` the first file holds both.

    TLS 1.2 and 1.3 are spoken, and HTTP/1.1 over them. Raises `InvalidSettings` where the files can't be used.
    """

    def __init__(self, chain: Path, key: Path | None = None) -> None:
        self._files = (chain, key or chain)
        self._times = self._changed()
        self._context = _context(*self._files)
        self._pem = self._read()

    @property
    def context(self) -> ssl.SSLContext:
        """What connections are wrapped with; it stays the same over renewals, and new connections get the new files."""
        return self._context

    @property
    def pem(self) -> tuple[bytes, bytes]:
        """The private key and the chain, as they are in the files."""
        return self._pem

    def renew(self) -> bool:
        """Take the files again where they changed since the last look; whether new ones are used now.

        Files that can't be used (because the second is not yet written, for one) leave the old ones in use.
        """
        try:
            times = self._changed()
            if times == self._times:
                return False
            # Tried apart: half of a new pair would spoil the context that is in use.
            _context(*self._files)
            pem = self._read()
            self._context.load_cert_chain(*self._files, password=_no_password)
        except (InvalidSettings, OSError, ValueError) as error:
            _LOG.warning("The certificate changed and can't be used; the old one stays: %s", error)
            return False
        self._times, self._pem = times, pem
        _LOG.info("certificate renewed")
        return True

    def follow(self, stop: threading.Event, seconds: float = RENEW_SECONDS) -> None:
        """Look again and again, until told to stop."""
        while not stop.wait(seconds):
            self.renew()

    def _changed(self) -> list[int]:
        try:
            return [file.stat().st_mtime_ns for file in self._files]
        except (OSError, ValueError) as error:
            raise InvalidSettings(_unusable(*self._files, error)) from None

    def _read(self) -> tuple[bytes, bytes]:
        chain, key = self._files
        return key.read_bytes(), chain.read_bytes()


def _context(chain: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(chain, key, password=_no_password)
    except (OSError, ValueError) as error:
        raise InvalidSettings(_unusable(chain, key, error)) from None
    return context


def _unusable(chain: Path, key: Path, error: Exception) -> str:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__
    files = f"{chain} and {key}" if key != chain else f"{chain}"
    return (
        f"The certificate in {files} can't be used: {reason}. serve.tls_certificate names a PEM file with the chain, "
        "the server's own first; serve.tls_key the one with its private key, without a password."
    )


def _no_password() -> str:
    """Without it the library would ask for one on the terminal, and wait."""
    return ""
