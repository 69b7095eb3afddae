"""Whole scikit-learn estimators in the skops format, restricted to an explicit list of types."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from homeostat import records
from homeostat.connectors.models.original import Estimator, wrap
from homeostat.connectors.models.preprocessing import NotExpressible
from homeostat.connectors.models.serving import Description
from homeostat.errors import CompilationFailed
from homeostat.frames import Array

FORMAT = "skops"
FILE = "model.skops"

# Types that are built beside those that skops itself trusts (scikit-learn's public estimators, numpy's dtypes and
# ufuncs). The functions among them are only named by fitted objects, or check an array. Trees index their nodes
# without bounds checks, so a tree's type being trusted is not enough: `_check_trees` looks at each one.
TRUSTED_TYPES = (
    "functools.partial",
    "numpy.dtype",
    "sklearn._loss.loss.HalfTweedieLoss",
    "sklearn._loss.loss.HalfTweedieLossIdentity",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.feature_selection._mutual_info.mutual_info_classif",
    "sklearn.feature_selection._mutual_info.mutual_info_regression",
    "sklearn.feature_selection._univariate_selection.chi2",
    "sklearn.feature_selection._univariate_selection.f_classif",
    "sklearn.feature_selection._univariate_selection.f_regression",
    "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
    "sklearn.gaussian_process.kernels.ConstantKernel",
    "sklearn.gaussian_process.kernels.DotProduct",
    "sklearn.gaussian_process.kernels.Matern",
    "sklearn.gaussian_process.kernels.Product",
    "sklearn.gaussian_process.kernels.RBF",
    "sklearn.gaussian_process.kernels.RationalQuadratic",
    "sklearn.gaussian_process.kernels.Sum",
    "sklearn.gaussian_process.kernels.WhiteKernel",
    "sklearn.metrics._dist_metrics.EuclideanDistance64",
    "sklearn.metrics._dist_metrics.ManhattanDistance64",
    "sklearn.metrics._dist_metrics.MinkowskiDistance64",
    "sklearn.neighbors._ball_tree.BallTree",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn.tree._tree.Tree",
    "sklearn.utils._bunch.Bunch",
    "sklearn.utils.validation.check_array",
)


def build(original: Estimator) -> tuple[Description, dict[str, bytes]]:
    """The description and file of any estimator that is made of trusted types only.

    Raises `NotExpressible`, naming the types that are not trusted.
    """
    import skops.io

    try:
        content: bytes = skops.io.dumps(original.model)
        untrusted = sorted(set(skops.io.get_untrusted_types(data=content)) - set(TRUSTED_TYPES))
    except Exception as error:
        raise NotExpressible(f"skops can't write this model: {type(error).__name__}: {error}") from error
    if untrusted:
        raise NotExpressible(
            f"these types are not trusted: {', '.join(untrusted)}; own classes and functions are never loaded",
            types=untrusted,
        )
    description = Description(
        format=FORMAT,
        columns=original.names,
        frame=original.frame,
        classes=original.classes,
        probabilities=original.probabilities,
        width=len(original.names),
    )
    return description, {FILE: content}


def used_types(content: bytes) -> tuple[str, ...]:
    """Which of the trusted types a file needs beyond those that skops trusts itself."""
    import skops.io

    return tuple(sorted(skops.io.get_untrusted_types(data=content)))


def load_skops(content: bytes) -> Any:
    """A fitted estimator from the bytes of a skops file that holds trusted types only, with its trees checked.

    Raises `CompilationFailed` where the file is damaged or holds another type.
    """
    import skops.io

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = skops.io.loads(content, trusted=list(TRUSTED_TYPES))
    except Exception as error:
        raise CompilationFailed(f"The skops file can't be loaded: {error}") from error
    _check_trees(model)
    return model


def load(description: Description, files: Mapping[str, bytes], signature: records.Signature) -> Estimator:
    """The estimator of a file, once its types and trees are known to be sound.

    Raises `CompilationFailed` where the file is damaged, holds another type, or is not of this signature.
    """
    model = load_skops(files.get(FILE, b""))
    _use_one_thread(model)
    estimator = wrap(model, signature)
    found = (estimator.names, estimator.classes, estimator.frame, estimator.probabilities)
    if found != (description.columns, description.classes, description.frame, description.probabilities):
        raise CompilationFailed("The served estimator is not the one that its description speaks of; register anew.")
    return estimator


def _use_one_thread(model: Any) -> None:
    """Starting workers for a few rows costs more than it saves, and a server has its own."""
    for name, value in model.get_params(deep=True).items():
        if (name == "n_jobs" or name.endswith("__n_jobs")) and value not in (None, 1):
            model.set_params(**{name: None})
    for part in _objects(model):
        if getattr(part, "n_jobs", None) not in (None, 1):
            part.n_jobs = None


def _check_trees(model: Any) -> None:
    from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor
    from sklearn.neighbors import BallTree, KDTree
    from sklearn.tree._tree import Tree

    for part in _objects(model):
        sound = True
        if isinstance(part, Tree):
            sound = _is_sound(part.children_left, part.children_right, part.feature, part.n_features)
        elif isinstance(part, TreePredictor):
            sound = _is_sound_predictor(part)
        elif isinstance(part, BallTree | KDTree):
            sound = _is_sound_index(part)
        elif isinstance(getattr(part, "tree_", None), Tree):
            sound = part.tree_.n_features == part.n_features_in_
        elif hasattr(part, "estimators_") and hasattr(part, "n_features_in_"):
            trees = [tree for tree in np.ravel(np.asarray(part.estimators_, dtype=object)) if hasattr(tree, "tree_")]
            sound = len({tree.n_features_in_ for tree in trees}) <= 1
        if not sound:
            raise CompilationFailed("A tree of the served estimator is damaged; register the version anew.")


def _is_sound(left: Array, right: Array, feature: Array, features: int) -> bool:
    """Whether every child comes after its parent and exists, and every feature that is split on exists."""
    inner = np.flatnonzero(left != -1)
    children = np.concatenate([left[inner], right[inner]])
    after = children > np.concatenate([inner, inner])
    used = feature[inner]
    return bool(after.all() and (children < len(left)).all() and ((used >= 0) & (used < features)).all())


def _is_sound_predictor(part: Any) -> bool:
    nodes = part.nodes
    inner = nodes["is_leaf"] == 0
    left = np.where(inner, nodes["left"].astype(np.int64), -1)
    categorical = inner & (nodes["is_categorical"] != 0)
    # How many features the rows have is checked by the ensemble, against its own count.
    return _is_sound(left, nodes["right"].astype(np.int64), nodes["feature_idx"].astype(np.int64), 2**31) and bool(
        (nodes["bitset_idx"][categorical] < len(part.raw_left_cat_bitsets)).all()
    )


def _is_sound_index(part: Any) -> bool:
    """Whether a neighbour index points only at rows that it holds, and has the nodes that its depth says."""
    data, order, nodes, bounds, _, levels, count, *_ = part.__getstate__()
    return bool(
        len(order) == len(data)
        and ((order >= 0) & (order < len(data))).all()
        and ((nodes["idx_start"] >= 0) & (nodes["idx_start"] <= nodes["idx_end"])).all()
        and (nodes["idx_end"] <= len(data)).all()
        and count == len(nodes) == 2**levels - 1
        and bounds.shape[1:] == (count, data.shape[1])
        and nodes["is_leaf"][count // 2 :].all()
    )


def _objects(model: Any) -> Iterator[Any]:
    """Every object that can be reached from a model through attributes and containers."""
    seen: set[int] = set()
    waiting = [model]
    while waiting:
        part = waiting.pop()
        if id(part) in seen or part is None or isinstance(part, str | bytes | int | float | type):
            continue
        seen.add(id(part))
        if isinstance(part, dict):
            waiting.extend(part.values())
        elif isinstance(part, list | tuple | set):
            waiting.extend(part)
        elif isinstance(part, np.ndarray):
            if part.dtype.kind == "O":
                waiting.extend(part.ravel().tolist())
            continue
        else:
            yield part
        waiting.extend(getattr(part, "__dict__", {}).values())
