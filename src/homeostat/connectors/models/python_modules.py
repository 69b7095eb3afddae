"""A user's modules, imported from verified bytes under a name of their own: several versions lie side by side.

The modules of a version see each other by the names that they were written with, and before anything of that name in
the environment; nobody else sees them. Every other import comes from the environment.
"""

from __future__ import annotations

import builtins
import importlib
import itertools
import shutil
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from homeostat.errors import PythonModelFailed

SOURCE = ".py"
PREFIX = "_homeostat_python_"
_NUMBERS = itertools.count(1)
_INIT = "__init__"
_Made = TypeVar("_Made")


class PrivateModules:
    """The files of one version, importable as they were written, and written to a folder where code may read them.

    The folder is readable by this user alone and goes when nothing refers to this object any more, with the modules.
    """

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.root = f"{PREFIX}{next(_NUMBERS)}"
        self._files = dict(files)
        self._places = _modules_of(files)
        self._tops = {name.partition(".")[0] for name in self._places}
        self.folder = Path(tempfile.mkdtemp(prefix="homeostat-python-"))
        for path, content in files.items():
            target = self.folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        _FINDER.known[self.root] = weakref.ref(self)
        if _FINDER not in sys.meta_path:
            sys.meta_path.insert(0, _FINDER)
        weakref.finalize(self, _forget, self.root, self.folder)

    def load(self, name: str) -> ModuleType:
        """The module of a name as it was written. Raises what it raises, and `ModuleNotFoundError`."""
        if name not in self._places:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)
        return importlib.import_module(f"{self.root}.{name}")

    def where(self, error: BaseException) -> str:
        """Where in these files something was raised, as ` in file.py, line 3`; empty where it was elsewhere."""
        if isinstance(error, SyntaxError) and error.filename:
            return self._place(error.filename, error.lineno)
        found, trace = "", error.__traceback__
        while trace is not None:
            found = self._place(trace.tb_frame.f_code.co_filename, trace.tb_lineno) or found
            trace = trace.tb_next
        return found

    def _place(self, filename: str, line: int | None) -> str:
        path = Path(filename)
        return f" in {path.relative_to(self.folder)}, line {line}" if path.is_relative_to(self.folder) else ""

    def said(self, error: BaseException) -> str:
        """What an error says, with the modules' names as they were written."""
        text = str(error.msg if isinstance(error, SyntaxError) else error)
        return text.replace(f"{self.root}.", "").replace(f"{self.folder}/", "")

    def spec_of(self, name: str) -> ModuleSpec | None:
        """The spec of one of these modules, by its name below the root; the root itself is the empty name."""
        if name and name not in self._places:
            return None
        path, is_package = self._places[name] if name else (None, True)
        full = f"{self.root}.{name}" if name else self.root
        loader = _VerifiedLoader(self, b"" if path is None else self._files[path], path)
        spec = ModuleSpec(
            full, loader, origin=str(self.folder / (path or name.replace(".", "/"))), is_package=is_package
        )
        spec.has_location = path is not None
        return spec

    def import_(
        self,
        name: str,
        globals_: Mapping[str, Any] | None = None,
        locals_: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """What `import` does inside these modules: their own names first, then the environment."""
        top = name.partition(".")[0]
        if level or top not in self._tops:
            return builtins.__import__(name, globals_, locals_, fromlist or (), level)
        if fromlist:
            return builtins.__import__(f"{self.root}.{name}", globals_, locals_, fromlist, 0)
        importlib.import_module(f"{self.root}.{name}")
        return sys.modules[f"{self.root}.{top}"]


class _VerifiedLoader(Loader):
    """Runs the bytes that it was given, not what lies on the disk by then."""

    def __init__(self, modules: PrivateModules, source: bytes, path: str | None) -> None:
        self._modules = weakref.ref(modules)
        self._source = source
        self._path = path

    def exec_module(self, module: ModuleType) -> None:
        modules = self._modules()
        if modules is None or self._path is None:
            return
        code = compile(self._source, str(modules.folder / self._path), "exec", dont_inherit=True)
        # The modules keep what they were loaded by: it is what their imports go through, now and later.
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": _importer(self._modules)}
        exec(code, module.__dict__)  # noqa: S102 (the user opted into running these bytes)


def _importer(modules: weakref.ref[PrivateModules]) -> Callable[..., ModuleType]:
    def import_(name: str, *arguments: Any, **named: Any) -> ModuleType:
        held = modules()
        renamed = {"globals": "globals_", "locals": "locals_"}
        if held is None:
            return builtins.__import__(name, *arguments, **named)
        return held.import_(name, *arguments, **{renamed.get(key, key): value for key, value in named.items()})

    return import_


class _Finder(MetaPathFinder):
    """Finds the modules of every version that is loaded."""

    def __init__(self) -> None:
        self.known: dict[str, weakref.ref[PrivateModules]] = {}

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        root, _, name = fullname.partition(".")
        held = self.known.get(root)
        modules = held() if held is not None else None
        return None if modules is None else modules.spec_of(name)


_FINDER = _Finder()


def _modules_of(files: Mapping[str, bytes]) -> dict[str, tuple[str | None, bool]]:
    """The file of each module, and whether it is a package; packages without `__init__.py` have no file."""
    found: dict[str, tuple[str | None, bool]] = {}
    for path in files:
        *folders, last = path.split("/")
        if not last.endswith(SOURCE):
            continue
        stem = last.removesuffix(SOURCE)
        if not all(part.isidentifier() for part in (*folders, stem)):
            continue
        for depth in range(1, len(folders) + 1):
            found.setdefault(".".join(folders[:depth]), (None, True))
        if stem == _INIT:
            if folders:
                found[".".join(folders)] = (path, True)
        elif found.get(".".join([*folders, stem]), (None, False)) == (None, False):
            found[".".join([*folders, stem])] = (path, False)
    return found


def _forget(root: str, folder: Path) -> None:
    _FINDER.known.pop(root, None)
    for name in [name for name in sys.modules if name == root or name.startswith(f"{root}.")]:
        sys.modules.pop(name, None)
    shutil.rmtree(folder, ignore_errors=True)


def within(seconds: float, call: Callable[[], _Made], what: str) -> _Made:
    """What a call gives, in a thread of its own, if it comes in time; a thread that hangs can only be left behind.

    Raises `PythonModelFailed` where it does not, and what the call raises.
    """
    made: list[_Made] = []
    broken: list[BaseException] = []

    def run() -> None:
        try:
            made.append(call())
        except BaseException as error:
            broken.append(error)

    thread = threading.Thread(target=run, name="homeostat-python", daemon=True)
    thread.start()
    thread.join(seconds)
    if broken:
        raise broken[0]
    if not made:
        raise PythonModelFailed(
            f"{what} was not loaded within {seconds:g} seconds. Let it do less when it is imported and loaded, or set "
            "serve.python_seconds.",
            timed_out=True,
        )
    return made[0]
