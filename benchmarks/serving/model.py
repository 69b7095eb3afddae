"""The one model, the one row and the requests that ask about it: the same for everything that is measured."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

FEATURES = 30
NAMES = [f"f{number}" for number in range(FEATURES)]
TREES = 100
ROWS = 2_000
SEED = 11
TARGET = "label"
# A generated row is a multiple of this, so that 32 and 64 bits hold the same number.
GRAIN = 1024.0


def training_data() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Rows of 30 features, and whether each is of the positive class: a rule of three features, with noise."""
    generator = np.random.default_rng(SEED)
    rows = np.round(generator.normal(size=(ROWS, FEATURES)) * GRAIN) / GRAIN
    noise = generator.normal(scale=0.5, size=ROWS)
    return rows, (rows[:, 0] + rows[:, 1] * rows[:, 2] + noise > 0).astype(int)


def train() -> Any:
    """The random forest. One seed and one release of scikit-learn give the same forest wherever it is trained."""
    from sklearn.ensemble import RandomForestClassifier  # noqa: PLC0415

    rows, labels = training_data()
    return RandomForestClassifier(n_estimators=TREES, random_state=SEED).fit(rows, labels)


def row() -> list[float]:
    """The row that everybody is asked about."""
    return [float(value) for value in training_data()[0][7]]


def write_files(folder: Path) -> float:
    """Write what peers and Homeostat read: joblib, skops, ONNX and the training table; returns the right answer."""
    import joblib  # noqa: PLC0415
    import pandas as pd  # noqa: PLC0415
    import skops.io  # noqa: PLC0415
    from skl2onnx import to_onnx  # noqa: PLC0415

    forest = train()
    rows, labels = training_data()
    # A version that is registered has names for its features.
    frame = pd.DataFrame(rows, columns=NAMES)
    named = train().fit(frame, labels)
    skops.io.dump(named, folder / "model.skops")
    frame.assign(**{TARGET: labels}).to_csv(folder / "training.csv", index=False)
    joblib.dump(forest, folder / "model.joblib")
    made = to_onnx(forest, rows[:1].astype(np.float32), options={id(forest): {"zipmap": False}}, target_opset=18)
    (folder / "model.onnx").write_bytes(made.SerializeToString())
    return float(forest.predict_proba([row()])[0, 1])


@dataclass(frozen=True)
class Ask:
    """One request as it is sent each time, and where its answer has the probability."""

    path: str
    body: bytes
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    rows: int = 1

    def head(self) -> dict[str, str]:
        return {"Content-Type": self.content_type, **self.headers}

    def as_bytes(self, port: int) -> bytes:
        """The whole request, as it goes over the wire."""
        head = {"Host": f"127.0.0.1:{port}", **self.head(), "Content-Length": str(len(self.body))}
        lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        return f"POST {self.path} HTTP/1.1\r\n{lines}\r\n".encode() + self.body


def dumps(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def by_name(path: str) -> Ask:
    """30 features by name: what Homeostat, BentoML, LitServe and FastAPI are sent."""
    return Ask(path, dumps({"features": dict(zip(NAMES, row(), strict=True))}))


def open_inference(path: str, output: str) -> Ask:
    """One FP64 tensor of shape [1, 30] in JSON."""
    tensor = {"name": "rows", "shape": [1, FEATURES], "datatype": "FP64", "data": row()}
    return Ask(path, dumps({"inputs": [tensor], "outputs": [{"name": output}]}))


def open_inference_binary(path: str, output: str, rows: int = 1) -> Ask:
    """One FP32 tensor of shape [rows, 30] behind a JSON head, answered in binary.

    The first row is the one of all other requests.
    https://github.com/kserve/open-inference-protocol (extension: binary tensor data)
    """
    many = np.resize(training_data()[0], (rows, FEATURES))
    many[0] = row()
    data = np.ascontiguousarray(many, dtype="<f4").tobytes()
    head = dumps(
        {
            "inputs": [
                {
                    "name": "rows",
                    "shape": [rows, FEATURES],
                    "datatype": "FP32",
                    "parameters": {"binary_data_size": len(data)},
                }
            ],
            "outputs": [{"name": output, "parameters": {"binary_data": True}}],
        }
    )
    return Ask(
        path,
        head + data,
        "application/octet-stream",
        {"Inference-Header-Content-Length": str(len(head))},
        rows,
    )


def read_open_inference(content: bytes, headers: dict[str, str], output: str) -> float:
    """The first value of an output, from a reply in JSON or in binary."""
    size = int(headers.get("inference-header-content-length", len(content)))
    reply = json.loads(content[:size])
    at = size
    for found in reply["outputs"]:
        length = found.get("parameters", {}).get("binary_data_size", 0)
        if found["name"] == output:
            if not length:
                return _last_of_first_row(found)
            kinds = {"FP64": "<f8", "FP32": "<f4"}
            values = np.frombuffer(content[at : at + length], dtype=kinds[found["datatype"]])
            return float(values.reshape(found["shape"])[0].ravel()[-1])
        at += length
    raise ValueError(f"The reply has no output {output}.")


def _last_of_first_row(found: dict[str, Any]) -> float:
    return float(np.asarray(found["data"]).reshape(found["shape"])[0].ravel()[-1])
