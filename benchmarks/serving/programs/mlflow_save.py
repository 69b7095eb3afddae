"""Writes an MLflow model of a scikit-learn one, that gives probabilities. In the environment `mlflow`: MODEL FOLDER."""

from __future__ import annotations

import sys

import joblib
import mlflow.sklearn

mlflow.sklearn.save_model(
    joblib.load(sys.argv[1]),
    sys.argv[2],
    serialization_format="cloudpickle",
    pyfunc_predict_fn="predict_proba",
    pip_requirements=["scikit-learn"],
)
