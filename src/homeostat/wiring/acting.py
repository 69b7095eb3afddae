"""The controllers of a server: the loop that lets them act, and the process of their own in which it runs.

Monitoring, joining labels and training take seconds of the interpreter, and requests would wait for each of them. So a
server leaves them to a child of its first process, which the system schedules behind whatever answers.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING

import msgspec

from homeostat.controllers.looks import Looks
from homeostat.errors import StorageFailed
from homeostat.settings import Settings
from homeostat.wiring.log_findings import tell_of_log
from homeostat.wiring.logs import log_as_json
from homeostat.wiring.system import System, open_system

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

# Where processors are short, the controllers have a tenth of what requests have.
NICENESS = 10
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
PATIENCE_SECONDS = 5.0
_LOG = logging.getLogger("homeostat.server")


def act(system: System, stop: threading.Event, work: threading.Event) -> None:
    """Let the controllers act until told to stop: every `serve.tick_seconds`, and when somebody asks for a look."""
    # Half of a start, and nothing that answers needs it.
    import_module("scipy.stats")
    looks = Looks(system.store)
    is_first = True
    while not stop.is_set():
        try:
            asked = looks.waiting()
            system.tick()
            if asked:
                looks.done(asked)
            if is_first:
                _LOG.info("watching")
                is_first = False
        except Exception:
            # A store that is away, or whatever else: the next pass may find it well again.
            _LOG.exception("A pass of the controllers broke.")
        _rest(system, looks, work)
        work.clear()


def _rest(system: System, looks: Looks, work: threading.Event) -> None:
    """Wait until the next pass is due, this process has work for it, or any process asks for it."""
    serve = system.settings.serve
    due = time.monotonic() + serve.tick_seconds
    seen: int | None = None
    while (left := due - time.monotonic()) > 0 and not work.wait(min(left, serve.follow_seconds)):
        with contextlib.suppress(StorageFailed):
            revision = system.store.revision()
            if revision != seen:
                seen = revision
                if looks.waiting():
                    return


class ControllersProcess:
    """The controllers in a child process, which is started again whenever it dies.

    It dies with its parent. `count_log` is told what became of rows of the log there, as it is in this process;
    `count_restart` that it died.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        count_log: Callable[[str, int], None],
        count_restart: Callable[[], None],
        is_stopping: Callable[[], bool],
    ) -> None:
        self._settings = settings
        self._count_log = count_log
        self._count_restart = count_restart
        self._is_stopping = is_stopping
        self._stop = threading.Event()
        self._process: SpawnProcess | None = None
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="homeostat-controllers", daemon=True)

    def start(self) -> None:
        """Start it, and watch over it."""
        self._thread.start()

    def _run(self) -> None:
        pause = FIRST_PAUSE
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                status = self._live()
            except OSError as error:
                # No memory or no process to be had now.
                status = error.errno
            if time.monotonic() - began > LONGEST_PAUSE:
                pause = FIRST_PAUSE
            if self._stop.wait(pause) or self._is_stopping():
                return
            _LOG.warning("the controllers' process died", extra={"said": {"status": status}})
            self._count_restart()
            pause = min(2 * pause, LONGEST_PAUSE)

    def _live(self) -> int | None:
        """The whole life of one child; returns its exit status."""
        context = multiprocessing.get_context("spawn")
        reader, writer = context.Pipe(duplex=False)
        with reader:
            with writer, self._lock:
                if self._stop.is_set():
                    return None
                process = context.Process(
                    target=run_controllers, args=(self._settings, writer), name="homeostat-controllers"
                )
                with _without_interrupts():
                    process.start()
                self._process = process
            _yield_to_requests(process.pid)
            open_ends: list[Connection | int] = [process.sentinel, reader]
            while process.sentinel in open_ends:
                for end in wait(open_ends):
                    if end is reader:
                        if not self._take(reader):
                            open_ends.remove(reader)
                    else:
                        open_ends.remove(process.sentinel)
            # What it said last.
            while reader in open_ends and reader.poll() and self._take(reader):
                pass
            # Until it is waited for, its leases look like those of a living process.
            process.join()
            return process.exitcode

    def _take(self, reader: Connection) -> bool:
        """Count what the child says; `False` once it says nothing any more."""
        try:
            kind, rows = msgspec.json.decode(reader.recv_bytes(), type=tuple[str, int])
        except (OSError, EOFError):
            return False
        self._count_log(kind, rows)
        return True

    def stop(self) -> None:
        """Let the controllers give back their leases, and end the process."""
        with self._lock:
            self._stop.set()
            process = self._process
        if process is not None:
            process.terminate()
        if self._thread.ident is None:
            # It never came to serving.
            return
        self._thread.join(self._settings.serve.grace_seconds + PATIENCE_SECONDS)
        if self._thread.is_alive() and process is not None:
            process.kill()
            self._thread.join()


@contextlib.contextmanager
def _without_interrupts() -> Iterator[None]:
    """Ctrl-C goes to all processes of a terminal: a child that begins with it blocked can't die of it half made."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _yield_to_requests(pid: int | None) -> None:
    """Let a process have the processor behind this one."""
    if pid is None or not hasattr(os, "setpriority"):
        return
    # It may be gone already.
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, min(19, os.getpriority(os.PRIO_PROCESS, 0) + NICENESS))


def run_controllers(settings: Settings, told: Connection) -> None:
    """The whole life of the controllers' process: it ends by a signal, or at once when its parent is gone."""
    # Whoever presses Ctrl-C tells the parent, which says when to end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    stop, work = threading.Event(), threading.Event()

    def end(*_: object) -> None:
        stop.set()
        work.set()

    signal.signal(signal.SIGTERM, end)
    _die_with_parent()
    log_as_json(settings.serve.log_level)
    faulthandler.enable()
    system = open_system(settings, on_run=work.set, is_server=True, serves=False)
    tell = threading.Lock()

    def count(kind: str, rows: int) -> None:
        with tell, contextlib.suppress(OSError):
            told.send_bytes(msgspec.json.encode((kind, rows)))

    watch = getattr(system.log, "watch", None)
    if watch is not None:
        watch(count, lambda trouble: tell_of_log(system, trouble))
    thread = threading.Thread(target=act, args=(system, stop, work), name="homeostat-acting", daemon=True)
    thread.start()
    stop.wait()
    thread.join(settings.serve.grace_seconds)
    if thread.is_alive():
        _LOG.warning("The controllers were still at work; what they did goes on with the next start.")
        # Not by way of closing anything: the thread is in the middle of it.
        os._exit(0)
    system.close()


def _die_with_parent() -> None:
    """End this process when its parent has ended, in the middle of whatever it does: that is harmless at any moment."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(0)

    threading.Thread(target=watch, name="homeostat-parent", daemon=True).start()
