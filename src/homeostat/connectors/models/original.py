"""A fitted scikit-learn estimator behind the same interface as every served form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from homeostat import frames, records
from homeostat.connectors.models.serving import class_texts, one_hot
from homeostat.errors import CompilationFailed
from homeostat.frames import Array, Floats, Kind


class Given:
    """A model that was read from another library's own file, and can be asked but not fitted anew.

    `features` are the names that the file holds, empty where it holds none; `classes_` are empty for a regression;
    `frame` says that it takes a column at a time, not a matrix. It has `predict` and `predict_proba`, or, with
    `takes_columns`, `scored`. A `width` of 0 is any.
    """

    features: tuple[str, ...] = ()
    width: int = 0
    classes_: tuple[str, ...] = ()
    frame: bool = False
    takes_columns: bool = False

    def with_classes(self, classes: tuple[str, ...]) -> Given:
        """The model with the target's classes, in the order that its outputs have.

        Raises `InvalidInput` where it has another number of outputs.
        """
        raise NotImplementedError

    def scored(self, columns: Mapping[str, Array], rows: int) -> Array:
        """Probabilities (n, classes) or values (n,), where it `takes_columns`."""
        raise NotImplementedError


class Estimator:
    """Calls an estimator with the frame or matrix that it was fitted on; outputs in its own order of classes."""

    def __init__(self, model: Any, kinds: Mapping[str, Kind], names: tuple[str, ...], *, frame: bool) -> None:
        self.model = model
        self.names = names
        self.frame = frame
        self.kinds = {name: kinds[name] for name in names}
        self.classes = class_texts(model)
        self.probabilities = hasattr(model, "predict_proba") and bool(self.classes or not isinstance(model, Given))
        if isinstance(model, Given) and model.takes_columns:
            # What it gives for a row may be either, and is known when it was asked.
            self.probabilities = bool(self.classes)
        self._positions = {label: position for position, label in enumerate(self.classes)}

    def outputs(self, columns: Mapping[str, Array], rows: int) -> Array:
        """Probabilities (n, classes) in the model's order, or values (n,)."""
        if isinstance(self.model, Given) and self.model.takes_columns:
            return self.model.scored({name: columns[name] for name in self.names}, rows)
        if self.frame:
            return self._asked(frames.to_pandas(columns, self.kinds), rows)
        return self.matrix_outputs(np.column_stack([columns[name] for name in self.names]), rows)

    def matrix_outputs(self, matrix: Floats, rows: int) -> Array:
        """As `outputs`."""
        if self.frame:
            return self.outputs({name: matrix[:, place] for place, name in enumerate(self.names)}, rows)
        return self._asked(matrix, rows)

    def _asked(self, given: Any, rows: int) -> Array:
        if not self.classes:
            return np.asarray(self.model.predict(given), dtype=np.float64).reshape(rows)
        if self.probabilities:
            return np.asarray(self.model.predict_proba(given), dtype=np.float64)
        named = [self._positions[str(frames.label_text(label))] for label in self.model.predict(given)]
        return one_hot(np.array(named, dtype=np.intp), len(self.classes))


def wrap(model: Any, signature: records.Signature) -> Estimator:
    """The estimator with the columns of the signature that it was fitted on.

    Raises `CompilationFailed` where it is not fitted, or its columns, classes or task are not the signature's.
    """
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    if isinstance(model, Given):
        return _checked(Estimator(model, signature.kinds, _own_columns(model, signature), frame=model.frame), signature)
    if not hasattr(model, "predict"):
        raise CompilationFailed(f"A {type(model).__name__} can't predict; train a scikit-learn estimator or pipeline.")
    try:
        check_is_fitted(model)
    except (NotFittedError, TypeError) as error:
        raise CompilationFailed(f"The model can't be served: {error}") from error
    kinds = signature.kinds
    named = getattr(model, "feature_names_in_", None)
    if named is not None:
        names = tuple(str(name) for name in named)
        unknown = [name for name in names if name not in kinds]
        if unknown:
            raise CompilationFailed(
                f"The model was fitted on columns that the signature lacks: {', '.join(unknown)}.", columns=unknown
            )
    else:
        names = tuple(kinds)
        taken = getattr(model, "n_features_in_", len(names))
        if taken != len(names):
            raise CompilationFailed(
                f"The model was fitted on {taken} unnamed columns, but the signature has {len(names)}. "
                "Fit it on a data frame, so that its columns have names."
            )
    frame = named is not None or not all(kinds[name].is_number for name in names)
    return _checked(Estimator(model, kinds, names, frame=frame), signature)


def _own_columns(model: Given, signature: records.Signature) -> tuple[str, ...]:
    names = model.features or tuple(signature.kinds)
    unknown = [name for name in names if name not in signature.kinds]
    if unknown or len(names) != (model.width or len(names)):
        raise CompilationFailed(
            f"The model takes {model.width} columns ({', '.join(names[:10])}), which the signature's are not."
        )
    return names


def _checked(estimator: Estimator, signature: records.Signature) -> Estimator:
    _check_task(estimator, signature)
    return estimator


def _check_task(estimator: Estimator, signature: records.Signature) -> None:
    if not signature.task.is_classification:
        if estimator.classes:
            raise CompilationFailed("The task is regression, but the model is a classifier.")
        return
    if not estimator.classes:
        raise CompilationFailed(f"The task is {signature.task.value}, but the model is no classifier.")
    foreign = [label for label in estimator.classes if label not in signature.classes]
    if foreign:
        raise CompilationFailed(
            f"The model was fitted on classes that the signature lacks: {', '.join(foreign)}.", classes=foreign
        )
