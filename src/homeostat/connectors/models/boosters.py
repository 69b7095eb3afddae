"""XGBoost's and LightGBM's models: read as trees, or asked through their own library; never a pickle."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from homeostat.connectors.models.original import Estimator, Given
from homeostat.connectors.models.preprocessing import NotExpressible, express, taken_apart
from homeostat.connectors.models.program import Step, check, gather, run, to_matrix
from homeostat.connectors.models.serving import Description
from homeostat.errors import CompilationFailed, InvalidInput, MissingDependency
from homeostat.frames import Array, Floats

XGBOOST = "xgboost"
LIGHTGBM = "lightgbm"
FILES = {XGBOOST: "booster.ubj", LIGHTGBM: "booster.txt"}
WRAPPERS = frozenset(
    {"XGBClassifier", "XGBRegressor", "XGBRFClassifier", "XGBRFRegressor", "LGBMClassifier", "LGBMRegressor"}
)
# What these give is no probability of a class.
NAMED_ONLY = frozenset({"multi:softmax", "binary:hinge"})
TREES = ("gbtree", "dart")
BINARY = 2
# The libraries alone take seconds to load, many on a busy machine; a file that never ends is what it is for.
TRIAL_SECONDS = 240


@dataclass(frozen=True)
class Booster:
    """A booster and the library that it is of; XGBoost rounds what it is given to 32 bits."""

    library: str
    native: Any

    @property
    def narrow(self) -> bool:
        """Whether values are rounded to 32-bit floats."""
        return self.library == XGBOOST


def booster_of(final: Any) -> Booster | None:
    """The booster inside a fitted wrapper or a model read from a file, cut where early stopping says; else `None`."""
    if isinstance(final, GivenBooster):
        return final.booster
    library = type(final).__module__.partition(".")[0]
    if type(final).__name__ not in WRAPPERS or library not in FILES:
        return None
    if library == LIGHTGBM:
        return Booster(LIGHTGBM, final.booster_)
    native = final.get_booster()
    # Only a fit that stopped early knows its best round.
    best = getattr(final, "best_iteration", None) if final.early_stopping_rounds else None
    return Booster(XGBOOST, native if best is None else native[: best + 1])


def library_of(original: Estimator) -> str | None:
    """The library of the booster that a pipeline ends in; `None` where it ends in no booster."""
    booster = booster_of(taken_apart(original.model)[1])
    return None if booster is None else booster.library


def as_trees(booster: Booster) -> Any:
    """The booster's trees as treelite reads them."""
    import treelite

    if booster.library == XGBOOST:
        return treelite.frontend.from_xgboost(booster.native)
    return treelite.frontend.from_lightgbm(booster.native)


def build(original: Estimator) -> tuple[Description, dict[str, bytes]]:
    """The description and file of a pipeline that ends in a booster, for the booster's own library.

    Raises `NotExpressible` where it ends in another model, or what stands before has no plain counterpart.
    """
    transformers, final = taken_apart(original.model)
    booster = booster_of(final)
    if booster is None:
        raise NotExpressible(f"{type(final).__name__} is no model of XGBoost or LightGBM")
    steps = express(transformers, len(original.names))
    width = check(steps, len(original.names))
    description = Description(
        format=booster.library,
        columns=original.names,
        frame=original.frame,
        classes=original.classes,
        narrow=booster.narrow,
        width=width,
        steps=steps,
    )
    return description, {FILES[booster.library]: written(booster)}


def written(booster: Booster) -> bytes:
    """The booster in its library's own format."""
    if booster.library == XGBOOST:
        return bytes(booster.native.save_raw("ubj"))
    text: str = booster.native.model_to_string()
    return text.encode()


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingDependency(package=f"homeostat[{name}]") from error


def read(content: bytes, library: str) -> Any:
    """The native booster from its library's own format, its trees checked.

    Neither library looks whether a node's children and column exist. Raises `CompilationFailed` where it can't be read
    or points outside itself, `MissingDependency` where the library is not installed.
    """
    module = _library(library)
    try:
        if library == XGBOOST:
            native = module.Booster()
            native.load_model(bytearray(content))
            native.set_param({"nthread": 1})
            _check_xgboost(json.loads(bytes(native.save_raw("json"))))
            return native
        text = content.decode()
        _check_lightgbm(text)
        return module.Booster(model_str=text)
    except CompilationFailed:
        raise
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0]
        raise CompilationFailed(f"{library} can't read this model: {first[:200]}") from error


def _check_xgboost(model: Mapping[str, Any]) -> None:
    learner = model["learner"]
    booster = learner["gradient_booster"]
    if booster["name"] not in TREES:
        return
    columns = int(learner["learner_model_param"]["num_feature"])
    inner = booster["gbtree"] if booster["name"] == "dart" else booster
    for tree in inner["model"]["trees"]:
        left, right = np.array(tree["left_children"]), np.array(tree["right_children"])
        used = np.array(tree["split_indices"])
        split = np.flatnonzero(left != -1)
        if not len(left) == len(right) == len(used) or not _is_sound(
            split, np.concatenate([left[split], right[split]]), used[split], len(left), columns
        ):
            raise CompilationFailed("A tree of the XGBoost model is damaged; save it anew.")


def _check_lightgbm(text: str) -> None:
    head: dict[str, str] = {}
    for block in text.split("\nTree=")[1:]:
        head = dict(line.split("=", 1) for line in block.split("\n\n")[0].splitlines() if "=" in line)
        leaves = int(head.get("num_leaves", "0"))
        left, right, used = (
            np.array(head.get(name, "").split(), dtype=np.int64)
            for name in ("left_child", "right_child", "split_feature")
        )
        children = np.concatenate([left, right])
        split = np.arange(len(left))
        columns = int(_line(text, "max_feature_idx")) + 1
        below, ends = children[children >= 0], ~children[children < 0]
        above = np.concatenate([split, split])[children >= 0]
        sound = (
            leaves > 0
            and len(left) == len(right) == len(used) == leaves - 1
            and (below > above).all()
            and (below < leaves - 1).all()
            and (ends < leaves).all()
            and ((used >= 0) & (used < columns)).all()
            and len(head.get("leaf_value", "").split()) == leaves
            and len(head.get("threshold", "").split()) == leaves - 1
            and len(head.get("decision_type", "").split()) == leaves - 1
        )
        if not sound:
            raise CompilationFailed("A tree of the LightGBM model is damaged; save it anew.")


def _line(text: str, name: str) -> str:
    start = text.index(f"\n{name}=") + len(name) + 2
    return text[start : text.index("\n", start)]


def _is_sound(parents: Array, children: Array, used: Array, nodes: int, columns: int) -> bool:
    above = np.concatenate([parents, parents])
    # A child may stand before its parent only where nodes were pruned; each node has one parent, so nothing is a loop.
    return bool(
        ((children > 0) & (children < nodes) & (children != above)).all()
        and len(np.unique(children)) == len(children)
        and ((used >= 0) & (used < columns)).all()
    )


class Boosted:
    """A loaded booster of its own library, with the steps before it."""

    def __init__(self, description: Description, files: Mapping[str, bytes]) -> None:
        if description.steps is None:
            raise CompilationFailed("The served booster lacks its preprocessing; register the version anew.")
        self._names = description.columns
        self._steps: tuple[Step, ...] = description.steps
        self._classes = len(description.classes)
        if check(self._steps, len(self._names)) != description.width:
            raise CompilationFailed("The served preprocessing gives another number of columns than the booster takes.")
        library = description.format
        self._booster = Booster(library, read(files.get(FILES[library], b""), library))
        if columns_of(self._booster) != description.width:
            raise CompilationFailed("The served booster takes another number of columns; register the version anew.")

    def outputs(self, columns: Mapping[str, Array], rows: int) -> Array:
        """Probabilities (n, classes) in the model's order, or values (n,)."""
        return self.matrix_outputs(to_matrix(gather(columns, self._names, rows), rows), rows)

    def matrix_outputs(self, matrix: Floats, rows: int) -> Array:
        """As `outputs`."""
        given = to_matrix(run(self._steps, matrix, rows), rows)
        return asked(self._booster, given, self._classes)


def columns_of(booster: Booster) -> int:
    """How many columns a booster takes."""
    return int(booster.native.num_features() if booster.library == XGBOOST else booster.native.num_feature())


def asked(booster: Booster, matrix: Floats, classes: int) -> Array:
    """A booster's outputs: probabilities (n, classes), or values (n,) without classes."""
    if booster.library == XGBOOST:
        given = booster.native.inplace_predict(np.ascontiguousarray(matrix), validate_features=False)
    else:
        given = booster.native.predict(np.ascontiguousarray(matrix), num_threads=1)
    scores = np.asarray(given, dtype=np.float64).reshape(len(matrix), -1)
    if not classes:
        return scores.reshape(len(matrix))
    return np.hstack([1.0 - scores, scores]) if scores.shape[1] == 1 else scores


class GivenBooster(Given):
    """A booster that was saved by XGBoost (`.ubj`, `.json`) or LightGBM (`.txt`)."""

    def __init__(self, booster: Booster, classes: tuple[str, ...] = ()) -> None:
        self.booster = booster
        self.width = columns_of(booster)
        self.classes_ = classes
        names = booster.native.feature_names if booster.library == XGBOOST else booster.native.feature_name()
        made_up = [f"Column_{number}" for number in range(self.width)]
        self.features = () if not names or list(names) == made_up else tuple(str(name) for name in names)

    def with_classes(self, classes: tuple[str, ...]) -> GivenBooster:
        """The model with the target's classes: 0, 1, 2, … where they are numbers, else in alphabetical order."""
        objective = _objective(self.booster)
        if classes and objective in NAMED_ONLY:
            raise InvalidInput(
                f"A booster of objective {objective} gives no probabilities; train it with binary:logistic or "
                "multi:softprob."
            )
        probabilistic = objective.startswith(("binary", "multi", "cross_entropy", "xentropy"))
        if bool(classes) != probabilistic:
            raise InvalidInput(
                f"The booster's objective is {objective}, but the target holds {'classes' if classes else 'numbers'}."
            )
        outputs = _outputs(self.booster)
        if classes and len(classes) != max(outputs, BINARY):
            raise InvalidInput(f"The booster gives {outputs} outputs, but the target has {len(classes)} classes.")
        return GivenBooster(self.booster, _ordered(classes))

    def predict(self, matrix: Floats) -> Array:
        """Values (n,)."""
        return asked(self.booster, matrix, 0)

    def predict_proba(self, matrix: Floats) -> Array:
        """Probabilities (n, classes)."""
        return asked(self.booster, matrix, len(self.classes_))


def _objective(booster: Booster) -> str:
    if booster.library == XGBOOST:
        return str(json.loads(booster.native.save_config())["learner"]["objective"]["name"])
    text: str = booster.native.model_to_string(num_iteration=1)
    return _line(text, "objective").split()[0] if "\nobjective=" in text else "regression"


def _outputs(booster: Booster) -> int:
    if booster.library == XGBOOST:
        return max(int(json.loads(booster.native.save_config())["learner"]["learner_model_param"]["num_class"]), 1)
    return int(booster.native.num_model_per_iteration())


def _ordered(classes: Sequence[str]) -> tuple[str, ...]:
    """Class texts in the order of the whole numbers that they are, else as texts.

    >>> _ordered(("10", "2", "1"))
    ('1', '2', '10')
    """
    if all(name.isdecimal() for name in classes):
        return tuple(sorted(classes, key=int))
    return tuple(sorted(classes))


def survives(content: bytes, library: str) -> bool:
    """Whether the library can read the file and answer with it, tried in a process of its own.

    LightGBM ends the whole process where a number in its text is none, so a server must not be the first to try.
    Raises `CompilationFailed` where it is still trying after `TRIAL_SECONDS`.
    """
    command = [sys.executable, "-c", _TRIAL, library]
    try:
        # The command is made of constants alone; the file goes in as data.
        done = subprocess.run(  # noqa: S603
            command, input=content, capture_output=True, timeout=TRIAL_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise CompilationFailed(
            f"{library} was still reading this model after {TRIAL_SECONDS} s. Save the model anew, or try it on a "
            "machine that is less busy."
        ) from None
    return done.returncode == 0


_TRIAL = """
import sys
import numpy
from homeostat.connectors.models import boosters
from homeostat.errors import CompilationFailed
try:
    booster = boosters.Booster(sys.argv[1], boosters.read(sys.stdin.buffer.read(), sys.argv[1]))
    boosters.asked(booster, numpy.zeros((2, boosters.columns_of(booster))), 2)
except CompilationFailed:
    pass
"""


def given_booster(content: bytes, library: str) -> GivenBooster:
    """A booster from its library's own file. Raises `CompilationFailed`, `MissingDependency` or `InvalidInput`."""
    _library(library)
    if not survives(content, library):
        raise CompilationFailed(f"{library} can't read this model: it ended while it tried. Save the model anew.")
    booster = Booster(library, read(content, library))
    if library == LIGHTGBM:
        tail = content.decode(errors="replace").rpartition("pandas_categorical:")[2].strip()
        if tail and tail not in ("null", "[]"):
            raise InvalidInput(
                "The LightGBM model was fitted on a frame with categories, whose codes only pandas knows; encode them "
                "in a step of a pipeline, or as numbers before fitting."
            )
    return GivenBooster(booster)
