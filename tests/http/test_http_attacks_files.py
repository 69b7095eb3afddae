"""Known classes of attack by files: bombs, archives, links, pickles, and files that change behind one's back."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import resource
import struct
import tempfile
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import skops.io
from sklearn.linear_model import LogisticRegression

from homeostat.errors import HomeostatError

UPLOAD = "/api/v1/models/fresh/versions"
TARGET = ("target", None, b"y")
MOST = 20_000_000
# What code in an upload would make.
MARK = "/tmp/unpickled"  # noqa: S108 (nothing is to be made there)


@pytest.fixture(scope="module")
def small(small_servers: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server that takes 20 MB, packed and unpacked."""
    home = tmp_path_factory.mktemp("files")
    yield from small_servers.closed(small_servers.open_server(home, register=False, serve__upload_bytes=MOST))


@pytest.fixture(autouse=True)
def emptied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: Any) -> Iterator[Path]:
    """A folder for temporary files that is empty again in the end; what is refused leaves no trace in the state."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = small.kept()
    yield tmp_path
    assert [path for path in tmp_path.rglob("*") if path.name != ".ses"] == []
    assert small.kept() == before
    assert not list(Path(MARK).parent.glob(f"{Path(MARK).name}*"))


def rows() -> bytes:
    rng = np.random.default_rng(0)
    return b"a,b,y\n" + b"".join(b"%f,%f,%d\n" % (a, b, a > 0) for a, b in rng.normal(size=(150, 2)))


def model() -> bytes:
    rng = np.random.default_rng(0)
    given = rng.normal(size=(150, 2))
    return bytes(skops.io.dumps(LogisticRegression().fit(given, (given[:, 0] > 0).astype(int))))


def parquet(table: pa.Table, **more: Any) -> bytes:
    made = io.BytesIO()
    pq.write_table(table, made, **more)
    return made.getvalue()


def peak() -> int:
    """The most memory that this process had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


# Decompression bombs: Python's zipfile CVE-2019-9674.
@cache
def bombs() -> dict[str, tuple[str, bytes]]:
    one = pa.DictionaryArray.from_arrays(pa.array(np.zeros(20_000, np.int32)), pa.array(["x" * 100_000]))
    answers = ["0", "1"] * 10_000
    wide = pa.array([b"x" * 50_000] * 2000, pa.binary(50_000))
    return {
        "text in a dictionary, 5 KB for 2 GB": (
            "rows.parquet",
            parquet(pa.table({"a": one, "y": answers}), store_schema=False),
        ),
        "text in a dictionary, said to be one": ("rows.parquet", parquet(pa.table({"a": one, "y": answers}))),
        "equal numbers": ("rows.parquet", parquet(pa.table({"a": np.zeros(3_000_000), "y": np.zeros(3_000_000)}))),
        "bytes of one width": ("rows.parquet", parquet(pa.table({"a": wide, "y": ["0", "1"] * 1000}))),
        "compressed text": (
            "rows.parquet",
            parquet(pa.table({"a": ["x" * 30_000_000], "y": ["1"]}), compression="zstd", use_dictionary=False),
        ),
        "gzip": ("rows.csv.gz", gzip.compress(b"a,y\n" + b"1,1\n" * 6_000_000)),
        "gzip in parts": ("rows.csv.gz", gzip.compress(b"1,1\n" * 2_000_000) * 5),
    }


@pytest.mark.parametrize("name", list(bombs()))
def test_tables_that_unpack_to_too_much_are_refused_before_they_do(small: Any, name: str) -> None:
    file, content = bombs()[name]
    assert len(content) < 1_000_000
    before = peak()
    answer = small.upload(UPLOAD, [("training", file, content), TARGET])
    assert (answer.status, answer.code) == (413, "too_large"), answer.content
    assert peak() - before < 400_000_000


def test_tables_of_lists_are_no_tables_to_learn_from(small: Any) -> None:
    table = pa.table({"a": [[1.0] * 1000] * 200, "y": ["0", "1"] * 100})
    answer = small.upload(UPLOAD, [("training", "rows.parquet", parquet(table)), TARGET])
    assert (answer.status, answer.code) == (400, "invalid_data")


def test_tables_with_texts_are_still_taken_as_far_as_they_fit(small: Any) -> None:
    table = pa.table(
        {"a": ["x", None, "größer"] * 50, "c": pa.array(["p"] * 150).dictionary_encode(), "y": ["1"] * 150}
    )
    answer = small.upload(UPLOAD, [("training", "rows.parquet", parquet(table)), TARGET])
    assert answer.code == "invalid_target"


def test_many_columns_are_not_many_times_the_work(small: Any) -> None:
    # Ten thousand columns, in 60 KB: what compares each name with each other takes minutes.
    many = b",".join(b"c%d" % place for place in range(10_000)) + b",y\n" + b"1," * 10_000 + b"0\n"
    answer = small.upload(UPLOAD, [("training", "rows.csv", many), TARGET])
    assert answer.code == "invalid_data"


def rezipped(change: Any) -> bytes:
    """The good model's archive with what a function makes of each member."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(model())) as given, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as file:
        for entry in given.infolist():
            for name, content in change(entry.filename, given.read(entry)):
                file.writestr(name, content)
    return made.getvalue()


def array_of(shape: tuple[int, ...], kind: str) -> bytes:
    """The head of an array with little behind it."""
    made = io.BytesIO()
    np.lib.format.write_array_header_1_0(made, {"descr": kind, "fortran_order": False, "shape": shape})
    return made.getvalue() + b"\0" * 64


class Runs:
    """Makes a folder when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.mkdir, (MARK,)


def pickled_array() -> bytes:
    made = io.BytesIO()
    np.save(made, np.array([Runs()], dtype=object), allow_pickle=True)
    return made.getvalue()


def node(module: str, name: str, loader: str = "FunctionNode") -> bytes:
    content = {"module_path": module, "function": name}
    made = {"__class__": name, "__module__": module, "__loader__": loader, "content": content, "protocol": 2}
    return json.dumps(made).encode()


# Archives: members that name other places (Python's tarfile CVE-2007-4559), arrays that say they are larger than they
# are, code by name, and pickles inside (MLflow CVE-2024-37052, Keras CVE-2024-3660).
ARCHIVES: dict[str, Any] = {
    "members elsewhere": lambda name, content: [(f"../../../..{MARK}.{name}", content)],
    "members at the root": lambda name, content: [(f"{MARK}.{name}", content)],
    "members of drives": lambda name, content: [(f"C:\\{name}", content)],
    "a huge array": lambda name, content: [(name, array_of((10**11,), "<f8") if name.endswith(".npy") else content)],
    "an array without a size": lambda name, content: [(name, array_of((-1,), "<f8") if ".npy" in name else content)],
    "an array of objects": lambda name, content: [(name, pickled_array() if name.endswith(".npy") else content)],
    "a pickle for a schema": lambda name, content: [(name, pickle.dumps(Runs()) if ".json" in name else content)],
    "deep nesting": lambda name, content: [(name, b"[" * 200_000 if name.endswith(".json") else content)],
    "os.system": lambda name, content: [(name, node("os", "system") if name.endswith(".json") else content)],
    "eval": lambda name, content: [(name, node("builtins", "eval") if name.endswith(".json") else content)],
    "a method": lambda name, content: [(name, node("os", "system", "MethodNode") if ".json" in name else content)],
    "a loader that is none": lambda name, content: [(name, node("os", "system", "x") if ".json" in name else content)],
    "no schema": lambda name, content: [] if name.endswith(".json") else [(name, content)],
}


@pytest.mark.parametrize("name", list(ARCHIVES))
def test_archives_with_traps_run_nothing_and_write_nowhere(small: Any, name: str) -> None:
    before = peak()
    parts = [("training", "rows.csv", rows()), TARGET, ("pipeline", "model.skops", rezipped(ARCHIVES[name]))]
    answer = small.upload(UPLOAD, parts)
    assert (answer.status, answer.code) == (400, "compilation_failed"), answer.content
    assert peak() - before < 400_000_000


def test_an_archive_that_unpacks_to_too_much_is_refused(small: Any) -> None:
    overlapping = rezipped(lambda name, content: [(name, content), (f"{name}.x", b"\0" * MOST)])
    parts = [("training", "rows.csv", rows()), TARGET, ("pipeline", "model.skops", overlapping)]
    answer = small.upload(UPLOAD, parts)
    assert (answer.status, answer.code) == (413, "too_large")


@pytest.mark.parametrize(
    "name", ["model.skops", "model.pkl", "model.joblib", "rows.csv", "rows.csv.gz", "rows.parquet"]
)
def test_a_pickle_under_any_name_is_not_loaded(small: Any, name: str) -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        evil = pickle.dumps(Runs(), protocol)
        field = "training" if name.startswith("rows") else "pipeline"
        rest = [] if field == "training" else [("training", "rows.csv", rows())]
        assert small.upload(UPLOAD, [*rest, TARGET, (field, name, evil)]).status == 400


NAMES = [
    "../../../../tmp/unpickled.csv",
    "..\\..\\tmp\\unpickled.csv",
    f"{MARK}.csv",
    "C:\\unpickled.csv",
    "a\0.csv",
    "%2e%2e%2funpickled.csv",
    "\u202evsc.exe.csv",
    "CON.csv",
    "x" * 5000 + ".csv",
    "$(touch /tmp/unpickled).csv",
    "a;rm -rf x.csv",
    "..csv",
    ".csv",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_of_uploads_name_no_place(small: Any, name: str) -> None:
    parts = [("training", name, b"a,y\n1,2\n"), TARGET]
    body = b"".join(
        b'--limit\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
        % (field.encode(), b"" if file is None else b'; filename="%s"' % file.encode(), content)
        for field, file, content in parts
    )
    kind = "multipart/form-data; boundary=limit"
    answer = small.post(UPLOAD, body + b"--limit--\r\n", headers={"content-type": kind})
    assert answer.status == 400
    assert "unpickled" not in answer.content.decode()


# Links: a state folder that somebody could write to leads nowhere else.
def test_a_link_in_the_place_of_a_file_gives_nothing_away_and_is_not_written_through(tmp_path: Path) -> None:
    import shutil

    from homeostat.stores.files import FolderFileStore

    folder, outside = Path(tempfile.mkdtemp()), Path(tempfile.mkdtemp())
    try:
        secret = outside / "secret"
        secret.write_bytes(b"a secret of this machine")
        store = FolderFileStore(folder)
        digest = store.write(b"content")
        place = folder / digest[:2] / digest
        place.unlink()
        place.symlink_to(secret)
        assert store.write(b"content") == digest
        assert not place.is_symlink()
        assert secret.read_bytes() == b"a secret of this machine"
        assert store.read(digest) == b"content"
    finally:
        shutil.rmtree(folder)
        shutil.rmtree(outside)


# Time of check, time of use: the bytes that were hashed are the bytes that are loaded.
def test_the_bytes_that_are_loaded_are_the_bytes_that_were_hashed(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = app.server.system.registry
    version = registry.version("spam", 1)
    store, reads = registry._files, {}
    real = type(store).read

    def swapping(self: Any, digest: str) -> bytes:
        # A file that is another one whenever it is read again.
        reads[digest] = reads.get(digest, 0) + 1
        return real(self, digest) if reads[digest] == 1 else pickle.dumps(Runs())

    monkeypatch.setattr(type(store), "read", swapping)
    loaded = registry.load(version)
    assert loaded.predict({"links": np.array([1.0]), "length": np.array([2.0])}).shape == (1, 2)
    assert set(reads.values()) == {1}
    with pytest.raises(HomeostatError, match="is not what was registered"):
        registry.load(version)


def test_a_parquet_file_whose_end_lies_is_refused(small: Any) -> None:
    whole = parquet(pa.table({"a": [1.0] * 200, "y": ["0", "1"] * 100}))
    for length in (2**31 - 1, len(whole) * 2, 0, 8):
        lying = whole[:-8] + struct.pack("<I", length) + b"PAR1"
        answer = small.upload(UPLOAD, [("training", "rows.parquet", lying), TARGET])
        assert answer.status == 400, (length, answer.content)
