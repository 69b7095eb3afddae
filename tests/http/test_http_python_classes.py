"""A model that is a Python class, over HTTP: refused unless the server allows it, then served like any other."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

TOKEN = "a-token-of-the-tests"
ADMIN = {"authorization": f"Bearer {TOKEN}"}
UPLOAD = "/api/v1/models/ruled/versions"
RULES = b"""
import numpy as np
import limits
class Model:
    def predict(self, columns):
        if (columns["links"] > limits.MOST).any():
            raise ValueError(f"{columns['links']} is too many")
        return 1 / (1 + np.exp(-np.clip(np.nan_to_num(columns["links"]), -50, 50)))
"""


def archive_of(**files: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, content in files.items():
            archive.writestr(f"{name}.py", content)
    return made.getvalue()


def parts_of(app: Any, *more: tuple[str, str | None, bytes]) -> list[tuple[str, str | None, bytes]]:
    training = app.tables["spam"].to_csv(index=False).encode()
    return [("training", "rows.csv", training), ("target", None, b"spam"), *more]


FILES = ("python_files", "files.zip", archive_of(rules=RULES, limits=b"MOST = 100"))
ENTRY = ("python", None, b"rules:Model")


@pytest.fixture(scope="module")
def allowed(small_servers: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    home = tmp_path_factory.mktemp("allowed")
    server = small_servers.open_server(
        home, register=False, token=TOKEN, serve__allow_python=True, serve__python_seconds=10
    )
    yield from small_servers.closed(server)


def test_a_server_takes_no_python_class_unless_it_is_allowed_to(refuses: Any, app: Any) -> None:
    for more in ([ENTRY, FILES], [ENTRY], [FILES]):
        answer = refuses(409, "python_not_allowed", "FORM", UPLOAD, parts_of(app, *more))
        assert "HOMEOSTAT_SERVE__ALLOW_PYTHON" in answer.json["error"]


def test_what_is_no_python_class_is_refused_and_leaves_nothing(allowed: Any) -> None:
    before = allowed.kept()
    hanging = archive_of(rules=b"import threading\nthreading.Event().wait(300)\n")
    for more, code in (
        ([ENTRY], "invalid_request"),
        ([FILES], "invalid_request"),
        ([FILES, ("python", None, b"rules")], "python_model_failed"),
        ([FILES, ("python", None, b"rules:Absent")], "python_model_failed"),
        ([FILES, ("python", None, b"absent:Model")], "python_model_failed"),
        ([ENTRY, ("python_files", "files.zip", b"PK")], "python_model_failed"),
        ([ENTRY, ("python_files", "files.tar", b"")], "invalid_request"),
        ([ENTRY, ("python_files", "a.py", b"def f(:")], "python_model_failed"),
        ([ENTRY, ("python_files", "a.py", b"import os\nclass Model:\n  predict = 3")], "python_model_failed"),
        ([ENTRY, ("python_files", "a.py", b"class Model:\n  def predict(self, c): return [1]")], "compilation_failed"),
        ([ENTRY, FILES, ("pipeline", "a.onnx", b"")], "invalid_input"),
        ([ENTRY, ("python_files", "files.zip", hanging)], "python_model_failed"),
    ):
        answer = allowed.upload(UPLOAD, parts_of(allowed, *more), **ADMIN)
        assert (answer.status, answer.code) == (400, code), answer.content
        assert "homeostat-upload" not in answer.json["error"]
    assert allowed.kept() == before


def test_a_python_class_needs_an_admin_and_is_served_like_any_other(allowed: Any, small_servers: ModuleType) -> None:
    made = allowed.post("/api/v1/keys", {"name": "ops", "roles": ["operate"]}, headers=ADMIN).json["secret"]
    asked = parts_of(allowed, ENTRY, FILES)
    assert allowed.upload(UPLOAD, asked, authorization=f"Bearer {made}").status == 403
    version = allowed.upload(UPLOAD, asked, **ADMIN)
    assert version.status == 201
    assert version.json["serving"]["format"] == "python"
    assert {"model/files/rules.py", "model/files/limits.py"} < {
        file["path"] for file in version.json["manifest"]["files"]
    }
    # Another version of the same modules.
    other = ("python_files", "files.zip", archive_of(rules=RULES.replace(b"exp(-", b"exp("), limits=b"MOST = 50"))
    assert allowed.upload(UPLOAD, parts_of(allowed, ENTRY, other), **ADMIN).json["number"] == 2
    for number in (1, 2):
        assert allowed.post(f"{UPLOAD}/{number}/stage", {"stage": "staging"}, headers=ADMIN).status == 200
    assert allowed.post(f"{UPLOAD}/1/stage", {"stage": "production"}, headers=ADMIN).status == 200

    def asks(links: float, path: str = "/v2/models/ruled/infer") -> Any:
        tensors = [
            {"name": name, "shape": [1, 1], "datatype": "FP64", "data": [value]}
            for name, value in (("links", links), ("length", 0.5))
        ]
        return allowed.post(path, {"inputs": tensors}, headers=ADMIN)

    row = {"features": {"links": 2.0, "length": 1.0}, "prediction_id": "first"}
    assert allowed.post("/models/ruled/predict", row, headers=ADMIN).json["probability"] == pytest.approx(
        0.8808, abs=1e-4
    )
    assert asks(2.0).status == 200
    assert asks(2.0, "/v2/models/ruled/versions/2/infer").json != asks(2.0).json
    # What its code raises says where, never what it was given; and it is in the log as a failure.
    failed = asks(777.0)
    assert (failed.status, failed.code) == (500, "scoring_failed")
    assert "ValueError in rules.py, line 7" in failed.json["error"]
    assert "777" not in failed.json["error"]
    failures = [block for _, block in allowed.server.system.log.blocks_after("ruled", 0) if block.error[0]]
    assert [block.error.tolist() for block in failures] == [["scoring_failed"]]
    batch = {"instances": [{"links": value, "length": 0.0} for value in (1.0, 3.0)]}
    assert allowed.post("/models/ruled/batch_predict", batch, headers=ADMIN).status == 200
    served = allowed.logged("ruled")
    assert "first" in served
    # Another server on the same state that does not allow it: nothing of it runs, and it says what to do.
    for closed in small_servers.closed(small_servers.open_server(allowed.home.parent, register=False, token=TOKEN)):
        refused = closed.post("/models/ruled/predict", row, headers=ADMIN)
        assert (refused.status, refused.code) == (409, "python_not_allowed")
        assert closed.post(f"{UPLOAD}/2/stage", {"stage": "production"}, headers=ADMIN).code == "python_not_allowed"
        assert closed.get("/livez", headers=ADMIN).status == 200
    assert asks(2.0).status == 200
