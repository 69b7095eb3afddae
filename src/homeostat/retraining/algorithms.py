"""The algorithms of the built-in trainer, as unfitted scikit-learn estimators over typed columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from homeostat.errors import InvalidSettings
from homeostat.frames import Columns, Kind, missing
from homeostat.records import Task

ONE_HOT_LIMIT = 50
TREES = 64
ROUNDS = 60
LEARNING_RATE = 0.15

Builder = Callable[[Task, int], Any]


def build(name: str, task: Task, columns: Columns, kinds: dict[str, Kind], *, seed: int) -> Any:
    """An unfitted pipeline of that algorithm for those columns. Raises `InvalidSettings` for an unknown name."""
    if name not in ALGORITHMS:
        raise InvalidSettings(f"There is no algorithm '{name}'. Known: {', '.join(ALGORITHMS)}.")
    builder, scaled = ALGORITHMS[name]
    estimator = builder(task, seed)
    return _pipeline(estimator, columns, kinds, scaled=scaled)


def usable(kinds: dict[str, Kind]) -> dict[str, Kind]:
    """The features that the built-in algorithms learn from: all but free text."""
    return {name: kind for name, kind in kinds.items() if kind is not Kind.TEXT}


def _pipeline(estimator: Any, columns: Columns, kinds: dict[str, Kind], *, scaled: bool) -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

    # A column without any value teaches nothing, and gradient boosting refuses it.
    learned = {name: kind for name, kind in usable(kinds).items() if not missing(columns[name]).all()}
    numbers = [name for name, kind in learned.items() if kind.is_number]
    categories = [name for name, kind in learned.items() if not kind.is_number]
    if not scaled and len(numbers) == len(kinds):
        return estimator
    ordinal = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2)
    parts: list[tuple[str, Any, list[str]]] = []
    if scaled:
        short = [name for name in categories if len(set(columns[name].tolist())) <= ONE_HOT_LIMIT]
        long = [name for name in categories if name not in short]
        if numbers:
            filled = SimpleImputer(strategy="median", keep_empty_features=True)
            parts.append(("numbers", make_pipeline(filled, StandardScaler()), numbers))
        if short:
            parts.append(("categories", OneHotEncoder(handle_unknown="ignore", sparse_output=False), short))
        if long:
            parts.append(("codes", make_pipeline(ordinal, StandardScaler()), long))
    else:
        if numbers:
            parts.append(("numbers", "passthrough", numbers))
        if categories:
            parts.append(("codes", ordinal, categories))
    return make_pipeline(ColumnTransformer(parts), estimator)


def _extra_trees(task: Task, seed: int) -> Any:
    from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

    kind = ExtraTreesClassifier if task.is_classification else ExtraTreesRegressor
    return kind(n_estimators=TREES, min_samples_leaf=2, n_jobs=-1, random_state=seed)


def _random_forest(task: Task, seed: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    kind = RandomForestClassifier if task.is_classification else RandomForestRegressor
    return kind(n_estimators=TREES, min_samples_leaf=2, n_jobs=-1, random_state=seed)


def _gradient_boosting(task: Task, seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    kind = HistGradientBoostingClassifier if task.is_classification else HistGradientBoostingRegressor
    rounds = ROUNDS if task is not Task.MULTICLASS else ROUNDS // 2
    return kind(max_iter=rounds, learning_rate=LEARNING_RATE, early_stopping=False, random_state=seed)


def _linear(task: Task, seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression, Ridge

    return LogisticRegression(max_iter=500, random_state=seed) if task.is_classification else Ridge()


def _svm(task: Task, seed: int) -> Any:
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.svm import SVR, LinearSVC

    if not task.is_classification:
        return SVR()
    return CalibratedClassifierCV(LinearSVC(random_state=seed), method="sigmoid", cv=3)


def _mlp(task: Task, seed: int) -> Any:
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    kind = MLPClassifier if task.is_classification else MLPRegressor
    return kind(hidden_layer_sizes=(64,), early_stopping=True, max_iter=200, random_state=seed)


# Whether the algorithm needs filled, scaled and one-hot inputs stands beside its builder.
ALGORITHMS: dict[str, tuple[Builder, bool]] = {
    "extra_trees": (_extra_trees, False),
    "random_forest": (_random_forest, False),
    "gradient_boosting": (_gradient_boosting, False),
    "logistic_regression": (_linear, True),
    "svm": (_svm, True),
    "mlp": (_mlp, True),
}


def missing_share(columns: Columns) -> float:
    """The share of missing values over all columns."""
    cells = columns.rows * len(columns)
    return sum(int(missing(values).sum()) for values in columns.values()) / cells if cells else 0.0
