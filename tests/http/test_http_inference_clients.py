"""Triton's own client, with its defaults (binary both ways), and gRPC in bytes, against a real server."""

from __future__ import annotations

import random
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from homeostat.errors import InvalidSettings, MissingDependency

# The client works on greenlets, which tests that run beside it must not meet: it patches nothing by itself.
triton = pytest.importorskip("tritonclient.http")
grpc: Any = pytest.importorskip("grpc")

ROWS = [[1.5, -0.25], [-1.0, -1.0], [0.5, 2.0]]
COLOURS = ["red", "größer", ""]


@pytest.fixture(scope="module")
def served(small_servers: ModuleType, servers: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    home = tmp_path_factory.mktemp("triton")
    for small in small_servers.closed(small_servers.open_server(home)):
        assert small.home == home / "state"
    with servers.running_server(home, serve__grpc_port=str(free_port())) as server:
        server.wait_ready()
        yield server


@pytest.fixture
def client(served: Any) -> Iterator[Any]:
    with triton.InferenceServerClient(served.url.removeprefix("http://")) as made:
        yield made


def inputs_of(columns: dict[str, tuple[Any, str]], *, binary: bool = True) -> list[Any]:
    made = []
    for name, (values, datatype) in columns.items():
        made.append(triton.InferInput(name, list(values.shape), datatype))
        made[-1].set_data_from_numpy(values, binary_data=binary)
    return made


def plain(served: Any, model: str, instances: list[Any]) -> dict[str, Any]:
    answer = served.post(f"/models/{model}/batch_predict", {"instances": instances})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_health_metadata_and_configuration(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("spam")
    assert client.is_model_ready("spam", "2")
    assert not client.is_model_ready("nothing")
    assert not client.is_model_ready("drafts")
    assert client.get_server_metadata()["name"] == "homeostat"
    metadata = client.get_model_metadata("loan", "1")
    assert [(one["name"], one["datatype"]) for one in metadata["inputs"]] == [
        ("amount", "FP64"),
        ("colour", "BYTES"),
        ("member", "BOOL"),
    ]
    config = client.get_model_config("loan")
    assert config == client.get_model_config("loan", "1")
    assert (config["name"], config["max_batch_size"]) == ("loan", 0)
    assert [(one["name"], one["data_type"], one["dims"]) for one in config["input"]] == [
        ("amount", "TYPE_FP64", [-1]),
        ("colour", "TYPE_STRING", [-1]),
        ("member", "TYPE_BOOL", [-1]),
    ]
    with pytest.raises(triton.InferenceServerException, match="There is no model of that name"):
        client.get_model_metadata("nothing")


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("packed", [None, "gzip", "deflate"])
def test_a_matrix_is_inferred_and_its_answer_read_as_numpy(served: Any, client: Any, dtype: Any, packed: Any) -> None:
    rows = np.array(ROWS, dtype=dtype)
    inputs = inputs_of({"rows": (rows, "FP64" if dtype is np.float64 else "FP32")})
    known = plain(served, "spam", ROWS)
    more = {"request_compression_algorithm": packed, "response_compression_algorithm": packed}
    result = client.infer("spam", inputs, request_id="seven", **more)
    assert result.get_response()["id"] == "seven"
    assert [one.decode() for one in result.as_numpy("prediction")] == known["predictions"]
    assert result.as_numpy("probability").tolist() == known["probabilities"]
    assert result.as_numpy("version").tolist() == [1, 1, 1]
    assert result.as_numpy("version").dtype == np.int64
    assert result.get_output("probability")["parameters"] == {"binary_data_size": 24}
    # Labels for these rows are sent under the ids that came with them.
    ids = [one.decode() for one in result.as_numpy("prediction_id")]
    labels = [{"prediction_id": id_, "label": "yes"} for id_ in ids]
    assert served.post("/api/v1/labels", {"model": "spam", "labels": labels}).json()["unmatched"] == 0


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_one_tensor_a_column_of_every_kind(served: Any, client: Any, shape: tuple[int, ...], *, binary: bool) -> None:
    columns = {
        "member": (np.array([True, False, True]).reshape(shape), "BOOL"),
        "colour": (np.array([one.encode() for one in COLOURS], dtype=object).reshape(shape), "BYTES"),
        "amount": (np.array([120, 30, 7], dtype=np.int32).reshape(shape), "INT32"),
    }
    outputs = [
        triton.InferRequestedOutput("probability", binary_data=binary),
        triton.InferRequestedOutput("prediction"),
        triton.InferRequestedOutput("prediction_id", binary_data=not binary),
    ]
    result = client.infer("loan", inputs_of(columns, binary=binary), "1", outputs=outputs)
    amounts, members = [120, 30, 7], [True, False, True]
    known = plain(served, "loan", [list(row) for row in zip(amounts, COLOURS, members, strict=True)])
    assert result.as_numpy("probability").tolist() == known["probabilities"]
    assert [one.decode() for one in result.as_numpy("prediction")] == known["predictions"]
    assert len(result.as_numpy("prediction_id")) == 3
    assert result.as_numpy("version") is None


def test_many_requests_at_once_over_several_connections(served: Any) -> None:
    known = plain(served, "price", ROWS)["predictions"]
    with triton.InferenceServerClient(served.url.removeprefix("http://"), concurrency=4) as client:
        inputs = inputs_of({"rows": (np.array(ROWS), "FP64")})
        waiting = [client.async_infer("price", inputs) for _ in range(40)]
        for one in waiting:
            assert one.get_result().as_numpy("prediction").tolist() == known


def test_what_is_wrong_is_said_to_the_client(client: Any) -> None:
    rows = inputs_of({"rows": (np.zeros((2, 3)), "FP64")})
    with pytest.raises(triton.InferenceServerException, match="3 columns; the model takes 2") as refused:
        client.infer("spam", rows)
    assert refused.value.status() == "400"
    right = inputs_of({"rows": (np.zeros((2, 2)), "FP64")})
    with pytest.raises(triton.InferenceServerException, match="classification"):
        client.infer("spam", right, outputs=[triton.InferRequestedOutput("prediction", class_count=2)])
    shared = triton.InferInput("rows", [2, 2], "FP64")
    shared.set_shared_memory("region", 32)
    with pytest.raises(triton.InferenceServerException, match="shared memory"):
        client.infer("spam", [shared])
    texts = inputs_of({"rows": (np.array([[b"a", b"b"]], dtype=object), "BYTES")})
    with pytest.raises(triton.InferenceServerException, match="numeric"):
        client.infer("spam", texts)


def test_the_repository_is_shown_loaded_and_not_unloaded(client: Any) -> None:
    index = {(one["name"], one["version"]): one for one in client.get_model_repository_index()}
    assert index["spam", "1"]["state"] == "READY"
    assert index["spam", "1"]["reason"] == "serves 100% of the traffic as control"
    assert (index["spam", "2"]["state"], index["drafts", "1"]["state"]) == ("UNAVAILABLE", "UNAVAILABLE")
    assert "stage draft" in index["spam", "2"]["reason"]
    client.load_model("spam")
    client.unload_model("drafts")
    for call, words in (
        (lambda: client.unload_model("spam"), "production version"),
        (lambda: client.load_model("drafts"), "no production version"),
        (lambda: client.load_model("nothing"), "no model of that name"),
        (lambda: client.unload_model("nothing"), "no model of that name"),
        (lambda: client.load_model("spam", config="{}"), "Loading takes no parameters"),
    ):
        with pytest.raises(triton.InferenceServerException, match=words):
            call()
    assert client.is_model_ready("spam")


def test_statistics_count_what_was_answered_and_what_failed(served: Any, client: Any) -> None:
    def of(version: str = "") -> dict[str, Any]:
        found = client.get_inference_statistics("iris", version)["model_stats"]
        assert [(one["name"], one["version"]) for one in found] == [("iris", "1")]
        return dict(found[0])

    before, started = of(), time.time()
    columns = inputs_of({name: (np.array([1.0, 2.0, 3.0]), "FP64") for name in ("petal", "sepal")})
    for _ in range(2):
        client.infer("iris", columns)
    with pytest.raises(triton.InferenceServerException):
        client.infer("iris", columns[:1])
    row = {"inputs": [{"name": name, "shape": [1], "datatype": "FP64", "data": [1]} for name in ("petal", "sepal")]}
    served.post("/v2/models/iris/infer", row)
    after = of("1")
    assert after["inference_count"] - before["inference_count"] == 7
    assert after["execution_count"] - before["execution_count"] == 3
    assert started * 1000 - 1 <= after["last_inference"] <= time.time() * 1000
    success = after["inference_stats"]["success"]
    assert success["count"] - before["inference_stats"]["success"]["count"] == 3
    assert 0 < success["ns"] - before["inference_stats"]["success"]["ns"] < 60 * 10**9
    assert after["inference_stats"]["queue"] == {"count": 0, "ns": 0}
    assert after["batch_stats"] == []
    everything = client.get_inference_statistics()["model_stats"]
    assert {one["name"] for one in everything} >= {"iris", "loan", "price", "spam"}
    # A version that nothing asked for is there when it is named.
    assert client.get_inference_statistics("spam", "2")["model_stats"][0]["inference_count"] == 0
    for model, version in (("absent", ""), ("iris", "77")):
        with pytest.raises(triton.InferenceServerException, match="404"):
            client.get_inference_statistics(model, version)


def test_a_large_matrix_goes_and_comes_whole(served: Any, client: Any) -> None:
    rows = np.random.default_rng(5).normal(size=(20_000, 2)).astype(np.float32)
    result = client.infer("price", inputs_of({"rows": (rows, "FP32")}))
    assert result.as_numpy("prediction").shape == (20_000,)
    some = [[float(value) for value in row] for row in rows[::4000]]
    assert result.as_numpy("prediction")[::4000].tolist() == plain(served, "price", some)["predictions"]
    sizes = [one["parameters"]["binary_data_size"] for one in result.get_response()["outputs"]]
    assert sizes == [160_000, 20_000 * (struct.calcsize("<I") + 36), 160_000]


GRPC = "/inference.GRPCInferenceService/"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def varint(number: int) -> bytes:
    number %= 2**64
    parts = []
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


def field(number: int, value: Any) -> bytes:
    """A field as it goes over the wire: a number, or a text, bytes or message with its length before it."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    content = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(content)) + content


def fields(content: bytes) -> dict[int, list[Any]]:
    """The fields of a message by their numbers."""
    found: dict[int, list[Any]] = {}
    place = 0

    def number() -> int:
        nonlocal place
        value, shift = 0, 0
        while True:
            byte = content[place]
            value, shift, place = value | (byte & 0x7F) << shift, shift + 7, place + 1
            if byte < 0x80:
                return value

    while place < len(content):
        tag = number()
        value: Any = number()
        if tag & 7 == 2:
            value, place = content[place : place + value], place + value
        found.setdefault(tag >> 3, []).append(value)
    return found


class Caller:
    """Calls methods in bytes: what goes over the wire is written here once more, by the specification's numbers."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel

    def __call__(self, method: str, content: bytes = b"", **more: Any) -> dict[int, list[Any]]:
        return fields(self._channel.unary_unary(GRPC + method)(content, timeout=30, **more))

    def refused(self, method: str, content: bytes = b"", **more: Any) -> tuple[str, str, str]:
        """The status, the words and the code of an error."""
        with pytest.raises(grpc.RpcError) as refused:
            self(method, content, **more)
        error: Any = refused.value
        codes = [value for name, value in error.trailing_metadata() or () if name == "homeostat-code"]
        return error.code().name, error.details(), codes[0] if codes else ""


@pytest.fixture
def call(served: Any) -> Iterator[Caller]:
    port = served.environment["HOMEOSTAT_SERVE__GRPC_PORT"]
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Caller(channel)


def tensor(name: str, shape: list[int], datatype: str, contents: bytes = b"") -> bytes:
    packed = b"".join(varint(one) for one in shape)
    head = field(1, name) + field(2, datatype) + field(3, packed)
    return head + (field(5, contents) if contents else b"")


def request(model: str, *tensors: bytes, raw: Sequence[bytes] = (), more: bytes = b"") -> bytes:
    inputs = b"".join(field(5, one) for one in tensors)
    return field(1, model) + inputs + more + b"".join(field(7, one) for one in raw)


def test_health_and_metadata_over_grpc(call: Caller) -> None:
    assert call("ServerLive") == {1: [1]}
    assert call("ServerReady") == {1: [1]}
    assert call("ModelReady", field(1, "spam")) == {1: [1]}
    assert call("ModelReady", field(1, "spam") + field(2, "2")) == {1: [1]}
    assert call("ModelReady", field(1, "drafts")) == {}
    assert call("ServerMetadata")[1] == [b"homeostat"]
    found = call("ModelMetadata", field(1, "loan"))
    assert (found[1], found[2]) == ([b"loan"], [b"1"])
    assert found[3][0].startswith(b"homeostat_")
    described = [fields(one) for one in found[4]]
    assert [(one[1], one[2], one[3]) for one in described] == [
        ([b"amount"], [b"FP64"], [varint(-1)]),
        ([b"colour"], [b"BYTES"], [varint(-1)]),
        ([b"member"], [b"BOOL"], [varint(-1)]),
    ]
    assert [fields(one)[1] for one in found[5]] == [[b"prediction"], [b"probability"], [b"prediction_id"], [b"version"]]


def test_rows_are_inferred_over_grpc_raw_and_typed(served: Any, call: Caller) -> None:
    known = plain(served, "spam", ROWS)
    rows = np.array(ROWS, dtype="<f4")
    matrix = tensor("rows", [3, 2], "FP32")
    wanted = field(6, field(1, "probability")) + field(6, field(1, "prediction")) + field(3, "seven")
    answer = call("ModelInfer", request("spam", matrix, raw=[rows.tobytes()], more=wanted))
    assert (answer[1], answer[2], answer[3]) == ([b"spam"], [b"1"], [b"seven"])
    assert [fields(one)[2] for one in answer[5]] == [[b"FP64"], [b"BYTES"]]
    assert np.frombuffer(answer[6][0], "<f8").tolist() == known["probabilities"]
    texts = b"".join(struct.pack("<I", len(one)) + one.encode() for one in known["predictions"])
    assert answer[6][1] == texts
    # Typed contents are answered so; here with ids, an entity and a version of the caller's.
    typed = tensor("rows", [3, 2], "FP64", field(7, np.array(ROWS).tobytes()))
    ids = tensor("prediction_id", [3], "BYTES", b"".join(field(8, f"grpc {place}") for place in range(3)))
    entity = field(4, field(1, "entity") + field(2, field(2, 7)))
    answer = call("ModelInfer", request("spam", typed, ids, more=entity + field(2, "2")))
    assert 6 not in answer
    outputs = {fields(one)[1][0]: fields(fields(one)[5][0]) for one in answer[5]}
    assert outputs[b"prediction_id"][8] == [b"grpc 0", b"grpc 1", b"grpc 2"]
    assert outputs[b"version"][3] == [varint(2) * 3]
    assert len(outputs[b"probability"][7][0]) == 24
    # They are in the log, where labels find them.
    labels = [{"prediction_id": "grpc 0", "label": "yes"}]
    assert served.post("/api/v1/labels", {"model": "spam", "labels": labels}).json()["unmatched"] == 0
    assert 'model_infer_request_total{model="spam",status="200",version="2"}' in served.get("/metrics").text


def test_every_kind_of_contents_over_grpc(served: Any, call: Caller) -> None:
    known = plain(served, "loan", [[120, "größer", True], [30, "red", False]])["probabilities"]
    colour = tensor("colour", [2], "BYTES", field(8, "größer") + field(8, "red"))
    member = tensor("member", [2, 1], "BOOL", field(1, b"\1\0"))
    numbers = [
        ("INT8", field(2, varint(120) + varint(30))),
        ("INT64", field(3, varint(120) + varint(30))),
        ("UINT16", field(4, varint(120) + varint(30))),
        ("UINT64", field(5, varint(120) + varint(30))),
        ("FP32", field(6, np.array([120, 30], dtype="<f4").tobytes())),
    ]
    for datatype, contents in numbers:
        amount = tensor("amount", [2], datatype, contents)
        answer = call("ModelInfer", request("loan", colour, amount, member, more=field(6, field(1, "probability"))))
        assert np.frombuffer(fields(fields(answer[5][0])[5][0])[7][0], "<f8").tolist() == known


def test_what_is_wrong_over_grpc_is_refused_with_a_status(call: Caller) -> None:
    rows = np.array(ROWS, dtype="<f8").tobytes()
    matrix = tensor("rows", [3, 2], "FP64")
    typed = field(7, rows)
    refused = [
        ("NOT_FOUND", "unknown_model", "ModelMetadata", field(1, "nothing")),
        ("NOT_FOUND", "unknown_version", "ModelReady", field(1, "spam") + field(2, "99")),
        ("INVALID_ARGUMENT", "invalid_request", "ModelReady", field(1, "spam") + field(2, "two")),
        ("FAILED_PRECONDITION", "not_serving", "ModelMetadata", field(1, "drafts")),
        ("INVALID_ARGUMENT", "invalid_request", "ModelInfer", request("spam")),
        ("INVALID_ARGUMENT", "invalid_request", "ModelInfer", request("spam", matrix, raw=[rows, rows])),
        ("INVALID_ARGUMENT", "invalid_features", "ModelInfer", request("spam", matrix, raw=[rows[:-1]])),
        ("INVALID_ARGUMENT", "invalid_features", "ModelInfer", request("spam", matrix)),
        ("INVALID_ARGUMENT", "invalid_request", "ModelInfer", request("spam", tensor("rows", [3, -2], "FP64"))),
        ("INVALID_ARGUMENT", "invalid_request", "ModelInfer", request("spam", tensor("rows", [1, 3, 2], "FP64"))),
        ("INVALID_ARGUMENT", "invalid_request", "ModelInfer", request("spam", tensor("rows", [3, 2], "FP32", typed))),
        (
            "INVALID_ARGUMENT",
            "invalid_request",
            "ModelInfer",
            request("spam", tensor("rows", [3, 2], "FP64", typed), raw=[rows]),
        ),
        ("RESOURCE_EXHAUSTED", "too_large", "ModelInfer", request("spam", tensor("rows", [2**40, 2], "FP64"))),
        (
            "INVALID_ARGUMENT",
            "invalid_features",
            "ModelInfer",
            request("loan", tensor("colour", [1], "BYTES", field(8, b"\xff"))),
        ),
    ]
    for status, code, method, content in refused:
        assert call.refused(method, content)[::2] == (status, code), (method, content)
    assert call.refused("ModelInfer", request("spam", matrix, raw=[b"\0" * 10_000_001]))[0] == "RESOURCE_EXHAUSTED"
    # What a packed message unpacks to is not bounded, so it is not unpacked.
    packed = call.refused("ModelInfer", request("spam", matrix, raw=[rows]), compression=grpc.Compression.Gzip)
    assert packed[0] == "UNIMPLEMENTED"
    assert call("ServerLive") == {1: [1]}


def test_messages_that_went_wrong_never_break_the_service(call: Caller) -> None:
    rng = random.Random(5)  # noqa: S311 (nothing is secret)
    rows = np.array(ROWS, dtype="<f4").tobytes()
    colours = tensor("colour", [2], "BYTES", field(8, "red") + field(8, "blue"))
    member, amount = tensor("member", [2], "BOOL", field(1, b"\1\0")), tensor("amount", [2], "INT8", field(2, b"\1\2"))
    good = [
        request("spam", tensor("rows", [3, 2], "FP32"), raw=[rows], more=field(6, field(1, "probability"))),
        request("loan", colours, member, amount, more=field(4, field(1, "entity") + field(2, field(2, 7)))),
    ]
    statuses: Counter[str] = Counter()
    for turn in range(600):
        broken = bytearray(good[turn % 2])
        for _ in range(rng.randint(1, 4)):
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        content = bytes(broken[: rng.randrange(len(broken))]) if rng.random() < 0.2 else bytes(broken)
        try:
            call("ModelInfer", content)
            statuses["OK"] += 1
        except grpc.RpcError as error:
            refused: Any = error
            statuses[refused.code().name] += 1
            assert refused.details()
        if turn % 100 == 0:
            assert call("ModelInfer", good[0])[1] == [b"spam"]
    assert set(statuses) <= {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED"}, statuses
    assert statuses["INVALID_ARGUMENT"] > 200


def test_a_token_is_asked_for_over_grpc_too(small_servers: ModuleType, tmp_path: Any) -> None:
    port = free_port()
    settings = {"serve__grpc_port": port, "token": "a secret of sixteen".replace(" ", "-")}
    for small in small_servers.closed(small_servers.open_server(tmp_path, register=False, **settings)):
        small.server.grpc.start()
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = Caller(channel)
            assert call("ServerLive") == {1: [1]}
            assert call("ServerReady") == {1: [1]}
            for metadata in ((), (("authorization", "Bearer mischief"),)):
                status, words, code = call.refused("ServerMetadata", metadata=metadata)
                assert (status, code) == ("UNAUTHENTICATED", "unauthorized")
                assert "mischief" not in words
            assert call("ServerMetadata", metadata=(("authorization", "Bearer a-secret-of-sixteen"),))[1] == [
                b"homeostat"
            ]
        for taken_or_none in (port, -5, 65_536):
            with pytest.raises(InvalidSettings, match="grpc_port"):
                small_servers.open_server(tmp_path / "other", register=False, serve__grpc_port=taken_or_none)


def test_limits_hold_over_grpc_as_over_http(small_servers: ModuleType, tmp_path: Any) -> None:
    port = free_port()
    settings = {"serve__grpc_port": port, "serve__requests_per_second": 1 / 60, "serve__burst": 3}
    for small in small_servers.closed(small_servers.open_server(tmp_path, register=False, **settings)):
        small.server.grpc.start()
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = Caller(channel)
            for _ in range(3):
                assert call("ServerMetadata")[1] == [b"homeostat"]
            assert call.refused("ServerMetadata")[::2] == ("RESOURCE_EXHAUSTED", "too_many_requests")
            assert call("ServerLive") == {1: [1]}
            limits = small.server.application._limits
            assert (limits.requests, limits.bytes) == (0, 0)
            limits.requests_per_second, limits.concurrent_requests, limits.bodies_bytes = 0, 1, 100
            other = limits.enter({"state": {}})
            assert call.refused("ServerMetadata")[::2] == ("UNAVAILABLE", "overloaded")
            limits.concurrent_requests = 10
            other.hold(90)
            assert call.refused("ModelReady", field(1, "m" * 20))[::2] == ("UNAVAILABLE", "overloaded")
            other.leave()
            assert call.refused("ModelReady", field(1, "m" * 20))[::2] == ("NOT_FOUND", "unknown_model")
            assert (limits.requests, limits.bytes) == (0, 0)


def test_without_grpcio_it_is_said_what_to_install(
    small_servers: ModuleType, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "grpc", None)
    with pytest.raises(MissingDependency, match=r"homeostat\[grpc\]"):
        small_servers.open_server(tmp_path, register=False, serve__grpc_port=free_port())
