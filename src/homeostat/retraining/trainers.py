"""Trainers: the built-in one, which compares algorithms and windows of history, and the user's own."""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.errors import HomeostatError, InvalidTrainer, TrainingFailed
from homeostat.frames import to_pandas
from homeostat.ports import Trained, Trainer, TrainingRequest
from homeostat.retraining.algorithms import build

FEWEST_ROWS = 20
RECENT_SHARE = 0.1
RECENT_EVALUATIONS = 4
# Quality on few rows is coarse; between candidates with equal accuracy the better probabilities decide.
TIE_BREAK = 0.1
# Candidates are told apart on so many rows of their window; only the winner is fitted on all of them.
COMPARED_ROWS = 4_000


def train_builtin(request: TrainingRequest) -> Trained:
    """Compare windows of history with the first algorithm, then the other algorithms on the best window.

    What does best on the latest rows is fitted once more on all rows of its window. Raises `TrainingFailed` where
    nothing can be fitted.
    """
    rows = request.columns.rows
    fit_until = rows - request.evaluation
    starts = window_starts(request)
    compared: list[dict[str, Any]] = []
    best: tuple[float, str, str, Any] | None = None

    def consider(algorithm: str, window: str) -> None:
        nonlocal best
        start = max(starts[window], fit_until - request.maximum_rows)
        try:
            model = fit(algorithm, request, thinned(start, fit_until))
        except ValueError as error:
            compared.append({"algorithm": algorithm, "window": window, "failed": str(error).splitlines()[0][:200]})
            return
        quality = score(model, request)
        compared.append(
            {"algorithm": algorithm, "window": window, "rows": fit_until - start, "quality": round(quality, 6)}
        )
        if best is None or quality > best[0]:
            best = (quality, algorithm, window, model)

    first, *others = request.algorithms
    for window in starts:
        consider(first, window)
    chosen = best[2] if best is not None else next(iter(starts))
    for algorithm in others:
        consider(algorithm, chosen)
    if best is None:
        raise TrainingFailed(f"No algorithm could be fitted: {str(compared[0].get('failed', 'no rows')).rstrip('.')}.")
    quality, algorithm, window, evaluated = best
    start = max(starts[window], rows - request.maximum_rows)
    return Trained(
        model=fit(algorithm, request, np.arange(start, rows)),
        evaluated=evaluated,
        rows=rows - start,
        parameters={"algorithm": algorithm, "window": window, "quality": round(quality, 6), "compared": compared},
    )


def thinned(start: int, end: int) -> npt.NDArray[np.intp]:
    """Rows of a window, evenly thinned to what candidates are compared on."""
    return np.unique(np.linspace(start, end - 1, min(end - start, COMPARED_ROWS)).round().astype(np.intp))


def window_starts(request: TrainingRequest) -> dict[str, int]:
    """The first row of each window that has enough rows before the evaluation rows; equal windows once."""
    fit_until = request.columns.rows - request.evaluation
    recent = max(round(RECENT_SHARE * request.columns.rows), RECENT_EVALUATIONS * request.evaluation)
    offered = {"all": 0, "recent": max(0, fit_until - recent), "since_change": request.change}
    found: dict[str, int] = {}
    for name in request.windows:
        start = offered.get(name)
        if start is not None and fit_until - start >= FEWEST_ROWS and start not in found.values():
            found[name] = start
    return found or {"all": 0}


def fit(algorithm: str, request: TrainingRequest, rows: npt.NDArray[np.intp]) -> Any:
    """One algorithm fitted on some rows. Raises `ValueError` where it can't be."""
    columns = request.columns.take(rows)
    target = request.target[rows]
    if request.task.is_classification and len(set(target.tolist())) < 2:
        raise ValueError("The rows have one class only.")
    from threadpoolctl import threadpool_limits

    model = build(algorithm, request.task, columns, request.kinds, seed=request.seed)
    # OpenMP threads that wait in a spin cost many times what they save where the cores are shared.
    with warnings.catch_warnings(), threadpool_limits(limits=1):
        warnings.simplefilter("ignore")
        model.fit(to_pandas(columns, request.kinds), target)
    return model


def score(model: Any, request: TrainingRequest) -> float:
    """Quality on the evaluation rows, higher is better: accuracy less a tenth of the Brier score, or minus MAE."""
    part = slice(request.columns.rows - request.evaluation, request.columns.rows)
    truth = request.target[part]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outputs = raw_outputs(model, to_pandas(request.columns.take(part), request.kinds))
    if not request.task.is_classification:
        return -float(np.mean(np.abs(outputs - truth.astype(float))))
    hit = truth[:, None] == np.array([str(name) for name in model.classes_], dtype=object)[None, :]
    right = float(np.mean(hit[np.arange(len(truth)), outputs.argmax(axis=1)]))
    brier = float(np.mean(((outputs - hit) ** 2).sum(axis=1)))
    return right - TIE_BREAK * brier


def raw_outputs(model: Any, frame: Any) -> npt.NDArray[np.float64]:
    """Probabilities where the model has them, else one-hot of its classes, else values."""
    if hasattr(model, "predict_proba"):
        return np.asarray(model.predict_proba(frame), dtype=np.float64)
    predicted = np.asarray(model.predict(frame))
    if hasattr(model, "classes_"):
        return np.asarray(predicted[:, None] == np.asarray(model.classes_)[None, :], dtype=np.float64)
    return np.asarray(predicted, dtype=np.float64)


def import_trainer(reference: str) -> Trainer:
    """The user's trainer, named as `module:function`. Raises `InvalidTrainer`.

    The module is looked for where Python looks, and in the working directory.
    """
    module_name, _, function = reference.partition(":")
    if not module_name or not function:
        raise InvalidTrainer(f"A trainer is written module:function; '{reference}' is not.", trainer=reference)
    if (here := os.getcwd()) not in sys.path:
        sys.path.insert(0, here)
    try:
        found = getattr(importlib.import_module(module_name), function)
    except AttributeError:
        raise InvalidTrainer(f"Module '{module_name}' has no '{function}'.", trainer=reference) from None
    except (Exception, SystemExit) as error:
        raise InvalidTrainer(
            f"Trainer '{reference}' can't be imported: {type(error).__name__}: {error}.", trainer=reference
        ) from error
    if not callable(found):
        raise InvalidTrainer(f"'{reference}' is no function.", trainer=reference)
    return as_trainer(found, reference)


def as_trainer(function: Any, name: str) -> Trainer:
    """A user's function `(frame, target) -> fitted model` (or of a `TrainingRequest`) as a trainer.

    It is called twice: without the evaluation rows, to be compared on them, and with all rows.
    """

    def trainer(request: TrainingRequest) -> Trained:
        frame = to_pandas(request.columns, request.kinds)
        fit_until = request.columns.rows - request.evaluation
        try:
            evaluated = function(frame.iloc[:fit_until], request.target[:fit_until])
            model = function(frame, request.target)
        except HomeostatError:
            raise
        except (Exception, SystemExit) as error:
            raise TrainingFailed(f"Trainer '{name}' raised {type(error).__name__}: {error}.") from error
        for made in (evaluated, model):
            if not hasattr(made, "predict"):
                raise TrainingFailed(f"Trainer '{name}' returned {type(made).__name__}, which has no predict().")
        return Trained(model=model, evaluated=evaluated, rows=len(frame), parameters={"trainer": name})

    return trainer
