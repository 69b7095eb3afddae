"""Predictions of other servers come in as JSON and as CloudEvents, and what can't be used changes nothing."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from homeostat.ports import Registration
from homeostat.records import Stage

WORD = "mischief"
PATH = "/api/v1/predictions?model=far"
REQUEST, RESPONSE = "org.kubeflow.serving.inference.request", "org.kubeflow.serving.inference.response"
CLASSES = ["setosa", "iris", "rose"]


def add_external(server: Any, folder: Path, model: str, **frame: Any) -> None:
    table = pd.DataFrame(frame)
    path = folder / f"{model}.parquet"
    table.to_parquet(path)
    registration = Registration(training=path, target="truth", is_external=True)
    server.control.register(model, registration, actor="me", reason="test")
    for stage in (Stage.STAGING, Stage.PRODUCTION):
        server.control.move(model, 1, stage, actor="me", reason="test")


@pytest.fixture(scope="module")
def watching(small_servers: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server that serves nothing: `far` is binary, `kinds` has three classes, `worth` is a regression."""
    folder = tmp_path_factory.mktemp("watching")
    server = small_servers.open_server(folder, register=False)
    rng = np.random.default_rng(1)
    a, count = rng.normal(size=300), 300
    colour = rng.choice(["red", "blue"], count)
    answer = np.where(a > 0, "1", "0")
    add_external(server, folder, "far", a=a, colour=colour, truth=answer, prediction=answer, score=1 / (1 + np.exp(-a)))
    add_external(server, folder, "kinds", a=a, b=a * 2, truth=rng.choice(CLASSES, count))
    add_external(server, folder, "worth", a=a, b=a * 2, truth=a * 3, prediction=a * 3)
    yield from small_servers.closed(server)


def row(id_: str, **more: Any) -> dict[str, Any]:
    return {"prediction_id": id_, "features": {"a": 1.0, "colour": "red"}, "prediction": "1"} | more


def send(server: Any, kind: str, id_: Any, data: Any, *, service: str = "far", **more: Any) -> Any:
    """An event as the logger of KServe sends it."""
    headers = {"ce-specversion": "1.0", "ce-type": kind, "ce-id": id_, "ce-inferenceservicename": service}
    headers |= {"ce-source": "http://localhost:9081/", "content-type": "application/json"} | more
    return server.post("/api/v1/predictions", data, headers=headers)


def waiting(server: Any) -> float:
    return value(server, "inference_events_waiting")


def value(server: Any, metric: str) -> float:
    lines = server.get("/metrics").content.decode().splitlines()
    return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(metric)), 0.0)


def test_one_row_and_many_are_logged_once_each(watching: Any) -> None:
    written = value(watching, "prediction_log_written_total")
    given = row("p-1", score=0.7, entity="anna", event_time="2025-03-01T12:00:00Z", latency_ms=3.5)
    for body, accepted, duplicates in ((given, 1, 0), ([given, row("p-2", score=0.2), row("p-2")], 1, 2)):
        answer = watching.post(PATH, body)
        assert answer.status == 200, answer.content
        assert answer.json == {
            "model": "far",
            "version": 1,
            "accepted": accepted,
            "duplicates": duplicates,
            "waiting": 0,
        }
    # As curl sends it, which calls everything a form.
    form = {"content-type": "application/x-www-form-urlencoded"}
    only_score = {"prediction_id": "p-3", "features": [2, "blue"], "score": 0.4}
    assert watching.post(PATH, only_score, headers=form).json["accepted"] == 1
    found = watching.logged("far")
    assert found["p-1"] == {
        "version": 1,
        "arm": "external",
        "entity": "anna",
        "output": "1",
        "score": 0.7,
        "event_time": np.datetime64("2025-03-01T12:00:00"),
        "error": None,
        "features": {"a": 1.0, "colour": "red"},
    }
    assert (found["p-2"]["score"], found["p-2"]["entity"]) == (0.2, "p-2")
    assert (found["p-3"]["output"], found["p-3"]["score"]) == ("0", 0.4)
    assert value(watching, 'predictions_ingested_total{model="far",outcome="accepted"}') >= 3
    # What is taken in is written once, and counts once.
    assert value(watching, "prediction_log_written_total") == written + 3
    assert value(watching, 'predictions_ingested_total{model="far",outcome="duplicate"}') == 2


def test_what_is_served_elsewhere_is_shown_and_refuses_to_be_scored(watching: Any) -> None:
    for page in ("/", "/models/far", "/readyz", "/health", "/metrics", "/api/v1/status", "/api/v1/models/far/routes"):
        assert watching.get(page).status == 200, page
    features = {"features": [1, "red"]}
    for method, target, body in (
        ("POST", "/models/far/predict", features),
        ("POST", "/models/far/batch_predict", {"instances": [[1, "red"]]}),
        ("GET", "/v2/models/far", b""),
        ("GET", "/v2/models/far/versions/1/ready", b""),
        ("POST", "/api/v1/models/far/retrain", {}),
        ("POST", "/api/v1/models/far/rollouts", {"version": 1}),
    ):
        answer = watching.call(method, target, body)
        assert (answer.status, answer.code) == (409, "served_elsewhere"), target


def test_halves_of_an_inference_are_paired_whichever_comes_first(watching: Any) -> None:
    asked = {"instances": [[1.0, "red"], {"a": None, "colour": "blue"}]}
    time = {"ce-time": "2025-03-02T00:00:00.505997782Z"}
    first = send(watching, REQUEST, "e-1", asked, **time)
    assert (first.status, first.json["waiting"], first.json["accepted"]) == (200, 1, 0), first.content
    assert waiting(watching) == 1
    # A repeated half takes the place of the first.
    assert send(watching, REQUEST, "e-1", asked, **time).json["waiting"] == 1
    assert send(watching, RESPONSE, "e-1", {"predictions": [1, "0"]}).json["accepted"] == 2
    assert send(watching, RESPONSE, "e-2", {"predictions": [0.8]}).json["waiting"] == 1
    form = {"content-type": "application/x-www-form-urlencoded"}
    assert send(watching, REQUEST, "e-2", {"instances": [[0.5, "red"]]}, **form).json["accepted"] == 1
    assert waiting(watching) == 0
    found = watching.logged("far")
    assert [found[id_]["output"] for id_ in ("e-1-0", "e-1-1", "e-2")] == ["1", "0", "1"]
    assert [found[id_]["score"] for id_ in ("e-1-0", "e-1-1", "e-2")] == [1.0, 0.0, 0.8]
    assert found["e-1-0"]["event_time"] == np.datetime64("2025-03-02T00:00:00.505998")
    assert np.isnan(found["e-1-1"]["features"]["a"])
    # Both halves once more: logged before.
    for kind, data in ((REQUEST, asked), (RESPONSE, {"predictions": [1, 0]})):
        again = send(watching, kind, "e-1", data)
    assert (again.json["accepted"], again.json["duplicates"]) == (0, 2)
    assert value(watching, 'inference_events_total{outcome="paired"}') >= 6


def tensor(name: str, shape: list[int], data: Any, datatype: str = "FP64") -> dict[str, Any]:
    return {"name": name, "shape": shape, "datatype": datatype, "data": data}


def test_v2_tensors_and_structured_events_are_read_too(watching: Any) -> None:
    cases: list[tuple[str, str, Any, Any, list[Any], list[float]]] = [
        (
            "kinds",
            "v-1",
            {"inputs": [tensor("rows", [2, 2], [1, 2, 3, 4])], "id": "x"},
            {"model_name": "kinds", "outputs": [tensor("predict", [2], ["rose", "iris"], "BYTES")]},
            ["rose", "iris"],
            [1.0, 1.0],
        ),
        (
            "kinds",
            "v-2",
            {"inputs": [tensor("a", [2, 1], [1, 2]), tensor("b", [2, 1], [1, 2])]},
            {"outputs": [tensor("anything", [2, 3], [0.1, 0.2, 0.7, 0.5, 0.25, 0.25])]},
            [sorted(CLASSES)[2], sorted(CLASSES)[0]],
            [0.7, 0.5],
        ),
        (
            "far",
            "v-3",
            {"inputs": [tensor("a", [1], [1]), tensor("colour", [1], ["red"], "BYTES")]},
            {"outputs": [tensor("label", [1, 1], [0], "INT64"), tensor("probabilities", [1, 2], [[0.6, 0.4]])]},
            ["0"],
            [0.4],
        ),
        ("worth", "v-4", {"instances": [[1, 2]]}, {"predictions": [[3.5]]}, [None], [3.5]),
    ]
    for model, id_, asked, answered, outputs, scores in cases:
        batch = [
            {"specversion": "1.0", "type": REQUEST, "id": id_, "data": asked, "endpoint": ""},
            {
                "specversion": "1.0",
                "type": RESPONSE,
                "id": id_,
                "inferenceservicename": model,
                "data_base64": base64.b64encode(json.dumps(answered).encode()).decode(),
            },
        ]
        one = {"headers": {"content-type": "application/cloudevents+json; charset=UTF-8"}}
        target = f"/api/v1/predictions?model={model}"
        if id_ == "v-1":
            many = {"headers": {"content-type": "application/cloudevents-batch+json"}}
            answer = watching.post(target, batch, **many)
        else:
            assert watching.post(target, batch[0], **one).json["waiting"] == 1
            answer = watching.post("/api/v1/predictions", batch[1], **one)
        assert answer.status == 200, answer.content
        assert answer.json["accepted"] == len(outputs)
        found = watching.logged(model)
        ids = [id_] if len(outputs) == 1 else [f"{id_}-{place}" for place in range(len(outputs))]
        assert [found[name]["output"] for name in ids] == outputs
        assert [found[name]["score"] for name in ids] == pytest.approx(scores)


def refusals(answer: Any) -> tuple[int, str]:
    assert WORD not in answer.content.decode().lower()
    return answer.status, answer.code


def test_what_can_not_be_logged_is_refused_whole(watching: Any) -> None:
    before = watching.kept()
    bad = (400, "invalid_request")
    for body, said in (
        (b"", bad),
        (b"{", bad),
        ([], bad),
        ([row("a"), {"prediction_id": WORD}], bad),
        (row("a", **{WORD: 1}), bad),
        (row("a\x00"), bad),
        (row("a", latency_ms=-1), bad),
        (row("a", event_time="9999-01-01T00:00:00Z"), bad),
        (b'{"prediction_id": "a", "prediction_id": "b", "features": [1, "red"], "prediction": "1"}', bad),
        ([row("a"), row("b", features=[1, 2, WORD])], (400, "invalid_features")),
        (row("a", features={"a": WORD, "colour": "red"}), (400, "invalid_features")),
        ([row("a"), row("b", prediction=WORD)], (400, "invalid_prediction")),
        (row("a", prediction=None), (400, "invalid_prediction")),
        (row("a", score=1.5), (400, "invalid_prediction")),
    ):
        assert refusals(watching.post(PATH, body, headers={"content-type": "application/json"})) == said, body
    assert "row 1" in watching.post(PATH, [row("a"), row("b", prediction=WORD)]).json["error"]
    worth = "/api/v1/predictions?model=worth"
    assert refusals(watching.post(worth, row("a", features=[1, 2], prediction=WORD)))[1] == "invalid_prediction"
    many = [{"prediction_id": str(n), "features": [1, "red"], "score": 0} for n in range(50_001)]
    assert refusals(watching.post(PATH, many)) == (413, "too_large")
    assert refusals(watching.post(f"{PATH}&version=7", row("a"))) == (404, "unknown_version")
    assert refusals(watching.post(f"/api/v1/predictions?model={WORD}", row("a"))) == (404, "unknown_model")
    assert refusals(watching.post("/api/v1/predictions", row("a"))) == (404, "unknown_model")
    assert watching.kept() == before


def test_events_that_mean_nothing_are_refused_and_none_waits(watching: Any) -> None:
    before, waited = watching.kept(), waiting(watching)
    good = {"instances": [[1.0, "red"]]}
    for kind, id_, data, more in (
        (WORD, "x", good, {}),
        (REQUEST, "", good, {}),
        (REQUEST, "x" * 241, good, {}),
        (REQUEST, "x", good, {"ce-specversion": "0.3"}),
        (REQUEST, "x", good, {"ce-time": WORD}),
        (REQUEST, "x", [good], {}),
        (REQUEST, "x", {WORD: 1}, {}),
        (REQUEST, "x", {"instances": []}, {}),
        (REQUEST, "x", {"instances": [[WORD, "red"]]}, {}),
        (REQUEST, "x", {"inputs": [WORD]}, {}),
        (REQUEST, "x", b"\xff\x00binary", {"content-type": "application/octet-stream"}),
    ):
        assert refusals(send(watching, kind, id_, data, **more))[0] == 400, (kind, data)
    assert refusals(send(watching, REQUEST, "x", good, service=WORD)) == (404, "unknown_model")
    # The second half says what is wrong with the pair; neither waits any more.
    for data in (
        {WORD: 1},
        {"predictions": []},
        {"predictions": [WORD]},
        {"predictions": [{"class": WORD}]},
        {"predictions": [[0.5, 0.4, 0.1]]},
        {"predictions": [7]},
        {"outputs": [{"name": WORD}]},
        {"outputs": [tensor("a", [1], [1]), tensor("b", [1], [1])]},
        {"outputs": [tensor("a", [1], [1, 2])]},
        {"outputs": [tensor("a", [1, 2], [[1]])]},
    ):
        assert send(watching, REQUEST, "wrong", good).json["waiting"] == 1
        assert refusals(send(watching, RESPONSE, "wrong", data))[0] == 400, data
    structured = {"headers": {"content-type": "application/cloudevents+json"}}
    event = {"specversion": "1.0", "type": REQUEST, "id": "x"}
    for body in (b"{", [], {WORD: 1}, event, event | {"data_base64": "?"}, event | {"data": WORD}):
        assert refusals(watching.post(PATH, body, **structured))[0] == 400, body
    assert refusals(watching.post(PATH, [], headers={"content-type": "application/cloudevents-batch+json"}))[0] == 400
    assert watching.kept() == before
    assert waiting(watching) == waited


def test_a_server_of_ones_own_models_takes_none_of_them_from_elsewhere(app: Any) -> None:
    answer = app.post("/api/v1/predictions?model=spam", row("a", features=[1, 2], prediction="yes"))
    assert (answer.status, answer.code) == (409, "conflict")
