"""Which format each estimator is served in, and that it scores rows never seen before as the original does."""

import warnings

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
)
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from threadpoolctl import threadpool_limits

from homeostat import frames, records
from homeostat.connectors import models
from homeostat.errors import Unanswerable
from homeostat.frames import Columns, Kind

NUMERIC = {f"x{i}": Kind.NUMERIC for i in range(4)}
MIXED = {**NUMERIC, "colour": Kind.CATEGORICAL, "shape": Kind.CATEGORICAL, "flag": Kind.BOOLEAN}
TEXTS = ["colour", "shape"]
TASKS = (records.Task.BINARY, records.Task.MULTICLASS, records.Task.REGRESSION)


@pytest.fixture(autouse=True)
def one_thread():
    """Threads of histogram boosting wait for each other when tests run side by side."""
    with threadpool_limits(limits=1, user_api="openmp"):
        yield


def table(kinds, *, seed, missing=True, rows=300):
    generator = np.random.default_rng(seed)
    values = {f"x{i}": generator.normal(size=rows) * 10**i for i in range(4)}
    values["x1"] = np.round(values["x1"])
    values["colour"] = generator.choice(["red", "green", "blue"], rows).astype(object)
    values["shape"] = generator.choice(["disc", "box"], rows).astype(object)
    values["flag"] = (generator.random(rows) > 0.4).astype(float)
    values = {name: values[name] for name in kinds}
    if missing:
        for name in set(kinds) & {"x0", "x2", "colour", "flag"}:
            values[name][generator.random(rows) < 0.1] = np.nan if kinds[name].is_number else None
    return Columns(values)


def target(columns, task, *, seed=0):
    noise = np.random.default_rng(seed).normal(size=columns.rows)
    score = np.nan_to_num(columns["x0"]) + columns["x1"] / 10 + 0.3 * noise
    if "colour" in columns:
        score = score + (columns["colour"] == "red")
    if task is records.Task.REGRESSION:
        return 100 * score
    if task is records.Task.BINARY:
        return score > 0.2
    return np.digitize(score, [-0.5, 0.5])


def signature_of(kinds, task, labels=None):
    features = tuple(records.Feature(name=name, kind=kind) for name, kind in kinds.items())
    # Against scikit-learn's order, so that the order of the classes is put to the test.
    classes = () if labels is None else tuple(sorted({frames.label_text(one) for one in labels.tolist()})[::-1])
    return records.Signature(task=task, features=features, target="y", classes=classes)


def fit(model, kinds, task, *, missing=True, seed=0):
    columns = table(kinds, seed=seed, missing=missing)
    labels = target(columns, task)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(frames.to_pandas(columns, kinds), labels)
    signature = signature_of(kinds, task, labels if task.is_classification else None)
    return model, signature, columns


def expected(model, columns, kinds, signature):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        given = frames.to_pandas(columns, kinds)
        if not signature.task.is_classification:
            return model.predict(given)
        texts = [frames.label_text(one) for one in model.classes_.tolist()]
        order = [texts.index(one) for one in signature.classes]
        if hasattr(model, "predict_proba"):
            return model.predict_proba(given)[:, order]
        named = [frames.label_text(one) for one in model.predict(given).tolist()]
        return np.array([[float(one == name) for one in signature.classes] for name in named])


def fresh(kinds, *, missing, seed=99):
    columns = table(kinds, seed=seed, missing=missing, rows=120)
    values = {name: one.copy() for name, one in columns.values_by_name.items()}
    for name in TEXTS:
        if name in values:
            values[name][:5] = "never seen"
    values["x3"][5:8] = [1e20, -1e20, 0.0]
    return Columns(values)


TREE_FORMS = "treelite onnx-trees"


def check(model, kinds, task, wanted, *, missing=True, tolerance=1e-6):
    model, signature, columns = fit(model, kinds, task, missing=missing)
    compiled = models.compile_model(model, signature, columns)
    assert compiled.form.format in wanted.split(), compiled.form
    if wanted == TREE_FORMS:
        # Both forms are right on every row; which of them is faster depends on the model.
        assert not any("differ" in other.reason for other in compiled.form.rejected), compiled.form.rejected
    served = models.load_predictor(compiled.files, compiled.form, signature)
    rows = fresh(kinds, missing=missing)
    want = expected(model, rows, kinds, signature)
    got = served.predict(rows)
    assert got.dtype == np.float64
    assert got.shape == want.shape
    spread = 1.0 if task.is_classification else np.std(target(columns, task))
    assert (np.abs(got - want) <= tolerance * np.maximum(spread, np.abs(want))).all()
    one = served.predict(rows.take(slice(9, 10)))
    assert np.allclose(one, want[9:10], rtol=tolerance, atol=tolerance * spread)
    assert compiled.form.rows_checked > columns.rows
    assert compiled.form.largest_difference <= 1e-5
    assert compiled.form.speedup > 0
    return compiled


def prepared(estimator, *, encoder="one_hot", scaler=None):
    numbers = [name for name, kind in MIXED.items() if kind.is_number]
    encoders = {
        "one_hot": OneHotEncoder(handle_unknown="ignore"),
        "dropped": OneHotEncoder(handle_unknown="ignore", drop="if_binary", sparse_output=False),
        "ordinal": OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2),
    }
    filled = SimpleImputer(strategy="median", add_indicator=True)
    steps = ColumnTransformer(
        [
            ("numbers", filled if scaler is None else make_pipeline(filled, scaler), numbers),
            ("texts", encoders[encoder], TEXTS),
        ]
    )
    return make_pipeline(steps, estimator)


TREES = {
    "forest": (RandomForestClassifier, RandomForestRegressor, {"n_estimators": 8}),
    "extra": (ExtraTreesClassifier, ExtraTreesRegressor, {"n_estimators": 8}),
    "tree": (DecisionTreeClassifier, DecisionTreeRegressor, {}),
    "histogram": (HistGradientBoostingClassifier, HistGradientBoostingRegressor, {"max_iter": 8}),
}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", TREES)
def test_trees_on_numbers_with_missing_values_are_served_exactly(name, task):
    classifier, regressor, options = TREES[name]
    model = (classifier if task.is_classification else regressor)(random_state=0, **options)
    check(model, NUMERIC, task, TREE_FORMS)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("encoder", ["one_hot", "dropped", "ordinal"])
def test_trees_behind_preprocessing_are_served_exactly(encoder, task):
    if task.is_classification:
        estimator = GradientBoostingClassifier(n_estimators=8, random_state=0)
    else:
        estimator = GradientBoostingRegressor(n_estimators=8, random_state=0)
    check(prepared(estimator, encoder=encoder, scaler=RobustScaler()), MIXED, task, TREE_FORMS)


@pytest.mark.parametrize("task", TASKS)
def test_native_categories_of_histogram_boosting_are_served_by_treelite(task):
    kind = HistGradientBoostingClassifier if task.is_classification else HistGradientBoostingRegressor
    check(kind(max_iter=8, categorical_features=TEXTS), MIXED, task, "treelite")


@pytest.mark.parametrize("task", [records.Task.BINARY, records.Task.MULTICLASS])
@pytest.mark.parametrize(
    "estimator",
    [
        LogisticRegression(),
        SGDClassifier(random_state=0),
        LinearSVC(),
        MLPClassifier((6,), max_iter=30, random_state=0),
        pytest.param(SVC(probability=True, random_state=0), marks=pytest.mark.filterwarnings("ignore")),
    ],
    ids=lambda one: type(one).__name__,
)
def test_other_classifiers_are_served_as_a_product_or_as_onnx(estimator, task):
    wanted = "linear onnx" if isinstance(estimator, LogisticRegression) else "onnx"
    compiled = check(prepared(estimator, scaler=StandardScaler()), MIXED, task, wanted, tolerance=2e-5)
    assert compiled.form.rejected[0].format == "treelite"
    assert ("without probabilities" in compiled.form.reason) is not hasattr(estimator, "predict_proba")


@pytest.mark.parametrize(
    "estimator",
    [Ridge(), MLPRegressor(hidden_layer_sizes=(6,), max_iter=30, random_state=0)],
    ids=lambda one: type(one).__name__,
)
def test_other_regressors_are_served_as_a_product_or_as_onnx(estimator):
    wanted = "linear onnx" if isinstance(estimator, Ridge) else "onnx"
    check(prepared(estimator, scaler=MinMaxScaler()), MIXED, records.Task.REGRESSION, wanted, tolerance=2e-5)


@pytest.mark.parametrize(
    "model",
    [
        make_pipeline(StandardScaler(), KNeighborsClassifier()),
        make_pipeline(StandardScaler(), GaussianNB()),
        make_pipeline(FunctionTransformer(np.arctan, feature_names_out="one-to-one"), LogisticRegression()),
    ],
    ids=["neighbours", "bayes", "function"],
)
def test_what_compiles_to_something_else_is_served_by_skops(model):
    compiled = check(model, NUMERIC, records.Task.BINARY, "skops", missing=False, tolerance=1e-12)
    assert {one.format for one in compiled.form.rejected} == {"treelite", "linear", "onnx"}


def test_a_forest_is_rejected_as_onnx_for_missing_values():
    from homeostat.connectors.models import graphs, parity
    from homeostat.connectors.models.original import wrap
    from homeostat.connectors.models.serving import Served

    model = RandomForestClassifier(20, random_state=0)
    model, signature, columns = fit(model, NUMERIC, records.Task.BINARY)
    original = wrap(model, signature)
    rows = parity.collect(original, columns, {}, np.random.default_rng(0))
    description, files = graphs.build_estimator(original)
    served = Served(graphs.Graph(description, files), description, signature)
    order = [signature.classes.index(one) for one in original.classes]
    compared = parity.compare(served, rows, order, 1e-5)
    assert compared.fault is not None
    assert "outputs differ" in compared.fault
    assert compared.largest > 0.01


@pytest.mark.parametrize("inner", [RandomForestClassifier(8, random_state=0), GaussianNB()], ids=["forest", "bayes"])
def test_isotonic_calibration_is_not_served_as_onnx(inner):
    model = CalibratedClassifierCV(inner, method="isotonic", cv=3)
    compiled = check(model, NUMERIC, records.Task.BINARY, "skops", missing=False, tolerance=1e-12)
    assert any(one.format == "onnx" and "outputs differ" in one.reason for one in compiled.form.rejected)
    assert "sklearn.calibration._CalibratedClassifier" in compiled.form.trusted_types


@pytest.mark.parametrize("estimator", [LogisticRegression(), GradientBoostingClassifier(n_estimators=4)])
def test_missing_values_are_refused_where_the_original_refuses_them(estimator):
    model, signature, columns = fit(estimator, NUMERIC, records.Task.BINARY, missing=False)
    compiled = models.compile_model(model, signature, columns)
    assert "refuses missing values" in compiled.form.reason
    served = models.load_predictor(compiled.files, compiled.form, signature)
    rows = columns.take(slice(0, 3)).values_by_name
    assert served.predict(rows).shape == (3, 2)
    for value in (np.nan, np.inf):
        with pytest.raises(Unanswerable, match="x2"):
            served.predict({**rows, "x2": np.array([1.0, value, 2.0])})


@pytest.mark.parametrize("estimator", [LogisticRegression(), RandomForestClassifier(4, random_state=0)])
def test_unseen_categories_are_refused_where_the_original_refuses_them(estimator):
    steps = ColumnTransformer([("texts", OneHotEncoder(), TEXTS)], remainder=SimpleImputer())
    model, signature, columns = fit(make_pipeline(steps, estimator), MIXED, records.Task.BINARY)
    compiled = models.compile_model(model, signature, columns)
    assert "refuses unseen categories in colour, shape" in compiled.form.reason
    served = models.load_predictor(compiled.files, compiled.form, signature)
    row = columns.take(slice(0, 1)).values_by_name
    assert served.predict(row).shape == (1, 2)
    with pytest.raises(Unanswerable, match="never saw"):
        served.predict({**row, "colour": np.array(["mauve"], dtype=object)})


def test_a_matrix_model_takes_the_columns_of_the_signature_in_order():
    columns = table(NUMERIC, seed=3)
    labels = target(columns, records.Task.MULTICLASS)
    matrix = np.column_stack([columns[name] for name in NUMERIC])
    model = make_pipeline(SimpleImputer(), SelectKBest(k=2), RandomForestClassifier(6, random_state=0))
    model.fit(matrix, labels)
    signature = signature_of(NUMERIC, records.Task.MULTICLASS, labels)
    compiled = models.compile_model(model, signature, columns)
    served = models.load_predictor(compiled.files, compiled.form, signature)
    shuffled = {name: columns[name] for name in reversed(list(NUMERIC))}
    assert compiled.form.format in TREE_FORMS
    assert np.allclose(served.predict(shuffled), model.predict_proba(matrix)[:, ::-1], atol=1e-12)


def test_a_class_that_the_model_never_saw_gets_probability_zero():
    model, signature, columns = fit(LogisticRegression(), NUMERIC, records.Task.BINARY, missing=False)
    wider = records.Signature(
        task=records.Task.MULTICLASS, features=signature.features, target="y", classes=("false", "maybe", "true")
    )
    compiled = models.compile_model(model, wider, columns)
    scores = models.load_predictor(compiled.files, compiled.form, wider).predict(columns)
    assert (scores[:, 1] == 0).all()
    assert np.allclose(scores.sum(axis=1), 1)


def test_batches_of_any_size_score_alike():
    model, signature, columns = fit(RandomForestClassifier(10, random_state=0), NUMERIC, records.Task.BINARY)
    compiled = models.compile_model(model, signature, columns)
    served = models.load_predictor(compiled.files, compiled.form, signature)
    whole = served.predict(columns)
    parts = [served.predict(columns.take(slice(start, start + 7))) for start in range(0, columns.rows, 7)]
    assert np.abs(whole - np.concatenate(parts)).max() < 1e-12
    assert served.predict(columns.take(slice(0, 0))).shape == (0, 2)


def test_the_same_seed_checks_the_same_rows():
    model, signature, columns = fit(RandomForestClassifier(4, random_state=0), NUMERIC, records.Task.BINARY)
    first, second = (models.compile_model(model, signature, columns, seed=5, formats=["onnx-trees"]) for _ in range(2))
    assert first.files == second.files
    assert first.form.rows_checked == second.form.rows_checked
