"""Triton's own client, with its defaults (binary both ways), against a real server."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest

# The client works on greenlets, which tests that run beside it must not meet: it patches nothing by itself.
triton = pytest.importorskip("tritonclient.http")

ROWS = [[1.5, -0.25], [-1.0, -1.0], [0.5, 2.0]]
COLOURS = ["red", "größer", ""]


@pytest.fixture(scope="module")
def served(small_servers: ModuleType, servers: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    home = tmp_path_factory.mktemp("triton")
    for small in small_servers.closed(small_servers.open_server(home)):
        assert small.home == home / "state"
    with servers.running_server(home) as server:
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


def test_a_large_matrix_goes_and_comes_whole(served: Any, client: Any) -> None:
    rows = np.random.default_rng(5).normal(size=(20_000, 2)).astype(np.float32)
    result = client.infer("price", inputs_of({"rows": (rows, "FP32")}))
    assert result.as_numpy("prediction").shape == (20_000,)
    some = [[float(value) for value in row] for row in rows[::4000]]
    assert result.as_numpy("prediction")[::4000].tolist() == plain(served, "price", some)["predictions"]
    sizes = [one["parameters"]["binary_data_size"] for one in result.get_response()["outputs"]]
    assert sizes == [160_000, 20_000 * (struct.calcsize("<I") + 36), 160_000]
