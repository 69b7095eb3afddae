"""Spill files: where rows go while the log can't take them, until they are replayed into it.

Each process appends to a file of its own and holds a lock on it, which the system frees when the process dies; whoever
gets the lock may replay the file. A file is an opening and frames: length, CRC-32 of length and content, content. What
follows the last whole frame was cut off by a death in the middle of a write, and was never answered.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import struct
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path

OPENING = b"HSPILL1\n"
SUFFIX = ".spill"
_FRAME = struct.Struct("<II")
LARGEST = 2**31


class SpillFile:
    """A spill file that this process holds: its own, or that of a dead one."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self.end = os.fstat(descriptor).st_size

    def write(self, content: bytes, *, sync: bool) -> None:
        """Append one frame. Raises `OSError`; then nothing of it is kept."""
        head = struct.pack("<I", len(content))
        frame = b"".join((head, struct.pack("<I", zlib.crc32(content, zlib.crc32(head))), content))
        if self.end == 0:
            frame = OPENING + frame
        try:
            done = 0
            while done < len(frame):
                done += os.pwrite(self._descriptor, memoryview(frame)[done:], self.end + done)
            if sync:
                os.fsync(self._descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, self.end)
            raise
        self.end += len(frame)

    def frames(self) -> Iterator[tuple[bytes, int]]:
        """The content of each whole frame, and where it ends; how far they go is what can be trusted of the file."""
        place = 0
        if os.pread(self._descriptor, len(OPENING), 0) == OPENING:
            place = len(OPENING)
        while place and place < self.end:
            head = os.pread(self._descriptor, _FRAME.size, place)
            if len(head) < _FRAME.size:
                return
            length, checksum = _FRAME.unpack(head)
            if not 0 < length < LARGEST or place + _FRAME.size + length > self.end:
                return
            content = os.pread(self._descriptor, length, place + _FRAME.size)
            if len(content) < length or zlib.crc32(content, zlib.crc32(head[:4])) != checksum:
                return
            place += _FRAME.size + length
            yield content, place

    def empty(self) -> None:
        """Forget all frames: they are in the log."""
        os.ftruncate(self._descriptor, 0)
        self.end = 0

    @property
    def is_gone(self) -> bool:
        """Whether somebody deleted it, so that what is written would be lost with the process."""
        return os.fstat(self._descriptor).st_nlink == 0

    def close(self, *, delete: bool) -> None:
        """Let go of it, and delete it where its frames are no longer needed."""
        if delete:
            self.path.unlink(missing_ok=True)
        os.close(self._descriptor)


class SpillFolder:
    """The spill files of a log. Threads may use it at once."""

    def __init__(self, folder: Path, *, durability: str) -> None:
        self._folder = folder
        self._sync = durability == "power"
        self._lock = threading.Lock()
        self._own: SpillFile | None = None

    def write(self, content: bytes) -> None:
        """Append to the file of this process. Raises `OSError`; then nothing of it is kept."""
        with self._lock:
            if self._own is not None and self._own.is_gone:
                self._own.close(delete=False)
                self._own = None
            if self._own is None:
                self._own = self._begin()
            self._own.write(content, sync=self._sync)

    def _begin(self) -> SpillFile:
        self._folder.mkdir(parents=True, exist_ok=True)
        while True:
            path = self._folder / f"{os.getpid()}-{secrets.token_hex(8)}{SUFFIX}"
            file = _claim(path, os.O_CREAT | os.O_EXCL)
            if file is not None:
                return file

    @property
    def size(self) -> int:
        """How many bytes of this process wait to be replayed."""
        return 0 if self._own is None else self._own.end

    def has_any(self) -> bool:
        """Whether there is a spill file, of whatever process."""
        return any(True for _ in self._paths())

    def _paths(self) -> Iterator[Path]:
        if self._folder.is_dir():
            yield from sorted(self._folder.glob(f"*{SUFFIX}"))

    @contextlib.contextmanager
    def abandoned(self) -> Iterator[list[SpillFile]]:
        """The files of processes that have died, held by this one meanwhile."""
        with self._lock:
            mine = None if self._own is None else self._own.path
        files = [file for path in self._paths() if path != mine and (file := _claim(path)) is not None]
        try:
            yield files
        finally:
            for file in files:
                file.close(delete=False)

    def own(self) -> SpillFile | None:
        """The file of this process, where it has one with frames in it."""
        with self._lock:
            return self._own if self._own is not None and self._own.end else None

    def forget(self, end: int) -> bool:
        """Empty the own file if nothing came after `end`; returns whether so."""
        with self._lock:
            if self._own is None or self._own.end != end:
                return False
            self._own.empty()
            return True

    def close(self) -> None:
        """Let go of the own file, and delete it where it is empty."""
        with self._lock:
            if self._own is not None:
                self._own.close(delete=self._own.end == 0)
                self._own = None


def _claim(path: Path, flags: int = 0) -> SpillFile | None:
    """The file, if no living process holds it."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | flags, 0o600)
    except FileNotFoundError:
        return None
    try:
        if _lock(descriptor) and os.fstat(descriptor).st_nlink:
            return SpillFile(path, descriptor)
    except OSError:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _lock(descriptor: int) -> bool:
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
