"""Who is measured: how each is started, what it is asked, and how its answer reads."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.serving.model import Ask, by_name, dumps, open_inference, read_open_inference, row

PROGRAMS = Path(__file__).with_name("programs")
MODEL = "bench"


@dataclass(frozen=True)
class Setting:
    """What a server is started in: files of the model, a folder of its own, a port, and its Python."""

    files: Path
    folder: Path
    port: int
    bin: Path

    def python(self, program: str, *arguments: str) -> list[str]:
        return [str(self.bin / "python"), str(PROGRAMS / program), *arguments]


@dataclass(frozen=True)
class Started:
    """A command, what must run before it, and variables of the environment."""

    command: list[str]
    before: list[list[str]] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Peer:
    """A server beside Homeostat. `environment` is empty for one that runs in Homeostat's own."""

    key: str
    title: str
    environment: str
    package: str
    ask: Ask
    read: Callable[[bytes, dict[str, str]], float | None]
    start: Callable[[Setting], Started]


def probability(content: bytes, headers: Mapping[str, str]) -> float:  # noqa: ARG001 (some need the headers)
    return float(json.loads(content)["probability"])


def _mlserver(setting: Setting) -> Started:
    parameters = {"uri": str(setting.files / "model.joblib")}
    model = {"name": MODEL, "implementation": "mlserver_sklearn.SKLearnModel", "parameters": parameters}
    ports = {"http_port": setting.port, "grpc_port": setting.port + 1, "metrics_port": setting.port + 2}
    # Without its pool of processes: on one core they would only take turns.
    server = {"host": "127.0.0.1", **ports, "parallel_workers": 0, "debug": False}
    (setting.folder / "model-settings.json").write_bytes(dumps(model))
    (setting.folder / "settings.json").write_bytes(dumps(server))
    return Started([str(setting.bin / "mlserver"), "start", str(setting.folder)])


def _mlflow(setting: Setting) -> Started:
    saved = setting.folder / "model"
    save = setting.python("mlflow_save.py", str(setting.files / "model.joblib"), str(saved))
    options = f"--env-manager local --host 127.0.0.1 --port {setting.port} --workers 1"
    command = [str(setting.bin / "mlflow"), "models", "serve", "-m", str(saved), *options.split()]
    path = {"PATH": f"{setting.bin}:/usr/bin:/bin", "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    return Started(command, [save], path)


def _bentoml(setting: Setting) -> Started:
    serve = [str(setting.bin / "bentoml"), "serve", "bentoml_forest:Forest", "--working-dir", str(PROGRAMS)]
    home = {"BENTOML_HOME": str(setting.folder / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"}
    model = {"MODEL": str(setting.files / "model.joblib")}
    return Started([*serve, "--host", "127.0.0.1", "--port", str(setting.port)], [], home | model)


def _program(program: str, file: str) -> Callable[[Setting], Started]:
    def start(setting: Setting) -> Started:
        given = [str(setting.files / file)] if file else []
        return Started(setting.python(program, str(setting.port), *given))

    return start


PEERS = [
    Peer(
        "mlserver",
        "MLServer",
        "mlserver",
        "mlserver",
        open_inference(f"/v2/models/{MODEL}/infer", "predict_proba"),
        lambda content, headers: read_open_inference(content, headers, "predict_proba"),
        _mlserver,
    ),
    Peer(
        "mlflow",
        "MLflow",
        "mlflow",
        "mlflow",
        Ask("/invocations", dumps({"inputs": [row()]})),
        lambda content, _: float(json.loads(content)["predictions"][0][1]),
        _mlflow,
    ),
    Peer("bentoml", "BentoML", "bentoml", "bentoml", by_name("/predict"), probability, _bentoml),
    Peer(
        "litserve",
        "LitServe",
        "litserve",
        "litserve",
        by_name("/predict"),
        probability,
        _program("litserve_forest.py", "model.joblib"),
    ),
    Peer(
        "fastapi-sklearn",
        "FastAPI, scikit-learn",
        "fastapi",
        "fastapi",
        by_name("/predict"),
        probability,
        _program("fastapi_sklearn.py", "model.joblib"),
    ),
    Peer(
        "fastapi-onnx",
        "FastAPI, ONNX, no logging",
        "fastapi",
        "fastapi",
        by_name("/predict"),
        probability,
        _program("fastapi_onnx.py", "model.onnx"),
    ),
    Peer(
        "constant",
        "uvicorn, a constant",
        "",
        "uvicorn",
        by_name("/models/bench/predict"),
        lambda _content, _headers: None,
        _program("constant.py", ""),
    ),
]


def own_bin() -> Path:
    """Where the Python of this run is."""
    return Path(sys.executable).parent
