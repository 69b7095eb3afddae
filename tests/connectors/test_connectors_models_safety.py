"""What must not be loaded is not loaded, and what is damaged is refused with a plain error."""

import json
import pickle
import zipfile
from io import BytesIO

import joblib
import msgspec
import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from homeostat import records
from homeostat.connectors import models
from homeostat.connectors.models import ensembles, estimators, forests, graphs, linear
from homeostat.connectors.models.serving import DESCRIPTION, seal, unseal
from homeostat.errors import CompilationFailed, ScoringFailed, Unanswerable
from homeostat.frames import Columns, Kind

SIGNATURE = records.Signature(
    task=records.Task.BINARY,
    features=tuple(records.Feature(name=name, kind=Kind.NUMERIC) for name in ("a", "b", "c")),
    target="y",
    classes=("0", "1"),
)
MAKERS = {
    "treelite": lambda: RandomForestClassifier(4, random_state=0),
    "onnx-trees": lambda: RandomForestClassifier(4, random_state=0),
    "linear": LogisticRegression,
    "onnx": LogisticRegression,
    "skops": lambda: make_pipeline(StandardScaler(), GaussianNB()),
}


def data(rows=150):
    generator = np.random.default_rng(1)
    columns = Columns({name: generator.normal(size=rows) for name in ("a", "b", "c")})
    return columns, (columns["a"] > 0).astype(int)


def compiled(name, model=None):
    columns, labels = data()
    model = (model or MAKERS[name]()).fit(np.column_stack(list(columns.values())), labels)
    return models.compile_model(model, SIGNATURE, columns, formats=[name]), columns


class Own(ClassifierMixin, BaseEstimator):
    def fit(self, matrix, labels):
        self.classes_ = np.unique(labels)
        self.n_features_in_ = matrix.shape[1]
        return self

    def predict_proba(self, matrix):
        return np.tile([0.5, 0.5], (len(matrix), 1))

    def predict(self, matrix):
        return np.zeros(len(matrix), dtype=int)


def own_function(matrix):
    return matrix * 2


def test_own_classes_are_named_and_refused():
    with pytest.raises(CompilationFailed, match=r"Own.* never loaded"):
        compiled("skops", Own())


def test_own_functions_are_named_and_refused():
    with pytest.raises(CompilationFailed, match=r"own_function"):
        compiled("skops", make_pipeline(FunctionTransformer(own_function), LogisticRegression()))


@pytest.mark.parametrize("name", MAKERS)
def test_nothing_is_unpickled(name, monkeypatch):
    made, columns = compiled(name)
    assert made.form.format == name

    def refuse(*_, **__):
        raise AssertionError("something was unpickled")

    for module, attribute in [(pickle, "loads"), (pickle, "load"), (pickle, "Unpickler"), (joblib, "load")]:
        monkeypatch.setattr(module, attribute, refuse)
    original = np.load
    monkeypatch.setattr(np, "load", lambda *args, **kwargs: original(*args, **{**kwargs, "allow_pickle": False}))
    served = models.load_predictor(made.files, made.form, SIGNATURE)
    assert served.predict(columns).shape == (150, 2)


@pytest.mark.parametrize("name", MAKERS)
def test_any_changed_byte_is_refused(name):
    made, _ = compiled(name)
    generator = np.random.default_rng(0)
    for path, content in made.files.items():
        for position in generator.integers(0, len(content), 20):
            damaged = bytearray(content)
            damaged[position] ^= 0x55
            with pytest.raises(CompilationFailed):
                models.load_predictor({**made.files, path: bytes(damaged)}, made.form, SIGNATURE)
        for part in (b"", content[: len(content) // 2]):
            with pytest.raises(CompilationFailed):
                models.load_predictor({**made.files, path: part}, made.form, SIGNATURE)
        with pytest.raises(CompilationFailed, match=path):
            models.load_predictor({key: made.files[key] for key in made.files if key != path}, made.form, SIGNATURE)


def resealed(made, **native):
    """The files with other native bytes and hashes that fit them, as a forger would write them."""
    return seal(unseal(made.files), native)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("treelite", forests.FILE),
        ("onnx-trees", ensembles.FILE),
        ("linear", linear.FILE),
        ("onnx", graphs.FILE),
        ("skops", estimators.FILE),
    ],
)
def test_bytes_of_no_format_are_refused_even_with_hashes_that_fit(name, path):
    made, _ = compiled(name)
    with pytest.raises(CompilationFailed):
        models.load_predictor(resealed(made, **{path: b"not a model at all"}), made.form, SIGNATURE)


def test_a_forged_skops_file_with_another_type_is_refused():
    import skops.io

    made, _ = compiled("skops")
    forged = skops.io.dumps(Own().fit(np.zeros((4, 3)), [0, 1, 0, 1]))
    with pytest.raises(CompilationFailed, match="Own"):
        models.load_predictor(resealed(made, **{estimators.FILE: forged}), made.form, SIGNATURE)


def tampered(content, change):
    """A skops file whose numpy arrays went through `change`."""
    out = BytesIO()
    with zipfile.ZipFile(BytesIO(content)) as source, zipfile.ZipFile(out, "w") as sink:
        for entry in source.namelist():
            body = source.read(entry)
            if entry.endswith(".npy"):
                array = np.load(BytesIO(body), allow_pickle=False)
                buffer = BytesIO()
                np.save(buffer, change(array), allow_pickle=False)
                body = buffer.getvalue()
            sink.writestr(entry, body)
    return out.getvalue()


def out_of_bounds(array):
    names = array.dtype.names or ()
    changed = array.copy()
    for field in ("left_child", "left", "idx_end"):
        if field in names:
            changed[field][0] = 2**30
    return changed


@pytest.mark.parametrize(
    "model",
    [RandomForestClassifier(2, random_state=0), HistGradientBoostingClassifier(max_iter=2), KNeighborsClassifier()],
    ids=lambda one: type(one).__name__,
)
def test_trees_that_point_outside_themselves_are_refused(model):
    import skops.io

    made, columns = compiled("skops")
    labels = data()[1]
    model.fit(np.column_stack(list(columns.values())), labels)
    sound = skops.io.dumps(model)
    assert models.load_predictor(resealed(made, **{estimators.FILE: sound}), made.form, SIGNATURE)
    with pytest.raises(CompilationFailed, match="damaged"):
        models.load_predictor(resealed(made, **{estimators.FILE: tampered(sound, out_of_bounds)}), made.form, SIGNATURE)


@pytest.mark.parametrize(
    ("name", "value"),
    [("nodes_featureids", 6), ("nodes_featureids", -1), ("nodes_truenodeids", 2**40), ("nodes_falsenodeids", 0)],
)
@pytest.mark.parametrize("classes", [("0", "1"), ("0", "1", "2")], ids=["one number a leaf", "a vector a leaf"])
def test_onnx_trees_that_point_outside_themselves_are_refused(classes, name, value):
    import onnx

    columns, labels = data()
    labels = labels + (len(classes) == 3) * (columns["b"] > 1)
    signature = msgspec.structs.replace(SIGNATURE, classes=classes, task=records.Task.MULTICLASS)
    model = RandomForestClassifier(3, random_state=0).fit(np.column_stack(list(columns.values())), labels)
    made = models.compile_model(model, signature, columns, formats=[ensembles.FORMAT])
    graph = onnx.load_model_from_string(made.files[ensembles.FILE])
    (numbers,) = [one for one in graph.graph.node[0].attribute if one.name == name]
    numbers.ints[0] = value
    with pytest.raises(CompilationFailed, match="damaged"):
        models.load_predictor(resealed(made, **{ensembles.FILE: graph.SerializeToString()}), made.form, signature)


def test_a_graph_that_points_at_another_file_is_refused(tmp_path):
    import onnx

    made, _ = compiled("onnx")
    graph = onnx.load_model_from_string(made.files[graphs.FILE])
    secret = tmp_path / "secret.bin"
    secret.write_bytes(b"\0" * 64)
    tensor = graph.graph.initializer.add()
    tensor.name, tensor.data_type, tensor.data_location = "w", onnx.TensorProto.FLOAT, onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", str(secret)
    with pytest.raises(CompilationFailed, match="another file"):
        models.load_predictor(resealed(made, **{graphs.FILE: graph.SerializeToString()}), made.form, SIGNATURE)


def test_a_graph_with_foreign_operators_is_refused():
    import onnx

    made, _ = compiled("onnx")
    graph = onnx.load_model_from_string(made.files[graphs.FILE])
    graph.opset_import.add().domain = "com.example"
    with pytest.raises(CompilationFailed, match=r"com\.example"):
        models.load_predictor(resealed(made, **{graphs.FILE: graph.SerializeToString()}), made.form, SIGNATURE)


@pytest.mark.parametrize("name", MAKERS)
def test_files_of_another_signature_are_refused(name):
    made, _ = compiled(name)
    fewer = msgspec.structs.replace(SIGNATURE, features=SIGNATURE.features[:2])
    other_classes = msgspec.structs.replace(SIGNATURE, classes=("0", "2"))
    regression = msgspec.structs.replace(SIGNATURE, task=records.Task.REGRESSION, classes=())
    for wrong in (fewer, other_classes, regression):
        with pytest.raises(CompilationFailed):
            models.load_predictor(made.files, made.form, wrong)


def test_files_of_another_format_or_layout_are_refused():
    made, _ = compiled("onnx")
    for other in ("treelite", "pickle"):
        with pytest.raises(CompilationFailed, match=other):
            models.load_predictor(made.files, msgspec.structs.replace(made.form, format=other), SIGNATURE)
    description = msgspec.structs.replace(unseal(made.files), layout=99)
    files = seal(description, {graphs.FILE: made.files[graphs.FILE]})
    with pytest.raises(CompilationFailed, match="layout 99"):
        models.load_predictor(files, made.form, SIGNATURE)


def test_the_description_is_plain_json():
    made, _ = compiled("treelite")
    body = json.loads(made.files[DESCRIPTION])["body"]
    assert body["columns"] == ["a", "b", "c"]
    assert set(body["files"]) == set(made.files) - {DESCRIPTION}


def test_rows_that_do_not_fit_are_refused_by_name():
    made, columns = compiled("onnx")
    served = models.load_predictor(made.files, made.form, SIGNATURE)
    rows = columns.take(slice(0, 2)).values_by_name
    wrong = [
        {"a": rows["a"], "c": rows["c"]},
        {**rows, "b": np.array(["x", "y"], dtype=object)},
        {**rows, "b": rows["b"][:1]},
    ]
    for given in wrong:
        with pytest.raises(ScoringFailed, match="'b'"):
            served.predict(given)


def test_a_value_beyond_32_bits_is_refused_as_the_forest_refuses_it():
    made, columns = compiled("treelite")
    served = models.load_predictor(made.files, made.form, SIGNATURE)
    rows = {**columns.take(slice(0, 1)).values_by_name, "b": np.array([1e39])}
    with pytest.raises(Unanswerable, match="32-bit"):
        served.predict(rows)


@pytest.mark.parametrize(
    ("model", "said"),
    [(LogisticRegression(), "not fitted"), (object(), "can't predict"), (StandardScaler(), "can't predict")],
)
def test_what_is_no_fitted_model_is_refused(model, said):
    with pytest.raises(CompilationFailed, match=said):
        models.compile_model(model, SIGNATURE, data()[0])


def test_a_model_of_another_task_width_or_classes_is_refused():
    columns, labels = data()
    matrix = np.column_stack(list(columns.values()))
    wrong = [
        LinearRegression().fit(matrix, labels),
        LogisticRegression().fit(matrix[:, :2], labels),
        LogisticRegression().fit(matrix, np.where(labels == 1, "yes", "no")),
        IsotonicRegression().fit(matrix[:, 0], labels),
    ]
    for model in wrong:
        with pytest.raises(CompilationFailed):
            models.compile_model(model, SIGNATURE, columns)


def test_no_reference_rows_means_nothing_is_checked_and_nothing_served():
    columns, labels = data()
    model = LogisticRegression().fit(np.column_stack(list(columns.values())), labels)
    with pytest.raises(CompilationFailed, match="no reference rows"):
        models.compile_model(model, SIGNATURE, columns.take(slice(0, 0)))
