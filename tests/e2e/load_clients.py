"""Clients that predict and label as fast as they are let, in a process of their own, and note every answer.

Run as a program: `load_clients.py PLAN ANSWERS`, both files of JSON. It works until its standard input is closed, then
lets every client finish what it has begun, and writes all that was answered. For each answered prediction it writes a
dot to standard output at once.

It speaks HTTP itself: dozens of clients of a library would need more of the processor than the server that they ask.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec


class Plan(msgspec.Struct, kw_only=True):
    """What to do: rows to send, and the label of each.

    With `patient` a request that is cut off is sent again, with the same id, until it is answered.
    """

    url: str
    model: str
    name: str
    features: list[list[float]]
    labels: list[str]
    predicting: int = 4
    labelling: int = 1
    entities: int = 500
    patient: bool = False
    pause: float = 0.0
    seed: int = 0


class Answer(msgspec.Struct, array_like=True):
    """One prediction: what was asked, what came back, and when (on the clock that all processes share)."""

    id: str
    entity: str
    row: int
    status: int
    prediction: str
    probability: float
    version: int
    arm: str
    route: int
    sent: float
    received: float
    attempts: int


class Labelled(msgspec.Struct, array_like=True):
    """Labels that were sent in one request, and the status that it ended with."""

    ids: list[str]
    labels: list[str]
    status: int
    received: float
    attempts: int


class Answers(msgspec.Struct, kw_only=True):
    """All that came of a plan; `failures` are requests that got no answer, or another than status 200."""

    predictions: list[Answer]
    labels: list[Labelled]
    failures: list[str]
    seconds: float


class Reply(msgspec.Struct):
    """The fields of a prediction's reply that are kept."""

    prediction: str
    probability: float
    prediction_id: str
    version: int
    arm: str
    route: int


class CutOff(Exception):
    """The connection ended before the answer was complete: nobody knows whether it was done."""


class Connection:
    """One connection that stays open, with one request at a time."""

    def __init__(self, url: str) -> None:
        found = urlsplit(url)
        self._host, self._port = str(found.hostname), int(found.port or 80)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, body: Any) -> tuple[int, bytes]:
        """The status and the body of the answer. Raises `CutOff`."""
        content = msgspec.json.encode(body)
        head = f"POST {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\nContent-Length: {len(content)}\r\n\r\n"
        try:
            if self._streams is None:
                self._streams = await asyncio.open_connection(self._host, self._port)
            reader, writer = self._streams
            writer.write(head.encode() + content)
            said = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            size = int(said.partition("content-length:")[2].partition("\r\n")[0])
            answer = await reader.readexactly(size)
            if "connection: close" in said:
                self.close()
            return int(said.split(" ", 2)[1]), answer
        except (OSError, EOFError) as error:
            self.close()
            raise CutOff(f"{type(error).__name__}: {error}") from error

    def close(self) -> None:
        if self._streams is not None:
            with suppress(OSError):
                self._streams[1].close()
        self._streams = None


class Load:
    """All clients of a plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._stop = asyncio.Event()
        self._to_label: deque[Answer] = deque()
        self._answers = Answers(predictions=[], labels=[], failures=[], seconds=0.0)
        self._reply = msgspec.json.Decoder(Reply)

    async def run(self) -> Answers:
        started = time.monotonic()
        clients = [asyncio.create_task(self._predict(number)) for number in range(self._plan.predicting)]
        clients += [asyncio.create_task(self._label()) for _ in range(self._plan.labelling)]
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        self._stop.set()
        self._answers.seconds = time.monotonic() - started
        await asyncio.gather(*clients)
        return self._answers

    async def _predict(self, number: int) -> None:
        chance, connection = random.Random(f"{self._plan.seed} {number}"), Connection(self._plan.url)  # noqa: S311
        path, done = f"/models/{self._plan.model}/predict", 0
        while not self._stop.is_set():
            id_, entity = f"{self._plan.name}-{number}-{done}", f"entity-{chance.randrange(self._plan.entities)}"
            row = chance.randrange(len(self._plan.features))
            body = {"features": self._plan.features[row], "prediction_id": id_, "entity": entity}
            sent = time.monotonic()
            status, content, attempts = await self._insist(connection, path, body)
            received = time.monotonic()
            if status == 200:
                got = self._reply.decode(content)
                answer = Answer(
                    got.prediction_id, entity, row, status, got.prediction, got.probability, got.version, got.arm,
                    got.route, sent, received, attempts,
                )  # fmt: skip
                self._answers.predictions.append(answer)
                self._to_label.append(answer)
                os.write(1, b".")
            done += 1
            await asyncio.sleep(self._plan.pause * chance.uniform(0.5, 1.5) if self._plan.pause else 0)
        connection.close()

    async def _label(self) -> None:
        connection = Connection(self._plan.url)
        while not self._stop.is_set() or self._to_label:
            ripe = [self._to_label.popleft() for _ in range(min(len(self._to_label), 20))]
            if not ripe:
                await asyncio.sleep(0.01)
                continue
            ids, labels = [one.id for one in ripe], [self._plan.labels[one.row] for one in ripe]
            items = [{"prediction_id": id_, "label": label} for id_, label in zip(ids, labels, strict=True)]
            body = {"model": self._plan.model, "labels": items}
            status, _, attempts = await self._insist(connection, "/api/v1/labels", body)
            self._answers.labels.append(Labelled(ids, labels, status, time.monotonic(), attempts))
            await asyncio.sleep(self._plan.pause)
        connection.close()

    async def _insist(self, connection: Connection, path: str, body: Any) -> tuple[int, bytes, int]:
        """Status, answer, and how many times it was sent; status 0 where no answer came and the plan is impatient."""
        attempts = 0
        while True:
            attempts += 1
            try:
                status, content = await connection.post(path, body)
            except CutOff as error:
                if self._plan.patient:
                    await asyncio.sleep(0.02)
                    continue
                self._answers.failures.append(f"{path}: {error}")
                return 0, b"", attempts
            if status != 200:
                self._answers.failures.append(f"{path}: {status} {content[:300]!r}")
            return status, content, attempts


def main() -> None:
    plan = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Plan)
    answers = asyncio.run(Load(plan).run())
    Path(sys.argv[2]).write_bytes(msgspec.json.encode(answers))


if __name__ == "__main__":
    main()
