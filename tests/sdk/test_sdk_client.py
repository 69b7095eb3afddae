"""Predictions, labels, registrations and names: what the client sends, and what it makes of the replies."""

from __future__ import annotations

import io
import json
import runpy
import threading
from datetime import datetime
from email.parser import BytesParser
from email.policy import HTTP
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest

from homeostat.errors import InvalidFeatures, InvalidInput, InvalidLabel, UnknownModel, UnknownRecord, UnknownVersion
from homeostat.ports import Registration
from homeostat.records import (
    LabelsAccepted,
    Prediction,
    PredictionBatch,
    RunState,
    Stage,
)
from homeostat.sdk import Client

SAMPLES = runpy.run_path(str(Path(__file__).with_name("samples.py")))
MODEL = SAMPLES["MODEL"]
VERSION = SAMPLES["VERSION"]
RUN = SAMPLES["RUN"]
STATUS = SAMPLES["STATUS"]
M = "/api/v1/models/mail"
WHO = {"actor": "ann", "reason": "why not"}

ANSWER = Prediction(
    prediction="spam",
    probability=0.75,
    status="success",
    prediction_id="p1",
    model="mail",
    version=3,
    arm="production",
    route=2,
)


def test_one_row_is_predicted(told: Any) -> None:
    told.say(ANSWER)
    with Client(told.url) as client:
        found = client.predict(
            "mail",
            {"a": np.float32(0.5), "b": float("nan"), "c": "x", "d": np.bool_(True), "e": np.datetime64("1970-01-02")},
            entity=7,
            prediction_id="p1",
            event_time=datetime(2025, 1, 2, 3, 4, 5),
        )
    assert found == ANSWER
    assert told.last.target == "/models/mail/predict"
    assert told.last.json == {
        "features": {"a": 0.5, "b": None, "c": "x", "d": True, "e": 86_400_000_000},
        "prediction_id": "p1",
        "entity": "7",
        "event_time": "2025-01-02T03:04:05.000000Z",
    }


def test_values_alone_are_in_the_order_of_the_signature_and_no_model_is_the_default_one(told: Any) -> None:
    told.say(ANSWER)
    with Client(told.url) as client:
        client.predict(None, [1, None, "x"])
    assert told.last.target == "/predict"
    assert told.last.json == {"features": [1, None, "x"]}


@pytest.mark.parametrize(
    ("outputs", "probabilities"), [(["spam", "ham"], [0.9, 0.2]), ([1.5, -2.0], None)], ids=["classes", "values"]
)
def test_many_rows_are_predicted(told: Any, outputs: Any, probabilities: Any) -> None:
    batch = PredictionBatch(
        predictions=outputs,
        probabilities=probabilities,
        count=2,
        status="success",
        prediction_ids=["p1", "p2"],
        model="mail",
        versions=[3, 3],
        arms=["production"] * 2,
        route=1,
    )
    told.say(batch)
    frame = pd.DataFrame({"a": [0.5, np.nan], "c": ["x", None]})
    with Client(told.url) as client:
        found = client.predict_batch(
            "mail",
            frame,
            entities=["u", None],
            prediction_ids=[1, "p2"],
            event_times=np.array(["2025-01-01", "2025-01-02"], "datetime64[s]"),
        )
    assert found == batch
    assert type(found) is PredictionBatch
    assert told.last.target == "/models/mail/batch_predict"
    assert told.last.json == {
        "instances": [{"a": 0.5, "c": "x"}, {"a": None, "c": None}],
        "prediction_ids": ["1", "p2"],
        "entities": ["u", "p2"],
        "event_times": ["2025-01-01T00:00:00.000000Z", "2025-01-02T00:00:00.000000Z"],
    }


def test_what_json_cannot_carry_is_refused_before_anything_is_sent(told: Any) -> None:
    with Client(told.url) as client:
        with pytest.raises(InvalidFeatures, match="infinite"):
            client.predict("mail", {"a": float("inf")})
        with pytest.raises(InvalidFeatures, match="infinite"):
            client.predict_batch("mail", pd.DataFrame({"a": [1.0, -np.inf]}))
        with pytest.raises(InvalidFeatures, match="event time"):
            client.predict_batch("mail", [{"a": 1}], event_times=[None])
        with pytest.raises(InvalidFeatures, match="prediction_id"):
            client.predict_batch("mail", [{"a": 1}], prediction_ids=[None])
        with pytest.raises(InvalidLabel):
            client.label("mail", ["p1"], [None])
        with pytest.raises(InvalidLabel):
            client.label("mail", ["p1"], [1, 2])
        with pytest.raises(InvalidLabel):
            client.label("mail", ["p1"], [1], event_time=np.array(["NaT"], "datetime64[us]"))
    assert told.asked == []


def test_labels_are_sent_as_texts(told: Any) -> None:
    told.say(LabelsAccepted(model="mail", accepted=3, unmatched=0))
    times = np.array(["2025-01-01", "2025-01-02", "2025-01-03"], "datetime64[D]")
    with Client(told.url) as client:
        found = client.label("mail", ["p1", 2, "p3"], [True, 1.0, "spam"], event_time=times, source="import")
    assert found == LabelsAccepted(model="mail", accepted=3, unmatched=0)
    assert told.last.target == "/api/v1/labels"
    assert told.last.json == {
        "model": "mail",
        "source": "import",
        "labels": [
            {"prediction_id": "p1", "label": "true", "event_time": "2025-01-01T00:00:00.000000Z"},
            {"prediction_id": "2", "label": "1", "event_time": "2025-01-02T00:00:00.000000Z"},
            {"prediction_id": "p3", "label": "spam", "event_time": "2025-01-03T00:00:00.000000Z"},
        ],
    }


def test_many_labels_go_in_parts(told: Any) -> None:
    for part in (10_000, 10_000, 1):
        told.say(LabelsAccepted(model="mail", accepted=part, unmatched=0))
    with Client(told.url) as client:
        found = client.label("mail", [str(number) for number in range(20_001)], [1] * 20_001)
    assert found.accepted == 20_001
    sent = [label["prediction_id"] for asked in told.asked for label in asked.json["labels"]]
    assert sent == [str(number) for number in range(20_001)]
    assert [len(asked.json["labels"]) for asked in told.asked] == [10_000, 10_000, 1]


def test_no_labels_are_none_but_the_model_has_to_exist(told: Any) -> None:
    told.say(STATUS)
    told.refuse(404, "unknown_model")
    with Client(told.url) as client:
        assert client.label("mail", [], []).accepted == 0
        with pytest.raises(UnknownModel):
            client.label("other", [], [])
    assert {asked.method for asked in told.asked} == {"GET"}


def parts_of(asked: Any) -> dict[str, tuple[str | None, bytes]]:
    """The fields of a form: file name and content."""
    head = f"Content-Type: {asked.headers['content-type']}\r\n\r\n".encode()
    message = BytesParser(policy=HTTP).parsebytes(head + asked.body)
    found = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        found[str(name)] = (part.get_filename(), part.get_payload(decode=True))
    return found


def test_files_are_registered_as_a_form(told: Any, tmp_path: Path) -> None:
    told.say(VERSION, status=201)
    (tmp_path / "rows.csv.gz").write_bytes(b"\x1f\x8b rows")
    (tmp_path / "model.skops").write_bytes(bytes(range(256)) * 1000)
    registration = Registration(
        training=tmp_path / "rows.csv.gz",
        target="label",
        pipeline=tmp_path / "model.skops",
        time="at",
        allow_pickle=True,
        keep_training=False,
        tags={"team": "é"},
        description="what for",
    )
    with Client(told.url) as client:
        assert client.register("mail", registration, **WHO) == VERSION
    assert told.last.target == f"{M}/versions"
    parts = parts_of(told.last)
    assert parts["training"] == ("rows.csv.gz", b"\x1f\x8b rows")
    assert parts["pipeline"] == ("model.skops", bytes(range(256)) * 1000)
    assert {name: content.decode() for name, (file, content) in parts.items() if file is None} == {
        "target": "label",
        "time": "at",
        "allow_pickle": "true",
        "keep_training": "false",
        "tags": '{"team":"é"}',
        "description": "what for",
        "actor": "ann",
        "reason": "why not",
    }


def test_fields_that_are_not_given_are_not_sent(told: Any, tmp_path: Path) -> None:
    told.say(VERSION, status=201)
    (tmp_path / "rows.parquet").write_bytes(b"rows")
    with Client(told.url) as client:
        client.register("mail", Registration(training=tmp_path / "rows.parquet", target="label"), **WHO)
    parts = parts_of(told.last)
    assert "pipeline" not in parts
    assert "time" not in parts
    assert json.loads(parts["tags"][1]) == {}


def test_files_are_read_while_they_are_sent(told: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told.say(VERSION, status=201)
    path = tmp_path / "rows.csv"
    path.write_bytes(b"x" * 3_000_000)
    sizes: list[int] = []

    class Watched(io.FileIO):
        def read(self, size: int | None = -1, /) -> bytes:
            content = super().read(-1 if size is None else size)
            sizes.append(len(content))
            return content

    def opened(path: Path, mode: str) -> Watched:
        return Watched(path, mode)

    monkeypatch.setattr(Path, "open", opened)
    with Client(told.url) as client:
        client.register("mail", Registration(training=path, target="label"), **WHO)
    assert len(parts_of(told.last)["training"][1]) == 3_000_000
    assert sum(sizes) == 3_000_000
    assert max(sizes) <= 100_000


def test_a_file_that_is_not_there_is_named(told: Any, tmp_path: Path) -> None:
    with Client(told.url) as client, pytest.raises(InvalidInput, match=r"none\.csv"):
        client.register("mail", Registration(training=tmp_path / "none.csv", target="label"), **WHO)
    assert told.asked == []


def test_a_run_is_asked_after_until_it_has_ended(told: Any) -> None:
    for state in (RunState.TRAINING, RunState.GATING, RunState.SUCCEEDED):
        told.say(msgspec.structs.replace(RUN, state=state, version=4 if state.is_final else None))
    with Client(told.url) as client:
        ended = client.wait_for_run(RUN)
        assert (ended.state, ended.version) == (RunState.SUCCEEDED, 4)
        assert client.wait_for_run(ended) is ended
    assert [asked.target for asked in told.asked] == [f"{M}/runs/run-1"] * 3


@pytest.mark.parametrize(
    ("name", "path"),
    [("a b", "a%20b"), ("ä?#%", "%C3%A4%3F%23%25"), ("..", "%2E%2E"), (".", "%2E"), ("a.b", "a.b")],
)
def test_names_stay_one_part_of_the_path(told: Any, name: str, path: str) -> None:
    told.say({"versions": []})
    with Client(told.url) as client:
        client.versions(name)
    assert told.last.target == f"/api/v1/models/{path}/versions"


@pytest.mark.parametrize("name", ["", "a/b", "../mail"])
def test_names_that_no_path_can_carry_are_unknown(told: Any, name: str, tmp_path: Path) -> None:
    told.say({"models": [MODEL]})
    with Client(told.url) as client:
        with pytest.raises(UnknownModel, match="Registered: mail"):
            client.versions(name)
        with pytest.raises(UnknownRecord):
            client.acknowledge(name, actor="ann")
        with pytest.raises(InvalidInput):
            client.register(name, Registration(training=tmp_path / "t.csv", target="y"), **WHO)
    assert {asked.target for asked in told.asked} == {"/api/v1/models"}


@pytest.mark.parametrize("number", [0, -1, 10**12])
def test_numbers_that_no_version_has_are_unknown(told: Any, number: int) -> None:
    told.say({"versions": [VERSION]})
    with Client(told.url) as client:
        for ask in (
            lambda: client.version("mail", number),
            lambda: client.stages("mail", number),
            lambda: client.move("mail", number, Stage.ARCHIVED, **WHO),
            lambda: client.roll_back("mail", to=number, **WHO),
            lambda: client.start_rollout("mail", number, **WHO),
        ):
            with pytest.raises(UnknownVersion, match="It has: 3"):
                ask()
    assert {asked.target for asked in told.asked} == {f"{M}/versions"}


def test_one_client_serves_many_threads_over_kept_connections(told: Any) -> None:
    told.say({"models": [MODEL]})
    found: list[Any] = []

    def ask() -> None:
        found.extend(client.models() for _ in range(20))

    with Client(told.url) as client:
        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [[MODEL]] * 160
    assert len(told.asked) == 160
    assert told.connections <= 16
