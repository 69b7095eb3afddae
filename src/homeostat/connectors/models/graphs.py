"""Estimators as ONNX graphs, evaluated by onnxruntime."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from homeostat.connectors.models.original import Estimator
from homeostat.connectors.models.preprocessing import NotExpressible, express, taken_apart
from homeostat.connectors.models.program import Step, check, gather, run, to_matrix
from homeostat.connectors.models.serving import Description, one_hot
from homeostat.errors import CompilationFailed, Unanswerable
from homeostat.frames import Array, Floats, label_text

FORMAT = "onnx"
FILE = "model.onnx"
MATRIX = "X"

# ONNX has no missing string. No category is likely to be this one; where one is, the parity check tells.
MISSING_TEXT = "\N{EMPTY SET}missing"
DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml"})


def build_estimator(original: Estimator) -> tuple[Description, dict[str, bytes]]:
    """The last estimator as a graph on one matrix, with what stands before it as plain steps.

    The steps work in 64 bits, so that scaling loses nothing before the graph rounds to 32.
    """
    transformers, final = taken_apart(original.model)
    steps = express(transformers, len(original.names))
    width = check(steps, len(original.names))
    coded = bool(original.classes) and np.asarray(final.classes_).dtype.kind == "b"
    if coded:
        # The converter knows no boolean classes, so it is shown their positions.
        final = copy.copy(final)
        final.classes_ = np.arange(len(original.classes))
    content = _convert(final, [(MATRIX, False, width)])
    return _description(original, steps=steps, width=width, coded=coded), {FILE: content}


def build_pipeline(original: Estimator) -> tuple[Description, dict[str, bytes]]:
    """The whole pipeline as one graph with an input for each column, or one matrix where it was fitted on one."""
    if original.frame:
        inputs = [(name, not kind.is_number, 1) for name, kind in original.kinds.items()]
    else:
        inputs = [(MATRIX, False, len(original.names))]
    return _description(original, steps=None, width=len(original.names)), {FILE: _convert(original.model, inputs)}


def _description(
    original: Estimator, *, steps: tuple[Step, ...] | None, width: int, coded: bool = False
) -> Description:
    return Description(
        format=FORMAT,
        columns=original.names,
        frame=original.frame,
        classes=original.classes,
        probabilities=original.probabilities,
        coded=coded,
        narrow=True,
        width=width,
        steps=steps,
    )


def _convert(model: Any, inputs: list[tuple[str, bool, int]]) -> bytes:
    import warnings

    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    types = [
        (name, StringTensorType([None, width]) if is_text else FloatTensorType([None, width]))
        for name, is_text, width in inputs
    ]
    # Without probabilities there is nothing that a map could be made of, and the converter knows no such option.
    options = {id(model): {"zipmap": False}} if hasattr(model, "predict_proba") else None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            graph = to_onnx(model, initial_types=types, options=options)
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0]
        raise NotExpressible(
            f"skl2onnx can't take this {type(model).__name__}: {type(error).__name__}: {first[:200]}"
        ) from error
    content: bytes = graph.SerializeToString()
    return content


class Graph:
    """A loaded graph in a session of one thread, with the steps before it."""

    def __init__(self, description: Description, files: Mapping[str, bytes]) -> None:
        content = files.get(FILE, b"")
        check_content(content)
        self._session = session(content)
        self._names = description.columns
        self._steps = description.steps
        self._frame = description.frame
        self._positions = {label: position for position, label in enumerate(description.classes)}
        self._coded = description.coded
        self._probabilities = description.probabilities
        outputs = [output.name for output in self._session.get_outputs()]
        if not outputs:
            raise CompilationFailed("The served graph lacks an output; register the version anew.")
        # A converter gives the class first, then the probabilities; a graph of the user's own has been left with one.
        self._wanted = [outputs[-1 if self._positions and self._probabilities else 0]]
        self._wide = any(one.type == "tensor(double)" for one in self._session.get_inputs())
        self._check_inputs(description)

    def _check_inputs(self, description: Description) -> None:
        if self._steps is not None and check(self._steps, len(self._names)) != description.width:
            raise CompilationFailed("The served preprocessing gives another number of columns than the graph takes.")
        given = {one.name: one.shape[-1] for one in self._session.get_inputs()}
        expected = dict.fromkeys(self._names, 1) if self._steps is None and self._frame else {MATRIX: description.width}
        # A graph need not have an input for a column that the pipeline drops.
        if not given or any(expected.get(name) != size for name, size in given.items()):
            raise CompilationFailed(f"The served graph takes {given}, but the signature gives {expected}.")
        self._inputs = tuple(given)

    def outputs(self, columns: Mapping[str, Array], rows: int) -> Array:
        """Probabilities (n, classes) in the model's order, or values (n,)."""
        if self._steps is None and self._frame:
            return self._given({name: _tensor(columns[name], wide=self._wide) for name in self._inputs}, rows)
        return self._from_table(gather(columns, self._names, rows), rows)

    def matrix_outputs(self, matrix: Floats, rows: int) -> Array:
        """As `outputs`."""
        if self._steps is None and self._frame:
            return self.outputs({name: matrix[:, place] for place, name in enumerate(self._names)}, rows)
        return self._from_table(matrix, rows)

    def _from_table(self, table: Any, rows: int) -> Array:
        matrix = to_matrix(table if self._steps is None else run(self._steps, table, rows), rows)
        return self._given({MATRIX: matrix if self._wide else _narrowed(matrix)}, rows)

    def _given(self, feed: dict[str, Array], rows: int) -> Array:
        (given,) = self._session.run(self._wanted, feed)
        if not self._positions:
            return np.asarray(given, dtype=np.float64).reshape(rows)
        if self._probabilities:
            scores = np.asarray(given, dtype=np.float64).reshape(rows, -1)
            if scores.shape[1] == 1 and len(self._positions) == 2:
                return np.hstack([1.0 - scores, scores])
            return scores
        if self._coded:
            return one_hot(np.asarray(given, dtype=np.intp).ravel(), len(self._positions))
        named = [self._positions[str(label_text(label))] for label in np.asarray(given).ravel().tolist()]
        return one_hot(np.array(named, dtype=np.intp), len(self._positions))


def session(content: bytes, *, optimizes: bool = True) -> Any:
    """A graph ready to run in one thread: a server has its own, and starting more costs more than it saves.

    Without the memory arena, a batch's memory is given back. A graph of one node has nothing to optimize, and looking
    for it takes as long as all the rest. Raises `CompilationFailed` where it can't be read.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.enable_cpu_mem_arena = False
    if not optimizes:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        onnxruntime.disable_telemetry_events()
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise CompilationFailed(f"The served graph can't be read ({error}); register the version anew.") from error


def _tensor(values: Array, *, wide: bool) -> Array:
    if values.dtype.kind == "f":
        return values.reshape(-1, 1) if wide else _narrowed(values.reshape(-1, 1))
    return np.array([MISSING_TEXT if value is None else value for value in values], dtype=object).reshape(-1, 1)


def _narrowed(matrix: Floats) -> Array:
    with np.errstate(over="ignore"):
        narrow = matrix.astype(np.float32)
    if (np.isinf(narrow) & ~np.isinf(matrix)).any():
        raise Unanswerable("A value is beyond the range of 32-bit floats, in which this model is served.")
    return narrow


def check_content(content: bytes) -> Any:
    """The parsed graph. Raises `CompilationFailed` where it would read other files or call foreign operators."""
    import onnx

    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:
        raise CompilationFailed(f"The served graph can't be read ({error}); register the version anew.") from error
    foreign = sorted({one.domain for one in model.opset_import} - DOMAINS)
    if foreign:
        raise CompilationFailed(f"The served graph uses operators of {', '.join(foreign)}; only ONNX's own are run.")
    for message in _messages(model):
        if isinstance(message, onnx.TensorProto) and (
            message.external_data or message.data_location == onnx.TensorProto.EXTERNAL
        ):
            raise CompilationFailed("The served graph points at another file for its numbers; that is never followed.")
    return model


def _messages(message: Any) -> Iterator[Any]:
    yield message
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for inner in value if hasattr(value, "__len__") else (value,):
                yield from _messages(inner)
