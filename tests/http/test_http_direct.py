"""Requests of one row go a short way: its answers are those of the long way, and no row is lost or doubled on it."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from types import ModuleType
from typing import Any

import pytest

from homeostat.errors import StorageFailed
from homeostat.http.direct import DirectPredictions
from homeostat.http.plain_rows import PlainRows
from homeostat.http.protocol import BODY_SECONDS, MOST_DIRECT, bounded

SPAM = {"links": 0.25, "length": -1.5}
POST = b"POST /models/spam/predict HTTP/1.1\r\nhost: localhost\r\n"
LOAN = {"amount": 12.5, "colour": "red", "member": True}


class Counting:
    """Takes what the direct way takes, and counts what it declines."""

    def __init__(self, direct: DirectPredictions) -> None:
        self.inner = direct
        self.taken = self.declined = 0

    def target(self, url: bytes) -> Any:
        return self.inner.target(url)

    def take(self, request: Any) -> bool:
        taken = self.inner.take(request)
        self.taken += taken
        self.declined += not taken
        return taken


class Running:
    def __init__(self, app: Any, port: int, direct: Counting) -> None:
        self.app, self.port, self.direct = app, port, direct

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def send(self, connection: socket.socket, target: str, body: bytes, *more: str) -> None:
        lines = [f"POST {target} HTTP/1.1", "host: localhost", f"content-length: {len(body)}", *more, "", ""]
        connection.sendall("\r\n".join(lines).encode("latin-1") + body)

    def post(self, target: str, body: Any, *more: str) -> tuple[int, dict[str, str], bytes]:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        with closing(self.connect()) as connection:
            self.send(connection, target, content, *more)
            return read_reply(connection.makefile("rb"))


def read_reply(file: Any) -> tuple[int, dict[str, str], bytes]:
    status = int(file.readline().split()[1])
    headers: dict[str, str] = {}
    while line := file.readline().strip():
        name, _, value = line.decode("latin-1").partition(": ")
        assert name.lower() not in headers, f"{name} comes twice"
        headers[name.lower()] = value
    return status, headers, file.read(int(headers.get("content-length", 0)))


@pytest.fixture(scope="module")
def running(used: Any, small_servers: ModuleType) -> Iterator[Running]:
    """A real server in a thread, whose connections go the short way where they can."""
    direct = Counting(used.server.direct)
    with small_servers.listening(used.server.application, bounded(BODY_SECONDS, direct)) as port:
        yield Running(used, port, direct)


BODIES: dict[str, Any] = {
    "plain": {"features": SPAM},
    "whole numbers": {"features": {"links": 1, "length": -2}},
    "another order": {"features": {"length": -1.5, "links": 0.25}},
    "a list": {"features": [0.25, -1.5]},
    "entity": {"features": SPAM, "entity": "customer:7"},
    "entity as a number": {"features": SPAM, "entity": 7},
    "event time": {"features": SPAM, "event_time": "2025-06-01T10:00:00Z"},
    "nothing": b"",
    "no object": b"[1]",
    "cut off": b'{"features": {"links": 1,',
    "no JSON": b"links=1",
    "something behind": b'{"features": {"links": 1, "length": 2}} {}',
    "white space": b' \n{ "features" : {"links":1 , "length":2 } }\t',
    "missing feature": {"features": {"links": 1}},
    "unknown feature": {"features": {**SPAM, "more": 1}},
    "unknown field": {"features": SPAM, "more": 1},
    "null": {"features": {**SPAM, "links": None}},
    "a text": {"features": {**SPAM, "links": "1"}},
    "a boolean": {"features": {**SPAM, "links": True}},
    "nested": {"features": {**SPAM, "links": [1]}},
    "NaN": b'{"features": {"links": NaN, "length": 2}}',
    "infinite": b'{"features": {"links": 1e999, "length": 2}}',
    "very large": b'{"features": {"links": 1e308, "length": 2}}',
    "very long": b'{"features": {"links": 1' + b"0" * 400 + b', "length": 2}}',
    "twice": b'{"features": {"links": 1, "links": 2, "length": 2}}',
    "features twice": b'{"features": {"links": 1, "length": 2}, "features": {"links": 1, "length": 2}}',
    "escaped name": b'{"features": {"lin\\u006bs": 1, "length": 2}}',
    "empty id": {"features": SPAM, "prediction_id": ""},
    "long id": {"features": SPAM, "prediction_id": "x" * 257},
    "control characters": {"features": SPAM, "prediction_id": "a\u0007b"},
    "surrogate": b'{"features": {"links": 1, "length": 2}, "entity": "\\ud800"}',
    "bytes": b'{"features": {"links": 1, "length": 2}, "entity": "\xff"}',
    "deep": b"[" * 20_000,
}
LOANS: dict[str, Any] = {
    "loan": {"features": LOAN},
    "missing amount": {"features": {**LOAN, "amount": None}},
    "number for a boolean": {"features": {**LOAN, "member": 0}},
    "two for a boolean": {"features": {**LOAN, "member": 2}},
    "half for a boolean": {"features": {**LOAN, "member": 0.5}},
    "text for a boolean": {"features": {**LOAN, "member": "yes"}},
    "unseen": {"features": {**LOAN, "colour": "purple"}},
    "colon": {"features": {**LOAN, "colour": "a:b"}},
    "escaped colon": b'{"features": {"amount": 1, "colour": "a\\u003ab", "member": true}}',
    "a list": {"features": [12.5, "a:b", True]},
    "a list with null": {"features": [None, None, 0]},
    "a short list": {"features": [12.5, "red"]},
    "a long list": {"features": [12.5, "red", True, 1]},
    "a list in another order": {"features": ["red", 12.5, True]},
    "a list, twice": b'{"features": [1, "red", true], "features": [2, "red", true]}',
    "a list, hidden twice": b'{"features": [1, "\\u003a", true], "entity": "a", "entity": "b"}',
    "hidden twice": b'{"features": {"amount": 1, "amount": 2, "colour": "a\\u003ab", "member": true}}',
    "quote": {"features": {**LOAN, "colour": 'a"b\\c\n'}},
    "number for a text": {"features": {**LOAN, "colour": 1}},
    "null for a text": {"features": {**LOAN, "colour": None}},
    "other letters": {"features": {**LOAN, "colour": "größer 🌍"}},
}


def comparable(content: bytes) -> Any:
    reply = json.loads(content)
    return {name: value for name, value in reply.items() if name != "prediction_id"}


@pytest.mark.parametrize(
    ("target", "body"),
    [
        *(pytest.param("/models/spam/predict", body, id=name) for name, body in BODIES.items()),
        *(pytest.param("/models/loan/predict", body, id=name) for name, body in LOANS.items()),
        pytest.param("/models/iris/predict", {"features": {"petal": 1.0, "sepal": 2.0}}, id="several classes"),
        pytest.param("/models/price/predict", {"features": {"size": 1.0, "rooms": None}}, id="regression"),
        pytest.param("/models/nobody/predict", {"features": SPAM}, id="unknown model"),
        pytest.param("/models/drafts/predict", {"features": SPAM}, id="nothing in production"),
        pytest.param("/predict", {"features": SPAM}, id="no default model"),
        pytest.param("/models/spam/predict?x=1", {"features": SPAM}, id="a query"),
        pytest.param("/models/sp%61m/predict", {"features": SPAM}, id="an escaped path"),
    ],
)
def test_the_short_way_answers_as_the_long_way(running: Running, target: str, body: Any):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    long = running.app.post(target, content)
    status, headers, reply = running.post(target, content)
    assert status == long.status
    assert comparable(reply) == comparable(long.content)
    both = [{name: value for name, value in given.items() if name not in ("date", "x-request-id", "content-length")}
            for given in (headers, dict(long.headers))]  # fmt: skip
    assert both[0] == both[1]
    if status == 200:
        logged = running.app.logged(target.split("/")[2].replace("%61", "a").partition("?")[0])
        rows = [logged[json.loads(one)["prediction_id"]] for one in (reply, long.content)]
        for row in rows:
            del row["event_time"], row["features"]
            row["entity"] = row["entity"] if "entity" in json.loads(content) else "its own"
        assert rows[0] == rows[1]


def test_plain_requests_go_the_short_way_and_strange_ones_the_long_way(running: Running):
    before = (running.direct.taken, running.direct.declined)
    assert running.post("/models/spam/predict", {"features": SPAM})[0] == 200
    assert running.post("/models/loan/predict", {"features": LOAN, "entity": "a:b"})[0] == 200
    assert running.post("/models/loan/predict", {"features": list(LOAN.values())})[0] == 200
    assert (running.direct.taken, running.direct.declined) == (before[0] + 3, before[1])
    assert running.post("/models/spam/predict", {"features": {"links": "x"}})[0] == 400
    assert (running.direct.taken, running.direct.declined) == (before[0] + 3, before[1] + 1)


def test_requests_behind_each_other_are_answered_in_order(running: Running):
    body = json.dumps({"features": SPAM, "entity": "me"}).encode()
    predict = b"POST /models/spam/predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n%b" % (
        len(body),
        body,
    )
    wrong = predict.replace(b"links", b"lunks")
    alive = b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n"
    with closing(running.connect()) as connection:
        connection.sendall(predict + alive + predict + predict + wrong + alive + predict)
        file = connection.makefile("rb")
        found = [read_reply(file) for _ in range(7)]
    assert [status for status, _, _ in found] == [200, 200, 200, 200, 400, 200, 200]
    assert ["prediction" in json.loads(content) for _, _, content in found] == [
        True, False, True, True, False, False, True,
    ]  # fmt: skip


def test_a_request_may_come_byte_by_byte_and_a_connection_serves_many(running: Running):
    body = json.dumps({"features": SPAM, "prediction_id": "byte-by-byte"}).encode()
    head = f"POST /models/spam/predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    with closing(running.connect()) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in head + body:
            connection.sendall(bytes([byte]))
        file = connection.makefile("rb")
        assert json.loads(read_reply(file)[2])["prediction_id"] == "byte-by-byte"
        for number in range(20):
            running.send(connection, "/models/spam/predict", json.dumps({"features": SPAM}).encode())
            assert read_reply(file)[0] == 200, number


@pytest.mark.parametrize("more", ["connection: close", "expect: 100-continue"])
def test_what_concerns_the_connection_goes_the_long_way(running: Running, more: str):
    before = running.direct.taken
    content = json.dumps({"features": SPAM}).encode()
    with closing(running.connect()) as connection:
        running.send(connection, "/models/spam/predict", content, more)
        file = connection.makefile("rb")
        reply = read_reply(file)
        if reply[0] == 100:
            reply = read_reply(file)
        assert reply[0] == 200
        if "close" in more:
            assert file.read() == b""
    assert running.direct.taken == before


def test_a_long_body_and_a_chunked_one_are_answered_too(running: Running):
    padded = b'{"features": {"links": 1, ' + b" " * MOST_DIRECT + b'"length": 2}}'
    assert running.post("/models/spam/predict", padded)[0] == 200
    with closing(running.connect()) as connection:
        connection.sendall(POST + b"transfer-encoding: chunked\r\n\r\n")
        for part in (b'{"features": {"links": 1,', b'"length": 2}}'):
            connection.sendall(b"%x\r\n%b\r\n" % (len(part), part))
        connection.sendall(b"0\r\n\r\n")
        assert read_reply(connection.makefile("rb"))[0] == 200


def test_the_callers_request_id_comes_back_and_a_page_of_another_site_is_refused(running: Running):
    _, headers, _ = running.post("/models/spam/predict", {"features": SPAM}, "x-request-id: mine-1")
    assert headers["x-request-id"] == "mine-1"
    ids = {running.post("/models/spam/predict", {"features": SPAM})[1]["x-request-id"] for _ in range(5)}
    assert len(ids) == 5
    assert running.post("/models/spam/predict", {"features": SPAM}, "origin: http://elsewhere.example")[0] == 403


def test_many_callers_at_once_each_get_their_own_answer_once_in_the_log(running: Running):
    def call(number: int) -> tuple[int, float, str]:
        features = {"size": number / 7, "rooms": float(number)}
        body = {"features": features, "prediction_id": f"many-{number}"}
        status, _, content = running.post("/models/price/predict", body)
        assert status == 200, content
        return number, json.loads(content)["prediction"], json.loads(content)["prediction_id"]

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(call, range(300)))
    logged = running.app.logged("price")
    for number, prediction, id_ in answers:
        assert id_ == f"many-{number}"
        assert logged[id_]["features"] == {"size": number / 7, "rooms": float(number)}
        assert logged[id_]["score"] == prediction


def test_a_row_that_can_not_be_answered_fails_alone(running: Running):
    """1e39 fits no 32-bit float, which is what forests compare with: only the caller who sent it is refused."""

    def call(number: int) -> int:
        features = {"size": 1e39 if number % 10 == 0 else 1.0, "rooms": 1.0}
        return running.post("/models/price/predict", {"features": features})[0]

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(call, range(100)))
    assert [number for number, status in enumerate(found) if status != 200] == list(range(0, 100, 10))


def test_one_id_from_several_callers_at_once_is_logged_once(running: Running):
    body = {"features": {"size": 1.0, "rooms": 2.0}, "prediction_id": "the same"}
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda _: running.post("/models/price/predict", body)[0], range(60)))
    assert found == [200] * 60
    assert running.app.logged("price")["the same"]["features"] == {"size": 1.0, "rooms": 2.0}


def test_a_log_that_can_not_be_written_refuses_and_a_model_that_breaks_is_no_silence(
    running: Running, monkeypatch: pytest.MonkeyPatch
):
    gateway = running.app.server.system.gateway

    def broken(error: Exception) -> Any:
        def predict_each(*_args: Any, **_more: Any) -> Any:
            raise error

        return predict_each

    monkeypatch.setattr(type(gateway), "predict_each", broken(StorageFailed("The disk is full.")))
    status, _, content = running.post("/models/spam/predict", {"features": SPAM})
    assert (status, json.loads(content)["code"]) == (503, "storage_failed")
    monkeypatch.setattr(type(gateway), "predict_each", broken(RuntimeError("secret inner words")))
    status, _, content = running.post("/models/spam/predict", {"features": SPAM})
    assert status == 500
    assert b"secret" not in content
    monkeypatch.undo()
    assert running.post("/models/spam/predict", {"features": SPAM})[0] == 200


def test_a_reply_that_can_not_be_written_is_an_error_of_its_own(running: Running, monkeypatch: pytest.MonkeyPatch):
    encode = PlainRows.encode

    def broken(self: PlainRows, waited: Any, kept: Any) -> Any:
        if waited.row.entity == "broken":
            raise ValueError("secret inner words")
        return encode(self, waited, kept)

    monkeypatch.setattr(PlainRows, "encode", broken)
    bodies = [{"features": SPAM, "entity": "broken" if number % 5 == 0 else "fine"} for number in range(25)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda body: running.post("/models/spam/predict", body), bodies))
    assert [status for status, _, _ in found] == [500 if number % 5 == 0 else 200 for number in range(25)]
    assert all(b"secret" not in content for _, _, content in found)


def test_who_hangs_up_before_the_answer_harms_nobody(running: Running):
    for _ in range(20):
        with closing(running.connect()) as connection:
            running.send(connection, "/models/spam/predict", json.dumps({"features": SPAM}).encode())
    assert running.post("/models/spam/predict", {"features": SPAM})[0] == 200


def infer(*rows: Any, **more: Any) -> dict[str, Any]:
    tensor = {
        "name": "rows",
        "shape": [len(rows), 2],
        "datatype": "FP64",
        "data": [value for row in rows for value in row],
    }
    return {"inputs": [tensor], **more}


BINARY = {
    "one row": infer([0.25, -1.5]),
    "with an id": infer([0.25, -1.5], id="mine"),
    "two rows": infer([0.25, -1.5], [1.0, 2.0]),
    "binary outputs": infer([0.25, -1.5], parameters={"binary_data_output": True}),
    "one output": infer([0.25, -1.5], outputs=[{"name": "probability"}]),
    "an output that is none": infer([0.25, -1.5], outputs=[{"name": "nothing"}]),
    "an entity": infer([0.25, -1.5], parameters={"entity": "me"}),
    "too few": infer([0.25]),
    "null": infer([None, 1.0]),
    "nothing": {},
}


@pytest.mark.parametrize("body", BINARY.values(), ids=BINARY)
def test_inference_requests_are_answered_on_the_short_way_as_on_the_long_one(running: Running, body: Any):
    target = "/v2/models/spam/infer"
    content = json.dumps(body).encode()
    long = running.app.post(target, content)
    status, headers, reply = running.post(target, content)
    assert status == long.status
    assert headers["content-type"] == long.header("content-type")
    assert headers.get("inference-header-content-length") == long.header("inference-header-content-length")
    if headers["content-type"] == "application/json":
        found = [json.loads(one) for one in (reply, long.content)]
        for one in found:
            for output in one.get("outputs", ()):
                if output["name"] == "prediction_id":
                    output["data"] = len(output["data"])
        assert found[0] == found[1]
    else:
        assert len(reply) == len(long.content)


def test_a_single_inference_row_goes_the_short_way_and_many_callers_get_their_own(running: Running):
    before = running.direct.taken

    def call(number: int) -> float:
        status, _, content = running.post("/v2/models/spam/infer", infer([number / 50, 0.5]))
        assert status == 200
        return float(next(one["data"][0] for one in json.loads(content)["outputs"] if one["name"] == "probability"))

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(call, range(100)))
    assert running.direct.taken == before + 100
    assert found == sorted(found)
    assert len(set(found)) == 100
