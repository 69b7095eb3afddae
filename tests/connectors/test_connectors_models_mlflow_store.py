"""Models of a real MLflow store, by their addresses in its registry and in its runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from homeostat.connectors.models import mlflow_models, read_model
from homeostat.errors import InvalidInput

ROWS = np.random.default_rng(0).normal(size=(200, 3))


@pytest.mark.slow
def test_what_mlflow_keeps_is_read_by_its_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    mlflow: Any = pytest.importorskip("mlflow")
    flavour: Any = pytest.importorskip("mlflow.sklearn")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    fitted = LogisticRegression().fit(ROWS, ROWS.sum(axis=1) > 0)
    with mlflow.start_run() as run:
        made = flavour.log_model(fitted, name="model", serialization_format="skops")
        pickled = flavour.log_model(fitted, name="pickled", serialization_format="pickle")
    mlflow.register_model(made.model_uri, "far")
    for number, address in enumerate(("models:/far/1", f"runs:/{run.info.run_id}/model")):
        assert mlflow_models.is_address(address)
        folder = mlflow_models.fetched(address, tmp_path / str(number))
        path = mlflow_models.model_file(folder, allow_pickle=False)
        assert path.suffix == ".skops"
        again: Any = read_model(path)
        assert np.array_equal(again.predict_proba(ROWS), fitted.predict_proba(ROWS))
    folder = mlflow_models.fetched(pickled.model_uri, tmp_path / "pickle")
    with pytest.raises(InvalidInput, match="pickle"):
        mlflow_models.model_file(folder, allow_pickle=False)
    with pytest.raises(InvalidInput, match="MLflow can't give models:/far/9"):
        mlflow_models.fetched("models:/far/9", tmp_path / "none")
