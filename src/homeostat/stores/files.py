"""Content-addressed files in a folder: written once, whole or not at all, never changed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
from pathlib import Path

from homeostat.errors import InvalidInput, NotFound, StorageFailed

_SHA256 = re.compile(r"[0-9a-f]{64}")


class FolderFileStore:
    """Files named by the SHA-256 of their content, as `ab/abcdef…`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        path = self._path(digest)
        if _holds(path, content):
            return digest
        partial = path.with_name(f".{digest}.{secrets.token_hex(8)}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
            sync_folder(path.parent)
        except OSError as error:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            raise StorageFailed(
                f"A file of {len(content):,} bytes can't be written to {self._folder}: {error.strerror}. "
                "Free space, or set HOMEOSTAT_HOME to a folder that can be written."
            ) from error
        return digest

    def read(self, sha256: str) -> bytes:
        path = self._path(sha256)
        try:
            return path.read_bytes()
        except FileNotFoundError:
            raise NotFound(f"No stored file has the SHA-256 {sha256}.", sha256=sha256) from None
        except OSError as error:
            raise StorageFailed(
                f"The file {sha256} can't be read from {self._folder}: {error.strerror}. "
                "Mend the folder or its rights, then try again."
            ) from error

    def _path(self, digest: str) -> Path:
        # The digest comes from a manifest: anything but 64 hexadecimal digits could name another path.
        if not _SHA256.fullmatch(digest):
            raise InvalidInput("A content address is 64 hexadecimal digits.")
        return self._folder / digest[:2] / digest


def _holds(path: Path, content: bytes) -> bool:
    # A damaged file is written again: registering anew is how a user mends it.
    try:
        return path.read_bytes() == content
    except OSError:
        return False


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power loss, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
