"""What is asked of models: predicting, compiling, training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from homeostat.frames import Columns, Kind
from homeostat.records import (
    ServingForm,
    Signature,
    Task,
)


class Predictor(Protocol):
    """A loaded version."""

    def predict(self, columns: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.float64]:
        """Probabilities (rows × classes, in the signature's order), or values (rows) for regression."""
        ...


@runtime_checkable
class MatrixPredictor(Predictor, Protocol):
    """A loaded version that also takes its rows as one matrix, without a cost for each column."""

    @property
    def matrix_features(self) -> tuple[str, ...]:
        """The matrix's columns, in order; empty where a feature is text, so that there is no such matrix."""
        ...

    def predict_matrix(self, matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """As `predict`, of a float64 matrix (rows × features); infinite values count as missing."""
        ...


class CompiledModel(Protocol):
    """What registration makes of a fitted model."""

    @property
    def files(self) -> dict[str, bytes]:
        """Files to store."""
        ...

    @property
    def form(self) -> ServingForm:
        """How they are served, and why so."""
        ...


class Compiler(Protocol):
    """Turns fitted models into what may be served, and loads it."""

    def compile(self, model: Any, signature: Signature, reference: Columns, *, seed: int = 0) -> CompiledModel:
        """Compile, and prove that outputs match. Raises `CompilationFailed`."""
        ...

    def load(
        self, files: Mapping[str, bytes], form: ServingForm, signature: Signature, *, is_new: bool = False
    ) -> Predictor:
        """Make stored files serve. Raises `CompilationFailed` where they are not what they should be.

        `is_new` says that who registers them right now named them: then a Python class among them may run. Else the
        process has to allow it: raises `PythonNotAllowed`.
        """
        ...


@dataclass(frozen=True, slots=True)
class TrainingRequest:
    """What a trainer is given: labelled rows in time order.

    `target` holds class labels (strings) or values (float64). Rows from `change` on come after the estimated change
    (`None` where there is none). `evaluation` is how many of the latest rows candidates are compared on.
    """

    columns: Columns
    kinds: dict[str, Kind]
    target: npt.NDArray[Any]
    task: Task
    classes: tuple[str, ...]
    change: int | None
    evaluation: int
    seed: int
    algorithms: tuple[str, ...]
    windows: tuple[str, ...]
    maximum_rows: int


@dataclass(frozen=True, slots=True)
class Trained:
    """What a trainer returns.

    `evaluated` was fitted without the evaluation rows, so that it can be compared on them; `model` is the same
    recipe fitted on all rows, and is what ships.
    """

    model: Any
    evaluated: Any
    rows: int
    parameters: dict[str, Any]


class Trainer(Protocol):
    """Fits candidates."""

    def __call__(self, request: TrainingRequest) -> Trained:
        """Fit. May raise anything: the run fails and production stays."""
        ...
