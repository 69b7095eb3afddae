"""Labels in bulk: tables and SageMaker's records are kept whole or refused whole, and nothing of them is repeated."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

WORD = "mischief"
CSV, PARQUET, LINES = "text/csv", "application/vnd.apache.parquet", "application/jsonl"
PATH = "/api/v1/labels?model=spam"


def parquet(**columns: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


def lines(*rows: Any) -> bytes:
    return b"\n".join(json.dumps(row).encode() for row in rows)


def truth(id_: Any, data: Any = "yes", **more: Any) -> dict[str, Any]:
    return {"groundTruthData": {"data": data, "encoding": "CSV"} | more, "eventMetadata": {"eventId": id_}}


def send(server: Any, content: bytes, kind: str, target: str = PATH) -> Any:
    return server.post(target, content, headers={"content-type": kind})


def written(server: Any, model: str) -> dict[str, tuple[str, str, float, np.datetime64]]:
    blocks = [block for _, block in server.server.system.log.labels_after(model, 0)]
    return {
        id_: (value, block.source, block.confidence, time)
        for block in blocks
        for id_, value, time in zip(block.ids, block.values, block.event_time, strict=True)
    }


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (CSV, b"prediction_id,label\r\ncsv-1,yes\r\n\r\n007,no\r\n"),
        (f"{CSV}; charset=utf-8", b'\xef\xbb\xbflabel,prediction_id\nyes,csv-1\n"no","007"'),
        (PARQUET, parquet(prediction_id=["csv-1", "007"], label=["yes", "no"])),
        (LINES, lines({"prediction_id": "csv-1", "label": "yes"}, {"label": "no", "prediction_id": "007"}) + b"\n\n"),
        ("application/x-ndjson", lines(truth("csv-1") | {"eventVersion": "0"}, truth("007", '"no"'))),
        (LINES, json.dumps([truth("csv-1"), truth("007", "no")]).encode()),
    ],
)
def test_tables_of_every_form_are_taken(used: Any, kind: str, content: bytes) -> None:
    answer = send(used, content, kind)
    assert answer.status == 200, answer.content
    assert answer.json == {"model": "spam", "accepted": 2, "unmatched": 2, "unknown_classes": 0}
    assert used.labels("spam") == {"csv-1": "yes", "007": "no"}


def test_columns_say_when_who_and_how_sure(used: Any) -> None:
    content = (
        b"prediction_id,label,event_time,source,confidence\n"
        b"w-1,1.5,2025-03-01T12:00:00+02:00,anna,0.5\n"
        b"w-2,2,2025-03-02,,\n"
        b"w-3,3,,bert,1\n"
        b"w-1,4,2025-03-03T00:00:00Z,bert,1\n"
    )
    before = used.server.system.clock.now().timestamp()
    answer = send(used, content, CSV, "/api/v1/labels?model=price&source=file")
    assert answer.json == {"model": "price", "accepted": 4, "unmatched": 3, "unknown_classes": 0}
    found = written(used, "price")
    assert found["w-1"] == ("4", "bert", 1.0, np.datetime64("2025-03-03"))
    assert found["w-2"] == ("2", "file", 1.0, np.datetime64("2025-03-02"))
    assert abs(found["w-3"][3].astype("datetime64[us]").astype(np.int64) / 1e6 - before) < 60
    times = pd.to_datetime(["2025-03-01T12:00:00.123456789Z"])
    table = parquet(prediction_id=[7], label=[1.0], event_time=times, confidence=[0.25])
    assert send(used, table, PARQUET, "/api/v1/labels?model=price").status == 200
    assert written(used, "price")["7"] == ("1", "api", 0.25, np.datetime64("2025-03-01T12:00:00.123456"))
    body = {"labels": [{"prediction_id": "w-9", "label": 1, "source": "carl", "confidence": 0.75}]}
    assert used.post("/api/v1/labels?model=price", body).status == 200
    assert written(used, "price")["w-9"][:3] == ("1", "carl", 0.75)


def test_labels_join_predictions_and_are_counted(used: Any) -> None:
    row = {"features": [1, 2], "prediction_id": "joined"}
    assert used.post("/models/loan/predict", row | {"features": [1, "red", True]}).status == 200
    content = parquet(prediction_id=["joined", "later"], label=[True, False])
    assert send(used, content, PARQUET, "/api/v1/labels?model=loan").json["unmatched"] == 1
    assert 'labels_total{model="loan"} 2.0' in used.get("/metrics").content.decode()


def test_what_can_not_be_used_is_refused_whole_with_the_number_of_its_row(refuses: Any) -> None:
    head, good = b"prediction_id,label\n", b"a,yes\n"
    secret = WORD.encode()
    for content, code, said in (
        (b"", "invalid_data", ""),
        (head, "invalid_data", "no rows"),
        (good, "invalid_data", "no rows"),
        (head + good + b"b,yes," + secret, "invalid_data", "Row 2 has 3 fields"),
        (head + good + b'b,"' + secret, "invalid_data", "after row"),
        (head + good + secret + b",", "invalid_label", "label of row 2"),
        (head + good + b"," + secret, "invalid_label", "prediction_id of row 2"),
        (head + secret * 40 + b",yes", "invalid_label", "prediction_id of row 1"),
        (head + good * 3 + secret + b"\x00,yes", "invalid_label", "row 4"),
        (head + good + b"b," + secret * 200, "invalid_label", "number 2"),
        (head + b"\xff\xfe,yes", "invalid_data", "UTF-8"),
        (b"prediction_id,label," + secret + b"\na,yes,1", "invalid_label", "columns of labels"),
        (b"prediction_id,prediction_id\na,yes", "invalid_data", "same name"),
        (b"prediction_id," + secret + b"\na,yes", "invalid_label", "columns of labels"),
        (b"prediction_id,label,event_time\na,yes," + secret, "invalid_label", "event_time of row 1"),
        (b"prediction_id,label,event_time\na,yes,0001-01-01", "invalid_label", "event_time of row 1"),
        (b"prediction_id,label,confidence\na,yes,1.5", "invalid_label", "confidence of row 1"),
        (b"prediction_id,label,confidence\na,yes," + secret, "invalid_label", "confidence of row 1"),
        (b"prediction_id,label,source\na,yes, ", "invalid_label", "source of row 1"),
    ):
        assert said in refuses(400, code, "POST", PATH, content, headers={"content-type": CSV}).json["error"]
    for content, code, said in (
        (b"{", "invalid_data", "Row 1"),
        (lines({"prediction_id": "a", "label": "yes"}, [WORD]), "invalid_data", "Row 2"),
        (b'{"prediction_id": "a", "label": NaN}', "invalid_data", "Row 1"),
        (b'{"prediction_id": "a", "label": "y", "label": "n"}', "invalid_data", "Row 1"),
        (b"[" * 100_000, "invalid_data", "list"),
        (lines({"prediction_id": "a", "label": [WORD]}), "invalid_label", "label of row 1"),
        (lines({"prediction_id": "a"}), "invalid_label", "columns"),
        (lines(truth("a"), truth("")), "invalid_label", "row 2"),
        (lines(truth("a"), {"groundTruthData": WORD, "eventMetadata": {"eventId": "b"}}), "invalid_label", "row 2"),
        (lines(truth("a", encoding="JSON")), "invalid_label", "encoding"),
        (lines(truth("a", f"{WORD},2")), "invalid_label", "one value"),
    ):
        assert said in refuses(400, code, "POST", PATH, content, headers={"content-type": LINES}).json["error"]
    whole = parquet(prediction_id=["a"], label=["yes"])
    for content, code in (
        (WORD.encode(), "invalid_data"),
        (whole[:-9], "invalid_data"),
        (parquet(prediction_id=["a"], label=[[WORD]]), "invalid_data"),
        (parquet(prediction_id=pa.array([], pa.string()), label=pa.array([], pa.string())), "invalid_data"),
        (parquet(prediction_id=["a", None], label=["yes", "no"]), "invalid_label"),
        (parquet(prediction_id=["a"], label=["yes"], other=[WORD]), "invalid_label"),
    ):
        refuses(400, code, "POST", PATH, content, headers={"content-type": PARQUET})


def test_limits_and_names_hold_for_tables_too(refuses: Any) -> None:
    many = b"prediction_id,label\n" + b"a,yes\n" * 50_001
    refuses(413, "too_large", "POST", PATH, many, headers={"content-type": CSV})
    wide = parquet(prediction_id=[str(n) for n in range(50_001)], label=["yes"] * 50_001)
    refuses(413, "too_large", "POST", PATH, wide, headers={"content-type": PARQUET})
    # A few kilobytes that would be gigabytes once each row has its text.
    text = pa.DictionaryArray.from_arrays(pa.array(np.zeros(40_000, dtype=np.int32)), ["x" * 90_000])
    bomb = parquet(prediction_id=text, label=["yes"] * 40_000)
    assert len(bomb) < 1_000_000
    refuses(413, "too_large", "POST", PATH, bomb, headers={"content-type": PARQUET})
    good, csv = b"prediction_id,label\na,yes", {"headers": {"content-type": CSV}}
    refuses(404, "unknown_model", "POST", f"/api/v1/labels?model={WORD}", good, **csv)
    refuses(404, "unknown_model", "POST", "/api/v1/labels", good, **csv)
    refuses(400, "invalid_request", "POST", f"{PATH}&source=", good, **csv)
    refuses(400, "invalid_request", "POST", f"{PATH}&source={'x' * 101}", good, **csv)
    refuses(400, "invalid_input", "POST", f"{PATH}&source=%20", good, **csv)
    refuses(400, "invalid_label", "POST", "/api/v1/labels?model=price", good, **csv)
    body = {"model": "spam", "labels": [{"prediction_id": "a", "label": "yes"}]}
    refuses(400, "invalid_request", "POST", PATH, body)
    varied = b"prediction_id,label,confidence\n" + b"".join(b"i%d,yes,0.%05d\n" % (n, n) for n in range(1_001))
    refuses(400, "invalid_label", "POST", PATH, varied, **csv)


def test_a_single_label_needs_no_list(used: Any) -> None:
    one = {"prediction_id": "single-1", "label": "yes"}
    moment = "2026-03-01T12:00:00Z"
    for body, target in (
        (one | {"model": "spam"}, "/api/v1/labels"),
        (one | {"source": "ann", "event_time": moment, "confidence": 0.5}, PATH),
    ):
        answer = used.post(target, body)
        assert (answer.status, answer.json) == (
            200,
            {"model": "spam", "accepted": 1, "unmatched": 1, "unknown_classes": 0},
        )
    assert written(used, "spam")["single-1"] == ("yes", "ann", 0.5, np.datetime64("2026-03-01T12:00:00", "us"))
    for wrong in (
        {},
        {"prediction_id": WORD},
        {"label": WORD},
        {"prediction_id": WORD, "label": None},
        {"prediction_id": "", "label": WORD},
        {"prediction_id": "a\nb", "label": WORD},
        {"prediction_id": WORD, "label": ""},
        {"prediction_id": WORD, "label": "yes", "confidence": 2},
        one | {"labels": [one]},
        {"confidence": 0.5, "labels": [one]},
        {"event_time": moment, "labels": [one]},
        {"labels": None},
    ):
        answer = used.post(PATH, wrong)
        assert (answer.status, answer.code) == (400, "invalid_label" if wrong.get("label") == "" else "invalid_request")
        assert WORD not in answer.content.decode()
