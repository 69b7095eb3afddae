"""Bodies in CSV and Parquet that are malformed, hostile or too large are refused within bounds, and log nothing."""

from __future__ import annotations

import gzip
import io
import logging
import random
import zlib
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings

from homeostat.errors import InvalidData, TooLarge
from homeostat.frames.parquet.compact import Compact, Malformed
from homeostat.frames.parquet.footer import Part
from homeostat.frames.parquet.pages import PageBudget

# A word that must come back from nowhere.
WORD = "mischief"
CSV = {"content-type": "text/csv"}
PARQUET = {"content-type": "application/vnd.apache.parquet"}
TARGETS = ("/models/loan/invocations", "/models/loan/batch_predict")
HEAD = b"amount,colour,member\n"
ROWS = pd.DataFrame({"amount": [1.0, 2.0], "colour": ["red", "blue"], "member": [True, False]})


def parquet(table: Any, **options: Any) -> bytes:
    made = io.BytesIO()
    pq.write_table(table if isinstance(table, pa.Table) else pa.table(table), made, **options)
    return made.getvalue()


def rows(count: int = 2, **columns: Any) -> dict[str, Any]:
    """Columns of the model, some of them others."""
    return {"amount": np.zeros(count), "colour": ["red"] * count, "member": [True] * count} | columns


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "invalid_features"),
        (b"\n\n", "invalid_features"),
        (b"\x00", "invalid_features"),
        (HEAD, "invalid_features"),
        (HEAD + b"\n \n\n", "invalid_features"),
        (HEAD.rstrip(), "invalid_features"),
        (b"1,red,true\n", "invalid_features"),
        (b"amount,colour\n1,red\n", "invalid_features"),
        (b"amount;colour;member\n1;red;true\n", "invalid_features"),
        (b"amount,colour,member,member\n1,red,true,true\n", "invalid_features"),
        (HEAD + b"1,red\n", "invalid_data"),
        (HEAD + b"1,red,true,mischief\n", "invalid_data"),
        (HEAD + b"1,red,true\n1,mischief\n", "invalid_data"),
        (HEAD + b'1,"mischief,true\n', "invalid_data"),
        (b'"amount,colour,member\n1,red,true\n', "invalid_data"),
        (b'"amount"x,colour,member\n1,red,true\n', "invalid_data"),
        (HEAD + b"mischief,red,true\n", "invalid_features"),
        (HEAD + b"0x10,red,true\n", "invalid_features"),
        (HEAD + b"1_0,red,true\n", "invalid_features"),
        (HEAD + b"true,red,true\n", "invalid_features"),
        (HEAD + b"1\x00,red,true\n", "invalid_features"),
        (HEAD + b'"1,5",red,true\n', "invalid_features"),
        (HEAD + b"inf,red,true\n", "invalid_features"),
        (HEAD + b"-Infinity,red,true\n", "invalid_features"),
        (HEAD + b"1e999,red,true\n", "invalid_features"),
        (HEAD + b"1,red,mischief\n", "invalid_features"),
        (HEAD + b"1,red,2\n", "invalid_features"),
        (HEAD + b"1,red,0.5\n", "invalid_features"),
        (HEAD + b"1,mis\xffchief,true\n", "invalid_data"),
        (b"amo\xffunt,colour,member\n1,red,true\n", "invalid_data"),
        ((HEAD + b"1,red,true\n").decode().encode("utf-16"), "invalid_data"),
        (HEAD + b"1," + b"x" * 100_001 + b",true\n", "invalid_features"),
        (b"prediction_id," + HEAD + b",1,red,true\n", "invalid_features"),
        (b"prediction_id," + HEAD + b"a,1,red,true\na,1,red,true\n", "invalid_features"),
        (b"prediction_id," + HEAD + b"mis\x1bchief,1,red,true\n", "invalid_features"),
        (b"entity," + HEAD + b"mis\x00chief,1,red,true\n", "invalid_features"),
        (b"entity," + HEAD + b"x" * 257 + b",1,red,true\n", "invalid_features"),
        (b"event_time," + HEAD + b"mischief,1,red,true\n", "invalid_features"),
        (b"event_time," + HEAD + b"0050-01-01,1,red,true\n", "invalid_request"),
        (b"event_time," + HEAD + b"9999-01-01T00:00:00Z,1,red,true\n", "invalid_request"),
        (b"entity,entity," + HEAD + b"a,b,1,red,true\n", "invalid_features"),
        (b"," * 20_000 + HEAD + b"1,red,true\n", "too_large"),
        (HEAD + b"1,red,true\n" * 50_001, "too_large"),
    ],
)
def test_a_csv_that_does_not_fit_is_refused(refuses: Any, target: str, content: bytes, code: str) -> None:
    refuses(413 if code == "too_large" else 400, code, "POST", target, content, headers=CSV)


def test_what_a_model_does_not_know_is_refused_in_a_batch(refuses: Any) -> None:
    csv = b"mischief," + HEAD + b"1,1,red,true\n"
    refuses(400, "invalid_features", "POST", "/models/loan/batch_predict", csv, headers=CSV)
    more = parquet(rows(mischief=[1, 2]))
    refuses(400, "invalid_features", "POST", "/models/loan/batch_predict", more, headers=PARQUET)


FITS = parquet(rows())
BOMBS = {
    # Tens of kilobytes that stand for gigabytes.
    "a long text in every row": lambda: parquet(
        rows(20_000, colour=pa.DictionaryArray.from_arrays(np.zeros(20_000, "int32"), [WORD * 10_000]))
    ),
    "zeros that are packed": lambda: parquet(
        rows(200, colour=["0" * 99_999] * 200), use_dictionary=False, compression="zstd", write_statistics=False
    ),
    "more rows than are taken": lambda: parquet(rows(50_001)),
    "a footer that is long": lambda: b"PAR1" + bytes(1_000_001) + (1_000_001).to_bytes(4, "little") + b"PAR1",
}
BROKEN = {
    "nothing": lambda: b"",
    "a text": lambda: b"amount,colour,member\n1,red,true\n",
    "json": lambda: b'{"instances": [[1, "red", true]]}',
    "the magic alone": lambda: b"PAR1PAR1",
    "no footer": lambda: b"PAR1" + b"\x00" * 4 + b"PAR1",
    "a footer of zeros": lambda: b"PAR1" + b"\x00" * 64 + (64).to_bytes(4, "little") + b"PAR1",
    "a footer that lists without end": lambda: (
        b"PAR1" + b"\x19\xfc\xff\xff\x7f" * 9 + (45).to_bytes(4, "little") + b"PAR1"
    ),
    "a footer that nests without end": lambda: b"PAR1" + b"\x1c" * 5_000 + (5_000).to_bytes(4, "little") + b"PAR1",
    "the first half": lambda: FITS[: len(FITS) // 2],
    "the second half": lambda: FITS[len(FITS) // 2 :],
    "all but the last byte": lambda: FITS[:-1],
    "no start": lambda: b"XXXX" + FITS[4:],
    "encrypted": lambda: FITS[:-4] + b"PARE",
    "nested": lambda: parquet(rows(colour=[["red"], ["blue"]])),
    "a struct": lambda: parquet(rows(amount=[{"a": 1}, {"a": 2}])),
    "texts as differences": lambda: parquet(
        rows(), use_dictionary=False, column_encoding={"colour": "DELTA_BYTE_ARRAY"}
    ),
}
MISFITS = {
    "no rows": lambda: parquet(rows(0, colour=pa.array([], "string"), member=pa.array([], "bool"))),
    "a column is missing": lambda: parquet({"amount": [1.0], "colour": ["red"]}),
    "texts for numbers": lambda: parquet(rows(amount=["1", "2"])),
    "booleans for numbers": lambda: parquet(rows(amount=[True, False])),
    "bytes for numbers": lambda: parquet(rows(amount=[b"1", b"2"])),
    "spans of time for numbers": lambda: parquet(rows(amount=pa.array([1, 2], pa.duration("s")))),
    "hours for numbers": lambda: parquet(rows(amount=pa.array([1, 2], pa.time32("s")))),
    "categories for numbers": lambda: parquet(rows(amount=pa.array(["1", "2"]).dictionary_encode())),
    "an infinite number": lambda: parquet(rows(amount=[1.0, np.inf])),
    "numbers for texts": lambda: parquet(rows(colour=[1, 2])),
    "bytes for texts": lambda: parquet(rows(colour=[b"red", b"blue"])),
    "bytes that are no UTF-8": lambda: parquet(rows(colour=["red", WORD])).replace(WORD.encode(), b"mis\xffhief"),
    "a long text": lambda: parquet(rows(colour=["red", "x" * 100_001])),
    "texts for booleans": lambda: parquet(rows(member=["true", "false"])),
    "numbers that are no booleans": lambda: parquet(rows(member=[1, 2])),
    "fractions that are no booleans": lambda: parquet(rows(member=[1, 0.5])),
    "long fixed lengths": lambda: parquet(rows(amount=pa.array([b"x" * 64] * 2, pa.binary(64)))),
    "a row without an id": lambda: parquet(rows(prediction_id=["a", None])),
    "an id with control characters": lambda: parquet(rows(prediction_id=["a", "mis\x1bchief"])),
    "ids that are booleans": lambda: parquet(rows(prediction_id=[True, False])),
    "times that are numbers": lambda: parquet(rows(event_time=[1, 2])),
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", [*BOMBS, *BROKEN, *MISFITS])
def test_a_parquet_file_that_does_not_fit_is_refused(refuses: Any, target: str, name: str) -> None:
    status = 413 if name in BOMBS else 400
    code = "too_large" if name in BOMBS else None
    content = (BOMBS | BROKEN | MISFITS)[name]()
    assert len(content) < 2_000_000
    answer = refuses(status, code, "POST", target, content, headers=PARQUET)
    assert answer.code in ("too_large", "invalid_data", "invalid_features")


def test_a_footer_that_lies_is_not_believed() -> None:
    # The header of a page that unpacks to 2 GB: its type, its size unpacked, its size packed, values, encoding.
    page = bytes([0x15, 0x00, 0x15, 0xFE, 0xFF, 0xFF, 0xFF, 0x0F, 0x15, 0x00, 0x2C, 0x15, 0x02, 0x15, 0x00, 0x00, 0x00])
    assert Compact(memoryview(page)).struct()[2] == 2**31 - 1
    with pytest.raises(TooLarge):
        PageBudget(page, 1_000_000).take(Part(0, len(page), 1))
    # A dictionary that promises more values than its bytes can hold.
    many = bytes([0x15, 0x04, 0x15, 0x02, 0x15, 0x00, 0x4C, 0x15, 0xFE, 0xFF, 0xFF, 0xFF, 0x0F, 0x15, 0x00, 0x00, 0x00])
    with pytest.raises(InvalidData):
        PageBudget(many, 1_000_000).take(Part(0, len(many), 1))
    # Pages without an end: each is a few bytes, and none has a value.
    empty = bytes([0x15, 0x02, 0x15, 0x00, 0x15, 0x00, 0x00]) * 20_001
    with pytest.raises(TooLarge):
        PageBudget(empty, 1_000_000).take(Part(0, len(empty), 1))
    # The header of one page that is a list of a million numbers.
    long = bytes([0x15, 0x00, 0x15, 0x02, 0x15, 0x00, 0x19, 0xF5, 0x80, 0x80, 0x40]) + b"\x01" * 2**20
    with pytest.raises(TooLarge):
        PageBudget(long, 1_000_000).take(Part(0, len(long), 1))


@settings(max_examples=50)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_struct_or_malformed(content: bytes) -> None:
    reader = Compact(memoryview(content))
    try:
        reader.struct()
    except Malformed:
        return
    assert reader.at <= len(content)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1))
def test_a_broken_parquet_file_never_breaks_the_server(used: Any, seed: int, caplog: pytest.LogCaptureFixture) -> None:
    """A byte or a few of a real file are others; the file may also lack its end."""
    chance = random.Random(seed)  # noqa: S311
    broken = bytearray(chance.choice(WHOLE))
    for _ in range(chance.choice([1, 2, 6])):
        # The footer, which says most, is at the end.
        place = chance.randrange(len(broken)) if chance.random() < 0.5 else -chance.randrange(1, min(900, len(broken)))
        broken[place] = chance.choice([0, 1, 127, 128, 255, chance.randrange(256)])
    with caplog.at_level(logging.ERROR, "homeostat"):
        answer = used.post(chance.choice(TARGETS), bytes(broken), headers=PARQUET)
    assert answer.status in (200, 400, 413), answer.content
    assert not caplog.records


WHOLE = [
    parquet(rows(40, amount=np.arange(40.0), colour=[f"colour {number % 7}" for number in range(40)]), **options)
    for options in (
        {},
        {"compression": "zstd", "row_group_size": 15},
        {"compression": None, "use_dictionary": False, "data_page_version": "2.0", "data_page_size": 64},
    )
]

CELLS = ["", "1", "-2.5", "red", "true", "NaN", '"', '""', '"a\n"', "\x00", "inf", "é", "\ufeff", "'", ";", "\ud800"]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=st.lists(st.lists(st.sampled_from(CELLS), min_size=1, max_size=4).map(",".join), max_size=4),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    has_head=st.booleans(),
)
def test_any_csv_is_answered_or_refused(
    used: Any, caplog: pytest.LogCaptureFixture, lines: list[str], end: str, has_head: bool
) -> None:
    content = end.join(["amount,colour,member", *lines] if has_head else lines).encode("utf-8", "surrogatepass")
    with caplog.at_level(logging.ERROR, "homeostat"):
        answer = used.post("/models/loan/invocations", content, headers=CSV)
    assert answer.status in (200, 400), answer.content
    assert not caplog.records


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3), st.lists(st.integers(), max_size=2)
)
NAMES = st.sampled_from(["links", "length", "entity", "prediction_id", "event_time", "other", ""])
RECORD = st.dictionaries(NAMES, VALUES, max_size=4)
LISTS = st.lists(VALUES, max_size=3)
ANY_ROWS = st.lists(st.one_of(RECORD, LISTS, VALUES), max_size=3)
BODY = st.dictionaries(
    st.sampled_from(["dataframe_split", "dataframe_records", "instances", "inputs", "params", "other"]),
    st.one_of(
        VALUES,
        ANY_ROWS,
        st.dictionaries(NAMES, st.one_of(LISTS, VALUES), max_size=4),
        st.fixed_dictionaries(
            {"data": ANY_ROWS},
            optional={"columns": st.lists(NAMES, max_size=4), "index": LISTS, "output": VALUES},
        ),
        st.fixed_dictionaries({"output": st.sampled_from(["prediction", "probability", "all", "none"])}),
    ),
    max_size=3,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=BODY, has_type=st.booleans())
def test_any_json_is_answered_or_refused(
    used: Any, caplog: pytest.LogCaptureFixture, body: Any, has_type: bool
) -> None:
    headers = {"content-type": "application/json"} if has_type else {}
    with caplog.at_level(logging.ERROR, "homeostat"):
        answer = used.post("/models/spam/invocations", body, headers=headers)
    assert answer.status in (200, 400), answer.content
    assert not caplog.records


PACKED = {
    "predict": ("/models/spam/predict", b'{"features": [1.0, 2.0]}', "application/json"),
    "rows": ("/models/spam/batch_predict", b'{"instances": [[1.0, 2.0]]}', "application/json"),
    "table": ("/models/spam/batch_predict", b"length,links\n2.0,1.0\n", "text/csv"),
    "invocations": ("/models/spam/invocations", b'{"inputs": [[1.0, 2.0]]}', "application/json"),
    "labels": ("/api/v1/labels?model=spam", b"prediction_id,label\npacked-1,yes\n", "text/csv"),
}


@pytest.mark.parametrize("what", PACKED)
def test_every_body_may_be_packed_and_none_holds_more_than_a_body_may(used: Any, what: str) -> None:
    target, content, kind = PACKED[what]
    plain = used.post(target, content, headers={"content-type": kind})
    assert plain.status == 200
    for encoding, pack in (("gzip", gzip.compress), ("deflate", zlib.compress), ("identity", bytes)):
        headers = {"content-type": kind, "content-encoding": encoding}
        answer = used.post(target, pack(content), headers=headers)
        assert (answer.status, set(answer.json)) == (200, set(plain.json))
        if encoding != "identity":
            for bad in (content, pack(content)[:-5], pack(content) + b"x", b""):
                assert used.post(target, bad, headers=headers).code == "invalid_request"
            bomb = used.post(target, pack(content + b" " * 10_000_001), headers=headers)
            assert (bomb.status, bomb.code) == (413, "too_large")
    refused = used.post(target, content, headers={"content-type": kind, "content-encoding": "br"})
    assert (refused.status, refused.code) == (400, "invalid_request")
    limits = used.server.application._limits
    assert (limits.requests, limits.bytes) == (0, 0)
