"""Which format a fitted model is served in: the first of treelite, ONNX and skops that gives the original's outputs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from homeostat import frames, records
from homeostat.connectors.models import estimators, forests, graphs, parity
from homeostat.connectors.models.original import Estimator, wrap
from homeostat.connectors.models.preprocessing import NotExpressible
from homeostat.connectors.models.serving import Core, Description, Predictor, Served, check_fits, seal, unseal
from homeostat.errors import CompilationFailed

Builder = Callable[[Estimator], tuple[Description, dict[str, bytes]]]
Built = tuple[Description, dict[str, bytes]] | NotExpressible

TREE_TOLERANCE = 1e-6
ONNX_TOLERANCE = 1e-5
TIMED = 3

REASONS = {
    forests.FORMAT: "the model ends in trees, which treelite evaluates exactly",
    graphs.FORMAT: "ONNX gives the original's outputs to within 32-bit rounding",
    estimators.FORMAT: "no compiled format gives the original's outputs, so the estimator itself is served, "
    "read by skops from an explicit list of types",
}


@dataclass(frozen=True)
class Compiled:
    """Files that may be served, and why they have the form that they have."""

    files: dict[str, bytes]
    form: records.ServingForm


def compile_model(model: Any, signature: records.Signature, reference: frames.Columns, *, seed: int = 0) -> Compiled:
    """A fitted scikit-learn estimator or pipeline as files that are served without unpickling.

    `model` was fitted on a pandas frame as `frames.to_pandas` gives it, or on a matrix of the signature's columns in
    order. A format is taken only when its outputs are the original's on up to 1,000 rows of `reference` and on rows
    made up to be difficult. What the original refuses (such as missing values) the served form refuses too. Raises
    `CompilationFailed` where the model does not fit the signature, fails on the reference, or fits no format.
    """
    from threadpoolctl import threadpool_limits

    original = wrap(model, signature)
    # Threads that wait for each other on a busy machine make one row of a histogram forest take seconds.
    with threadpool_limits(limits=1, user_api="openmp"):
        return _first_that_agrees(original, signature, reference, np.random.default_rng(seed))


def _first_that_agrees(
    original: Estimator, signature: records.Signature, reference: frames.Columns, generator: np.random.Generator
) -> Compiled:
    trees = _built(forests.build, original)
    forest = None if isinstance(trees, NotExpressible) else forests.Forest(*trees)
    borders = {} if forest is None or isinstance(trees, NotExpressible) else forests.thresholds(forest, trees[0])
    rows = parity.collect(original, reference, borders, generator)
    order = [signature.classes.index(label) for label in original.classes]
    before = _row_time(lambda: parity.quiet_outputs(original, rows.columns.take(slice(0, 1))))

    attempts: list[tuple[str, float, Callable[[], Built]]] = [
        (forests.FORMAT, TREE_TOLERANCE, lambda: trees),
        (graphs.FORMAT, ONNX_TOLERANCE, lambda: _built(graphs.build_estimator, original)),
        (graphs.FORMAT, ONNX_TOLERANCE, lambda: _built(graphs.build_pipeline, original)),
        (estimators.FORMAT, TREE_TOLERANCE, lambda: _built(estimators.build, original)),
    ]
    rejected: list[records.Rejected] = []
    for name, tolerance, build in attempts:
        built = build()
        if isinstance(built, NotExpressible):
            rejected.append(records.Rejected(format=name, reason=built.message))
            continue
        description, native = built
        description = msgspec.structs.replace(description, refuses=rows.refusals)
        files = seal(description, native)
        try:
            # The forest was read from these very bytes to find its thresholds.
            core = forest if forest is not None and name == forests.FORMAT else _core(description, files, signature)
            served = Served(core, description, signature)
        except CompilationFailed as error:
            rejected.append(records.Rejected(format=name, reason=error.message))
            continue
        compared = parity.compare(served, rows, order, tolerance)
        if compared.fault is not None:
            rejected.append(records.Rejected(format=name, reason=compared.fault))
            continue
        one = rows.columns.take(slice(0, 1))
        notes = rows.notes if original.probabilities or not original.classes else [*rows.notes, NO_PROBABILITIES]
        form = records.ServingForm(
            format=name,
            reason="; ".join([REASONS[name], *notes]),
            rows_checked=rows.columns.rows,
            largest_difference=compared.largest,
            speedup=before / _row_time(lambda served=served, one=one: served.predict(one)),  # type: ignore[misc]
            rejected=tuple(rejected),
            trusted_types=estimators.used_types(native[estimators.FILE]) if name == estimators.FORMAT else (),
        )
        return Compiled(files, form)
    tried = "; ".join(f"{one.format}: {one.reason}" for one in rejected)
    raise CompilationFailed(
        f"This {type(original.model).__name__} can't be served in any format. {tried}.",
        rejected=[(one.format, one.reason) for one in rejected],
    )


NO_PROBABILITIES = "the original names a class without probabilities, so they are 0 and 1"


def load_predictor(files: Mapping[str, bytes], form: records.ServingForm, signature: records.Signature) -> Predictor:
    """The predictor of files that `compile_model` made; nothing is unpickled and no path inside them is followed.

    Raises `CompilationFailed` where the files are damaged, are of another format, or do not fit the signature.
    """
    if form.format not in REASONS:
        raise CompilationFailed(
            f"Format '{form.format}' is not known; this release reads {', '.join(REASONS)}.", format=form.format
        )
    description = unseal(files)
    if description.format != form.format:
        raise CompilationFailed(
            f"The files are {description.format}, but the version says {form.format}; register it anew."
        )
    check_fits(description, signature)
    return Served(_core(description, files, signature), description, signature)


def _built(build: Builder, original: Estimator) -> Built:
    try:
        return build(original)
    except NotExpressible as error:
        return error


def _core(description: Description, files: Mapping[str, bytes], signature: records.Signature) -> Core:
    match description.format:
        case forests.FORMAT:
            return forests.Forest(description, files)
        case graphs.FORMAT:
            return graphs.Graph(description, files)
        case _:
            return estimators.load(description, files, signature)


def _row_time(predict: Callable[[], Any]) -> float:
    """Seconds for one row: the median of a few calls after one that warms up."""
    predict()
    taken = []
    for _ in range(TIMED):
        start = time.perf_counter()
        predict()
        taken.append(time.perf_counter() - start)
    return float(np.median(taken))
