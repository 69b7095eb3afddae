"""Uploads that are not what they should be are refused, run nothing and leave nothing."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest
import skops.io

WORD = "mischief"
FORM = "multipart/form-data; boundary=limit"


class Runs:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.mkdir, (str(Path(tempfile.gettempdir()) / "unpickled"),)


@pytest.fixture
def parts(app: Any) -> dict[str, Any]:
    """Parts of a form that would be taken."""
    training = app.tables["spam"].to_csv(index=False).encode()
    return {"training": ("training", "rows.csv", training), "target": ("target", None, b"spam")}


@pytest.fixture
def emptied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for temporary files that is empty again in the end: uploads leave nothing."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield tmp_path
    assert [path for path in tmp_path.rglob("*") if path.name != ".ses"] == []


UPLOAD = "/api/v1/models/fresh/versions"


def test_forms_that_can_not_be_are_refused(refuses: Any, parts: dict[str, Any], emptied: Path) -> None:
    training, target = parts["training"], parts["target"]
    content = training[2]
    for form in (
        [],
        [training],
        [target],
        [("training", None, content), target],
        [training, ("target", "rows.csv", b"spam")],
        [("training", "rows", content), target],
        [("training", "", content), target],
        [("training", "rows.exe", content), target],
        [("training", "rows.pkl", content), target],
        [("training", "rows.csv/", content), target],
        [training, target, (WORD, None, b"1")],
        [training, training, target],
        [training, target, target],
        [training, target, ("allow_pickle", None, WORD.encode())],
        [training, target, ("keep_training", None, b"yes")],
        [training, target, ("tags", None, b"[1]")],
        [training, target, ("tags", None, b'{"a": 1}')],
        [training, target, ("tags", None, WORD.encode())],
        [training, target, ("tags", None, b"[" * 9000)],
        [training, target, ("tags", None, b"\xff")],
        [training, target, ("actor", None, b"x" * 201)],
        [training, target, ("actor", None, b"a\x1b[2J")],
        [training, target, ("reason", None, b"a\0")],
        [training, target, ("description", None, b"x" * 10_001)],
        [training, target, ("description", None, b"x" * 200_000)],
        [training, target, *((f"field{place}", None, b"1") for place in range(21))],
        [training, target, *((f"file{place}", "a.csv", b"1") for place in range(21))],
        [training, target, ("pipeline", "model.csv", content)],
        [training, target, ("pipeline", "model.exe", content)],
    ):
        refuses(400, "invalid_request", "FORM", UPLOAD, form)
    refuses(400, "invalid_request", "FORM", UPLOAD + "?x=1", [training, target])
    for name in (f"{WORD}%3Cscript%3E", "%20", ".hidden", "-option", "a%0ab", "x" * 101, "a:b", "a%00"):
        refuses(400, "invalid_request", "FORM", f"/api/v1/models/{name}/versions", [training, target])


def test_bodies_that_are_no_whole_form_are_refused(
    refuses: Any, small_servers: ModuleType, parts: dict[str, Any], emptied: Path
) -> None:
    whole = small_servers.form_of([parts["training"], parts["target"], ("time", None, b"links")])
    for kind, body in (
        ("application/json", b"{}"),
        ("", whole),
        ("text/plain; multipart/form-data; boundary=limit", whole),
        ("multipart/form-data", whole),
        ("multipart/form-data; boundary=other", whole),
        ("multipart/form-data; boundary=\xe9", whole),
        ("multipart/form-data; boundary=" + "x" * 100_000, whole),
        (FORM, b""),
        (FORM, b"\0" * 5000),
        (FORM, whole[:200]),
        (FORM, whole[:-3]),
        (FORM, whole[: whole.index(b'name="time"')]),
        (FORM, whole[: whole.rindex(b"--limit--")]),
        (FORM, b"--limit\r\nContent-Disposition: form-data\r\n\r\n1\r\n--limit--\r\n"),
        (FORM, b"--limit\r\nContent-Disposition: form-data; name=" + b"x" * 200_000 + b"\r\n\r\n1\r\n--limit--\r\n"),
        (FORM, b"--limit\r\n" + b"X-A: 1\r\n" * 20_000 + b"\r\n1\r\n--limit--\r\n"),
    ):
        refuses(400, "invalid_request", "POST", UPLOAD, body, headers={"content-type": kind})


def test_files_that_are_not_what_they_should_be_are_refused(refuses: Any, parts: dict[str, Any], emptied: Path) -> None:
    target = parts["target"]
    table = io.BytesIO()
    pd.DataFrame({"a": [1, 2], "spam": ["yes", "no"]}).to_parquet(table)
    for name, content in (
        ("rows.csv", b""),
        ("rows.csv", b"\0" * 1000),
        ("rows.csv", bytes(range(256)) * 10),
        ("rows.csv", b"a,spam\n1,yes\n" + WORD.encode() + b",1,2,3\n"),
        ("rows.csv", b"a,spam\n" + b"1,yes\n" * 200_000 + WORD.encode() + b",no\n"),
        ("rows.csv", b"a;spam\n1;yes\n2;no\n"),
        ("rows.csv", WORD.encode() + b",a\n1,2\n" * 200),
        ("rows.csv", b"a,spam\n1,yes\n"),
        ("../../../tmp/rows.csv", b"a,spam\n1,yes\n"),
        ("..\\..\\rows.csv", b"a,spam\n1,yes\n"),
        ("/etc/cron.d/rows.csv", b"a,spam\n1,yes\n"),
        ("rows.csv.gz", b"a,spam\n1,yes\n"),
        ("rows.csv.gz", gzip.compress(b"a,spam\n1,yes\n")[:-5]),
        ("rows.csv.gz", b""),
        ("rows.parquet", b"a,spam\n1,yes\n"),
        ("rows.parquet", table.getvalue()[:-20]),
        ("rows.parquet", b"PAR1" + WORD.encode() + b"PAR1"),
        ("rows.parquet", b""),
    ):
        answer = refuses(400, None, "FORM", UPLOAD, [("training", name, content), target])
        assert str(emptied) not in answer.json["error"]
    for form in (
        [parts["training"], ("target", None, WORD.encode())],
        [parts["training"], ("target", None, b"spam\0")],
        [parts["training"], target, ("time", None, WORD.encode())],
        [parts["training"], target, ("time", None, b"spam")],
    ):
        refuses(400, None, "FORM", UPLOAD, form)


def test_pickles_are_not_loaded(refuses: Any, parts: dict[str, Any], emptied: Path) -> None:
    evil, taken = pickle.dumps(Runs()), [parts["training"], parts["target"]]
    for name in ("model.pkl", "model.joblib"):
        refuses(400, "invalid_input", "FORM", UPLOAD, [*taken, ("pipeline", name, evil)])
        asked = [*taken, ("pipeline", name, evil), ("allow_pickle", None, b"true")]
        refuses(400, "invalid_request", "FORM", UPLOAD, asked)
    refuses(400, "compilation_failed", "FORM", UPLOAD, [*taken, ("pipeline", "model.skops", evil)])
    # A type that is not trusted is not made.
    unsafe = skops.io.dumps(Path)
    refuses(400, "compilation_failed", "FORM", UPLOAD, [*taken, ("pipeline", "model.skops", unsafe)])
    assert not (emptied / "unpickled").exists()


def test_what_unpacks_to_too_much_is_refused(
    small_servers: ModuleType, tmp_path: Path, app: Any, emptied: Path
) -> None:
    home = tmp_path / "small"
    home.mkdir()
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("schema.json", b" " * 5_000_000)
    table = io.BytesIO()
    pd.DataFrame({"a": [1.0] * 300_000, "spam": ["yes"] * 300_000}).to_parquet(table)
    rows = ("training", "rows.csv", app.tables["spam"].to_csv(index=False).encode())
    target = ("target", None, b"spam")
    for server in small_servers.closed(small_servers.open_server(home, register=False, serve__upload_bytes=1_000_000)):
        before = server.kept()
        for form in (
            [("training", "rows.csv.gz", gzip.compress(b"a,spam\n" + b"1,yes\n" * 1_000_000)), target],
            [("training", "rows.parquet", table.getvalue()), target],
            [rows, target, ("pipeline", "model.skops", zipped.getvalue())],
            [("training", "rows.csv", b"1" * 1_100_000), target],
        ):
            answer = server.upload(UPLOAD, form)
            assert (answer.status, answer.code) == (413, "too_large"), answer.content
        assert server.kept() == before
    for path in sorted(home.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    home.rmdir()


def test_a_version_of_another_task_is_refused(refuses: Any, app: Any) -> None:
    form = [("training", "rows.csv", app.tables["price"].to_csv(index=False).encode()), ("target", None, b"price")]
    refuses(409, "model_exists", "FORM", "/api/v1/models/spam/versions", form)
