"""Microseconds a row of every form that a model can be served in, in one thread.

    python benchmarks/model_speed.py

Each form is timed through the checks that it is served with, on rows that are float64 columns of one matrix. All forms
are called in turn, and the median CPU time of the rounds counts; "original" is the library's own model on a matrix.
Differences are the largest on the rows that the form was compared on.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import importlib.util
import time
import warnings
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from homeostat import frames, records
from homeostat.connectors import models
from homeostat.errors import CompilationFailed

FEATURES = 30
TRAINING_ROWS = 10_000
SIZES = (1, 16, 32, 64, 1000)
ROUNDS = 15
FORMATS = ("treelite", "onnx-trees", "xgboost", "lightgbm", "linear", "onnx", "skops")


def model_table() -> dict[str, Any]:
    """The models that are measured, unfitted; those whose library is not installed are left out."""
    found: dict[str, Any] = {
        "random forest, 100 trees": RandomForestClassifier(100, random_state=0),
        "histogram boosting": HistGradientBoostingClassifier(random_state=0),
        "scaler, logistic regression": make_pipeline(StandardScaler(), LogisticRegression()),
    }
    if importlib.util.find_spec("xgboost"):
        xgboost = importlib.import_module("xgboost")
        found["XGBoost, 100 trees of depth 6"] = xgboost.XGBClassifier(n_estimators=100, max_depth=6, n_jobs=1)
    if importlib.util.find_spec("lightgbm"):
        lightgbm = importlib.import_module("lightgbm")
        found["LightGBM, 100 trees of 31 leaves"] = lightgbm.LGBMClassifier(
            n_estimators=100, num_leaves=31, n_jobs=1, verbose=-1
        )
    return found


def main() -> None:
    """Print the table."""
    warnings.simplefilter("ignore")
    generator = np.random.default_rng(0)
    matrix = generator.normal(size=(TRAINING_ROWS, FEATURES))
    signal = matrix[:, 0] + matrix[:, 1] * matrix[:, 2] + generator.normal(size=TRAINING_ROWS)
    labels = (signal > 0).astype(int)
    names = [f"x{number}" for number in range(FEATURES)]
    columns = frames.Columns({name: matrix[:, place].copy() for place, name in enumerate(names)})
    signature = records.Signature(
        task=records.Task.BINARY,
        features=tuple(records.Feature(name=name, kind=frames.Kind.NUMERIC) for name in names),
        target="y",
        classes=("0", "1"),
    )
    print("| model | form | " + " | ".join(f"{size} row{'s' * (size > 1)}" for size in SIZES) + " | difference | KB |")
    print("| --- | --- |" + " --- |" * (len(SIZES) + 2))
    for title, model in model_table().items():
        measure(title, model.fit(matrix, labels), signature, columns)


def measure(title: str, model: Any, signature: records.Signature, columns: frames.Columns) -> None:
    """Print the lines of one model, with the form that registration takes in bold."""
    made = {}
    for name in FORMATS:
        try:
            made[name] = models.compile_model(model, signature, columns, formats=[name])
        except CompilationFailed:
            continue
    taken = models.compile_model(model, signature, columns).form.format
    served = {name: models.load_predictor(one.files, one.form, signature) for name, one in made.items()}
    fresh = np.random.default_rng(1).normal(size=(2000, FEATURES))
    calls: dict[str, Any] = {"original": model.predict_proba}
    calls |= {name: one.predict_matrix for name, one in served.items()}
    times: dict[str, dict[int, list[float]]] = {name: {size: [] for size in SIZES} for name in calls}
    for number in range(ROUNDS):
        for name, call in calls.items():
            for size in SIZES:
                rows = fresh[number * 50 : number * 50 + size]
                if not number:
                    call(rows)
                start = time.process_time()
                call(rows)
                times[name][size].append((time.process_time() - start) / size * 1e6)
    for name in calls:
        cells = " | ".join(f"{np.median(times[name][size]):.1f}" for size in SIZES)
        label = f"**{name}**" if name == taken else name
        difference = f"{made[name].form.largest_difference:.0e}" if name in made else ""
        size = f"{sum(map(len, made[name].files.values())) / 1000:,.0f}" if name in made else ""
        print(f"| {title} | {label} | {cells} | {difference} | {size} |", flush=True)


if __name__ == "__main__":
    main()
