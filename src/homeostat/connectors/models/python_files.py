"""The files of a user's Python class: found, read and packed, without running any of them."""

from __future__ import annotations

import io
import re
import stat
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from homeostat.errors import PythonModelFailed

MOST_FILES = 5_000
MOST_BYTES = 1_000_000_000
SOURCE = ".py"
PACKED = ".zip"
SUFFIXES = (SOURCE, PACKED)
_ENTRY = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
_LONGEST_ENTRY = 300
_LEFT_OUT = frozenset({"__pycache__", "node_modules"})


def check_entry(entry: str) -> tuple[str, str]:
    """The module and the class that an entry names. Raises `PythonModelFailed`.

    >>> check_entry("fraud.rules:Model")
    ('fraud.rules', 'Model')
    """
    if len(entry) > _LONGEST_ENTRY or not _ENTRY.fullmatch(entry):
        raise PythonModelFailed("A Python class is named as package.module:Class, such as fraud.rules:Model.")
    module, _, name = entry.partition(":")
    return module, name


def read_python_files(entry: str, source: Path | None) -> dict[str, bytes]:
    """The files that a class is made of, by their paths below the folder that its module is imported from.

    `source` is that folder, one `.py` file, or a `.zip` of the folder; without it they are looked for where Python
    looks for modules, the working directory left out: one file, or the whole package. Files of the interpreter's own
    making and hidden ones are left out. Raises `PythonModelFailed` where there are none, too many or too large ones, or
    a link leads out of the folder.
    """
    module, _ = check_entry(entry)
    if source is None:
        return _installed(module)
    if source.is_dir():
        return _of_folder(source, source)
    if source.suffix == PACKED:
        return _of_archive(source)
    if not source.is_file():
        raise PythonModelFailed("The files of the Python class are not where --python-files says.")
    if source.suffix != SOURCE:
        raise PythonModelFailed("The files of a Python class are a folder, a .py file or a .zip of the folder.")
    # Uploads have names of the server's own: one file is the module that the entry names.
    if "." in module:
        raise PythonModelFailed(f"One file can't be the module {module}; name the folder that its package is in.")
    return _bounded({f"{module}{SOURCE}": source.read_bytes()})


def pack(files: Mapping[str, bytes]) -> bytes:
    """The files as one `.zip`, as `read_python_files` takes it."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(path), content, zipfile.ZIP_DEFLATED)
    return made.getvalue()


def _installed(module: str) -> dict[str, bytes]:
    from importlib.machinery import PathFinder

    here = Path.cwd()
    places = [place for place in sys.path if place and Path(place).resolve() != here]
    top = module.partition(".")[0]
    # Finding a module at the top runs nothing; its parents would be run to find one below.
    spec = PathFinder.find_spec(top, places)
    origin = None if spec is None or not spec.has_location else spec.origin
    if origin is None or not origin.endswith(SOURCE):
        raise PythonModelFailed(
            f"Module {top} is not found where Python looks for modules (the working directory is not searched). Name "
            "the folder that it is in, or its file: --python-files FOLDER."
        )
    path = Path(origin)
    if path.name == "__init__.py":
        return _of_folder(path.parent.parent, path.parent)
    return _bounded({path.name: path.read_bytes()})


def _of_folder(root: Path, folder: Path) -> dict[str, bytes]:
    """Every file below `folder`, by its path from `root`."""
    inside = root.resolve()
    found: dict[str, bytes] = {}
    size = 0
    try:
        for path in sorted(folder.rglob("*")):
            relative = path.relative_to(root)
            if _is_left_out(relative.parts) or not path.is_file():
                continue
            if not path.resolve().is_relative_to(inside):
                raise PythonModelFailed(
                    f"{relative} is a link that leads out of the folder; put the file itself there."
                )
            size += path.stat().st_size
            if len(found) >= MOST_FILES or size > MOST_BYTES:
                raise _too_much()
            found[relative.as_posix()] = path.read_bytes()
    except OSError as error:
        raise PythonModelFailed(f"The files of the Python class can't be read: {error.strerror or error}.") from error
    return _bounded(found)


def _of_archive(path: Path) -> dict[str, bytes]:
    """What a `.zip` holds. Nothing is written anywhere, and nothing is read past its bounds."""
    found: dict[str, bytes] = {}
    left = MOST_BYTES
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if len(entries) > MOST_FILES:
                raise _too_much()
            for entry in entries:
                if entry.is_dir():
                    continue
                name = entry.filename
                parts = PurePosixPath(name).parts
                kind = stat.S_IFMT(entry.external_attr >> 16)
                if name in found or kind not in (0, stat.S_IFREG) or not is_inside(name):
                    raise PythonModelFailed("The .zip holds a link, a name twice, or one that leads out of it.")
                if _is_left_out(parts):
                    continue
                with archive.open(entry) as file:
                    content = file.read(left + 1)
                left -= len(content)
                if left < 0:
                    raise _too_much()
                found[name] = content
    except (zipfile.BadZipFile, zipfile.LargeZipFile, OSError, EOFError, ValueError, RuntimeError) as error:
        # A file with a password is a RuntimeError, a method of packing that is not known a NotImplementedError.
        raise PythonModelFailed(f"The .zip with the Python class can't be read ({type(error).__name__}).") from error
    except Exception as error:
        if isinstance(error, PythonModelFailed):
            raise
        # zlib's own error has no class that all Pythons share.
        raise PythonModelFailed(f"The .zip with the Python class is damaged ({type(error).__name__}).") from error
    return _bounded(found)


def is_inside(name: str) -> bool:
    """Whether a file's name is a plain path downwards.

    >>> [is_inside(name) for name in ("a/b.py", "../b.py", "/b.py", "c:b.py", "a//b.py", "a/./b.py")]
    [True, False, False, False, False, False]
    """
    parts = name.split("/")
    return not any(part in ("", ".", "..") for part in parts) and not any(mark in name for mark in "\\:\0")


def _is_left_out(parts: tuple[str, ...]) -> bool:
    return any(part.startswith(".") or part in _LEFT_OUT for part in parts) or parts[-1].endswith((".pyc", ".pyo"))


def _bounded(files: dict[str, bytes]) -> dict[str, bytes]:
    if not any(path.endswith(SOURCE) for path in files):
        raise PythonModelFailed("There is no .py file among the files of the Python class.")
    if sum(map(len, files.values())) > MOST_BYTES:
        raise _too_much()
    return files


def _too_much() -> PythonModelFailed:
    return PythonModelFailed(
        f"A Python class may bring {MOST_FILES:,} files of {MOST_BYTES:,} bytes together; these are more. Put what it "
        "needs into a folder of its own."
    )
