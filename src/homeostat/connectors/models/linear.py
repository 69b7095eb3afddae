"""Linear models as one product of matrices, in 64 bits as the original computes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from homeostat.connectors.models.original import Estimator
from homeostat.connectors.models.preprocessing import NotExpressible, express, taken_apart
from homeostat.connectors.models.program import Step, check, gather, run, to_matrix
from homeostat.connectors.models.serving import Description, Raw, finished
from homeostat.errors import CompilationFailed
from homeostat.frames import Array, Floats
from homeostat.records.decoding import decoder_of

FORMAT = "linear"
FILE = "linear.json"


class Weights(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row of coefficients for each output, and what is added to it."""

    coefficients: tuple[tuple[float, ...], ...]
    intercepts: tuple[float, ...]


def build(original: Estimator) -> tuple[Description, dict[str, bytes]]:
    """The description and file of a pipeline that ends in a linear model.

    Raises `NotExpressible` where it ends in another, or what stands before has no plain counterpart.
    """
    transformers, final = taken_apart(original.model)
    _check_kind(final)
    steps = express(transformers, len(original.names))
    coefficients = np.atleast_2d(np.asarray(final.coef_, dtype=np.float64))
    intercepts = np.broadcast_to(np.asarray(final.intercept_, dtype=np.float64), len(coefficients))
    if coefficients.shape[1] != check(steps, len(original.names)):
        raise NotExpressible(f"the preprocessing of this {type(final).__name__} has no plain counterpart")
    if not original.classes and len(coefficients) != 1:
        raise NotExpressible("a regression of several targets at once is not served")
    link = "identity" if not original.classes else "sigmoid" if len(coefficients) == 1 else "softmax"
    description = Description(
        format=FORMAT,
        columns=original.names,
        frame=original.frame,
        classes=original.classes,
        width=coefficients.shape[1],
        steps=steps,
        raw=Raw(link=link, base=tuple(intercepts.tolist())),  # type: ignore[arg-type]
    )
    weights = Weights(tuple(map(tuple, coefficients.tolist())), tuple(intercepts.tolist()))
    return description, {FILE: msgspec.json.encode(weights)}


def _check_kind(final: Any) -> None:
    from sklearn import linear_model

    # Subclasses may override anything, so only the exact types are known to behave as expected.
    known = (
        linear_model.LogisticRegression,
        linear_model.LogisticRegressionCV,
        linear_model.LinearRegression,
        linear_model.Ridge,
        linear_model.RidgeCV,
        linear_model.Lasso,
        linear_model.LassoCV,
        linear_model.ElasticNet,
        linear_model.ElasticNetCV,
        linear_model.BayesianRidge,
        linear_model.HuberRegressor,
        linear_model.SGDRegressor,
    )
    if type(final) not in known:
        raise NotExpressible(f"{type(final).__name__} is no linear model that is known here")


class Linear:
    """Loaded weights with the steps before them."""

    def __init__(self, description: Description, files: Mapping[str, bytes]) -> None:
        try:
            weights = decoder_of(Weights).decode(files[FILE])
            self._coefficients = np.array(weights.coefficients, dtype=np.float64).T
        except (KeyError, ValueError, msgspec.DecodeError) as error:
            raise CompilationFailed(
                f"The served weights can't be read ({error}); register the version anew."
            ) from error
        if description.steps is None or description.raw is None:
            raise CompilationFailed("The served weights lack their preprocessing; register the version anew.")
        self._names = description.columns
        self._steps: tuple[Step, ...] = description.steps
        self._raw: Raw = description.raw
        self._classes = len(description.classes)
        outputs = len(self._raw.base)
        if self._coefficients.shape != (description.width, outputs):
            raise CompilationFailed("The served weights are of another number of columns; register the version anew.")
        if check(self._steps, len(self._names)) != description.width:
            raise CompilationFailed("The served preprocessing gives another number of columns than the weights take.")

    def outputs(self, columns: Mapping[str, Array], rows: int) -> Floats:
        """Probabilities (n, classes) in the model's order, or values (n,)."""
        return self._finished(run(self._steps, gather(columns, self._names, rows), rows), rows)

    def matrix_outputs(self, matrix: Floats, rows: int) -> Floats:
        """As `outputs`."""
        return self._finished(run(self._steps, matrix, rows), rows)

    def _finished(self, table: Any, rows: int) -> Floats:
        # What overflows is no finite answer, which is said by whoever checks the outputs.
        with np.errstate(over="ignore", invalid="ignore"):
            return finished(self._raw, to_matrix(table, rows) @ self._coefficients, self._classes)
