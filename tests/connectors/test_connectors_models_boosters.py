"""XGBoost's and LightGBM's models: wrappers, native files, pipelines; right on missing values in every form."""

import json

import msgspec
import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from homeostat import records
from homeostat.connectors import models
from homeostat.connectors.models import boosters
from homeostat.connectors.models.original import wrap
from homeostat.errors import CompilationFailed, InvalidInput
from homeostat.frames import Columns, Kind

xgboost = pytest.importorskip("xgboost")
lightgbm = pytest.importorskip("lightgbm")

NAMES = ("a", "b", "c", "d")
ROWS = 400
QUICK = {"n_estimators": 7, "n_jobs": 1}


def data(task=records.Task.BINARY, *, seed=0):
    generator = np.random.default_rng(seed)
    matrix = generator.normal(size=(ROWS, len(NAMES)))
    signal = matrix[:, 0] + matrix[:, 1] * matrix[:, 2]
    matrix[generator.random(matrix.shape) < 0.1] = np.nan
    target = {
        records.Task.BINARY: (signal > 0).astype(int),
        records.Task.MULTICLASS: np.digitize(signal, [-1, 1]),
        records.Task.REGRESSION: 3 * signal + 7,
    }[task]
    return matrix, target, Columns({name: matrix[:, place].copy() for place, name in enumerate(NAMES)})


def signature_of(task, classes=2):
    return records.Signature(
        task=task,
        features=tuple(records.Feature(name=name, kind=Kind.NUMERIC) for name in NAMES),
        target="y",
        classes=() if task is records.Task.REGRESSION else tuple(str(number) for number in range(classes)),
    )


def estimators():
    yield "xgboost", records.Task.BINARY, xgboost.XGBClassifier(**QUICK)
    yield "xgboost", records.Task.MULTICLASS, xgboost.XGBClassifier(**QUICK)
    yield "xgboost", records.Task.REGRESSION, xgboost.XGBRegressor(**QUICK)
    yield "xgboost", records.Task.BINARY, xgboost.XGBRFClassifier(**QUICK)
    yield "lightgbm", records.Task.BINARY, lightgbm.LGBMClassifier(**QUICK, verbose=-1)
    yield "lightgbm", records.Task.MULTICLASS, lightgbm.LGBMClassifier(**QUICK, verbose=-1)
    yield "lightgbm", records.Task.REGRESSION, lightgbm.LGBMRegressor(**QUICK, verbose=-1)


@pytest.mark.parametrize(
    ("library", "task", "model"), list(estimators()), ids=[f"{type(m).__name__}-{t.value}" for _, t, m in estimators()]
)
def test_every_form_of_a_booster_gives_its_outputs_with_values_missing(library, task, model):
    matrix, target, columns = data(task)
    model.fit(matrix, target)
    signature = signature_of(task, 3 if task is records.Task.MULTICLASS else 2)
    fresh, _, rows = data(task, seed=5)
    wanted = model.predict_proba(fresh) if task.is_classification else model.predict(fresh)
    for name in ("treelite", "onnx-trees", library):
        made = models.compile_model(model, signature, columns, formats=[name])
        served = models.load_predictor(made.files, made.form, signature)
        assert made.form.format == name
        assert np.allclose(served.predict(rows), wanted, atol=2e-6, rtol=2e-6)
        assert np.allclose(served.predict_matrix(fresh), wanted, atol=2e-6, rtol=2e-6)
        assert made.form.row_us > 0
        assert made.form.batch_row_us > 0


def test_a_booster_that_stopped_early_is_served_as_it_answers():
    matrix, target, columns = data()
    model = xgboost.XGBClassifier(n_estimators=60, learning_rate=0.9, early_stopping_rounds=3, n_jobs=1)
    model.fit(matrix[:200], target[:200], eval_set=[(matrix[200:], target[200:])], verbose=False)
    assert model.best_iteration < 50
    made = models.compile_model(model, signature_of(records.Task.BINARY), columns)
    served = models.load_predictor(made.files, made.form, signature_of(records.Task.BINARY))
    assert np.allclose(served.predict(columns), model.predict_proba(matrix), atol=2e-6)


def test_a_booster_behind_a_scaler_is_served():
    matrix, target, columns = data()
    model = make_pipeline(StandardScaler(), lightgbm.LGBMClassifier(**QUICK, verbose=-1)).fit(matrix, target)
    made = models.compile_model(model, signature_of(records.Task.BINARY), columns)
    served = models.load_predictor(made.files, made.form, signature_of(records.Task.BINARY))
    assert np.allclose(served.predict(columns), model.predict_proba(matrix), atol=2e-6)


@pytest.mark.parametrize(
    "suffix", [".ubj", pytest.param(".json", marks=pytest.mark.slow), pytest.param(".txt", marks=pytest.mark.slow)]
)
def test_a_native_file_is_read_without_its_wrapper(suffix, tmp_path):
    matrix, target, columns = data()
    path = tmp_path / f"model{suffix}"
    if suffix == ".txt":
        booster = lightgbm.LGBMClassifier(**QUICK, verbose=-1).fit(matrix, target).booster_
        booster.save_model(path)
        wanted = booster.predict(matrix)
    else:
        booster = xgboost.XGBClassifier(**QUICK).fit(matrix, target).get_booster()
        booster.save_model(path)
        wanted = booster.inplace_predict(matrix)
    given = models.read_model(path).with_classes(("1", "0"))
    assert given.classes_ == ("0", "1")
    signature = signature_of(records.Task.BINARY)
    made = models.compile_model(given, signature, columns)
    served = models.load_predictor(made.files, made.form, signature)
    assert np.allclose(served.predict(columns)[:, 1], wanted, atol=2e-6)


@pytest.mark.slow
def test_names_in_a_native_file_tell_the_columns(tmp_path):
    matrix, target, columns = data()
    order = [2, 0, 3, 1]
    train = xgboost.DMatrix(matrix[:, order], target, feature_names=[NAMES[place] for place in order])
    booster = xgboost.train({"objective": "binary:logistic", "nthread": 1}, train, 5)
    booster.save_model(tmp_path / "m.ubj")
    given = models.read_model(tmp_path / "m.ubj").with_classes(("no", "yes"))
    signature = signature_of(records.Task.BINARY)
    signature = msgspec.structs.replace(signature, classes=("no", "yes"))
    made = models.compile_model(given, signature, columns)
    served = models.load_predictor(made.files, made.form, signature)
    assert np.allclose(served.predict_matrix(matrix)[:, 1], booster.predict(train), atol=2e-6)


@pytest.mark.slow
def test_what_gives_no_probabilities_or_other_classes_is_refused(tmp_path):
    matrix, target, _ = data(records.Task.MULTICLASS)
    booster = xgboost.train(
        {"objective": "multi:softmax", "num_class": 3, "nthread": 1}, xgboost.DMatrix(matrix, target), 3
    )
    booster.save_model(tmp_path / "m.json")
    given = models.read_model(tmp_path / "m.json")
    with pytest.raises(InvalidInput, match="no probabilities"):
        given.with_classes(("0", "1", "2"))
    booster = xgboost.XGBClassifier(**QUICK).fit(matrix, target).get_booster()
    given = boosters.GivenBooster(boosters.Booster("xgboost", booster))
    with pytest.raises(InvalidInput, match="2 classes"):
        given.with_classes(("0", "1"))
    with pytest.raises(InvalidInput, match="numbers"):
        given.with_classes(())


@pytest.mark.slow
def test_a_damaged_native_file_is_refused(tmp_path):
    matrix, target, _ = data()
    path = tmp_path / "m.json"
    xgboost.XGBClassifier(**QUICK).fit(matrix, target).get_booster().save_model(path)
    sound = json.loads(path.read_text())
    for name, value in (("left_children", 9999), ("split_indices", 77), ("right_children", 0)):
        forged = json.loads(path.read_text())
        forged["learner"]["gradient_booster"]["model"]["trees"][0][name][0] = value
        path.write_text(json.dumps(forged))
        with pytest.raises(CompilationFailed):
            models.read_model(path)
        path.write_text(json.dumps(sound))
    text = lightgbm.LGBMClassifier(**QUICK, verbose=-1).fit(matrix, target).booster_.model_to_string()
    for old, new in (
        ("split_feature=", "split_feature=99 "),
        ("left_child=", "left_child=0 "),
        ("Tree=0", "Tree=\x00"),
    ):
        path = tmp_path / "m.txt"
        path.write_text(text.replace(old, new, 1))
        with pytest.raises(CompilationFailed):
            models.read_model(path)
    for suffix in (".ubj", ".txt", ".lgb"):
        path = tmp_path / f"no{suffix}"
        path.write_bytes(b"not a model")
        with pytest.raises(CompilationFailed):
            models.read_model(path)


def test_splits_on_categories_stay_with_treelite():
    generator = np.random.default_rng(0)
    matrix = generator.integers(0, 6, size=(ROWS, 4)).astype(float)
    target = np.isin(matrix[:, 0], [1, 4]).astype(int)
    train = lightgbm.Dataset(matrix, target, categorical_feature=[0], params={"verbose": -1})
    booster = lightgbm.train({"objective": "binary", "verbose": -1, "num_threads": 1}, train, 4)
    given = boosters.GivenBooster(boosters.Booster("lightgbm", booster)).with_classes(("0", "1"))
    columns = Columns({name: matrix[:, place].copy() for place, name in enumerate(NAMES)})
    signature = signature_of(records.Task.BINARY)
    assert wrap(given, signature).classes == ("0", "1")
    made = models.compile_model(given, signature, columns)
    assert any("categories" in other.reason for other in made.form.rejected if other.format == "onnx-trees")
    served = models.load_predictor(made.files, made.form, signature)
    assert np.allclose(served.predict(columns)[:, 1], booster.predict(matrix), atol=1e-6)
