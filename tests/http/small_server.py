"""The real ASGI application over a folder of its own with small models, called without sockets, bytes as they are."""

from __future__ import annotations

import asyncio
import json
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import skops.io
import uvicorn
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.tree import DecisionTreeRegressor

from homeostat.ports import Registration
from homeostat.records import Severity, Stage, Version
from homeostat.settings import load
from homeostat.wiring.server import Role, Server, build_server

# A word of hostile requests, which must come back from nowhere.
WORD = "mischief"
SPAM, IRIS, PRICE, LOAN, DRAFTS = "spam", "iris", "price", "loan", "drafts"
SAFE_HEADERS = {
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
}


def tables(rows: int = 240) -> dict[str, pd.DataFrame]:
    """A labelled table for each model."""
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=rows), rng.normal(size=rows)
    kind = rng.choice(["red", "green", "blue"], rows)
    member = rng.random(rows) < 0.5
    amount = np.where(rng.random(rows) < 0.1, np.nan, rng.gamma(2, 50, rows))
    owes = np.nan_to_num(amount) + 80 * member + rng.normal(scale=20, size=rows) > 130
    return {
        SPAM: pd.DataFrame({"links": a, "length": b, "spam": np.where(a + b > 0, "yes", "no")}),
        IRIS: pd.DataFrame(
            {"petal": a, "sepal": b, "species": np.select([a > 0.5, b > 0], ["setosa", "iris"], "rose")}
        ),
        PRICE: pd.DataFrame({"size": a, "rooms": np.round(b * 3), "price": 100 * a + 7 * b}),
        LOAN: pd.DataFrame({"amount": amount, "colour": kind, "member": member, "default": owes}),
    }


def fitted(model: str, table: pd.DataFrame, *, depth: int = 4) -> Any:
    """A fitted pipeline: `spam` takes no missing values, `price` and `loan` do."""
    features, target = table.iloc[:, :-1], table.iloc[:, -1]
    if model == SPAM:
        return LogisticRegression(C=depth).fit(features, target)
    if model == IRIS:
        return LogisticRegression(C=depth, max_iter=300).fit(features, target)
    if model == PRICE:
        return DecisionTreeRegressor(max_depth=depth, random_state=0).fit(features, target)
    names = ColumnTransformer([("names", OneHotEncoder(handle_unknown="ignore"), ["colour"])], remainder="passthrough")
    return make_pipeline(names, RandomForestClassifier(5, max_depth=depth, random_state=0)).fit(features, target)


@dataclass
class Answer:
    """A reply as the application sent it."""

    status: int
    headers: list[tuple[str, str]]
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)

    @property
    def code(self) -> str:
        """The code of an error; the body must be exactly what every error says."""
        assert self.header("content-type") == "application/json"
        assert set(self.json) == {"error", "code"}, self.content
        assert all(isinstance(value, str) and value for value in self.json.values())
        return str(self.json["code"])

    def header(self, name: str) -> str | None:
        """A header that comes at most once."""
        found = [value for given, value in self.headers if given == name]
        assert len(found) <= 1, f"{name} comes {len(found)} times"
        return found[0] if found else None


@dataclass
class SmallServer:
    """A server whose application is called in this process."""

    home: Path
    server: Server
    tables: dict[str, pd.DataFrame]
    headers: dict[str, str] = field(default_factory=lambda: {"host": "localhost:8080"})

    @property
    def control(self) -> Any:
        return self.server.system.control

    def call(
        self,
        method: str,
        target: str,
        body: Any = b"",
        *,
        headers: dict[str, str] | Sequence[tuple[str, str]] = (),
        parts: Sequence[bytes] | None = None,
    ) -> Answer:
        """One request. `body` goes as it is where it is bytes and as JSON else; `parts` are sent as chunks instead."""
        given = dict(self.headers) | dict(headers)
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        if parts is None:
            parts = [content]
            given.setdefault("content-length", str(len(content)))
        else:
            given.setdefault("transfer-encoding", "chunked")
        path, _, query = target.partition("?")
        from urllib.parse import unquote

        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode("utf-8", "surrogatepass"),
            "root_path": "",
            "query_string": query.encode("latin-1"),
            "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in given.items()],
            "client": ("127.0.0.1", 50000),
            "server": ("127.0.0.1", 8080),
            "state": {},
        }
        left = list(parts)
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            if left:
                part = left.pop(0)
                return {"type": "http.request", "body": part, "more_body": bool(left)}
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        asyncio.run(self.server.application(scope, receive, send))
        assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"], sent
        start, end = sent
        decoded = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in start["headers"]]
        answer = Answer(start["status"], decoded, end["body"])
        if method != "HEAD":
            assert answer.header("content-length") == str(len(answer.content))
        for name, value in SAFE_HEADERS.items():
            assert answer.header(name) == value, (target, name)
        return answer

    def get(self, target: str, **more: Any) -> Answer:
        return self.call("GET", target, **more)

    def post(self, target: str, body: Any = b"", **more: Any) -> Answer:
        return self.call("POST", target, body, **more)

    def upload(self, target: str, parts: Sequence[tuple[str, str | None, bytes]], **more: Any) -> Answer:
        """A form; each part is a field's name, its file's name where it is a file, and the content."""
        return self.post(
            target,
            form_of(parts),
            headers={"content-type": "multipart/form-data; boundary=limit", **more},
        )

    def kept(self) -> dict[str, int]:
        """How many rows each table of the state has; what is refused changes none of them."""
        found = {}
        for name in ("control.db", "log.db"):
            with closing(sqlite3.connect(self.home / name)) as connection:
                names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
                for (table,) in names:
                    if not table.startswith("sqlite_") and table not in ("gateway", "lease", "progress"):
                        (count,) = connection.execute(f'SELECT COUNT(*) FROM "{table}"').fetchone()  # noqa: S608
                        found[f"{name}:{table}"] = count
        return found

    def logged(self, model: str) -> dict[str, dict[str, Any]]:
        """The served rows of the log by their id."""
        found = {}
        for _, block in self.server.system.log.features_after(model, 0):
            for place, id_ in enumerate(block.ids):
                assert id_ not in found, "logged twice"
                found[id_] = {
                    "version": int(block.version[place]),
                    "arm": block.arm[place],
                    "entity": block.entity[place],
                    "output": block.output[place],
                    "score": float(block.score[place]),
                    "event_time": block.event_time[place],
                    "error": block.error[place],
                    "features": {name: values[place] for name, values in block.features.items()},
                }
        return found

    def labels(self, model: str) -> dict[str, str]:
        """The newest label of each prediction."""
        blocks = self.server.system.log.labels_after(model, 0)
        return {id_: value for _, block in blocks for id_, value in zip(block.ids, block.values, strict=True)}


class _Quiet(uvicorn.Server):
    """Leaves signals to the tests."""

    def install_signal_handlers(self) -> None: ...


@contextmanager
def listening(application: Any, protocol: type[Any]) -> Iterator[int]:
    """The port of a real server in a thread, which speaks a protocol over sockets."""
    config = uvicorn.Config(
        application,
        loop="uvloop",
        http=protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
    )
    server = _Quiet(config)
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield int(listener.getsockname()[1])
        server.should_exit = True
        thread.join(30)


def form_of(parts: Sequence[tuple[str, str | None, bytes]], boundary: str = "limit") -> bytes:
    """The body of multipart/form-data."""
    lines = []
    for name, file, content in parts:
        shown = f'; filename="{file}"' if file is not None else ""
        lines.append(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{shown}\r\n\r\n'.encode() + content + b"\r\n"
        )
    return b"".join(lines) + f"--{boundary}--\r\n".encode()


def csv_of(table: pd.DataFrame) -> bytes:
    return table.to_csv(index=False).encode()


def open_server(home: Path, *, register: bool = True, role: Role = Role.ALL, **settings: Any) -> SmallServer:
    """A server over a folder; with `register` its models are there, each with one version in production.

    `spam` has a second version, a draft, and an open alert; `drafts` has no production version.
    """
    overrides = {"home": str(home / "state"), **{name.replace("__", "."): value for name, value in settings.items()}}
    server = build_server(load(environment={}, overrides=overrides), role=role, name="tests")
    made = SmallServer(home / "state", server, tables())
    if register:
        for model, table in made.tables.items():
            put_version(made, home, model, table, Stage.PRODUCTION)
        put_version(made, home, SPAM, made.tables[SPAM], Stage.DRAFT, depth=1)
        put_version(made, home, DRAFTS, made.tables[SPAM], Stage.DRAFT, fit_as=SPAM)
        raise_alert(made)
    server.follower.follow() if server.follower is not None else None
    return made


def put_version(
    server: SmallServer,
    folder: Path,
    model: str,
    table: pd.DataFrame,
    stage: Stage,
    *,
    depth: int = 4,
    fit_as: str | None = None,
) -> Version:
    """Register a version, and move it to its stage."""
    training, pipeline = folder / f"{model}.parquet", folder / f"{model}.skops"
    table.to_parquet(training)
    pipeline.write_bytes(skops.io.dumps(fitted(fit_as or model, table, depth=depth)))
    version = server.control.register(
        model,
        Registration(training=training, target=table.columns[-1], pipeline=pipeline),
        actor="tests",
        reason="a first version",
    )
    if stage is Stage.PRODUCTION:
        server.control.move(model, version.number, Stage.STAGING, actor="tests", reason="it is ready")
    if stage is not Stage.DRAFT:
        version = server.control.move(model, version.number, stage, actor="tests", reason="it is good").version
    return version


def raise_alert(server: SmallServer) -> None:
    """An open alert of `spam`, as monitoring raises it."""
    from homeostat.records import Finding, Verdict

    system = server.server.system
    now = system.clock.now()
    finding = Finding(
        id="finding-of-the-tests",
        model=SPAM,
        check="drift",
        at=now,
        verdict=Verdict.HARMED,
        severity=Severity.CRITICAL,
        message="links moved",
        version=1,
    )
    with system.store.begin() as transaction:
        transaction.insert(finding)
    system.alerts.take([finding], system.policy(SPAM).alerts)


def closed(server: SmallServer) -> Iterator[SmallServer]:
    """Hand a server to tests, and close it after them."""
    try:
        yield server
    finally:
        server.server.close()
