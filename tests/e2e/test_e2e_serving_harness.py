"""The benchmark of serving measures what it says: against servers of known behaviour, and figures made by hand."""

from __future__ import annotations

import os
import re
import shutil
import socket
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from benchmarks.serving import closed_loop, environments, measure, model, open_loop, report
from benchmarks.serving.closed_loop import Closed
from benchmarks.serving.measure import Logged, Options, Subject
from benchmarks.serving.model import Ask
from benchmarks.serving.open_loop import Meter, Opened, Plan
from benchmarks.serving.own import Many
from benchmarks.serving.peers import PEERS
from benchmarks.serving.servers import Cores, Memory

ASK = Ask("/predict", b'{"a":1}')
GOOD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
BAD = b"HTTP/1.1 500 Oh\r\ncontent-length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"


class Fake:
    """A server that answers its n-th request with what a function says; nothing ends the connection."""

    def __init__(self, answer: Callable[[int], bytes]) -> None:
        self._answer = answer
        self._lock = threading.Lock()
        self.asked = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])

    def serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        read = b""
        with closing(connection), suppress(OSError):
            while part := connection.recv(65536):
                read += part
                while (end := read.find(ASK.body)) >= 0:
                    read = read[end + len(ASK.body) :]
                    with self._lock:
                        number, self.asked = self.asked, self.asked + 1
                    answer = self._answer(number)
                    if not answer:
                        return
                    connection.sendall(answer)

    def close(self) -> None:
        # A thread that waits in accept would keep the socket open.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@contextmanager
def fake(answer: Callable[[int], bytes]) -> Iterator[Fake]:
    server = Fake(answer)
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join(10)


def open_on(server: Fake, *, rate: float, seconds: float, connections: int) -> Opened:
    request = b64encode(ASK.as_bytes(server.port)).decode()
    return Meter(Plan(server.port, request, rate, seconds, connections)).run()


def test_what_wrk_says_is_read() -> None:
    said = (
        "Running 2s test @ http://127.0.0.1:1/\n  Requests/sec: 1\n"
        'result {"requests":1000,"microseconds":2000000,"connect":1,"read":2,"write":0,"status":40,"timeout":3,'
        '"p50":1500,"p99":20250,"p999":31000,"max":40000}\n'
    )
    found = closed_loop.parse(said, 16)
    assert found == Closed(
        connections=16, good=960, errors=46, seconds=2.0, p50=1.5, p99=20.25, p999=31.0, slowest=40.0
    )
    assert found.rate == 480.0
    with pytest.raises(closed_loop.WrkFailed, match="unable to connect"):
        closed_loop.parse("unable to connect to 127.0.0.1:1 Connection refused\n", 16)


@pytest.mark.skipif(
    shutil.which("wrk") is None and os.environ.get("CI") != "true", reason="wrk is not installed: apt-get install wrk"
)
def test_wrk_counts_good_replies_and_others(tmp_path: Path) -> None:
    with fake(lambda number: BAD if number % 4 == 3 else GOOD) as server:
        found = closed_loop.run(server.port, ASK, connections=3, seconds=1, core=None, folder=tmp_path)
    # Those that are under way when it hangs up were asked and not counted.
    assert 0 <= server.asked - found.good - found.errors <= 3
    assert found.good > 20
    assert abs(found.errors - found.good / 3) <= 3
    assert 0 < found.p50 <= found.p99 <= found.p999


def test_without_wrk_the_benchmark_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit, match="apt-get install wrk"):
        closed_loop.find_wrk()


def test_a_pause_of_the_server_counts_for_every_request_that_was_due_in_it() -> None:
    def pause(number: int) -> bytes:
        if number == 20:
            time.sleep(0.5)
        return GOOD

    with fake(pause) as server:
        found = open_on(server, rate=100, seconds=1.0, connections=1)
    assert (found.sent, found.good, found.errors) == (100, 100, 0)
    # 50 of the 100 were due while it stood still, and waited from 0.5 s down to nothing: a closed loop would have
    # said that one request of a hundred was slow. How long they then took is this machine's affair.
    assert 400 < found.p99 <= found.p999
    assert found.p50 < found.p99
    with fake(lambda number: pause(number + 1000)) as steady:
        assert open_on(steady, rate=100, seconds=1.0, connections=1).p50 < found.p99 / 2


def test_a_known_delay_is_measured() -> None:
    def wait(number: int) -> bytes:
        time.sleep(0.03)
        return CHUNKED if number % 2 else GOOD

    with fake(wait) as server:
        found = open_on(server, rate=50, seconds=1.0, connections=8)
    assert (found.good, found.errors) == (50, 0)
    assert 30 <= found.p50 < 1000
    assert found.seconds >= 0.98


def test_bad_statuses_and_lost_connections_are_errors() -> None:
    answers = [GOOD, GOOD, BAD, b"", GOOD]
    with fake(lambda number: answers[number % 5]) as server:
        found = open_on(server, rate=100, seconds=0.5, connections=4)
    assert found.sent == 50
    assert (found.good, found.errors) == (30, 20)


def test_what_is_never_answered_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_loop, "PATIENCE_SECONDS", 2.0)
    held = threading.Event()

    def stand_still(number: int) -> bytes:
        if number >= 10:
            held.wait(120)
        return GOOD

    with fake(stand_still) as server:
        found = open_on(server, rate=100, seconds=0.3, connections=2)
        held.set()
    assert (found.good, found.errors) == (10, 20)


@pytest.mark.parametrize(
    ("share", "wanted"), [(0.5, 50.0), (0.99, 99.0), (0.999, 100.0), (0.0, 1.0)], ids=["p50", "p99", "p99.9", "least"]
)
def test_quantiles_are_values_that_were_measured(share: float, wanted: float) -> None:
    values = [float(value) for value in range(100, 0, -1)]
    assert open_loop.quantile(values, share) == wanted
    assert open_loop.quantile([], share) == 0.0


def test_the_binary_request_holds_the_row_and_its_reply_is_read() -> None:
    ask = model.open_inference_binary("/v2/models/bench/infer", "probability", 3)
    size = int(ask.headers["Inference-Header-Content-Length"])
    data = np.frombuffer(ask.body[size:], "<f4").reshape(3, model.FEATURES)
    assert data[0].tolist() == model.row()
    assert f'"binary_data_size":{data.nbytes}'.encode() in ask.body[:size]
    head = model.dumps(
        {
            "outputs": [
                {"name": "x", "shape": [1], "datatype": "FP32", "parameters": {"binary_data_size": 4}},
                {"name": "probability", "shape": [2], "datatype": "FP64", "parameters": {"binary_data_size": 16}},
            ]
        }
    )
    reply = head + np.array([9.0], "<f4").tobytes() + np.array([0.25, 0.5], "<f8").tobytes()
    headers = {"inference-header-content-length": str(len(head))}
    assert model.read_open_inference(reply, headers, "probability") == 0.25
    as_json = b'{"outputs":[{"name":"probability","shape":[1],"datatype":"FP64","data":[0.75]}]}'
    assert model.read_open_inference(as_json, {}, "probability") == 0.75


def made(key: str, rate: float, **more: float) -> Subject:
    """A subject with a run of one second at 16 connections, twice as fast as at one."""
    subject = Subject(key, key, "1.0", starts=[1.0], memories=[Memory(2 << 20, 1 << 20)])
    for number, part in ((1, 0.5), (16, 1.0)):
        subject.closed[number] = [Closed(number, round(rate * part), 0, 1.0, 1.0, 2.0, 3.0, 4.0)]
        subject.cpu[number] = [0.0005]
    subject.half = [Opened(rate / 2, 10, 10, 0, 1.0, 1.0, 2.0, 3.0, 0.1)]
    return subject


def test_targets_are_told_as_they_are() -> None:
    own = made("Homeostat", 3000)
    own.logged = [Logged(100, 116, 16), Logged(50, 50, 0)]
    peers = [made("mlserver", 20), made("fastapi-onnx", 2500), Subject("constant", "constant", problem="no compiler")]
    results = report.Results([own], peers, Many(15, 2.5, 300 << 20, 160 << 20, 75 << 20), 0.04)
    found = {one.what: (one.found, one.is_met) for one in report.targets(results)}
    assert found["requests a second beside MLServer"] == ("150 ×", True)
    assert found["requests a second beside FastAPI with ONNX and no logging"] == ("1.20 ×", False)
    assert found["requests a second beside the same ASGI server answering a constant"] == ("not measured", None)
    assert found["answered rows that are not in the log"] == ("0 lost of 150", True)
    assert found["p99 at half of the capacity"] == ("2.00 ms at 1,500/s", True)
    assert found["start until 15 models are ready"] == ("2.50 s", False)
    assert found["memory of one worker"] == ("300 MB of 362", True)
    assert all(one.is_met is None for one in report.many_targets(Many(3, 1.0, 300 << 20, 160 << 20, 75 << 20)))
    page, text = report.as_page(results), report.as_text(results)
    for told in (page, text):
        assert "no compiler" in told
        assert "NOT met" in told
        assert "RSS for each further model" in told
    assert "| mlserver | 1.0 | 10 | 20 | 150 | 0 |  |" in page
    assert "| `import homeostat` | < 0.3 s | 0.04 s | met |" in page


@pytest.mark.parametrize(
    ("logged", "lost", "unread", "right"),
    [
        (Logged(100, 100, 0), 0, 0, True),
        (Logged(100, 99, 16), 1, 0, False),
        (Logged(100, 116, 16), 0, 16, True),
        (Logged(100, 117, 16), 0, 17, False),
    ],
    ids=["equal", "lost", "not read", "doubled"],
)
def test_replies_and_log_are_held_together(logged: Logged, lost: int, unread: int, right: bool) -> None:
    assert (logged.lost, logged.unread, logged.is_right) == (lost, unread, right)


def test_a_table_lines_up() -> None:
    table = report.Table("Speed", ["server", "req/s"], [["a", "1,000"], ["longer", "–"]], "A note.")
    assert table.as_text() == (
        "Speed\n\nserver  req/s\n------  -----\na       1,000\nlonger      –\n\nA note."  # aligned by hand
    )
    assert table.as_markdown() == (
        "## Speed\n\nA note.\n\n| server | req/s |\n| --- | --- |\n| a | 1,000 |\n| longer | – |"
    )


def test_a_peer_without_an_environment_is_shown_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(name: str) -> Path:
        raise environments.NotMade(f"No matching distribution found for {name}")

    monkeypatch.setattr(environments, "make", refuse)
    peer = next(peer for peer in PEERS if peer.key == "mlserver")
    subject = Subject(peer.key, peer.title)
    options = Options(1.0, 1, (1,), Cores(None, None), tmp_path)
    measure.measure_peer(peer, tmp_path, 0.5, options, subject, 1)
    assert subject.problem == "No matching distribution found for mlserver"
    page = report.as_page(report.Results([made("Homeostat", 10)], [subject]))
    assert "| MLServer |  | – | – | – | – | No matching distribution found for mlserver |" in page


def test_every_peer_is_locked_with_hashes_and_without_addresses() -> None:
    locks = sorted(environments.REQUIREMENTS.glob("*.txt"))
    assert {path.stem for path in locks} == {peer.environment for peer in PEERS if peer.environment}
    for path in locks:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"https?:|--(?:extra-)?index-url|--find-links|--trusted-host", text), path.name
        wanted = text.replace("\\\n", " ").splitlines()
        packages = [line for line in wanted if re.match(r"[A-Za-z0-9]", line)]
        assert packages
        assert [line[:60] for line in packages if "--hash=sha256:" not in line] == [], path.name
        # What is asked for is what is locked.
        for name in path.with_suffix(".in").read_text(encoding="utf-8").split():
            assert any(line.startswith((f"{name.partition('[')[0]}==", f"{name}==")) for line in packages)
