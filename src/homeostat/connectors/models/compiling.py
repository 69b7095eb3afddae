"""Which format a fitted model is served in: the fastest of those that give the original's outputs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from homeostat import frames, records
from homeostat.connectors.models import (
    boosters,
    choosing,
    ensembles,
    estimators,
    exported,
    forests,
    graphs,
    linear,
    parity,
    python_class,
)
from homeostat.connectors.models.original import Estimator, wrap
from homeostat.connectors.models.preprocessing import NotExpressible
from homeostat.connectors.models.serving import Core, Description, Predictor, Served, check_fits, seal, unseal
from homeostat.errors import CompilationFailed, HomeostatError, PythonNotAllowed

Made = tuple[Description, dict[str, bytes]]
Build = Callable[[], Made]

TREE_TOLERANCE = 1e-6
ONNX_TOLERANCE = 1e-5
MICRO = 1e6
# One row, and enough for each way that a form has of scoring many.
WARM_ROWS = (1, 64)

REASONS = {
    forests.FORMAT: "the model ends in trees, which treelite evaluates exactly",
    ensembles.FORMAT: "the model ends in trees, written node by node as one ONNX operator",
    boosters.XGBOOST: "XGBoost itself reads the model from its own format",
    boosters.LIGHTGBM: "LightGBM itself reads the model from its own format",
    linear.FORMAT: "the model ends in a linear model, which is one product of matrices",
    graphs.FORMAT: "ONNX gives the original's outputs to within 32-bit rounding",
    estimators.FORMAT: "no compiled format gives the original's outputs, so the estimator itself is served, "
    "read by skops from an explicit list of types",
    python_class.FORMAT: "it is a Python class of the user's own, which is asked as it is",
}


@dataclass(frozen=True)
class Compiled:
    """Files that may be served, and why they have the form that they have."""

    files: dict[str, bytes]
    form: records.ServingForm


@dataclass(frozen=True)
class _Candidate:
    """A form whose outputs are the original's."""

    format: str
    files: dict[str, bytes]
    native: dict[str, bytes]
    served: Served
    difference: float


def compile_model(
    model: Any,
    signature: records.Signature,
    reference: frames.Columns,
    *,
    seed: int = 0,
    formats: Collection[str] | None = None,
) -> Compiled:
    """A fitted estimator, pipeline, booster or graph as files that are served without unpickling.

    `model` was fitted on a pandas frame as `frames.to_pandas` gives it, or on a matrix of the signature's columns in
    order. A format is taken only when its outputs are the original's on up to 1,000 rows of `reference` and on rows
    made up to be difficult; of several, the fastest, as measured here. What the original refuses (such as missing
    values) the served form refuses too. With `formats` only those are tried. Raises `CompilationFailed` where the
    model does not fit the signature, fails on the reference, or fits no format.
    """
    from threadpoolctl import threadpool_limits

    original = wrap(model, signature)
    # Threads that wait for each other on a busy machine make one row of a histogram forest take seconds.
    with threadpool_limits(limits=1, user_api="openmp"):
        return _Compilation(original, signature, formats).result(reference, np.random.default_rng(seed))


class _Compilation:
    """One run: what was tried, what was wrong with it, and what passed."""

    def __init__(
        self, original: Estimator, signature: records.Signature, formats: Collection[str] | None = None
    ) -> None:
        self._original = original
        self._formats = formats
        self._signature = signature
        self._order = [signature.classes.index(label) for label in original.classes]
        self._rejected: list[records.Rejected] = []

    def result(self, reference: frames.Columns, generator: np.random.Generator) -> Compiled:
        trees = None if isinstance(self._original.model, python_class.GivenPython) else self._trees()
        borders = {} if trees is None else forests.thresholds(trees.forest, trees.description)
        rows = parity.collect(self._original, reference, borders, generator)
        for group in self._groups(trees):
            tried = [self._try(*one, rows) for one in group if self._formats is None or one[0] in self._formats]
            passed = [one for one in tried if one is not None]
            if passed:
                return self._fastest(passed, rows)
        reasons = "; ".join(f"{one.format}: {one.reason}" for one in self._rejected)
        raise CompilationFailed(
            f"This {type(self._original.model).__name__} can't be served in any format. {reasons}.",
            rejected=[(one.format, one.reason) for one in self._rejected],
        )

    def _trees(self) -> forests.Trees | None:
        try:
            return forests.read(self._original)
        except NotExpressible as error:
            self._rejected.append(records.Rejected(format=forests.FORMAT, reason=error.message))
            return None

    def _groups(self, trees: forests.Trees | None) -> list[list[tuple[str, float, Build]]]:
        """Formats to try, those of one group against each other; a later group only where none before it agrees.

        A converted copy of what an earlier group evaluates exactly, or the estimator itself, would never be faster.
        """
        original = self._original
        if isinstance(original.model, exported.GivenGraph):
            return [[(graphs.FORMAT, ONNX_TOLERANCE, lambda: exported.as_given(original))]]
        if isinstance(original.model, python_class.GivenPython):
            return [[(python_class.FORMAT, TREE_TOLERANCE, lambda: python_class.build(original))]]
        first: list[tuple[str, float, Build]] = []
        if trees is not None:
            first = [
                (forests.FORMAT, TREE_TOLERANCE, lambda: forests.build(trees)),
                (ensembles.FORMAT, TREE_TOLERANCE, lambda: ensembles.build(trees)),
            ]
        library = boosters.library_of(original)
        if library is not None:
            first.append((library, TREE_TOLERANCE, lambda: boosters.build(original)))
            return [first, [(estimators.FORMAT, TREE_TOLERANCE, lambda: estimators.build(original))]]
        if trees is None:
            first = [
                (linear.FORMAT, TREE_TOLERANCE, lambda: linear.build(original)),
                (graphs.FORMAT, ONNX_TOLERANCE, lambda: graphs.build_estimator(original)),
            ]
            rest: list[tuple[str, float, Build]] = []
        else:
            rest = [(graphs.FORMAT, ONNX_TOLERANCE, lambda: graphs.build_estimator(original))]
        rest.append((graphs.FORMAT, ONNX_TOLERANCE, lambda: graphs.build_pipeline(original)))
        rest.append((estimators.FORMAT, TREE_TOLERANCE, lambda: estimators.build(original)))
        return [first, *([one] for one in rest)]

    def _try(self, name: str, tolerance: float, build: Build, rows: parity.Rows) -> _Candidate | None:
        try:
            description, native = build()
            description = msgspec.structs.replace(description, refuses=rows.refusals)
            files = seal(description, native)
            description = unseal(files)
            seconds = getattr(self._original.model, "seconds", python_class.LOAD_SECONDS)
            served = Served(_core(description, files, self._signature, seconds), description, self._signature)
        except CompilationFailed as error:
            self._rejected.append(records.Rejected(format=name, reason=error.message))
            return None
        compared = parity.compare(served, rows, self._order, tolerance)
        if compared.fault is not None:
            largest = compared.largest if np.isfinite(compared.largest) else None
            self._rejected.append(records.Rejected(format=name, reason=compared.fault, largest_difference=largest))
            return None
        return _Candidate(name, files, native, served, compared.largest)

    def _fastest(self, passed: list[_Candidate], rows: parity.Rows) -> Compiled:
        original = self._original
        sample = rows.columns.take(np.arange(choosing.BATCH_ROWS) % rows.columns.rows)
        batches = {1: sample.take(slice(0, 1)), choosing.BATCH_ROWS: sample}
        calls: list[Callable[[int], Any]] = [lambda count: parity.quiet_outputs(original, batches[count])]
        calls += [lambda count, served=one.served: served.predict(batches[count]) for one in passed]  # type: ignore[misc]
        before, *speeds = choosing.measured(calls)
        position = choosing.choose([speed.cost for speed in speeds])
        taken, speed = passed[position], speeds[position]
        for other, slower in zip(passed, speeds, strict=True):
            if other is not taken:
                self._rejected.append(
                    records.Rejected(
                        format=other.format,
                        reason=f"right, but {slower.cost / speed.cost:.1f} times the time of {taken.format}"
                        if slower.cost > speed.cost
                        else f"right, but not {choosing.CLEARLY} times as fast as {taken.format}, which is more exact",
                        largest_difference=other.difference,
                        row_us=slower.one * MICRO,
                        batch_row_us=slower.in_batch * MICRO,
                    )
                )
        notes = rows.notes if original.probabilities or not original.classes else [*rows.notes, NO_PROBABILITIES]
        form = records.ServingForm(
            format=taken.format,
            reason="; ".join([REASONS[taken.format], *notes]),
            rows_checked=rows.columns.rows,
            largest_difference=taken.difference,
            speedup=before.one / speed.one,
            row_us=speed.one * MICRO,
            batch_row_us=speed.in_batch * MICRO,
            original_row_us=before.one * MICRO,
            original_batch_row_us=before.in_batch * MICRO,
            rejected=tuple(self._rejected),
            trusted_types=estimators.used_types(taken.native[estimators.FILE])
            if taken.format == estimators.FORMAT
            else (),
        )
        return Compiled(taken.files, form)


NO_PROBABILITIES = "the original names a class without probabilities, so they are 0 and 1"


def load_predictor(
    files: Mapping[str, bytes],
    form: records.ServingForm,
    signature: records.Signature,
    *,
    allow_python: bool = False,
    python_seconds: float = python_class.LOAD_SECONDS,
) -> Predictor:
    """The predictor of files that `compile_model` made; nothing is unpickled and no path inside them is followed.

    With `allow_python` the code of a user's class is run, which has `python_seconds` to be loaded. Raises
    `PythonNotAllowed` for one without it, `CompilationFailed` where the files are damaged, are of another format, or do
    not fit the signature.
    """
    if form.format not in REASONS:
        raise CompilationFailed(
            f"Format '{form.format}' is not known; this release reads {', '.join(REASONS)}.", format=form.format
        )
    if form.format == python_class.FORMAT and not allow_python:
        raise PythonNotAllowed
    description = unseal(files)
    if description.format != form.format:
        raise CompilationFailed(
            f"The files are {description.format}, but the version says {form.format}; register it anew."
        )
    check_fits(description, signature)
    served = Served(_core(description, files, signature, python_seconds), description, signature)
    _warm(served, signature)
    return served


def _warm(served: Served, signature: records.Signature) -> None:
    """Score made-up rows, so that the first request does not pay for what is made or imported on first use."""
    for rows in WARM_ROWS:
        columns = {
            name: np.zeros(rows) if kind.is_number else np.full(rows, None, dtype=object)
            for name, kind in signature.kinds.items()
        }
        try:
            served.predict(columns)
            if served.matrix_features:
                served.predict_matrix(np.zeros((rows, len(served.matrix_features))))
        except HomeostatError:
            # Such rows may be ones that the original refuses; what was to be imported is imported all the same.
            continue


def _core(
    description: Description, files: Mapping[str, bytes], signature: records.Signature, python_seconds: float
) -> Core:
    match description.format:
        case python_class.FORMAT:
            return python_class.PythonCore(description, files, python_seconds)
        case forests.FORMAT:
            return forests.Forest(description, files)
        case ensembles.FORMAT:
            return ensembles.Ensemble(description, files)
        case boosters.XGBOOST | boosters.LIGHTGBM:
            return boosters.Boosted(description, files)
        case linear.FORMAT:
            return linear.Linear(description, files)
        case graphs.FORMAT:
            return graphs.Graph(description, files)
        case _:
            return estimators.load(description, files, signature)
