"""ONNX files as users export them (PyTorch, skl2onnx, TensorFlow): made into the one shape that is served.

Served graphs take one float matrix `X`, or a column at a time, and give one output: values, or a probability for each
class. So the input is renamed, maps of classes are cut off, and logits get the softmax or sigmoid that they lack.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from homeostat.connectors.models.graphs import FILE, FORMAT, MATRIX, Graph, check_content
from homeostat.connectors.models.original import Estimator, Given
from homeostat.connectors.models.serving import Description
from homeostat.errors import CompilationFailed, InvalidInput
from homeostat.frames import Array, Columns, label_text

Meaning = Literal["values", "probabilities", "logits"]

SCORES = "scores"
BINARY = 2
MATRIX_RANK = 2
# A sum of 32-bit probabilities may be this far from 1.
ROUNDING = 1e-3
PROBABLE = frozenset({"Softmax", "Sigmoid", "ZipMap", "Normalizer"})
LINEAR = frozenset({"Gemm", "MatMul", "Add"})


class GivenGraph(Given):
    """An ONNX graph of the user's own, on one matrix or, with `frame`, on a column at a time."""

    def __init__(
        self, model: Any, *, features: tuple[str, ...], width: int, outputs: int, meaning: Meaning | None
    ) -> None:
        self.model = model
        self.features = features
        self.width = width
        self.outputs = outputs
        self.meaning = meaning
        self.frame = bool(features)
        self._own_classes: tuple[str, ...] = _own_classes(model)
        self._graph: Graph | None = None

    @property
    def content(self) -> bytes:
        """The graph as it is served."""
        content: bytes = self.model.SerializeToString()
        return content

    def with_classes(self, classes: tuple[str, ...]) -> GivenGraph:
        """The graph with the target's classes: those that it names itself, else in order."""
        expected = max(self.outputs, BINARY) if classes else 1
        if self.outputs and (len(classes) or 1) != expected:
            raise InvalidInput(
                f"The graph gives {self.outputs} outputs a row, but the target has {len(classes)} classes."
            )
        own = self._own_classes
        if own and set(own) != set(classes):
            raise InvalidInput(f"The graph names the classes {', '.join(own)}, which are not those of the target.")
        numbers = all(name.isdecimal() for name in classes)
        self.classes_ = own or (tuple(sorted(classes, key=int)) if numbers else tuple(sorted(classes)))
        return self

    def settled(self, rows: Columns) -> GivenGraph:
        """The graph giving probabilities: where its last operator does not say what its outputs are, the rows do.

        Outputs between 0 and 1 that add up to 1 are probabilities; others are logits, and get the operator that makes
        probabilities of them.
        """
        if not self.classes_:
            return self
        meaning = self.meaning
        if meaning is None:
            given = self._asked(rows)
            meaning = "probabilities" if _are_probabilities(given) else "logits"
        if meaning == "logits":
            _append_link(self.model, softmax=self.outputs != 1)
            self._graph = None
        self.meaning = "probabilities"
        return self

    def predict(self, given: Any) -> Array:
        """Values (n,)."""
        return self._from(given)

    def predict_proba(self, given: Any) -> Array:
        """Probabilities (n, classes)."""
        return self._from(given)

    def _from(self, given: Any) -> Array:
        if self.frame:
            rows = len(given)
            columns = {}
            for name in self.features:
                values = given[name].to_numpy()
                if values.dtype.kind == "f":
                    columns[name] = values
                else:
                    columns[name] = np.array([label_text(value) for value in values.tolist()], dtype=object)
            return self._loaded().outputs(columns, rows)
        return self._loaded().matrix_outputs(given, len(given))

    def _asked(self, rows: Columns) -> Array:
        if self.frame:
            return np.asarray(self._loaded(raw=True).outputs(rows, rows.rows))
        matrix = np.column_stack([rows[name] for name in rows])
        return np.asarray(self._loaded(raw=True).matrix_outputs(matrix, rows.rows))

    def _loaded(self, *, raw: bool = False) -> Graph:
        if self._graph is None or raw:
            graph = Graph(self.description(self.features or (MATRIX,) * self.width, raw=raw), {FILE: self.content})
            if raw:
                return graph
            self._graph = graph
        return self._graph

    def description(self, columns: tuple[str, ...], *, raw: bool = False) -> Description:
        """What is served beside the graph; `raw` asks for its outputs as they are."""
        classes = tuple(str(number) for number in range(max(self.outputs, 1))) if raw else self.classes_
        return Description(
            format=FORMAT, columns=columns, frame=self.frame, classes=classes, narrow=True, width=self.width, steps=None
        )


def as_given(original: Estimator) -> tuple[Description, dict[str, bytes]]:
    """The description and file of a graph of the user's own."""
    graph: GivenGraph = original.model
    return graph.description(original.names), {FILE: graph.content}


def given_graph(content: bytes) -> GivenGraph:
    """A user's ONNX file, cut to what is served.

    Raises `CompilationFailed` where it reads other files or calls foreign operators, `InvalidInput` where its inputs or
    outputs are not such as rows of features have.
    """
    import onnx

    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
        if model.functions:
            # PyTorch writes its building blocks as functions of the file's own.
            from onnx.inliner import inline_local_functions

            model = inline_local_functions(model)
    except Exception as error:
        raise CompilationFailed(f"The ONNX file can't be read: {type(error).__name__}.") from error
    _drop_unused_domains(model)
    check_content(model.SerializeToString())
    features, width = _inputs(model)
    meaning = _keep_one_output(model)
    outputs = _last_dimension(model.graph.output[0])
    return GivenGraph(model, features=features, width=width, outputs=outputs, meaning=meaning)


def _drop_unused_domains(model: Any) -> None:
    used = {node.domain for node in model.graph.node} | {""}
    kept = [one for one in model.opset_import if one.domain in used or one.domain == "ai.onnx.ml"]
    del model.opset_import[:]
    model.opset_import.extend(kept)


def _inputs(model: Any) -> tuple[tuple[str, ...], int]:
    """The names of inputs that take a column each, or none, and how many columns the graph takes."""
    import onnx

    constants = {one.name for one in model.graph.initializer}
    inputs = [one for one in model.graph.input if one.name not in constants]
    floats = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE)
    for one in inputs:
        tensor = one.type.tensor_type
        if len(tensor.shape.dim) != MATRIX_RANK:
            raise InvalidInput(f"The graph's input '{one.name}' is no matrix of rows by features.")
        if tensor.shape.dim[0].HasField("dim_value") and tensor.shape.dim[0].dim_value > 0:
            raise InvalidInput(
                f"The graph takes exactly {tensor.shape.dim[0].dim_value} rows at a time. Export it with a batch "
                "dimension that is free (torch.onnx.export: dynamic_axes, or dynamic_shapes)."
            )
        if tensor.elem_type not in floats and not (len(inputs) > 1 and tensor.elem_type == onnx.TensorProto.STRING):
            raise InvalidInput(f"The graph's input '{one.name}' takes neither 32-bit nor 64-bit floats.")
    if len(inputs) > 1:
        if any(one.type.tensor_type.shape.dim[1].dim_value != 1 for one in inputs):
            raise InvalidInput("A graph of several inputs takes one column in each, named as the feature.")
        return tuple(one.name for one in inputs), len(inputs)
    if not inputs or not inputs[0].type.tensor_type.shape.dim[1].dim_value:
        raise InvalidInput("The graph does not say how many features it takes; export it with that dimension fixed.")
    _rename(model, inputs[0].name, MATRIX)
    return (), int(inputs[0].type.tensor_type.shape.dim[1].dim_value)


def _keep_one_output(model: Any) -> Meaning | None:
    """Leave the output that scores come from, and say what it holds where the last operator tells."""
    made = {name: node for node in model.graph.node for name in node.output}
    scored = None
    for one in model.graph.output:
        node = made.get(one.name)
        if node is not None and node.op_type == "ZipMap":
            # A map from class to probability for each row, made of the matrix that goes into it.
            scored = _matrix_output(node.input[0])
            _keep_labels(model, node)
            model.graph.node.remove(node)
            break
        kind = one.type.tensor_type.elem_type
        if kind in (1, 11):
            scored = one
    if scored is None:
        raise InvalidInput("The graph gives no numbers: export the probabilities, or the values, as an output.")
    last = made.get(scored.name)
    del model.graph.output[:]
    model.graph.output.append(scored)
    if last is None or last.op_type in LINEAR:
        return "logits" if last is not None else None
    return "probabilities" if last.op_type in PROBABLE else None


def _matrix_output(name: str) -> Any:
    from onnx import TensorProto, helper

    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, None])


def _keep_labels(model: Any, node: Any) -> None:
    for attribute in node.attribute:
        labels = [*(str(value) for value in attribute.ints), *(value.decode() for value in attribute.strings)]
        if attribute.name.startswith("classlabels") and labels:
            entry = model.metadata_props.add()
            entry.key, entry.value = "classes", "\n".join(labels)


def _own_classes(model: Any) -> tuple[str, ...]:
    for entry in model.metadata_props:
        if entry.key == "classes":
            return tuple(entry.value.split("\n"))
    return ()


def _last_dimension(output: Any) -> int:
    """How many numbers a row gets; 0 where the graph does not say."""
    dimensions = output.type.tensor_type.shape.dim
    return 1 if len(dimensions) == 1 else int(dimensions[-1].dim_value) if len(dimensions) else 0


def _rename(model: Any, old: str, new: str) -> None:
    if old == new:
        return
    for one in model.graph.input:
        if one.name == old:
            one.name = new
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            if name == old:
                node.input[place] = new
            elif name == new:
                node.input[place] = f"{new}_"
        for place, name in enumerate(node.output):
            if name == new:
                node.output[place] = f"{new}_"


def _append_link(model: Any, *, softmax: bool) -> None:
    from onnx import helper

    output = model.graph.output[0]
    node = (
        helper.make_node("Softmax", [output.name], [SCORES], axis=-1)
        if softmax
        else helper.make_node("Sigmoid", [output.name], [SCORES])
    )
    model.graph.node.append(node)
    output.name = SCORES


def _are_probabilities(given: Array) -> bool:
    answered = given[np.isfinite(given).all(axis=1)]
    if not len(answered) or answered.min() < 0 or answered.max() > 1 + ROUNDING:
        return False
    return given.shape[1] == 1 or bool((np.abs(answered.sum(axis=1) - 1) < ROUNDING).all())
