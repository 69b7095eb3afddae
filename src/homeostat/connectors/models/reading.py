"""Models as other libraries save them, by the suffix of the file; nothing here runs code that a file brings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from homeostat.connectors.models import boosters
from homeostat.connectors.models.estimators import load_skops
from homeostat.connectors.models.exported import given_graph

XGBOOST_SUFFIXES = (".ubj", ".json")
LIGHTGBM_SUFFIXES = (".txt", ".lgb")
SUFFIXES = (".skops", ".onnx", *XGBOOST_SUFFIXES, *LIGHTGBM_SUFFIXES)


def read_model(path: Path) -> Any:
    """A fitted scikit-learn estimator from a `.skops` file, or a `Given` model from a file of another library.

    `.onnx` is a graph; `.ubj` and `.json` are XGBoost's, `.txt` and `.lgb` LightGBM's own formats. Raises
    `CompilationFailed` or `InvalidInput` where the file can't be used, `MissingDependency` where its library is not
    installed.
    """
    content = path.read_bytes()
    if path.suffix == ".onnx":
        return given_graph(content)
    if path.suffix in XGBOOST_SUFFIXES:
        return boosters.given_booster(content, boosters.XGBOOST)
    if path.suffix in LIGHTGBM_SUFFIXES:
        return boosters.given_booster(content, boosters.LIGHTGBM)
    return load_skops(content)
