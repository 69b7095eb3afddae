"""ONNX files as users export them: PyTorch's shape, maps of classes, columns as inputs, and what is refused."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from sklearn.linear_model import LogisticRegression

from homeostat import records
from homeostat.connectors import models
from homeostat.errors import CompilationFailed, InvalidInput, Unanswerable
from homeostat.frames import Columns, Kind

WIDTH = 4
NAMES = tuple(f"x{number}" for number in range(WIDTH))
GENERATOR = np.random.default_rng(0)
MATRIX = GENERATOR.normal(size=(200, WIDTH))
COLUMNS = Columns({name: MATRIX[:, place].copy() for place, name in enumerate(NAMES)})
HIDDEN = GENERATOR.normal(size=(6, WIDTH)).astype(np.float32)


def network(outputs, *, link=None, batch="batch", input_name="input", width=WIDTH):
    """A small network, layer by layer as torch.onnx.export writes it: Gemm with a transposed weight, Relu, Gemm."""
    last = np.random.default_rng(outputs).normal(size=(outputs, 6)).astype(np.float32)
    nodes = [
        helper.make_node("Gemm", [input_name, "fc1.weight", "fc1.bias"], ["h"], "/fc1/Gemm", transB=1),
        helper.make_node("Relu", ["h"], ["X"], "/Relu"),
        helper.make_node("Gemm", ["X", "fc2.weight", "fc2.bias"], ["logits"], "/fc2/Gemm", transB=1),
    ]
    if link:
        options = {"axis": 1} if link == "Softmax" else {}
        nodes.append(helper.make_node(link, ["logits"], ["output"], **options))
    graph = helper.make_graph(
        nodes,
        "main_graph",
        [helper.make_tensor_value_info(input_name, TensorProto.FLOAT, [batch, width])],
        [helper.make_tensor_value_info("output" if link else "logits", TensorProto.FLOAT, [batch, outputs])],
        [
            numpy_helper.from_array(HIDDEN, "fc1.weight"),
            numpy_helper.from_array(np.full(6, 0.1, np.float32), "fc1.bias"),
            numpy_helper.from_array(last, "fc2.weight"),
            numpy_helper.from_array(np.zeros(outputs, np.float32), "fc2.bias"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="pytorch")
    logits = np.maximum(MATRIX.astype(np.float32) @ HIDDEN.T + 0.1, 0) @ last.T
    return model, logits


def served(model, tmp_path, classes, task, *, columns=COLUMNS):
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    given = models.read_model(path).with_classes(classes).settled(columns)
    signature = records.Signature(
        task=task,
        features=tuple(records.Feature(name=name, kind=Kind.NUMERIC) for name in columns),
        target="y",
        classes=given.classes_,
    )
    made = models.compile_model(given, signature, columns)
    assert made.form.format == "onnx"
    return models.load_predictor(made.files, made.form, signature)


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("link", [None, "Softmax"])
def test_logits_and_probabilities_of_a_network_are_told_apart(link, tmp_path):
    model, logits = network(3, link=link)
    predictor = served(model, tmp_path, ("2", "10", "1"), records.Task.MULTICLASS)
    assert np.allclose(predictor.predict(COLUMNS), softmax(logits), atol=1e-5)
    assert np.allclose(predictor.predict_matrix(MATRIX), softmax(logits), atol=1e-5)


@pytest.mark.parametrize("link", [None, "Sigmoid"])
def test_one_output_is_the_probability_of_the_second_class(link, tmp_path):
    model, logits = network(1, link=link)
    scores = served(model, tmp_path, ("no", "yes"), records.Task.BINARY).predict(COLUMNS)
    assert np.allclose(scores[:, 1], 1 / (1 + np.exp(-logits[:, 0])), atol=1e-5)
    assert np.allclose(scores.sum(axis=1), 1)


def test_a_regression_gives_its_numbers_as_they_are(tmp_path):
    model, logits = network(1)
    predictor = served(model, tmp_path, (), records.Task.REGRESSION)
    assert np.allclose(predictor.predict(COLUMNS), logits[:, 0], atol=1e-4)
    # A network has no answer where a value is missing.
    with pytest.raises(Unanswerable):
        predictor.predict_matrix(np.full((1, WIDTH), np.nan))


def test_a_last_operator_that_says_nothing_is_settled_by_the_rows(tmp_path):
    model, logits = network(2, link="Identity")
    scores = served(model, tmp_path, ("a", "b"), records.Task.BINARY).predict(COLUMNS)
    assert np.allclose(scores, softmax(logits), atol=1e-5)


@pytest.mark.parametrize("zipmap", [True, False])
def test_what_skl2onnx_writes_is_taken_with_its_classes(zipmap, tmp_path):
    from skl2onnx import to_onnx

    labels = np.where(MATRIX[:, 0] > 0, "good", "bad")
    model = LogisticRegression().fit(MATRIX, labels)
    graph = to_onnx(model, MATRIX[:1].astype(np.float32), options={id(model): {"zipmap": zipmap}})
    scores = served(graph, tmp_path, ("bad", "good"), records.Task.BINARY).predict(COLUMNS)
    assert np.allclose(scores, model.predict_proba(MATRIX), atol=1e-5)


def test_a_graph_with_an_input_for_each_column_is_taken(tmp_path):
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 1]) for name in ("x2", "x0")]
    output = helper.make_tensor_value_info("sum", TensorProto.FLOAT, ["n", 1])
    graph = helper.make_graph([helper.make_node("Sub", ["x2", "x0"], ["sum"])], "g", inputs, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    predictor = served(model, tmp_path, (), records.Task.REGRESSION)
    assert np.allclose(predictor.predict(COLUMNS), MATRIX[:, 2] - MATRIX[:, 0], atol=1e-5)
    assert np.allclose(predictor.predict_matrix(MATRIX), MATRIX[:, 2] - MATRIX[:, 0], atol=1e-5)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (network(1, batch=1)[0], "exactly 1 row"),
        (network(1, width="features")[0], "how many features"),
    ],
)
def test_a_graph_of_another_shape_is_refused_with_the_way_out(model, message, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(InvalidInput, match=message):
        models.read_model(path)


def test_a_graph_of_other_classes_or_foreign_operators_or_none_is_refused(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(network(3)[0].SerializeToString())
    with pytest.raises(InvalidInput, match="3 outputs"):
        models.read_model(path).with_classes(("0", "1"))
    foreign, _ = network(1)
    foreign.graph.node[0].domain = "com.example"
    foreign.opset_import.append(helper.make_opsetid("com.example", 1))
    path.write_bytes(foreign.SerializeToString())
    with pytest.raises(CompilationFailed, match=r"com\.example"):
        models.read_model(path)
    path.write_bytes(b"no graph")
    with pytest.raises((CompilationFailed, InvalidInput)):
        models.read_model(path)


def test_a_graph_that_reads_another_file_is_refused(tmp_path):
    model, _ = network(1)
    weight = model.graph.initializer[0]
    weight.data_location = onnx.TensorProto.EXTERNAL
    entry = weight.external_data.add()
    entry.key, entry.value = "location", "/etc/hostname"
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(CompilationFailed, match="another file"):
        models.read_model(path)
