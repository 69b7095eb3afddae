"""A user's fitted pipeline and its training data as the draft of a version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from homeostat.errors import InvalidData, InvalidFeatures, InvalidInput, InvalidTarget
from homeostat.frames import Columns, Kind, label_text
from homeostat.records import Task


class FittedPipeline(msgspec.Struct, frozen=True):
    """What a fitted pipeline says of itself."""

    estimator: Any
    features: tuple[str, ...]
    classes: tuple[str, ...]


def inspect_pipeline(estimator: Any, columns: Columns, target: str, task: Task) -> FittedPipeline:
    """Hold a pipeline against the training data. Raises `InvalidInput` where they do not fit each other."""
    if not hasattr(estimator, "predict"):
        raise InvalidInput(f"The file holds a {type(estimator).__name__}, which has no predict(): no fitted model.")
    if not _is_fitted(estimator):
        raise InvalidInput(f"The {type(estimator).__name__} was never fitted; call fit() before saving it.")
    names = tuple(str(name) for name in getattr(estimator, "feature_names_in_", ()))
    count = int(getattr(estimator, "n_features_in_", len(names) or len(columns)))
    if names:
        absent = [name for name in names if name not in columns]
        if absent:
            raise InvalidFeatures(f"The training data lacks features: {', '.join(absent)}.", missing=absent)
    else:
        names = tuple(columns)
        if len(names) != count:
            raise InvalidFeatures(
                f"The model was fitted on {count} features without names; the training data has {len(names)} besides "
                f"'{target}'. Leave only the features, in their order."
            )
    classes = tuple(label_text(value) or "" for value in getattr(estimator, "classes_", ()))
    if task.is_classification != bool(classes):
        raise InvalidTarget(
            f"The model is a {'classifier' if classes else 'regressor'}, but the target '{target}' holds "
            f"{'classes' if task.is_classification else 'numbers'}."
        )
    return FittedPipeline(estimator, names, classes)


def _is_fitted(estimator: Any) -> bool:
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(estimator)
    except NotFittedError:
        return False
    except TypeError:
        # Not of scikit-learn's kind: what it is shows when it is compiled.
        return True
    return True


def holdout_outputs(estimator: Any, frame: Any, target: Any, rows: int) -> tuple[Any, tuple[str, ...]]:
    """Outputs on the latest rows of the same recipe fitted without them, and the classes of their columns.

    This is what the version's quality is stated by: a model's figures on its own training rows flatter it.
    """
    import warnings

    from sklearn.base import clone

    fit_until = len(frame) - rows
    if fit_until < 1:
        raise InvalidData("There are too few training rows to state the model's quality.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = clone(estimator).fit(frame.iloc[:fit_until], target[:fit_until])
        late = frame.iloc[fit_until:]
        if hasattr(model, "predict_proba"):
            raw = np.asarray(model.predict_proba(late), dtype=np.float64)
        else:
            raw = np.asarray(model.predict(late))
            if hasattr(model, "classes_"):
                raw = np.asarray(raw[:, None] == np.asarray(model.classes_)[None, :], dtype=np.float64)
    return raw, tuple(label_text(value) or "" for value in getattr(model, "classes_", ()))


def original_labels(estimator: Any, target: Any) -> Any:
    """The target as the pipeline knows it: its own class values in place of their texts."""
    by_text = {label_text(value): value for value in getattr(estimator, "classes_", ())}
    if not by_text:
        return target
    unknown = sorted({value for value in target.tolist() if value not in by_text})
    if unknown:
        raise InvalidTarget(f"The training data has classes that the model does not know: {', '.join(unknown[:10])}.")
    return np.array([by_text[value] for value in target])


def kinds_of(names: tuple[str, ...], kinds: dict[str, Kind]) -> dict[str, Kind]:
    """The kinds of the model's features, in its order."""
    return {name: kinds[name] for name in names}


def read_pickle(path: Path) -> Any:
    """Load a pickle or joblib file, which the user opted into. Raises `InvalidInput` where it can't be."""
    import joblib

    try:
        return joblib.load(path)
    except Exception as error:
        raise InvalidInput(f"{path} can't be loaded: {type(error).__name__}: {error}.") from error
