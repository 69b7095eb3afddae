"""A user's own Python class as a model: asked as it is, from files that were hashed, where somebody opted into it."""

from __future__ import annotations

import inspect
import time
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from homeostat.connectors.models.original import Estimator, Given
from homeostat.connectors.models.python_files import check_entry, is_inside
from homeostat.connectors.models.python_modules import PrivateModules, within
from homeostat.connectors.models.serving import Description
from homeostat.errors import InvalidInput, PythonModelFailed, ScoringFailed
from homeostat.frames import Array, Floats, label_text

FORMAT = "python"
FOLDER = "files/"
LOAD_SECONDS = 60.0
RETRY_SECONDS = 30.0
BINARY = 2
# Probabilities that are rounded to 32 bits, or to a few digits, still add up to 1 within this.
ROUNDING = 1e-3
_MOST_NAMES = 10_000
# What did not load in time, until when: no request of the meantime starts another thread that hangs.
_HANGING: dict[str, tuple[float, PythonModelFailed]] = {}


class PythonClass:
    """An object of a user's class, and how it is asked."""

    def __init__(self, entry: str, files: Mapping[str, bytes], *, seconds: float = LOAD_SECONDS) -> None:
        """Import the class and make the object. Raises `PythonModelFailed`, saying what went wrong and where."""
        self.entry = entry
        self._modules = PrivateModules(files)
        self._model = within(seconds, self._made, f"The Python class {entry}")
        self.features = self._names("features")
        self.classes = self._names("classes")

    def _made(self) -> Any:
        module, name = check_entry(self.entry)
        try:
            found = getattr(self._modules.load(module), name, None)
            if not inspect.isclass(found):
                raise PythonModelFailed(f"Module {module} has no class {name}.")
            load = getattr(found, "load", None)
            made = found() if load is None else load(self._modules.folder)
        except PythonModelFailed:
            raise
        except (Exception, SystemExit) as error:
            where, said = self._modules.where(error), self._modules.said(error)
            raise PythonModelFailed(
                f"The Python class {self.entry} can't be loaded: {type(error).__name__}{where}: {said}"
            ) from error
        if not callable(getattr(made, "predict", None)):
            raise PythonModelFailed(f"The Python class {self.entry} has no method predict(columns).")
        return made

    def _names(self, attribute: str) -> tuple[str, ...]:
        """The names that the object gives itself, as texts; none where it gives none."""
        given = getattr(self._model, attribute, None)
        if given is None or callable(given):
            return ()
        try:
            names = tuple(label_text(one) or "" for one in given) if not isinstance(given, str) else ("",)
        except TypeError:
            names = ("",)
        if not all(names) or len(set(names)) < len(names) or len(names) > _MOST_NAMES:
            raise PythonModelFailed(
                f"'{attribute}' of the Python class {self.entry} is not a list of names that differ from each other."
            )
        return names

    def outputs(self, columns: Mapping[str, Array], rows: int, classes: tuple[str, ...]) -> Array:
        """Probabilities (n, classes) or values (n,). Raises `ScoringFailed`.

        The class sees each column, but can't change it: the same rows are logged.
        """
        shown = {name: _read_only(values) for name, values in columns.items()}
        try:
            given = self._model.predict(shown)
        except (Exception, SystemExit) as error:
            # What it says may repeat the row.
            raise ScoringFailed(
                f"The Python class {self.entry} raised {type(error).__name__}{self._modules.where(error)}."
            ) from error
        try:
            return as_outputs(given, rows, classes)
        except ScoringFailed as error:
            raise ScoringFailed(f"The Python class {self.entry} {error.message}") from error


class GivenPython(Given):
    """A user's class that is being registered."""

    takes_columns = True
    frame = True

    def __init__(self, entry: str, files: Mapping[str, bytes], *, seconds: float = LOAD_SECONDS) -> None:
        self.entry = entry
        self.files = dict(files)
        self.seconds = seconds
        self.asked = PythonClass(entry, files, seconds=seconds)
        self.features = self.asked.features
        self.width = len(self.features)

    def with_classes(self, classes: tuple[str, ...]) -> GivenPython:
        """The class with the target's classes: those that it names itself, else in order."""
        own = self.asked.classes
        if own and not classes:
            raise InvalidInput("The Python class names classes, but the target holds numbers.")
        if own and not set(classes) <= set(own):
            raise InvalidInput(f"The Python class names the classes {', '.join(own[:20])}; the target has others.")
        numbers = all(name.isdecimal() for name in classes)
        self.classes_ = own or (tuple(sorted(classes, key=int)) if numbers else tuple(sorted(classes)))
        return self

    def scored(self, columns: Mapping[str, Array], rows: int) -> Array:
        """Probabilities (n, classes) or values (n,)."""
        return self.asked.outputs(columns, rows, self.classes_)


def build(original: Estimator) -> tuple[Description, dict[str, bytes]]:
    """The description and the files of a user's class."""
    given: GivenPython = original.model
    description = Description(
        format=FORMAT,
        columns=original.names,
        frame=True,
        classes=given.classes_,
        width=len(original.names),
        entry=given.entry,
    )
    return description, {FOLDER + path: content for path, content in given.files.items()}


class PythonCore:
    """A user's class that is served."""

    def __init__(self, description: Description, files: Mapping[str, bytes], seconds: float) -> None:
        own = {path.removeprefix(FOLDER): files[path] for path in description.files if path.startswith(FOLDER)}
        if not own or not all(is_inside(path) for path in own):
            raise PythonModelFailed("The version of a Python class lacks its files; register it anew.")
        digest = msgspec.json.encode([description.entry, description.files]).hex()
        until, before = _HANGING.get(digest, (0.0, None))
        if before is not None and time.monotonic() < until:
            raise before
        try:
            self._asked = PythonClass(description.entry, own, seconds=seconds)
        except PythonModelFailed as error:
            if error.data.get("timed_out"):
                _HANGING[digest] = (time.monotonic() + RETRY_SECONDS, error)
            raise
        self._names = description.columns
        self._classes = description.classes

    def outputs(self, columns: Mapping[str, Array], rows: int) -> Array:
        """As `Core.outputs`."""
        return self._asked.outputs({name: columns[name] for name in self._names}, rows, self._classes)


def _read_only(values: Array) -> Array:
    shown = values.view()
    shown.flags.writeable = False
    return shown


def as_outputs(given: Any, rows: int, classes: tuple[str, ...]) -> Floats:
    """What a class gave as probabilities (n, classes), or values (n,) where there are no classes.

    One number a row for two classes is the probability of the second; other single entries a row name a class. Raises
    `ScoringFailed` where it is none of these.

    >>> as_outputs([0.25, 1.0], 2, ("no", "yes")).tolist()
    [[0.75, 0.25], [0.0, 1.0]]
    >>> as_outputs(["b", "a"], 2, ("a", "b", "c")).tolist()
    [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]
    """
    try:
        values = np.asarray(given)
    except Exception as error:
        raise ScoringFailed(f"gave something that is no array ({type(error).__name__}).") from error
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    is_number = values.dtype.kind in "fiub"
    if values.shape == (rows,) and not classes and is_number:
        return values.astype(np.float64)
    if values.shape == (rows,) and classes:
        if len(classes) == BINARY and values.dtype.kind == "f":
            second = _probable(values.astype(np.float64))
            return np.column_stack([1.0 - second, second])
        return _named(values, classes)
    if classes and values.shape == (rows, len(classes)) and is_number:
        probabilities = _probable(values.astype(np.float64))
        if (np.abs(probabilities.sum(axis=1) - 1) > ROUNDING).any():
            raise ScoringFailed("gave probabilities that do not add up to 1 in each row.")
        return probabilities
    wanted = f"({rows}, {len(classes)}) probabilities or ({rows},) classes" if classes else f"({rows},) numbers"
    raise ScoringFailed(f"gave {values.dtype} of shape {values.shape}, not {wanted}.")


def _probable(values: Floats) -> Floats:
    if ((values < -ROUNDING) | (values > 1 + ROUNDING)).any():
        raise ScoringFailed("gave numbers for classes that are no probabilities: they lie outside 0 to 1.")
    return np.clip(values, 0.0, 1.0)


def _named(values: Array, classes: tuple[str, ...]) -> Floats:
    positions = {name: place for place, name in enumerate(classes)}
    try:
        places = [positions[label_text(value) or ""] for value in values.tolist()]
    except (KeyError, TypeError):
        raise ScoringFailed("named a class that is none of the target's, nor of its own 'classes'.") from None
    chosen: Floats = np.eye(len(classes))[np.array(places, dtype=np.intp)]
    return chosen
