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
        import onnxruntime

        content = files.get(FILE, b"")
        _check_content(content)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            onnxruntime.disable_telemetry_events()
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise CompilationFailed(f"The served graph can't be read ({error}); register the version anew.") from error
        self._names = description.columns
        self._steps = description.steps
        self._frame = description.frame
        self._positions = {label: position for position, label in enumerate(description.classes)}
        self._coded = description.coded
        self._probabilities = description.probabilities
        outputs = [output.name for output in self._session.get_outputs()]
        if len(outputs) < (2 if self._positions else 1):
            raise CompilationFailed("The served graph lacks an output; register the version anew.")
        self._wanted = [outputs[1 if self._positions and self._probabilities else 0]]
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
        if self._steps is not None:
            feed = {MATRIX: _narrowed(to_matrix(run(self._steps, gather(columns, self._names, rows), rows), rows))}
        elif not self._frame:
            feed = {MATRIX: _narrowed(to_matrix(gather(columns, self._names, rows), rows))}
        else:
            feed = {name: _tensor(columns[name]) for name in self._inputs}
        (given,) = self._session.run(self._wanted, feed)
        if not self._positions:
            return np.asarray(given, dtype=np.float64).reshape(rows)
        if self._probabilities:
            return np.asarray(given, dtype=np.float64).reshape(rows, -1)
        if self._coded:
            return one_hot(np.asarray(given, dtype=np.intp).ravel(), len(self._positions))
        named = [self._positions[str(label_text(label))] for label in np.asarray(given).ravel().tolist()]
        return one_hot(np.array(named, dtype=np.intp), len(self._positions))


def _tensor(values: Array) -> Array:
    if values.dtype.kind == "f":
        return _narrowed(values.reshape(-1, 1))
    return np.array([MISSING_TEXT if value is None else value for value in values], dtype=object).reshape(-1, 1)


def _narrowed(matrix: Floats) -> Array:
    with np.errstate(over="ignore"):
        narrow = matrix.astype(np.float32)
    if (np.isinf(narrow) & ~np.isinf(matrix)).any():
        raise Unanswerable("A value is beyond the range of 32-bit floats, in which this model is served.")
    return narrow


def _check_content(content: bytes) -> None:
    """Raise `CompilationFailed` for a graph that would read other files or call operators from elsewhere."""
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


def _messages(message: Any) -> Iterator[Any]:
    yield message
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for inner in value if hasattr(value, "__len__") else (value,):
                yield from _messages(inner)
