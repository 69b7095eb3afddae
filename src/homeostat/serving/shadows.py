"""Shadows score behind the answer: in a thread of their own, as far behind as a bound allows."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

from homeostat.errors import HomeostatError

MOST_ROWS = 20_000
_LOG = logging.getLogger("homeostat.serving")


class ShadowQueue:
    """Work that nobody waits for, done in order; what comes while too many rows wait is left out and counted."""

    def __init__(self, on_left_out: Callable[[int], None], *, most_rows: int = MOST_ROWS) -> None:
        self._on_left_out = on_left_out
        self._most_rows = most_rows
        self._waiting: deque[tuple[int, Callable[[], object]]] = deque()
        self._rows = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def put(self, rows: int, work: Callable[[], object]) -> None:
        """Let work for so many rows wait. Never blocks, never raises."""
        with self._changed:
            if self._closed or (self._waiting and self._rows + rows > self._most_rows):
                self._on_left_out(rows)
                return
            self._waiting.append((rows, work))
            self._rows += rows
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="homeostat-shadows", daemon=True)
                self._thread.start()
            self._changed.notify()

    def close(self) -> None:
        """Do what waits, and stop."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if not self._waiting:
                    return
                rows, work = self._waiting.popleft()
            try:
                work()
            except HomeostatError as error:
                self._on_left_out(rows)
                _LOG.warning("Shadows of %d rows could not be logged: %s", rows, error)
            except Exception:
                self._on_left_out(rows)
                _LOG.exception("Shadows of %d rows broke.", rows)
            with self._changed:
                self._rows -= rows
