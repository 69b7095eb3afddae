"""MLflow's scoring protocol: every shape answers as plain predictions do, and MLflow's own client is content."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from homeostat import __version__

CSV = {"content-type": "text/csv"}
PARQUET = {"content-type": "application/vnd.apache.parquet"}
JSON = {"content-type": "application/json"}
TOKEN = "a-token-of-the-tests"
LOANS = "/models/loan/invocations"


@pytest.fixture(scope="module")
def frame(used: Any) -> pd.DataFrame:
    """Rows of the model that has features of every kind, with missing values in each."""
    rows = used.tables["loan"].drop(columns="default").head(40).copy()
    rows["member"] = rows["member"].astype(object)
    rows["colour"] = rows["colour"].astype(object)
    rows.loc[3, "colour"], rows.loc[5, "member"], rows.loc[7, "colour"] = None, None, 'a "new", one'
    assert rows["amount"].isna().any()
    return rows


@pytest.fixture(scope="module")
def expected(used: Any, frame: pd.DataFrame) -> Any:
    """What plain predictions say of the same rows."""
    answer = used.post("/models/loan/batch_predict", {"instances": as_json(frame.to_dict(orient="records"))})
    assert answer.status == 200, answer.content
    return answer.json


def as_json(value: Any) -> Any:
    """A value with NaN as null."""
    return json.loads(json.dumps(value).replace("NaN", "null"))


def split_of(frame: pd.DataFrame) -> dict[str, Any]:
    return as_json(frame.to_dict(orient="split"))


def parquet_of(frame: pd.DataFrame, **options: Any) -> bytes:
    return frame.to_parquet(**options)


SHAPES = {
    "split": lambda frame: {"dataframe_split": split_of(frame)},
    "split without columns": lambda frame: {"dataframe_split": {"data": split_of(frame)["data"]}},
    "records": lambda frame: {"dataframe_records": as_json(frame.to_dict(orient="records"))},
    "instances as lists": lambda frame: {"instances": split_of(frame)["data"]},
    "instances as objects": lambda frame: {"instances": as_json(frame.to_dict(orient="records"))},
    "inputs by column": lambda frame: {"inputs": as_json(frame.to_dict(orient="list"))},
    "inputs as rows": lambda frame: {"inputs": split_of(frame)["data"]},
    "inputs as objects": lambda frame: {"inputs": as_json(frame.to_dict(orient="records"))},
    "with params": lambda frame: {"inputs": split_of(frame)["data"], "params": {}},
    "with no params": lambda frame: {"inputs": split_of(frame)["data"], "params": None},
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("headers", [JSON, {}], ids=["json", "no type"])
def test_every_shape_of_json_answers_as_plain_predictions_do(
    used: Any, frame: pd.DataFrame, expected: Any, shape: str, headers: dict[str, str]
) -> None:
    answer = used.post(LOANS, SHAPES[shape](frame), headers=headers)
    assert answer.status == 200, answer.content
    assert list(answer.json) == ["predictions", "prediction_ids"]
    assert answer.json["predictions"] == [text == "true" for text in expected["predictions"]]
    assert set(expected["predictions"]) == {"true", "false"}
    logged = used.logged("loan")
    assert [logged[id_]["output"] for id_ in answer.json["prediction_ids"]] == expected["predictions"]


@pytest.mark.parametrize("target", [LOANS, "/models/loan/batch_predict"])
@pytest.mark.parametrize(
    ("headers", "content"),
    [
        (CSV, lambda frame: frame.to_csv(index=False).encode()),
        (CSV, lambda frame: b"\xef\xbb\xbf" + frame.to_csv(index=False, lineterminator="\r\n").encode()),
        (CSV, lambda frame: b"\n\n" + frame.to_csv(index=False, quoting=1).encode().rstrip()),
        ({"content-type": "Text/CSV; charset=utf-8"}, lambda frame: frame.iloc[:, ::-1].to_csv(index=False).encode()),
        (PARQUET, parquet_of),
        ({"content-type": "application/x-parquet"}, lambda frame: parquet_of(frame.iloc[:, ::-1], compression="zstd")),
        (PARQUET, lambda frame: parquet_of(frame.astype({"colour": "category"}), compression=None)),
        (PARQUET, lambda frame: parquet_of(frame.astype({"member": float}), compression="gzip", row_group_size=7)),
        (PARQUET, lambda frame: parquet_of(frame, use_dictionary=False, data_page_version="2.0", data_page_size=64)),
        (PARQUET, lambda frame: parquet_of(frame.astype({"amount": "float32"}).astype({"amount": "Float64"}))),
    ],
)
def test_tables_answer_as_plain_predictions_do(
    used: Any, frame: pd.DataFrame, expected: Any, target: str, headers: dict[str, str], content: Any
) -> None:
    answer = used.post(target, content(frame), headers=headers)
    assert answer.status == 200, answer.content
    if target == LOANS:
        assert answer.json["predictions"] == [text == "true" for text in expected["predictions"]]
    else:
        assert answer.json["predictions"] == expected["predictions"]
        assert answer.json["probabilities"] == expected["probabilities"]
        assert list(answer.json) == list(expected)


def test_a_table_of_polars_is_read(used: Any, frame: pd.DataFrame, expected: Any) -> None:
    import polars

    content = io.BytesIO()
    polars.DataFrame(frame.to_dict(orient="list"), strict=False, nan_to_null=True).write_parquet(content)
    answer = used.post(LOANS, content.getvalue(), headers=PARQUET)
    assert answer.json["predictions"] == [text == "true" for text in expected["predictions"]]


def test_what_a_prediction_is_follows_the_task(used: Any) -> None:
    rows = {"inputs": [[1.5, -1.0], [-1.5, 1]]}
    spam = used.post("/models/spam/invocations", rows).json
    assert (
        spam["predictions"]
        == used.post("/models/spam/batch_predict", {"instances": rows["inputs"]}).json["predictions"]
    )
    price = used.post("/models/price/invocations", rows).json["predictions"]
    assert price == used.post("/models/price/batch_predict", {"instances": rows["inputs"]}).json["predictions"]
    assert all(isinstance(value, float) for value in price)


@pytest.mark.parametrize("model", ["spam", "iris", "price"])
def test_params_say_what_is_put_out(used: Any, model: str) -> None:
    rows = [[1.5, -1.0], [-1.5, 1]]
    plain = used.post(f"/models/{model}/batch_predict", {"instances": rows}).json
    path = f"/models/{model}/invocations"
    said = used.post(path, {"inputs": rows, "params": {"output": "prediction"}}).json
    assert said["predictions"] == plain["predictions"]
    everything = used.post(path, {"inputs": rows, "params": {"output": "all"}}).json
    assert [row["prediction"] for row in everything["predictions"]] == plain["predictions"]
    assert [row.get("probability") for row in everything["predictions"]] == (plain["probabilities"] or [None, None])
    assert [row["prediction_id"] for row in everything["predictions"]] == everything["prediction_ids"]
    assert {(row["version"], row["arm"]) for row in everything["predictions"]} == {(1, "control")}
    answer = used.post(path, {"inputs": rows, "params": {"output": "probability"}})
    if model == "price":
        assert (answer.status, answer.code) == (400, "invalid_request")
    else:
        assert answer.json["predictions"] == plain["probabilities"]


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": {"columns": ["other", "length", "links", "x"], "data": [["a", 2, 1, None]], "index": [7]}},
        {"dataframe_split": {"columns": ["length", "links"], "data": [[2.0, 1.0]], "index": [["a", 1]]}},
        {"dataframe_records": [{"length": 2, "other": None, "links": 1}]},
        {"inputs": {"other": ["x"], "length": [2], "links": [1]}},
        {"inputs": {"length": 2, "links": 1}},
        {"instances": [{"length": 2, "other": True, "links": 1}]},
    ],
)
def test_columns_go_by_their_names_and_others_are_passed_over(used: Any, body: Any) -> None:
    answer = used.post("/models/spam/invocations", body, headers=JSON)
    assert answer.status == 200, answer.content
    (id_,) = answer.json["prediction_ids"]
    assert used.logged("spam")[id_]["features"] == {"links": 1.0, "length": 2.0}


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"length,links,other\n2,1,mischief\n", CSV),
        (b",length,links\n0,2.0,1e0\n", CSV),
        (pd.DataFrame({"length": [2], "other": ["x"], "links": [1.0]}, index=[5]).to_parquet(), PARQUET),
    ],
)
def test_columns_of_tables_go_by_their_names(used: Any, body: bytes, headers: Any) -> None:
    answer = used.post("/models/spam/invocations", body, headers=headers)
    assert answer.status == 200, answer.content
    (id_,) = answer.json["prediction_ids"]
    assert used.logged("spam")[id_]["features"] == {"links": 1.0, "length": 2.0}


ABOUT = pd.DataFrame(
    {
        "links": [1.0, 2.0, 3.0],
        "length": [1.0, 2.0, 3.0],
        "entity": ["u", None, "ü"],
        "event_time": ["2025-01-02T03:04:05+02:00", None, "2025-01-02 03:04:05.25"],
    }
)


BODIES = {
    "split": ("invocations", lambda frame: {"dataframe_split": split_of(frame)}, JSON),
    "records": ("invocations", lambda frame: {"dataframe_records": as_json(frame.to_dict(orient="records"))}, JSON),
    "inputs": ("invocations", lambda frame: {"inputs": as_json(frame.to_dict(orient="list"))}, JSON),
    "csv": ("invocations", lambda frame: frame.to_csv(index=False).encode(), CSV),
    "csv in a batch": ("batch_predict", lambda frame: frame.to_csv(index=False).encode(), CSV),
    "parquet with texts": ("batch_predict", parquet_of, PARQUET),
    "parquet with times": (
        "batch_predict",
        lambda frame: parquet_of(
            frame.assign(event_time=pd.to_datetime(frame["event_time"], format="ISO8601", utc=True))
        ),
        PARQUET,
    ),
    "parquet with categories": (
        "batch_predict",
        lambda frame: parquet_of(frame.astype({"entity": "category"})),
        PARQUET,
    ),
}


@pytest.mark.parametrize("kind", BODIES)
def test_columns_about_rows_are_taken_as_what_they_say(used: Any, kind: str) -> None:
    path, body_of, headers = BODIES[kind]
    ids = [f"{kind} {name}" for name in "abc"]
    answer = used.post(f"/models/spam/{path}", body_of(ABOUT.assign(prediction_id=ids)), headers=headers)
    assert answer.status == 200, answer.content
    assert answer.json["prediction_ids"] == ids
    logged = used.logged("spam")
    assert [logged[id_]["entity"] for id_ in ids] == ["u", ids[1], "ü"]
    assert [str(logged[id_]["event_time"])[:22] for id_ in (ids[0], ids[2])] == [
        "2025-01-02T01:04:05.00",
        "2025-01-02T03:04:05.25",
    ]
    assert abs(logged[ids[1]]["event_time"] - np.datetime64("now")) < np.timedelta64(300, "s")


def test_a_bare_nan_is_a_missing_value(used: Any, frame: pd.DataFrame) -> None:
    content = json.dumps({"dataframe_split": frame.to_dict(orient="split")}).encode()
    assert b"NaN" in content
    answer = used.post(LOANS, content, headers=JSON)
    assert answer.json["predictions"] == used.post(LOANS, SHAPES["split"](frame)).json["predictions"]
    quoted = {"dataframe_split": {"columns": ["amount", "colour", "member"], "data": [[1, 'x \\" NaN', True]]}}
    (id_,) = used.post(LOANS, quoted, headers=JSON).json["prediction_ids"]
    assert used.logged("loan")[id_]["features"]["colour"] == 'x \\" NaN'


def test_the_default_model_answers_and_can_be_asked_after(
    small_servers: ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> None:
    server = small_servers.open_server(tmp_path_factory.mktemp("default"), serve__model="spam", token=TOKEN)
    for made in small_servers.closed(server):
        # Probes send no token.
        assert (made.get("/ping").status, made.get("/ping").json) == (200, {"status": "ready"})
        assert made.get("/version").status == 401
        made.headers["authorization"] = f"Bearer {TOKEN}"
        assert made.get("/version").content.decode() == __version__
        assert made.get("/version").header("content-type").startswith("text/plain")
        answer = made.post("/invocations", {"inputs": [[1.5, -1.0]]})
        assert made.logged("spam")[answer.json["prediction_ids"][0]]["output"] == answer.json["predictions"][0]
        assert 'route="/invocations"' in made.get("/metrics").content.decode()
        made.server.stopping.set()
        assert (made.get("/ping").status, made.get("/ping").code) == (503, "not_ready")


def test_without_a_default_model_there_is_nothing_to_ping(app: Any) -> None:
    answer = app.get("/ping")
    assert (answer.status, answer.code) == (503, "not_ready")
    assert "spam" not in answer.content.decode()
    answer = app.post("/invocations", {"inputs": [[1, 2]]})
    assert (answer.status, answer.code) == (404, "unknown_model")


@pytest.fixture(scope="module")
def listening(small_servers: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a server whose default model has classes that are numbers, asked over a real socket."""
    import uvicorn

    home = tmp_path_factory.mktemp("listening")
    small = small_servers.open_server(home, register=False, serve__model="digits")
    table = small_servers.tables()["spam"]
    table["digit"] = np.where(table.pop("spam") == "yes", 1, 0)
    for made in small_servers.closed(small):
        small_servers.put_version(made, home, "digits", table, small_servers.Stage.PRODUCTION, fit_as="spam")
        made.server.follower.follow()
        config = uvicorn.Config(made.server.application, port=0, log_level="warning", lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield server.servers[0].sockets[0].getsockname()[1]
        server.should_exit = True
        thread.join()


def test_the_client_of_mlflow_is_content(listening: int) -> None:
    scoring = pytest.importorskip("mlflow.pyfunc.scoring_server.client")
    client = scoring.ScoringServerClient("127.0.0.1", listening)
    client.wait_server_ready(timeout=120)
    assert client.get_version() == __version__
    frame = pd.DataFrame({"length": [1.0, -2.0, 0.5], "other": ["x", None, "y"], "links": [2, -1, 1]}, index=[5, 6, 7])
    response = client.invoke(frame)
    assert response.get_predictions("ndarray").tolist() == [1, 0, 1]
    assert response.get_predictions()[0].tolist() == [1, 0, 1]
    assert json.loads(response.to_json())["prediction_ids"] == response["prediction_ids"]
    everything = client.invoke(frame, params={"output": "all"}).get_predictions()
    assert list(everything.columns) == ["prediction", "prediction_id", "version", "arm", "probability"]
    assert (everything["probability"].round().astype(int) == everything["prediction"]).all()
    matrix = frame[["links", "length"]].to_numpy()
    assert client.invoke(matrix).get_predictions("ndarray").tolist() == [1, 0, 1]
    assert client.invoke(matrix.tolist()).get_predictions("ndarray").tolist() == [1, 0, 1]
    with pytest.raises(Exception, match="invalid_features"):
        client.invoke(frame.drop(columns="length"))
    with pytest.raises(Exception, match="invalid_features"):
        client.invoke(frame.assign(length=np.nan))
