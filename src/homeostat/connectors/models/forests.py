"""Trees and forests as treelite bytes, evaluated by its general tree inference library."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from homeostat.connectors.models import boosters
from homeostat.connectors.models.original import Estimator
from homeostat.connectors.models.preprocessing import NotExpressible, express, ordinal, taken_apart
from homeostat.connectors.models.program import Branch, Split, Step, check, gather, run, sources, to_matrix
from homeostat.connectors.models.serving import Description
from homeostat.errors import CompilationFailed, Unanswerable
from homeostat.frames import Array, Floats

FORMAT = "treelite"
FILE = "forest.treelite"

# treelite is fastest for few rows: it takes one after the other through all trees. From this many rows on, taking all
# rows through one tree after the other is faster, because the tree stays in the processor's cache.
ROWS_FOR_BATCHES = 48
ROWS_FOR_THREADS = 1000
# What treelite calls a node that compares a number with a threshold.
NUMERICAL_SPLIT = 1


@dataclass(frozen=True)
class Trees:
    """A forest as treelite read it, and the description of all but its bytes."""

    forest: Any
    description: Description


def read(original: Estimator) -> Trees:
    """The trees that a pipeline ends in, with what stands before them as plain steps.

    Raises `NotExpressible` where the last estimator is no tree, or what stands before it has no plain counterpart.
    """
    import treelite

    transformers, final = taken_apart(original.model)
    booster = boosters.booster_of(final)
    try:
        if booster is None:
            trees, before, narrow = _importable(final)
            averaged, width = hasattr(trees, "estimators_") and not hasattr(trees, "init_"), int(trees.n_features_in_)
            forest = treelite.sklearn.import_model(trees)
        else:
            forest, before, narrow, averaged = boosters.as_trees(booster), (), booster.narrow, False
            width = int(forest.num_feature)
    except (treelite.TreeliteError, NotImplementedError, AssertionError, ValueError) as error:
        raise NotExpressible(f"treelite can't take this {type(final).__name__}: {error}") from error
    steps = (*express(transformers, len(original.names)), *before)
    if check(steps, len(original.names)) != width:
        raise NotExpressible(f"the preprocessing of this {type(final).__name__} has no plain counterpart")
    description = Description(
        format=FORMAT,
        columns=original.names,
        frame=original.frame,
        classes=original.classes,
        narrow=narrow,
        averaged=narrow and averaged,
        width=width,
        steps=steps,
    )
    return Trees(forest, description)


def build(trees: Trees) -> tuple[Description, dict[str, bytes]]:
    """The description and files of trees, for treelite's own library."""
    return trees.description, {FILE: trees.forest.serialize_bytes()}


def _importable(final: Any) -> tuple[Any, tuple[Step, ...], bool]:
    """The estimator for treelite's importer, the steps that it hides inside, and whether it casts to 32 bits."""
    from sklearn.ensemble import (
        ExtraTreesClassifier,
        ExtraTreesRegressor,
        GradientBoostingClassifier,
        GradientBoostingRegressor,
        HistGradientBoostingClassifier,
        HistGradientBoostingRegressor,
        RandomForestClassifier,
        RandomForestRegressor,
    )
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier, ExtraTreeRegressor

    kind = type(final)
    if kind in (HistGradientBoostingClassifier, HistGradientBoostingRegressor):
        return *_histogram(final), False
    if kind in (
        RandomForestClassifier,
        RandomForestRegressor,
        ExtraTreesClassifier,
        ExtraTreesRegressor,
        GradientBoostingClassifier,
        GradientBoostingRegressor,
    ):
        if kind in (GradientBoostingClassifier, GradientBoostingRegressor) and final.n_estimators_ < final.n_estimators:
            final = copy.copy(final)
            final.n_estimators = final.n_estimators_
        return final, (), True
    if kind in (DecisionTreeClassifier, ExtraTreeClassifier, DecisionTreeRegressor, ExtraTreeRegressor):
        forest = RandomForestClassifier(1) if hasattr(final, "classes_") else RandomForestRegressor(1)
        for name in ("classes_", "n_classes_", "n_features_in_", "n_outputs_"):
            if hasattr(final, name):
                setattr(forest, name, getattr(final, name))
        forest.estimators_ = [final]
        return forest, (), True
    raise NotExpressible(f"{kind.__name__} is no tree or forest that treelite reads")


def _histogram(final: Any) -> tuple[Any, tuple[Step, ...]]:
    inner = getattr(final, "_preprocessor", None)
    if inner is None:
        return final, ()
    # The estimator encodes its categories itself, in an encoder that treelite reads only where they are integers.
    # The encoder becomes a step, and treelite is shown one that changes nothing.
    codes = ordinal(inner.named_transformers_["encoder"])
    sizes = [
        len(known.values) - (None in known.values and code is None)
        for known, code in zip(codes.columns, codes.missing, strict=True)
    ]
    bare = copy.copy(final)
    bare._preprocessor = SimpleNamespace(
        transformers_=[
            ("encoder", SimpleNamespace(categories_=[np.arange(size) for size in sizes]), None),
            ("numerical", "passthrough", None),
            ("remainder", "drop", []),
        ]
    )
    categorical = np.asarray(final.is_categorical_, dtype=bool)
    bare.is_categorical_ = np.sort(categorical)[::-1]
    encoded = Branch(columns=tuple(int(position) for position in np.flatnonzero(categorical)), steps=(codes,))
    plain = Branch(columns=tuple(int(position) for position in np.flatnonzero(~categorical)), steps=())
    return bare, (Split(branches=(encoded, plain)),)


class Forest:
    """A loaded forest with the steps before it."""

    def __init__(self, description: Description, files: Mapping[str, bytes]) -> None:
        import treelite
        import treelite.gtil

        if description.steps is None:
            raise CompilationFailed("The served forest lacks its preprocessing; register the version anew.")
        try:
            self.forest = treelite.Model.deserialize_bytes(files[FILE])
        except (KeyError, treelite.TreeliteError) as error:
            raise CompilationFailed(f"The served forest can't be read ({error}); register the version anew.") from error
        self._names = description.columns
        self._steps: tuple[Step, ...] = description.steps
        self._narrow = description.narrow
        self._classes = len(description.classes)
        self._averaged = description.averaged
        self._batch: list[Any] | None = None
        self._predict = treelite.gtil.predict
        if check(self._steps, len(self._names)) != description.width:
            raise CompilationFailed("The served preprocessing gives another number of columns than the forest takes.")
        _check_bounds(self.forest, description.width)

    def outputs(self, columns: Mapping[str, Array], rows: int) -> Floats:
        """Probabilities (n, classes) in the model's order, or values (n,)."""
        return self._from_table(gather(columns, self._names, rows), rows)

    def matrix_outputs(self, matrix: Floats, rows: int) -> Floats:
        """As `outputs`."""
        return self._from_table(matrix, rows)

    def _from_table(self, table: Any, rows: int) -> Floats:
        matrix = to_matrix(run(self._steps, table, rows), rows)
        if self._narrow:
            matrix = narrowed(matrix).astype(np.float64)
        if self._averaged and rows >= ROWS_FOR_BATCHES:
            if self._batch is None:
                self._batch = _batch_trees(self.forest, max(self._classes, 1))
            if self._batch:
                return self._batch_outputs(matrix.astype(np.float32), rows)
        threads = 1 if rows < ROWS_FOR_THREADS else 0
        scores: Floats = self._predict(self.forest, matrix, nthread=threads).reshape(rows, -1)
        if not self._classes:
            return scores.reshape(rows)
        if self._classes == 2 and scores.shape[1] == 1:
            return np.hstack([1.0 - scores, scores])
        return scores

    def _batch_outputs(self, matrix: Array, rows: int) -> Floats:
        trees = self._batch or []
        total = np.zeros((rows, max(self._classes, 1)))
        for tree in trees:
            total += tree.predict(matrix).reshape(rows, -1)
        total /= len(trees)
        return total if self._classes else total.reshape(rows)


def _batch_trees(forest: Any, outputs: int) -> list[Any]:
    """The same trees as scikit-learn evaluates them; none where its layout is not the one known here.

    They are made from arrays whose bounds were checked, never from stored objects.
    """
    try:
        from sklearn.tree._tree import NODE_DTYPE, Tree

        trees = []
        for number in range(forest.num_tree):
            left, right, feature, threshold, default_left, value, vector = _fields(
                forest,
                number,
                "cleft",
                "cright",
                "split_index",
                "threshold",
                "default_left",
                "leaf_value",
                "leaf_vector",
            )
            leaf = left < 0
            nodes = np.zeros(len(left), NODE_DTYPE)
            nodes["left_child"], nodes["right_child"] = left, right
            nodes["feature"] = np.where(leaf, 0, feature)
            nodes["threshold"], nodes["missing_go_to_left"] = threshold, default_left
            values = np.zeros((len(left), 1, outputs))
            values[leaf, 0] = vector.reshape(-1, outputs) if len(vector) else value[leaf].reshape(-1, 1)
            tree = Tree(forest.num_feature, np.array([outputs], dtype=np.intp), 1)
            tree.__setstate__({"max_depth": len(left), "node_count": len(left), "nodes": nodes, "values": values})
            trees.append(tree)
    except (ImportError, ValueError, TypeError, KeyError):
        return []
    return trees


def narrowed(matrix: Floats) -> Array:
    """Values as trees of 32 bits see them; none beyond their range."""
    with np.errstate(over="ignore"):
        rounded = matrix.astype(np.float32)
    if np.isinf(rounded).any():
        raise Unanswerable("A value is beyond the range of 32-bit floats, which the original model refuses.")
    return rounded


def _check_bounds(forest: Any, width: int) -> None:
    """Raise `CompilationFailed` unless every node's children, feature and values exist; the library does not look."""
    if forest.num_feature != width:
        raise CompilationFailed(f"The served forest takes {forest.num_feature} columns, not {width}.")
    for number in range(forest.num_tree):
        left, right, feature, begin, end, vector = _fields(
            forest, number, "cleft", "cright", "split_index", "leaf_vector_begin", "leaf_vector_end", "leaf_vector"
        )
        inner = np.flatnonzero(left >= 0)
        children = np.concatenate([left[inner], right[inner]])
        used = feature[inner]
        if (
            (children <= np.concatenate([inner, inner])).any()
            or (children >= len(left)).any()
            or ((used < 0) | (used >= width)).any()
            or (begin > end).any()
            or (end > len(vector)).any()
        ):
            raise CompilationFailed(f"Tree {number} of the served forest is damaged; register the version anew.")


def _fields(forest: Any, number: int, *names: str) -> list[Array]:
    tree = forest.get_tree_accessor(number)
    return [np.asarray(tree.get_field(name)) for name in names]


def thresholds(forest: Any, description: Description) -> dict[str, Floats]:
    """The split values of a forest, by the raw column that they can be put into unchanged."""
    features: list[Array] = []
    values: list[Array] = []
    for number in range(forest.num_tree):
        left, feature, threshold, kind = _fields(forest, number, "cleft", "split_index", "threshold", "node_type")
        numeric = (left >= 0) & (kind == NUMERICAL_SPLIT)
        features.append(feature[numeric].copy())
        values.append(threshold[numeric].copy())
    every = np.concatenate(features)
    split = np.concatenate(values)
    found: dict[str, list[Floats]] = {}
    for position, source in enumerate(sources(description.steps or (), tuple(range(len(description.columns))))):
        if source is not None:
            found.setdefault(description.columns[source], []).append(np.unique(split[every == position]))
    return {name: np.concatenate(parts) for name, parts in found.items() if sum(map(len, parts))}
