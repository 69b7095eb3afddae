"""The built-in trainer on small data of every kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from homeostat.errors import InvalidSettings, InvalidTrainer, TrainingFailed
from homeostat.frames import Columns, Kind, finite, to_pandas
from homeostat.ports import Trained, TrainingRequest
from homeostat.records import Task
from homeostat.retraining.rules import evaluation_rows
from homeostat.retraining.service import describe_features
from homeostat.retraining.trainers import (
    FEWEST_ROWS,
    as_trainer,
    import_trainer,
    raw_outputs,
    train_builtin,
    window_starts,
)

ALGORITHMS = ("extra_trees", "gradient_boosting", "logistic_regression")
WINDOWS = ("all", "recent", "since_change")


def ask(columns: Columns, kinds: dict[str, Kind], target: np.ndarray, task: Task, **changes: Any) -> TrainingRequest:
    change = changes.pop("change", None)
    made: dict[str, Any] = {
        "columns": finite(columns),
        "kinds": kinds,
        "target": target,
        "task": task,
        "classes": tuple(sorted(set(target.tolist()))) if task.is_classification else (),
        "change": change,
        "evaluation": evaluation_rows(columns.rows, change, 0.2),
        "seed": 3,
        "algorithms": ("extra_trees",),
        "windows": WINDOWS,
        "maximum_rows": 20_000,
    }
    return TrainingRequest(**(made | changes))


def two_numbers(rows: int, *, change: int | None = None, task: Task = Task.BINARY, seed: int = 0, **more: Any):
    rng = np.random.default_rng(seed)
    x, z = rng.normal(size=rows), rng.normal(size=rows)
    signal = x + 0.1 * z
    if change is not None:
        signal = np.where(np.arange(rows) < change, signal, -signal)
    if task is Task.BINARY:
        target: np.ndarray = np.array(["no", "yes"], dtype=object)[(signal > 0).astype(int)]
    elif task is Task.MULTICLASS:
        target = np.array(["a", "b", "c"], dtype=object)[np.digitize(signal, (-0.5, 0.5))]
    else:
        target = 3 * signal
    kinds = {"x": Kind.NUMERIC, "z": Kind.NUMERIC}
    return ask(Columns({"x": x, "z": z}), kinds, target, task, change=change, **more)


@pytest.mark.parametrize("task", list(Task))
def test_after_an_abrupt_change_only_what_came_since_is_learned_from(task):
    asked = two_numbers(900, change=820, task=task)
    trained = train_builtin(asked)
    assert trained.parameters["window"] == "since_change"
    assert trained.rows == 80
    assert quality(trained, two_numbers(300, change=0, task=task, seed=9)) > 0.8


@pytest.mark.parametrize("task", list(Task))
def test_where_nothing_changed_more_history_is_better(task):
    # Few rows since a change that was no change, and noise enough that all rows are worth having.
    asked = two_numbers(900, task=task, change=None)
    assert train_builtin(asked).parameters["window"] == "all"


def quality(trained: Trained, fresh: TrainingRequest) -> float:
    outputs = raw_outputs(trained.model, to_pandas(fresh.columns, fresh.kinds))
    if fresh.task is Task.REGRESSION:
        return float(np.corrcoef(outputs, fresh.target)[0, 1])
    said = np.array(trained.model.classes_, dtype=object)[outputs.argmax(axis=1)]
    return float((said == fresh.target).mean())


def awkward(rows: int, task: Task) -> TrainingRequest:
    rng = np.random.default_rng(4)
    signal = rng.normal(size=rows)
    gaps = signal.copy()
    gaps[rng.random(rows) < 0.2] = np.nan
    wild = signal.copy()
    wild[::7], wild[1::11] = np.inf, -np.inf
    city = np.array([f"city {i}" for i in rng.integers(0, 90, rows)], dtype=object)
    city[::9] = None
    columns = Columns(
        {
            "signal": signal,
            "gaps": gaps,
            "wild": wild,
            "constant": np.full(rows, 5.0),
            "flag": np.where(rng.random(rows) < 0.1, np.nan, (signal > 0).astype(float)),
            "kind": np.where(signal > 0.3, "hot", "cold").astype(object),
            "city": city,
            "nothing": np.full(rows, None, dtype=object),
            "same": np.full(rows, "k", dtype=object),
            "note": np.array([f"free text number {i} that nobody repeats" for i in range(rows)], dtype=object),
        }
    )
    number = dict.fromkeys(("signal", "gaps", "wild", "constant"), Kind.NUMERIC)
    text = dict.fromkeys(("kind", "city", "nothing", "same"), Kind.CATEGORICAL)
    kinds = {**number, "flag": Kind.BOOLEAN, **text, "note": Kind.TEXT}
    target: np.ndarray = 2 * signal
    if task is Task.BINARY:
        target = np.array(["no", "yes"], dtype=object)[(signal > 0).astype(int)]
    elif task is Task.MULTICLASS:
        target = np.array(["a", "b", "c"], dtype=object)[np.digitize(signal, (-0.5, 0.5))]
    return ask(columns, kinds, target, task, algorithms=ALGORITHMS, windows=("all",))


@pytest.mark.parametrize("task", list(Task))
def test_columns_of_every_kind(task):
    asked = awkward(260, task)
    trained = train_builtin(asked)
    assert [one for one in trained.parameters["compared"] if "failed" in one] == []
    assert len(trained.parameters["compared"]) == len(ALGORITHMS)
    assert quality(trained, asked) > 0.8
    outputs = raw_outputs(trained.evaluated, to_pandas(asked.columns, asked.kinds))
    assert np.isfinite(outputs).all()
    # What was never seen in training is scored too.
    strange = {name: values[:1].copy() for name, values in asked.columns.items()}
    for name, kind in asked.kinds.items():
        strange[name][0] = np.nan if kind.is_number else "never seen"
    assert np.isfinite(raw_outputs(trained.model, to_pandas(strange, asked.kinds))).all()
    features = {feature.name: feature for feature in describe_features(asked.columns, asked.kinds)}
    assert features["kind"].categories == ("cold", "hot")
    assert features["nothing"].categories == ()
    assert list(features) == list(asked.kinds)


@pytest.mark.parametrize("task", [Task.BINARY, Task.REGRESSION])
@pytest.mark.parametrize("algorithm", [*ALGORITHMS, "random_forest", "svm"])
def test_a_column_without_any_value_stops_no_algorithm(algorithm, task):
    asked = two_numbers(200, task=task, algorithms=(algorithm,), windows=("all",))
    columns = Columns({**asked.columns, "gone": np.full(200, np.nan)})
    kinds = {**asked.kinds, "gone": Kind.NUMERIC}
    trained = train_builtin(ask(columns, kinds, asked.target, task, algorithms=(algorithm,), windows=("all",)))
    assert np.isfinite(raw_outputs(trained.model, to_pandas(columns, kinds))).all()


@pytest.mark.parametrize("algorithm", ["random_forest", "svm", "mlp"])
@pytest.mark.parametrize("task", list(Task))
def test_every_algorithm_can_be_asked_for(algorithm, task):
    trained = train_builtin(two_numbers(200, task=task, algorithms=(algorithm,), windows=("all",)))
    assert trained.parameters["algorithm"] == algorithm


def test_a_class_that_is_missing_in_a_window():
    asked = two_numbers(600, task=Task.MULTICLASS, change=400)
    target = asked.target.copy()
    target[400:][target[400:] == "c"] = "b"
    asked = ask(asked.columns, asked.kinds, target, Task.MULTICLASS, change=400, algorithms=ALGORITHMS)
    trained = train_builtin(asked)
    assert set(trained.model.classes_) <= {"a", "b", "c"}
    assert "failed" not in str(trained.parameters["compared"])
    # And one that only the evaluation rows have
    target = asked.target.copy()
    target[-5:] = "new"
    late = ask(asked.columns, asked.kinds, target, Task.MULTICLASS, windows=("all",))
    trained = train_builtin(late)
    assert "new" in trained.model.classes_
    assert "new" not in trained.evaluated.classes_


def test_a_window_of_one_class_is_passed_over():
    asked = two_numbers(600, change=540)
    target = asked.target.copy()
    target[540:] = "yes"
    one = train_builtin(ask(asked.columns, asked.kinds, target, Task.BINARY, change=540))
    failed = [compared["window"] for compared in one.parameters["compared"] if "failed" in compared]
    assert failed == ["since_change"]
    assert one.parameters["window"] != "since_change"
    with pytest.raises(TrainingFailed, match="one class"):
        train_builtin(ask(asked.columns, asked.kinds, np.full(600, "yes", dtype=object), Task.BINARY))


def test_the_shipped_model_has_seen_all_rows_and_the_compared_one_has_not():
    asked = two_numbers(400, windows=("all",))
    trained = train_builtin(asked)
    assert trained.rows == 400
    # A row that only the evaluation part holds is fitted by the shipped model alone.
    assert trained.parameters["compared"][0]["rows"] == 400 - asked.evaluation
    capped = train_builtin(two_numbers(400, windows=("all",), maximum_rows=100))
    assert capped.rows == 100
    assert capped.parameters["compared"][0]["rows"] == 100


def test_the_same_seed_gives_the_same_model():
    one, two = (train_builtin(two_numbers(300, algorithms=ALGORITHMS)) for _ in range(2))
    assert one.parameters == two.parameters


@pytest.mark.parametrize(
    ("rows", "change", "windows", "expected"),
    [
        # Here the recent rows are all there are.
        (1000, None, WINDOWS, {"all"}),
        (20_000, None, WINDOWS, {"all", "recent"}),
        (1000, 920, WINDOWS, {"all", "recent", "since_change"}),
        # Too few rows since the change to fit on and to be compared on
        (1000, 985, WINDOWS, {"all", "recent"}),
        (1000, 800, ("since_change",), {"since_change"}),
        (1000, 990, ("since_change",), {"all"}),
        (40, None, WINDOWS, {"all"}),
    ],
)
def test_windows_that_have_enough_rows(rows, change, windows, expected):
    asked = two_numbers(rows, change=change, windows=windows)
    starts = window_starts(asked)
    assert set(starts) == expected
    fit_until = rows - asked.evaluation
    assert all(fit_until - start >= FEWEST_ROWS for start in starts.values()) or set(starts) == {"all"}


def test_an_unknown_algorithm():
    with pytest.raises(InvalidSettings, match="extra_trees"):
        train_builtin(two_numbers(200, algorithms=("oracle",)))


# The user's own
@pytest.mark.parametrize(
    "name",
    ["", "math", ":f", "math:", "no_such_module_here:f", "math:no_such_function", "math:pi", "raises_on_import:f"],
)
def test_what_can_not_be_imported(name, tmp_path, monkeypatch):
    (tmp_path / "raises_on_import.py").write_text("raise RuntimeError('at import')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InvalidTrainer):
        import_trainer(name)


def test_a_trainer_of_the_user_is_called_without_and_with_the_evaluation_rows():
    from sklearn.tree import DecisionTreeClassifier

    calls = []

    def fit(frame, target):
        calls.append((len(frame), len(target), list(frame.columns)))
        return DecisionTreeClassifier(random_state=0).fit(frame, target)

    asked = two_numbers(200)
    trained = as_trainer(fit, "test")(asked)
    assert calls == [(200 - asked.evaluation, 200 - asked.evaluation, ["x", "z"]), (200, 200, ["x", "z"])]
    assert trained.rows == 200


@pytest.mark.parametrize("nonsense", [None, 42, "a model", object()])
def test_a_trainer_that_returns_no_model(nonsense):
    with pytest.raises(TrainingFailed, match="no predict"):
        as_trainer(lambda frame, target: nonsense, "test")(two_numbers(100))
