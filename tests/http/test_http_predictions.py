"""What is answered is exactly what was promised, and stands in the log as it was answered."""

from __future__ import annotations

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any

import numpy as np
import pytest

SPAM = {"links": 1.5, "length": -0.25}
LOAN = {"amount": 120.0, "colour": "red", "member": True}


def answered(server: Any, target: str, body: Any, status: int = 200, **more: Any) -> Any:
    answer = server.post(target, body, **more)
    assert (answer.status, answer.header("content-type")) == (status, "application/json"), answer.content
    return answer.json


def expected(server: Any, small_servers: ModuleType, model: str, row: dict[str, Any]) -> Any:
    """What the pipeline itself says, without the server."""
    import pandas as pd

    pipeline = small_servers.fitted(model, server.tables[model])
    frame = pd.DataFrame([row])
    return pipeline.predict_proba(frame)[0] if hasattr(pipeline, "predict_proba") else pipeline.predict(frame)[0]


def check_logged(server: Any, reply: dict[str, Any]) -> dict[str, Any]:
    """The row of the log for a reply, which has the same version, arm, output and score."""
    row = server.logged(reply["model"])[reply["prediction_id"]]
    assert (row["version"], row["arm"], row["error"]) == (reply["version"], reply["arm"], None)
    if reply["probability"] is None:
        assert (row["output"], row["score"]) == (None, reply["prediction"])
    else:
        assert (row["output"], row["score"]) == (reply["prediction"], reply["probability"])
    return dict(row)


def test_one_row_is_answered_and_logged(used: Any, small_servers: ModuleType) -> None:
    before = datetime.now(UTC)
    reply = answered(used, "/models/spam/predict", {"features": SPAM})
    assert list(reply) == [
        "prediction",
        "probability",
        "status",
        "prediction_id",
        "model",
        "version",
        "arm",
        "route",
    ]
    assert (reply["prediction"], reply["status"], reply["model"]) == ("yes", "success", "spam")
    assert (reply["version"], reply["arm"], reply["route"]) == (1, "control", 1)
    assert reply["probability"] == pytest.approx(expected(used, small_servers, "spam", SPAM)[1], abs=1e-6)
    made = uuid.UUID(reply["prediction_id"])
    assert made.version == 7
    assert abs((made.int >> 80) / 1000 - before.timestamp()) < 30
    row = check_logged(used, reply)
    assert row["features"] == SPAM
    assert row["entity"] == reply["prediction_id"]
    assert abs(row["event_time"] - np.datetime64(before.replace(tzinfo=None), "us")) < np.timedelta64(30, "s")


def test_rows_may_come_as_lists_in_the_order_of_the_signature(used: Any) -> None:
    by_name = answered(used, "/models/spam/predict", {"features": SPAM})
    by_place = answered(used, "/models/spam/predict", {"features": list(SPAM.values())})
    turned = answered(used, "/models/spam/predict", {"features": dict(reversed(SPAM.items()))})
    assert by_name["probability"] == by_place["probability"] == turned["probability"]
    assert check_logged(used, turned)["features"] == SPAM


def test_a_batch_is_answered_in_the_order_of_its_rows(used: Any) -> None:
    rows = [SPAM, [-1.0, -1.0], {"length": 3, "links": 0}]
    reply = answered(used, "/models/spam/batch_predict", {"instances": rows})
    assert list(reply) == [
        "predictions",
        "probabilities",
        "count",
        "status",
        "prediction_ids",
        "model",
        "versions",
        "arms",
        "route",
    ]
    assert (reply["count"], reply["status"], reply["predictions"]) == (3, "success", ["yes", "no", "yes"])
    assert (reply["versions"], reply["arms"], reply["model"], reply["route"]) == ([1] * 3, ["control"] * 3, "spam", 1)
    alone = [answered(used, "/models/spam/predict", {"features": row}) for row in rows]
    assert reply["probabilities"] == pytest.approx([one["probability"] for one in alone], abs=1e-6)
    assert len(set(reply["prediction_ids"])) == 3
    logged = used.logged("spam")
    for place, id_ in enumerate(reply["prediction_ids"]):
        assert (logged[id_]["output"], logged[id_]["score"]) == (
            reply["predictions"][place],
            reply["probabilities"][place],
        )


def test_a_full_batch_is_taken(used: Any) -> None:
    reply = answered(used, "/models/price/batch_predict", {"instances": [[place / 1000, 1] for place in range(50_000)]})
    assert reply["count"] == len(set(reply["prediction_ids"])) == 50_000


def test_many_classes_give_the_probability_of_the_one_that_is_named(used: Any, small_servers: ModuleType) -> None:
    row = {"petal": 1.0, "sepal": 0.5}
    reply = answered(used, "/models/iris/predict", {"features": row})
    outputs = expected(used, small_servers, "iris", row)
    assert reply["prediction"] == ["iris", "rose", "setosa"][int(outputs.argmax())] == "setosa"
    assert reply["probability"] == pytest.approx(outputs.max(), abs=1e-6)
    check_logged(used, reply)


def test_a_regression_gives_a_number_and_no_probability(used: Any, small_servers: ModuleType) -> None:
    row = {"size": 0.5, "rooms": 2}
    reply = answered(used, "/models/price/predict", {"features": row})
    assert reply["prediction"] == pytest.approx(expected(used, small_servers, "price", row))
    assert reply["probability"] is None
    check_logged(used, reply)
    batch = answered(used, "/models/price/batch_predict", {"instances": [row, row]})
    assert (batch["predictions"], batch["probabilities"]) == ([reply["prediction"]] * 2, None)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"amount": None},
        {"colour": None},
        {"member": None},
        {"amount": None, "colour": None, "member": None},
        {"member": 1},
        {"member": 0.0},
        {"colour": "a colour that was never seen"},
        {"colour": ""},
        {"colour": "röt ☃ 红"},
        {"amount": 10**15},
        {"amount": -0.0},
        {"amount": 1e-300},
    ],
)
def test_categories_booleans_and_missing_values_are_scored_and_logged(
    used: Any, small_servers: ModuleType, change: dict[str, Any]
) -> None:
    row = LOAN | change
    reply = answered(used, "/models/loan/predict", {"features": row})
    assert reply["prediction"] in ("true", "false")
    if None not in change.values():
        assert reply["probability"] == pytest.approx(expected(used, small_servers, "loan", row)[1], abs=1e-6)
    features = check_logged(used, reply)["features"]
    for name, value in row.items():
        assert features[name] == value or (value is None and (features[name] is None or np.isnan(features[name])))


def test_missing_values_are_answered_by_models_that_can(used: Any) -> None:
    row = check_logged(used, answered(used, "/models/price/predict", {"features": {"size": None, "rooms": 1}}))
    assert np.isnan(row["features"]["size"])


def test_ids_that_the_caller_names_are_logged_once(used: Any) -> None:
    body = {"features": SPAM, "prediction_id": "order-17: größer ☃", "entity": "anna"}
    first = answered(used, "/models/spam/predict", body)
    assert first["prediction_id"] == body["prediction_id"]
    again = answered(used, "/models/spam/predict", body)
    assert again == first
    batch = {"instances": [SPAM, SPAM], "prediction_ids": [body["prediction_id"], "order-18"]}
    assert answered(used, "/models/spam/batch_predict", batch)["prediction_ids"] == batch["prediction_ids"]
    row = used.logged("spam")[body["prediction_id"]]
    assert row["entity"] == "anna"
    assert answered(used, "/models/spam/predict", {"features": SPAM, "prediction_id": "x" * 256})


def test_requests_at_the_same_time_log_a_named_row_once(used: Any) -> None:
    bodies = [{"features": SPAM, "prediction_id": f"race-{place % 3}"} for place in range(48)]
    with ThreadPoolExecutor(12) as pool:
        replies = list(pool.map(lambda body: answered(used, "/models/spam/predict", body), bodies))
    assert len({json.dumps(reply) for reply in replies}) == 3
    # `logged` refuses rows that are there twice.
    assert {f"race-{place}" for place in range(3)} <= set(used.logged("spam"))


def test_entities_are_the_same_as_number_or_text(used: Any) -> None:
    batch = {"instances": [SPAM] * 4, "entities": [7, "7", None, 10**30]}
    ids = answered(used, "/models/spam/batch_predict", batch)["prediction_ids"]
    assert [used.logged("spam")[id_]["entity"] for id_ in ids] == ["7", "7", ids[2], str(10**30)]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("2025-01-31T12:00:00Z", "2025-01-31T12:00:00"),
        ("2025-01-31T12:00:00+02:00", "2025-01-31T10:00:00"),
        ("2025-01-31T12:00:00.123456Z", "2025-01-31T12:00:00.123456"),
        ("2025-01-31T12:00:00", "2025-01-31T12:00:00"),
        ("0100-01-01T00:00:00Z", "0100-01-01T00:00:00"),
        ("8999-12-31T23:59:59Z", "8999-12-31T23:59:59"),
    ],
)
def test_event_times_are_kept_in_utc(used: Any, given: str, kept: str) -> None:
    reply = answered(used, "/models/spam/predict", {"features": SPAM, "event_time": given})
    assert check_logged(used, reply)["event_time"] == np.datetime64(kept, "us")
    body = {"instances": [SPAM, SPAM], "event_times": [given, "2024-02-29T00:00:00Z"]}
    ids = answered(used, "/models/spam/batch_predict", body)["prediction_ids"]
    times = [used.logged("spam")[id_]["event_time"] for id_ in ids]
    assert times == [np.datetime64(kept, "us"), np.datetime64("2024-02-29", "us")]


def test_labels_come_after_before_and_twice(used: Any) -> None:
    reply = answered(used, "/models/spam/predict", {"features": SPAM})
    body = {"model": "spam", "labels": [{"prediction_id": reply["prediction_id"], "label": "yes"}]}
    accepted = answered(used, "/api/v1/labels", body)
    assert (accepted["model"], accepted["accepted"]) == ("spam", 1)
    early = {"prediction_id": "to-come", "label": "no", "event_time": "2025-01-01T00:00:00Z"}
    corrected = {"prediction_id": reply["prediction_id"], "label": "no"}
    sent = {"model": "spam", "labels": [early, corrected], "source": "analyst"}
    assert answered(used, "/api/v1/labels", sent)["accepted"] == 2
    answered(used, "/models/spam/predict", {"features": SPAM, "prediction_id": "to-come"})
    joined = used.server.system.view("spam").joined
    rows = joined.rows()
    by_id = {id_: rows.classes[code] for id_, code in zip(joined.ids(), rows.label, strict=True) if code >= 0}
    assert by_id == {reply["prediction_id"]: "no", "to-come": "no"}


@pytest.mark.parametrize(
    ("model", "label", "kept"),
    [
        ("loan", True, "true"),
        ("loan", "true", "true"),
        ("spam", "yes", "yes"),
        ("price", 17, "17"),
        ("price", 1.5, "1.5"),
        ("price", "1.5e3", "1.5e3"),
        ("price", -0.0, "-0.0"),
    ],
)
def test_labels_are_kept_as_the_text_of_their_class_or_number(used: Any, model: str, label: Any, kept: str) -> None:
    id_ = f"{model}-{label}"
    body = {"model": model, "labels": [{"prediction_id": id_, "label": label}]}
    assert answered(used, "/api/v1/labels", body)["accepted"] == 1
    value = used.labels(model)[id_]
    assert value == kept or float(value) == float(kept)


def tensor(name: str, data: list[Any], datatype: str = "FP64", **more: Any) -> dict[str, Any]:
    return {"name": name, "shape": [len(data)], "datatype": datatype, "data": data} | more


def outputs_of(reply: dict[str, Any]) -> dict[str, list[Any]]:
    return {output["name"]: output["data"] for output in reply["outputs"]}


def test_the_inference_protocol_describes_what_it_serves(used: Any) -> None:
    server = used.get("/v2").json
    assert server["name"] == "homeostat"
    assert server["extensions"] == ["binary_tensor_data", "model_configuration", "model_repository", "statistics"]
    assert used.get("/v2/health/live").json == {"live": True}
    assert used.get("/v2/health/ready").json == {"ready": True}
    assert used.get("/v2/models/loan/ready").json == {"name": "loan", "ready": True}
    found = used.get("/v2/models/loan").json
    assert (found["name"], found["versions"]) == ("loan", ["1"])
    # Which form is the fastest depends on the machine.
    assert found["platform"].startswith("homeostat_")
    assert found["inputs"] == [
        {"name": "amount", "datatype": "FP64", "shape": [-1]},
        {"name": "colour", "datatype": "BYTES", "shape": [-1]},
        {"name": "member", "datatype": "BOOL", "shape": [-1]},
    ]
    assert found["outputs"] == [
        {"name": "prediction", "datatype": "BYTES", "shape": [-1]},
        {"name": "probability", "datatype": "FP64", "shape": [-1]},
        {"name": "prediction_id", "datatype": "BYTES", "shape": [-1]},
        {"name": "version", "datatype": "INT64", "shape": [-1]},
    ]
    assert [output["name"] for output in used.get("/v2/models/price").json["outputs"]] == [
        "prediction",
        "prediction_id",
        "version",
    ]
    # A version that is no longer, or not yet, in production can be asked for by its number.
    assert used.get("/v2/models/spam/versions/2").json["versions"] == ["1", "2"]
    assert used.get("/v2/models/spam/versions/2/ready").json["ready"] is True


@pytest.mark.parametrize(
    "inputs",
    [
        [tensor("links", [1.5, -1]), tensor("length", [-0.25, -1])],
        [tensor("length", [-0.25, -1]), tensor("links", [1.5, -1], "FP32")],
        [tensor("links", [[1.5], [-1]], shape=[2, 1]), tensor("length", [-0.25, -1], shape=[2, 1])],
        [tensor("rows", [1.5, -0.25, -1, -1], shape=[2, 2])],
        [tensor("rows", [[1.5, -0.25], [-1, -1]], shape=[2, 2])],
    ],
)
def test_tensors_are_scored_and_logged_however_they_come(used: Any, inputs: list[Any]) -> None:
    plain = answered(used, "/models/spam/batch_predict", {"instances": [SPAM, [-1, -1]]})
    reply = answered(used, "/v2/models/spam/infer", {"inputs": inputs, "id": "request ☃"})
    assert (reply["model_name"], reply["model_version"], reply["id"]) == ("spam", "1", "request ☃")
    assert [(one["name"], one["shape"], one["datatype"]) for one in reply["outputs"]] == [
        ("prediction", [2], "BYTES"),
        ("probability", [2], "FP64"),
        ("prediction_id", [2], "BYTES"),
        ("version", [2], "INT64"),
    ]
    outputs = outputs_of(reply)
    assert outputs["prediction"] == plain["predictions"]
    assert outputs["probability"] == plain["probabilities"]
    assert outputs["version"] == [1, 1]
    rows = [used.logged("spam")[id_] for id_ in outputs["prediction_id"]]
    assert [row["score"] for row in rows] == outputs["probability"]
    assert rows[0]["features"] == SPAM


def test_tensors_of_every_kind_are_taken(used: Any) -> None:
    inputs = [
        tensor("amount", [120, None], "INT32"),
        tensor("colour", ["red", None], "BYTES"),
        tensor("member", [True, None], "BOOL"),
    ]
    reply = answered(used, "/v2/models/loan/infer", {"inputs": inputs, "parameters": {"entity": 7}})
    plain = answered(used, "/models/loan/batch_predict", {"instances": [LOAN, [None, None, None]]})
    outputs = outputs_of(reply)
    assert "id" not in reply
    assert outputs["probability"] == plain["probabilities"]
    assert {used.logged("loan")[id_]["entity"] for id_ in outputs["prediction_id"]} == {"7"}
    numbers = [tensor("amount", [120]), tensor("colour", ["red"], "BYTES"), tensor("member", [1], "UINT8")]
    assert outputs_of(answered(used, "/v2/models/loan/infer", {"inputs": numbers}))["probability"] == [
        plain["probabilities"][0]
    ]


def test_one_version_and_some_outputs_can_be_asked_for(used: Any) -> None:
    body = {
        "inputs": [tensor("rows", [1.5, -0.25], shape=[1, 2])],
        "outputs": [{"name": "version"}, {"name": "prediction_id"}],
    }
    reply = answered(used, "/v2/models/spam/versions/2/infer", body)
    assert reply["model_version"] == "2"
    assert [one["name"] for one in reply["outputs"]] == ["version", "prediction_id"]
    outputs = outputs_of(reply)
    assert outputs["version"] == [2]
    row = used.logged("spam")[outputs["prediction_id"][0]]
    assert (row["version"], row["arm"]) == (2, "named")
    # The draft is another model, and does not serve anybody who did not ask for it.
    assert answered(used, "/models/spam/predict", {"features": SPAM})["version"] == 1
    assert row["score"] != answered(used, "/models/spam/predict", {"features": SPAM})["probability"]


def test_the_numbers_of_a_regression_come_as_tensors(used: Any) -> None:
    reply = answered(used, "/v2/models/price/infer", {"inputs": [tensor("rows", [0.5, 2], shape=[1, 2])]})
    plain = answered(used, "/models/price/predict", {"features": [0.5, 2]})
    assert outputs_of(reply)["prediction"] == [plain["prediction"]]
    assert reply["outputs"][0]["datatype"] == "FP64"


def test_the_only_model_is_the_default_one(small_servers: ModuleType, tmp_path: Any) -> None:
    for server in small_servers.closed(small_servers.open_server(tmp_path, register=False)):
        assert server.post("/predict", {"features": SPAM}).code == "unknown_model"
        stage = small_servers.Stage.PRODUCTION
        small_servers.put_version(server, tmp_path, "spam", server.tables["spam"], stage)
        assert answered(server, "/predict", {"features": SPAM})["model"] == "spam"
        assert answered(server, "/batch_predict", {"instances": [SPAM]})["model"] == "spam"
        body = {"labels": [{"prediction_id": "a", "label": "yes"}]}
        assert answered(server, "/api/v1/labels", body)["model"] == "spam"
        small_servers.put_version(server, tmp_path, "price", server.tables["price"], stage)
        assert server.post("/predict", {"features": SPAM}).code == "unknown_model"


def test_one_of_several_models_can_be_the_default(small_servers: ModuleType, tmp_path: Any) -> None:
    for server in small_servers.closed(small_servers.open_server(tmp_path, serve__model="price")):
        assert answered(server, "/predict", {"features": [1, 2]})["model"] == "price"
        assert answered(server, "/batch_predict", {"instances": [[1, 2]]})["model"] == "price"
        body = {"labels": [{"prediction_id": "a", "label": 1}]}
        assert answered(server, "/api/v1/labels", body)["model"] == "price"
        assert answered(server, "/models/spam/predict", {"features": SPAM})["model"] == "spam"


def test_an_entity_stays_with_its_version_while_two_serve(small_servers: ModuleType, tmp_path: Any) -> None:
    for server in small_servers.closed(small_servers.open_server(tmp_path)):
        system = server.server.system
        answered(server, "/api/v1/models/spam/versions/2/stage", {"stage": "staging"})
        answered(server, "/api/v1/models/spam/rollouts", {"version": 2}, 201)
        instances, entities = [SPAM] * 600, [f"user {place}" for place in range(600)]
        body = {"instances": instances, "entities": entities}
        # The steps of the rollout write such routes; here it is one that splits at once.
        route = split_route(system)
        first = answered(server, "/models/spam/batch_predict", body)
        assert first["route"] == route
        assert {*first["versions"]} == {1, 2}
        share = first["versions"].count(2) / 600
        assert 0.3 < share < 0.7
        again = answered(server, "/models/spam/batch_predict", body)
        assert (again["versions"], again["arms"]) == (first["versions"], first["arms"])
        logged = server.logged("spam")
        for place in (0, 299, 599):
            single = answered(server, "/models/spam/predict", {"features": SPAM, "entity": entities[place]})
            assert (single["version"], single["arm"]) == (first["versions"][place], first["arms"][place])
            row = logged[first["prediction_ids"][place]]
            assert (row["version"], row["arm"]) == (first["versions"][place], first["arms"][place])
            assert row["score"] == first["probabilities"][place]


def split_route(system: Any) -> int:
    """Write a route with two arms of equal weight, and return its number."""
    from homeostat.journal import write_route
    from homeostat.records import Arm

    now = system.clock.now()
    arms = (Arm(name="control", version=1, weight=0.5), Arm(name="candidate", version=2, weight=0.5))
    with system.store.begin() as transaction:
        route = write_route(
            transaction, "spam", arms, at=now, reason="a test", shadows=(), lease_until=now + timedelta(hours=1)
        )
    system.gateway.refresh("spam", now=now)
    return int(route.number)


def test_head_is_get_without_the_body(used: Any) -> None:
    for target in ("/", "/livez", "/api/v1/models", "/api/v1/openapi.json", "/v2/models/spam"):
        whole, head = used.get(target), used.call("HEAD", target)
        assert (head.status, head.content, head.header("content-type")) == (200, b"", whole.header("content-type"))
        assert int(head.header("content-length")) > 0


def test_requests_keep_their_ids(used: Any) -> None:
    for given in ("abc", "A-1_b.c:9", "x" * 64, str(uuid.uuid4())):
        assert used.get("/livez", headers={"x-request-id": given}).header("x-request-id") == given
    own = {used.get("/livez").header("x-request-id") for _ in range(20)}
    assert len(own) == 20


def test_bodies_may_come_in_parts_and_with_space_around(used: Any) -> None:
    content = json.dumps({"features": SPAM}).encode()
    parts = [bytes([byte]) for byte in b" \n" + content + b"\n "]
    answer = used.post("/models/spam/predict", parts=parts)
    assert answer.status == 200
    check_logged(used, answer.json)


def test_what_serves_is_shown_after_a_promotion(used: Any) -> None:
    health = used.get("/health").json
    assert health["status"] == "healthy"
    assert health["models"]["spam"]["versions"] == [1]
    assert set(health["models"]) == {"spam", "iris", "price", "loan"}
