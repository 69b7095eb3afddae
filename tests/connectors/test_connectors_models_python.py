"""A user's Python class as a model: what it brings, what it is given, what it may answer, and what is refused."""

from __future__ import annotations

import gc
import os
import sys
import tempfile
import threading
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from homeostat.connectors import models
from homeostat.connectors.models import python_files
from homeostat.connectors.models.python_class import PythonClass, as_outputs
from homeostat.connectors.models.python_files import pack, read_python_files
from homeostat.errors import CompilationFailed, InvalidInput, PythonModelFailed, PythonNotAllowed, ScoringFailed
from homeostat.frames import Columns, Kind
from homeostat.records import Feature, Signature, Task

ENTRY = "rules:Model"
GENERATOR = np.random.default_rng(5)
ROWS = Columns(
    {
        "a": GENERATOR.normal(size=60),
        "b": GENERATOR.normal(size=60),
        "colour": GENERATOR.choice(["red", "blue"], 60).astype(object),
    }
)
FEATURES = (
    Feature(name="a", kind=Kind.NUMERIC),
    Feature(name="b", kind=Kind.NUMERIC),
    Feature(name="colour", kind=Kind.CATEGORICAL),
)
BINARY = Signature(task=Task.BINARY, features=FEATURES, target="y", classes=("no", "yes"), positive="yes")
SIMPLE = """
import numpy as np
class Model:
    def predict(self, columns):
        return 1 / (1 + np.exp(-np.clip(np.nan_to_num(columns["a"]), -50, 50)))
"""


def compiled(
    source: str | dict[str, str], signature: Signature = BINARY, *, entry: str = ENTRY, seconds: float = 30
) -> Any:
    files = {"rules.py": source} if isinstance(source, str) else source
    given = models.GivenPython(entry, {path: text.encode() for path, text in files.items()}, seconds=seconds)
    return models.compile_model(given.with_classes(signature.classes), signature, ROWS)


def loaded(made: Any, signature: Signature = BINARY) -> Any:
    return models.load_predictor(made.files, made.form, signature, allow_python=True)


def test_a_class_is_served_as_it_answers_and_only_where_it_is_allowed() -> None:
    made = compiled(SIMPLE)
    assert (made.form.format, made.form.largest_difference) == ("python", 0)
    with pytest.raises(PythonNotAllowed, match="HOMEOSTAT_SERVE__ALLOW_PYTHON"):
        models.load_predictor(made.files, made.form, BINARY)
    found = loaded(made).predict(ROWS)
    expected = 1 / (1 + np.exp(-ROWS["a"]))
    np.testing.assert_allclose(found, np.column_stack([1 - expected, expected]))


def test_changed_and_foreign_files_are_refused_before_any_of_them_runs(tmp_path: Path) -> None:
    made = compiled(SIMPLE)
    evil = f"import pathlib; pathlib.Path({str(tmp_path / 'ran')!r}).touch()\n{SIMPLE}".encode()
    for files in (
        {**made.files, "files/rules.py": evil},
        {name: content for name, content in made.files.items() if name != "files/rules.py"},
        {**made.files, "serving.json": made.files["serving.json"].replace(b"rules:Model", b"other:Model")},
    ):
        with pytest.raises(CompilationFailed):
            models.load_predictor(files, made.form, BINARY, allow_python=True)
    form = msgspec.structs.replace(made.form, format="linear")
    with pytest.raises(CompilationFailed, match="python"):
        models.load_predictor(made.files, form, BINARY, allow_python=True)
    # A file that no hash speaks of is no part of the version.
    loaded(type(made)({**made.files, "files/numpy.py": evil}, made.form)).predict(ROWS)
    assert not (tmp_path / "ran").exists()


def test_a_class_is_given_its_columns_in_order_and_can_not_change_them() -> None:
    made = compiled("""
import numpy as np
class Model:
    features = ["b", "colour", "a"]
    def predict(self, columns):
        assert list(columns) == self.features
        assert columns["b"].dtype == np.float64 and columns["colour"].dtype == object
        try:
            columns["a"][:] = 1
        except ValueError:
            return np.where(columns["colour"] == "red", "yes", "no")
        raise AssertionError
""")
    before = ROWS["a"].copy()
    found = loaded(made).predict(ROWS)
    assert found[:, 1].tolist() == (ROWS["colour"] == "red").astype(float).tolist()
    assert (ROWS["a"] == before).all()


def test_modules_of_two_versions_lie_side_by_side_and_neither_is_seen_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What lies in the working directory, or is imported under the same name, is another thing.
    (tmp_path / "weights.py").write_text("VALUE = 99")
    (tmp_path / "rules.py").write_text("raise SystemExit")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    package = {
        "pack/__init__.py": "",
        "pack/rules.py": """
import json, pathlib
import numpy as np
import weights
from pack import deep
from .deep.inner import NAME
from pack.deep.inner import NAME as again
class Model:
    def __init__(self, told): self.told = told
    @classmethod
    def load(cls, folder):
        assert pathlib.Path(__file__).read_text()
        return cls(json.loads((folder / "told.json").read_text()))
    def predict(self, columns):
        import pack.deep.inner, weights as late
        assert (NAME, again, pack.deep.inner.NAME, late) == ("inner", "inner", "inner", weights)
        return np.full(len(columns["a"]), weights.VALUE * self.told)
""",
        "pack/deep/inner.py": "NAME = 'inner'",
        "weights.py": "VALUE = .1",
        "told.json": "2",
    }
    first = compiled(package, entry="pack.rules:Model")
    second = compiled({**package, "weights.py": "VALUE = .4"}, entry="pack.rules:Model")
    one, other = loaded(first), loaded(second)
    for _ in range(2):
        assert one.predict(ROWS)[0].tolist() == [0.8, 0.2]
        assert other.predict(ROWS)[0].tolist() == pytest.approx([0.2, 0.8])
    assert not {"pack", "pack.rules", "weights"} & set(sys.modules)
    held = {name for name in sys.modules if name.startswith("_homeostat_python_")}
    del one, other
    gc.collect()
    assert len({name for name in sys.modules if name.startswith("_homeostat_python_")}) < len(held)


THREE = msgspec.structs.replace(BINARY, task=Task.MULTICLASS, classes=("a", "b", "c"), positive=None)
VALUES = msgspec.structs.replace(BINARY, task=Task.REGRESSION, classes=(), positive=None)


@pytest.mark.parametrize(
    ("given", "classes", "expected"),
    [
        ([0.2, 0.9], ("no", "yes"), [[0.8, 0.2], [0.1, 0.9]]),
        ([[0.2], [0.9]], ("no", "yes"), [[0.8, 0.2], [0.1, 0.9]]),
        ([[0.8, 0.2], [0.1, 0.9]], ("no", "yes"), [[0.8, 0.2], [0.1, 0.9]]),
        ([True, False], ("false", "true"), [[0, 1], [1, 0]]),
        ([1, 0], ("0", "1"), [[0, 1], [1, 0]]),
        (["c", "a"], ("a", "b", "c"), [[0, 0, 1], [1, 0, 0]]),
        (np.array([[0.2, 0.3, 0.5]] * 2, dtype=np.float32), ("a", "b", "c"), [[0.2, 0.3, 0.5]] * 2),
        ([3, -1], (), [3, -1]),
        ([[3.5], [1]], (), [3.5, 1]),
    ],
)
def test_what_a_class_may_answer(given: Any, classes: tuple[str, ...], expected: Any) -> None:
    np.testing.assert_allclose(as_outputs(given, 2, classes), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("given", "classes", "said"),
    [
        ([0.5], ("no", "yes"), "shape"),
        (0.5, ("no", "yes"), "shape"),
        (None, ("no", "yes"), "shape"),
        ([[0.5, 0.2, 0.3]] * 2, ("no", "yes"), "shape"),
        ([1.5, 0.2], ("no", "yes"), "outside 0 to 1"),
        ([[0.5, 0.1]] * 2, ("no", "yes"), "add up to 1"),
        (["maybe", "no"], ("no", "yes"), "named a class"),
        ([None, "no"], ("no", "yes"), "named a class"),
        ([0.5, 0.5], ("a", "b", "c"), "named a class"),
        (["1", "2"], (), "shape"),
        ([[1.0, 2.0]] * 2, (), "shape"),
        ([[1.0], [2.0, 3.0]], (), "no array"),
    ],
)
def test_what_a_class_may_not_answer(given: Any, classes: tuple[str, ...], said: str) -> None:
    with pytest.raises(ScoringFailed, match=said):
        as_outputs(given, 2, classes)


BODY = "class Model:\n    def predict(self, columns):\n        "


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def f(:", r"SyntaxError in rules\.py, line 1"),
        ("x = 1\nimport nowhere_at_all", r"ModuleNotFoundError in rules\.py, line 2: No module named 'nowhere_at_all'"),
        ("x = 1", "has no class Model"),
        ("Model = 3", "has no class Model"),
        ("raise SystemExit(0)", r"SystemExit in rules\.py, line 1"),
        ("class Model:\n    def __init__(self, a): pass\n    def predict(self, c): ...", "TypeError"),
        ("class Model: pass", "no method predict"),
        ("class Model:\n    features = 'ab'\n    def predict(self, c): ...", "'features'"),
        ("class Model:\n    classes = [1, 1]\n    def predict(self, c): ...", "'classes'"),
        (BODY + "raise RuntimeError(columns)", r"raised RuntimeError in rules\.py, line 3\."),
        (BODY + "raise SystemExit", "raised SystemExit"),
        (BODY + "return [0.5]", r"shape \(1,\)"),
        (BODY + "return __import__('numpy').random.random(len(columns['a']))", "differ"),
        (
            BODY + "return columns['a'][:1].squeeze() * 0 + .5 if len(columns['a']) == 1 else columns['a'] * 0 + .5",
            "()",
        ),
        ("class Model:\n    features = ['d']\n    def predict(self, c): ...", "'?d"),
        ("\0", "ValueError|SyntaxError"),
    ],
)
def test_a_class_that_can_not_be_used_is_refused_with_the_place(source: str, said: str) -> None:
    with pytest.raises((CompilationFailed, ScoringFailed), match=said) as caught:
        compiled(source)
    assert "_homeostat_python_" not in caught.value.message
    assert tempfile.gettempdir() not in caught.value.message


def test_a_class_that_hangs_is_given_up_and_not_tried_again_at_once() -> None:
    hanging = "import threading\nthreading.Event().wait(300)\n"
    with pytest.raises(PythonModelFailed, match=r"within 0\.1 seconds"):
        compiled(hanging + SIMPLE, seconds=0.1)
    # One that hangs only where it is served: later tries end at once, without another thread.
    made = compiled(
        "import os, threading\nif 'HANG' in os.environ: threading.Event().wait(300)\n" + SIMPLE, seconds=120
    )
    os.environ["HANG"] = "1"
    try:
        for _ in range(3):
            with pytest.raises(PythonModelFailed, match="within"):
                models.load_predictor(made.files, made.form, BINARY, allow_python=True, python_seconds=0.1)
    finally:
        del os.environ["HANG"]
    assert sum(thread.name == "homeostat-python" for thread in threading.enumerate()) == 2


def test_classes_are_the_classes_own_or_the_targets_in_order() -> None:
    def classes_of(source: str, classes: tuple[str, ...]) -> tuple[str, ...]:
        given = models.GivenPython(ENTRY, {"rules.py": source.encode()})
        return given.with_classes(classes).classes_

    assert classes_of(SIMPLE, ("10", "9")) == ("9", "10")
    assert classes_of(SIMPLE, ("yes", "no")) == ("no", "yes")
    assert classes_of(SIMPLE + "    classes = [1, 0, 2]", ("0", "1")) == ("1", "0", "2")
    for classes in (("3", "0"), ()):
        with pytest.raises(InvalidInput):
            classes_of(SIMPLE + "    classes = [1, 0]", classes)


def test_a_class_that_refuses_missing_values_refuses_them_served() -> None:
    made = compiled(
        BODY + "import numpy as np; assert np.isfinite(columns['b']).all(); return columns['b'] > 0", VALUES
    )
    assert "refuses missing values in b" in made.form.reason
    with pytest.raises(InvalidInput, match="'b' has missing values"):
        loaded(made, VALUES).predict(Columns({**ROWS.values_by_name, "b": np.full(60, np.nan)}))


def folder_of(path: Path, *names: str) -> Path:
    for name in names:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(SIMPLE)
    return path


def test_files_come_from_a_folder_a_file_or_an_archive(tmp_path: Path) -> None:
    folder = folder_of(
        tmp_path / "own",
        "rules.py", "weights/w.bin", ".git/config", "__pycache__/rules.pyc", "rules.pyc", ".env",
    )  # fmt: skip
    files = read_python_files(ENTRY, folder)
    assert sorted(files) == ["rules.py", "weights/w.bin"]
    (tmp_path / "packed.zip").write_bytes(pack(files))
    assert read_python_files(ENTRY, tmp_path / "packed.zip") == files
    (tmp_path / "python_files.py").write_text(SIMPLE)
    assert list(read_python_files(ENTRY, tmp_path / "python_files.py")) == ["rules.py"]
    PythonClass(ENTRY, files)


def test_files_that_can_not_be_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_of(tmp_path / "own", "rules.py")
    (tmp_path / "secret.py").write_text("SECRET = 1")
    (folder / "link.py").symlink_to(tmp_path / "secret.py")
    (tmp_path / "none").mkdir()
    (tmp_path / "text.txt").write_text(SIMPLE)
    (tmp_path / "bad.zip").write_bytes(b"PK nothing")
    for source in (folder, tmp_path / "none", tmp_path / "absent", tmp_path / "text.txt", tmp_path / "bad.zip"):
        with pytest.raises(PythonModelFailed):
            read_python_files(ENTRY, source)
    for name in ("../rules.py", "/rules.py", "a/../rules.py", "a\\rules.py", "c:rules.py"):
        with zipfile.ZipFile(tmp_path / "out.zip", "w") as archive:
            archive.writestr("rules.py", SIMPLE)
            archive.writestr(name, SIMPLE)
        with pytest.raises(PythonModelFailed, match="leads out"):
            read_python_files(ENTRY, tmp_path / "out.zip")
    link = zipfile.ZipInfo("link.py")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        archive.writestr("rules.py", SIMPLE)
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(PythonModelFailed, match="a link"):
        read_python_files(ENTRY, tmp_path / "link.zip")
    monkeypatch.setattr(python_files, "MOST_BYTES", 1_000_000)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("rules.py", b" " * 50_000_000)
    with pytest.raises(PythonModelFailed, match="more"):
        read_python_files(ENTRY, tmp_path / "bomb.zip")
    for entry in ("rules", "rules:", ":Model", "rules.Model", "../rules:Model", "a b:C", "rules:Model:X", "a" * 400):
        with pytest.raises(PythonModelFailed, match=r"package\.module:Class"):
            read_python_files(entry, folder)


def test_without_files_a_module_is_found_where_python_looks_but_not_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(
        folder_of(tmp_path, "only_here.py", "else/found_there.py", "else/whole/__init__.py", "else/whole/x.py")
    )
    monkeypatch.setattr(sys, "path", ["", str(tmp_path), *sys.path])
    with pytest.raises(PythonModelFailed, match="the working directory is not searched"):
        read_python_files("only_here:Model", None)
    monkeypatch.syspath_prepend(str(tmp_path / "else"))
    assert list(read_python_files("found_there:Model", None)) == ["found_there.py"]
    assert sorted(read_python_files("whole.x:Model", None)) == ["whole/__init__.py", "whole/x.py"]
    with pytest.raises(PythonModelFailed):
        read_python_files("math:Model", None)
