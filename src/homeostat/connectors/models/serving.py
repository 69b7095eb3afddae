"""What every served form shares: its description in `serving.json`, and the checks around each prediction."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol, runtime_checkable

import msgspec
import numpy as np

from homeostat import frames, records
from homeostat.connectors.models.program import Step, gather
from homeostat.errors import CompilationFailed, ScoringFailed, Unanswerable
from homeostat.frames import Array, Floats
from homeostat.records.decoding import decoder_of

DESCRIPTION = "serving.json"
LAYOUT = 1


class Predictor(Protocol):
    """Anything that scores typed columns."""

    def predict(self, columns: Mapping[str, Array]) -> Floats:
        """Probabilities (n, classes) in the order of the signature's classes, or values (n,) for regression."""
        ...


class Refusals(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Columns in which the original refuses a value, so that the served form does too."""

    missing: tuple[str, ...] = ()
    infinite: tuple[str, ...] = ()


class Raw(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How sums of leaves or a dot product become outputs: divide, add the base, apply the link, all in 64 bits.

    With `mirrored` the native model takes each column a second time, negated. `links` are `identity`, `sigmoid` (of
    `alpha` times the sum), `softmax` and `exponential`.
    """

    link: Literal["identity", "sigmoid", "softmax", "exponential"] = "identity"
    divide: float = 1.0
    base: tuple[float, ...] = ()
    alpha: float = 1.0
    mirrored: bool = False


class Description(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the other files are to be used: all that is not native bytes.

    `columns` are the inputs in the order that the model was fitted with; `classes` the label texts in the order of
    the model's own classes; `probabilities` is false where the original only names a class, and `coded` says that
    the native model names it by its position; `narrow` says that values are rounded to 32-bit floats; `averaged`
    that the output is the mean of the trees; `steps` come before the native model; `files` are the SHA-256 of the
    other files. `raw` says what is made of a native model's plain sums, `entry` which Python class it is.
    """

    layout: int = LAYOUT
    format: str
    columns: tuple[str, ...]
    frame: bool
    classes: tuple[str, ...] = ()
    probabilities: bool = True
    coded: bool = False
    narrow: bool = False
    averaged: bool = False
    width: int = 0
    steps: tuple[Step, ...] | None = None
    raw: Raw | None = None
    refuses: Refusals = Refusals()
    entry: str = ""
    files: dict[str, str] = {}


class _Sealed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    sha256: str
    body: msgspec.Raw


class Core(Protocol):
    """The inner predictor of one format: no checks, the model's own order of classes."""

    def outputs(self, columns: Mapping[str, Array], rows: int) -> Array:
        """Probabilities (n, classes) in the model's order, or values (n,)."""
        ...


@runtime_checkable
class MatrixCore(Core, Protocol):
    """A core that takes its numeric columns as one matrix, in the model's order."""

    def matrix_outputs(self, matrix: Floats, rows: int) -> Array:
        """As `outputs`."""
        ...


def seal(description: Description, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files with their description, which carries their hashes and its own."""
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    body = msgspec.json.encode(msgspec.structs.replace(description, files=hashes))
    sealed = _Sealed(sha256=hashlib.sha256(body).hexdigest(), body=msgspec.Raw(body))
    return {DESCRIPTION: msgspec.json.encode(sealed), **files}


def unseal(files: Mapping[str, bytes]) -> Description:
    """The description of the files, once they are known to be what was written.

    Native parsers see only bytes that passed this check. Raises `CompilationFailed` where anything was changed.
    """
    if DESCRIPTION not in files:
        raise CompilationFailed(f"The version has no {DESCRIPTION}; register it anew.", files=sorted(files))
    try:
        sealed = decoder_of(_Sealed).decode(files[DESCRIPTION])
        body = bytes(sealed.body)
        if hashlib.sha256(body).hexdigest() != sealed.sha256:
            raise CompilationFailed(f"{DESCRIPTION} was changed since it was written; register the version anew.")
        description = decoder_of(Description).decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CompilationFailed(
            f"{DESCRIPTION} can't be read ({error}); restore it from a backup, or register the version anew."
        ) from error
    if description.layout != LAYOUT:
        raise CompilationFailed(
            f"{DESCRIPTION} has layout {description.layout}, but this release reads {LAYOUT}; register it anew."
        )
    for name, expected in description.files.items():
        if name not in files:
            raise CompilationFailed(f"The version lacks its file '{name}'; restore it, or register the version anew.")
        if hashlib.sha256(files[name]).hexdigest() != expected:
            raise CompilationFailed(
                f"File '{name}' is not what was written; restore it from a backup, or register the version anew.",
                path=name,
            )
    return description


def check_fits(description: Description, signature: records.Signature) -> None:
    """Raise `CompilationFailed` unless the description speaks of the signature's features and classes."""
    unknown = [name for name in description.columns if name not in signature.kinds]
    if unknown:
        raise CompilationFailed(
            f"The served model takes columns that the signature lacks: {', '.join(unknown)}.", columns=unknown
        )
    if not signature.task.is_classification:
        if description.classes:
            raise CompilationFailed("The served model names classes but the signature's task is regression.")
        return
    if not description.classes:
        raise CompilationFailed("The served model has no classes but the signature's task is classification.")
    foreign = [name for name in description.classes if name not in signature.classes]
    if foreign:
        raise CompilationFailed(
            f"The served model knows classes that the signature lacks: {', '.join(foreign)}.", classes=foreign
        )


class Served:
    """A core with the checks that every format shares: inputs, refusals, order of classes, finite outputs.

    `matrix_features` are the columns of `predict_matrix`, in order: the signature's features; none where a feature is
    text, which has no place in a matrix.
    """

    def __init__(self, core: Core, description: Description, signature: records.Signature) -> None:
        self._core = core
        self._format = description.format
        self._columns = description.columns
        kinds = signature.kinds
        self._numbers = frozenset(name for name in description.columns if kinds[name].is_number)
        self._no_missing = description.refuses.missing
        self._no_infinite = description.refuses.infinite
        self._classes = len(signature.classes)
        self._model_classes = len(description.classes)
        self._order = [signature.classes.index(name) for name in description.classes]
        self._in_order = self._order == list(range(self._classes))
        self._matrix_core = core if isinstance(core, MatrixCore) and len(self._numbers) == len(self._columns) else None
        self.matrix_features = tuple(kinds) if all(kind.is_number for kind in kinds.values()) else ()
        self._picked = [list(kinds).index(name) for name in self._columns] if self.matrix_features else []
        self._takes_all = self._picked == list(range(len(kinds)))
        self._whole = [self._columns.index(name) for name in self._no_missing]
        self._bounded = [self._columns.index(name) for name in self._no_infinite]

    def predict(self, columns: Mapping[str, Array]) -> Floats:
        """Score typed columns.

        Gives float64 (n, classes) in the order of the signature's classes, or (n,) for regression. Raises
        `ScoringFailed` where a column is absent or of another type, `Unanswerable` where the original would refuse.
        """
        rows = self._check_inputs(columns)
        if rows and self._matrix_core is not None:
            return self._from_matrix(self._matrix_core, np.asarray(gather(columns, self._columns, rows)), rows)
        for name in self._no_missing:
            if frames.missing(columns[name]).any():
                raise _missing(name)
        for name in self._no_infinite:
            if np.isinf(columns[name]).any():
                raise _infinite(name)
        return self._answer(lambda: self._core.outputs(columns, rows), rows)

    def predict_matrix(self, matrix: Floats) -> Floats:
        """Score numeric rows given as one float64 matrix with a column for each of `matrix_features`.

        Infinite values count as missing, as in `frames.finite`. The matrix is not changed. Gives and raises what
        `predict` does, without its cost for each column.
        """
        wanted = len(self.matrix_features)
        if not wanted:
            raise ScoringFailed("This version has features that are text; score it by columns.")
        if matrix.ndim != 2 or matrix.shape[1] != wanted or matrix.dtype != np.float64:
            raise ScoringFailed(
                f"Rows are a float64 matrix of {wanted} columns, not {matrix.dtype} of shape {matrix.shape}."
            )
        rows = len(matrix)
        infinite = np.isinf(matrix)
        if infinite.any():
            matrix = np.where(infinite, np.nan, matrix)
        if self._matrix_core is None:
            return self.predict({name: matrix[:, place] for place, name in enumerate(self.matrix_features)})
        return self._from_matrix(self._matrix_core, matrix if self._takes_all else matrix[:, self._picked], rows)

    def _from_matrix(self, core: MatrixCore, matrix: Floats, rows: int) -> Floats:
        # One look at all numbers; only where one is not finite, a look at each column.
        if (self._whole or self._bounded) and not np.isfinite(matrix).all():
            for place in self._whole:
                if np.isnan(matrix[:, place]).any():
                    raise _missing(self._columns[place])
            for place in self._bounded:
                if np.isinf(matrix[:, place]).any():
                    raise _infinite(self._columns[place])
        return self._answer(lambda: core.matrix_outputs(matrix, rows), rows)

    def _answer(self, outputs: Callable[[], Array], rows: int) -> Floats:
        if rows == 0:
            return np.empty((0, self._classes) if self._classes else (0,))
        try:
            given = outputs()
        except (ScoringFailed, Unanswerable):
            raise
        except Exception as error:
            raise ScoringFailed(
                f"The {self._format} model refused the rows: {type(error).__name__}: {error}", format=self._format
            ) from error
        return self._check_outputs(np.asarray(given, dtype=np.float64), rows)

    def _check_inputs(self, columns: Mapping[str, Array]) -> int:
        rows = -1
        for name in self._columns:
            values = columns.get(name)
            if values is None:
                raise ScoringFailed(f"Feature '{name}' is missing from the rows to score.", feature=name)
            if values.ndim != 1 or (rows >= 0 and len(values) != rows):
                raise ScoringFailed(f"Feature '{name}' has not one value for each row.", feature=name)
            if (values.dtype.kind == "O") is (name in self._numbers):
                raise ScoringFailed(
                    f"Feature '{name}' should be {'float64' if name in self._numbers else 'strings'} "
                    f"but is {values.dtype}.",
                    feature=name,
                )
            rows = len(values)
        return max(rows, 0)

    def _check_outputs(self, given: Floats, rows: int) -> Floats:
        wanted = (rows, self._model_classes) if self._classes else (rows,)
        if given.shape != wanted:
            raise ScoringFailed(f"The {self._format} model gave outputs of shape {given.shape}, not {wanted}.")
        if not np.isfinite(given).all():
            raise Unanswerable(f"The {self._format} model gave outputs that are no finite numbers.")
        if not self._classes or self._in_order:
            return given
        ordered = np.zeros((rows, self._classes))
        ordered[:, self._order] = given
        return ordered


def _missing(name: str) -> Unanswerable:
    return Unanswerable(
        f"Feature '{name}' has missing values, which the original model refuses; fill them, or train a model that "
        "takes them.",
        feature=name,
    )


def _infinite(name: str) -> Unanswerable:
    return Unanswerable(f"Feature '{name}' has infinite values, which the original model refuses.", feature=name)


def finished(raw: Raw, sums: Array, classes: int) -> Floats:
    """What a model's plain sums (n, k) come to: probabilities (n, classes), or values (n,) without classes.

    >>> finished(Raw(link="sigmoid"), np.array([[0.0]]), 2).tolist()
    [[0.5, 0.5]]
    """
    values = sums.astype(np.float64)
    if raw.divide != 1.0:
        values /= raw.divide
    if raw.base:
        values += raw.base
    match raw.link:
        case "sigmoid":
            with np.errstate(over="ignore"):
                values = 1.0 / (1.0 + np.exp(-raw.alpha * values))
        case "softmax":
            values = np.exp(values - values.max(axis=1, keepdims=True))
            values /= values.sum(axis=1, keepdims=True)
        case "exponential":
            values = np.exp(values)
    if not classes:
        return values.reshape(len(values))
    if classes == 2 and values.shape[1] == 1:
        both = np.empty((len(values), 2))
        both[:, 1:] = values
        np.subtract(1.0, values, out=both[:, :1])
        return both
    return values


def one_hot(index: Array, width: int) -> Floats:
    """Probabilities 0 and 1 for models that only name a class.

    >>> one_hot(np.array([1, 0]), 2).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    chosen: Floats = np.eye(width)[index]
    return chosen


def class_texts(model: Any) -> tuple[str, ...]:
    """The label texts of a fitted classifier's classes, in its order; empty for a regressor."""
    classes = getattr(model, "classes_", None)
    if classes is None:
        return ()
    if isinstance(classes, list):
        raise CompilationFailed("The model predicts several targets at once; train one model for each.")
    return tuple(str(frames.label_text(label)) for label in classes)
