"""Running a server: sockets, signals, and the worker processes beside the first one."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import logging
import multiprocessing
import os
import secrets
import shutil
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from homeostat.errors import InvalidSettings, StorageFailed
from homeostat.keys.rules import PREFIX as KEY_PREFIX
from homeostat.settings import ServeSettings, Settings
from homeostat.wiring.acting import ControllersProcess
from homeostat.wiring.logs import log_as_json
from homeostat.wiring.server import Role, Server, build_server

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

    import uvicorn

BACKLOG = 2048
KEEP_ALIVE_SECONDS = 75
RESTART_SECONDS = 1.0
TOKEN_BYTES = 32
_LOG = logging.getLogger("homeostat.server")


@dataclass(frozen=True, slots=True)
class Listening:
    """Where a server listens, once it does."""

    url: str
    pid: int
    token_file: Path | None


def run_server(
    settings: Settings,
    *,
    role: Role = Role.ALL,
    simulated: bool = False,
    on_listening: Callable[[Listening], None],
) -> None:
    """Serve until a signal says stop. Raises `InvalidSettings` where the address can't be had or parts don't fit."""
    if simulated and (settings.serve.workers > 1 or role is not Role.ALL):
        raise InvalidSettings("A simulated server is one process: it takes neither workers nor half of the work.")
    if role is Role.CONTROLLER and settings.serve.workers > 1:
        raise InvalidSettings("Workers are gateway processes; with --controller-only there are none.")
    settings, token_file = with_token(settings)
    listener = bind(settings.serve.host, settings.serve.port)
    url = _url(listener, settings.serve)
    log_as_json(settings.serve.log_level)
    # Another server on the same state counts for itself.
    shared = settings.home / "metrics" / str(listener.getsockname()[1])
    if settings.serve.workers > 1:
        # Before the metrics library is imported anywhere: it decides then whether processes share their counts.
        shutil.rmtree(shared, ignore_errors=True)
        shared.mkdir(parents=True, exist_ok=True)
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(shared)
    # A simulation replays exactly, so that there everything happens in its place: in one process.
    apart = role is Role.ALL and not simulated
    own = Role.WORKER if apart else role
    server = build_server(settings, role=own, simulated=simulated, name=_name(listener, 0), address=url)
    workers = Workers(settings, listener, role)
    workers.start(settings.serve.workers - 1)
    controllers = ControllersProcess(
        settings,
        count_log=server.metrics.count_log,
        count_restart=server.metrics.count_controllers_restart,
        is_stopping=server.stopping.is_set,
    )

    def listening() -> None:
        on_listening(Listening(url, os.getpid(), token_file))
        _LOG.info("listening", extra={"said": {"url": url, "workers": settings.serve.workers, "role": role.value}})
        warn_of_plain_text(settings)
        if apart:
            # Not before: its start would take the processor that this one needs to load its models.
            controllers.start()

    try:
        _run(server, listener, on_started=listening)
    finally:
        controllers.stop()
        workers.stop()
        listener.close()


def with_token(settings: Settings) -> tuple[Settings, Path | None]:
    """The settings with a token wherever others than this machine can reach the server; it is kept in a file."""
    if settings.token.startswith(KEY_PREFIX):
        raise InvalidSettings(
            "The token is an API key, which would open everything here, whatever its roles are. Give this server "
            "another token, or none: HOMEOSTAT_TOKEN is meant for a client's key where commands are sent to a server."
        )
    if settings.token or (_is_loopback(settings.serve.host) and not settings.serve.auth):
        return settings, None
    path = settings.home / "token"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(secrets.token_urlsafe(TOKEN_BYTES) + "\n")
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeError) as error:
        raise StorageFailed(f"The token can't be kept in {path}: {error}. Set HOMEOSTAT_TOKEN instead.") from error
    if not token:
        raise InvalidSettings(f"{path} is empty. Delete it to have a new token made, or set HOMEOSTAT_TOKEN.")
    return replace(settings, token=token), path


def warn_of_plain_text(settings: Settings) -> None:
    """Say in the log where tokens and rows cross a network that anybody on it can read."""
    serve = settings.serve
    if not (_is_loopback(serve.host) or serve.tls_certificate or serve.trusted_proxies):
        _LOG.warning(
            "Other machines reach this server without encryption, and tokens and rows can be read on the way. Set "
            "serve.tls_certificate, or put a proxy with TLS in front and name it in serve.trusted_proxies."
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises `InvalidSettings` where it can't be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidSettings(
            f"{host}:{port} can't be listened on: {reason}. Choose another with --port, or 0 for a free one."
        ) from error
    return listener


def _url(listener: socket.socket, serve: ServeSettings) -> str:
    host = serve.host
    port = listener.getsockname()[1]
    shown = "127.0.0.1" if host in ("0.0.0.0", "") else host  # noqa: S104 (it is shown, not bound)
    shown = "[::1]" if host == "::" else f"[{shown}]" if ":" in shown else shown
    return f"{'https' if serve.tls_certificate else 'http'}://{shown}:{port}"


def _name(listener: socket.socket, index: int) -> str:
    """A gateway's name stays the same over restarts, so that its reports are replaced and do not pile up."""
    name = f"{socket.gethostname()}:{listener.getsockname()[1]}"
    return f"{name}/{index}" if index else name


def _run(server: Server, listener: socket.socket, *, on_started: Callable[[], None] | None = None) -> None:
    import uvicorn

    from homeostat.http.protocol import bounded

    certificate = server.certificate
    config = uvicorn.Config(
        server.application,
        loop="uvloop",
        http=bounded(server.settings.serve.body_seconds, server.direct),
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        # Whose X-Forwarded-For is believed is a setting, which `Limits` reads; nothing else asks for the address.
        proxy_headers=False,
        ssl_context_factory=None if certificate is None else lambda _config, _default: certificate.context,
        # Longer than proxies keep a connection, so that none meets one that is being closed.
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=max(1, int(server.settings.serve.grace_seconds)),
    )
    logging.getLogger("uvicorn").setLevel(logging.WARNING)

    class Quiet(uvicorn.Server):
        """Takes signals as orders to stop, without dying of them afterwards."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            loop = asyncio.get_running_loop()
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, self.handle_exit, number, None)
            yield

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets=sockets)
            if on_started is not None and self.started:
                on_started()

    # A native library that breaks the process leaves at least where it was.
    faulthandler.enable()
    server.start()
    running = Quiet(config)
    _watch_stop(server, running)
    running.run(sockets=[listener])


def _watch_stop(server: Server, running: uvicorn.Server) -> None:
    """Let the readiness probe fail from the moment on at which the server was told to stop."""

    def watch() -> None:
        while not running.should_exit:
            if server.stop.wait(0.1):
                running.should_exit = True
        server.stopping.set()

    threading.Thread(target=watch, name="homeostat-stop", daemon=True).start()


class Workers:
    """Gateway processes beside the first one, on the same socket. One that dies is started again."""

    def __init__(self, settings: Settings, listener: socket.socket, role: Role) -> None:
        self._settings = settings
        self._listener = listener
        self._role = Role.WORKER if role is Role.ALL else role
        self._processes: dict[int, SpawnProcess] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, count: int) -> None:
        """Start so many, and watch over them."""
        for index in range(1, count + 1):
            self._spawn(index)
        if count > 0:
            self._thread = threading.Thread(target=self._watch, name="homeostat-workers", daemon=True)
            self._thread.start()

    def _spawn(self, index: int) -> None:
        context = multiprocessing.get_context("spawn")
        process = context.Process(
            target=run_worker,
            args=(self._settings, self._listener, self._role, index),
            name=f"homeostat-worker-{index}",
        )
        process.start()
        self._processes[index] = process

    def _watch(self) -> None:
        from homeostat.http.metrics import mark_process_dead

        while not self._stop.wait(RESTART_SECONDS):
            for index, process in list(self._processes.items()):
                if not process.is_alive():
                    _LOG.warning("worker died", extra={"said": {"worker": index, "status": process.exitcode}})
                    if process.pid is not None:
                        mark_process_dead(process.pid)
                    self._spawn(index)

    def stop(self) -> None:
        """Let each finish what it has begun, then end it."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            process.join(self._settings.serve.grace_seconds + 5)
            if process.is_alive():
                process.kill()


def run_worker(settings: Settings, listener: socket.socket, role: Role, index: int) -> None:
    """The whole life of a worker process: it ends by a signal, or when the first process is gone."""
    log_as_json(settings.serve.log_level)
    url = _url(listener, settings.serve)
    server = build_server(settings, role=role, name=_name(listener, index), address=url)
    _end_with_parent(server)
    _run(server, listener)


def _end_with_parent(server: Server) -> None:
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        server.stop.set()

    threading.Thread(target=watch, name="homeostat-parent", daemon=True).start()
