"""Content-addressed files."""

import hashlib

import pytest

from homeostat.errors import InvalidInput, NotFound, StorageFailed
from homeostat.stores.files import FolderFileStore
from homeostat.stores.memory import MemoryFileStore


@pytest.fixture(params=["folder", "memory"])
def files(request, tmp_path):
    return FolderFileStore(tmp_path / "files") if request.param == "folder" else MemoryFileStore()


@pytest.mark.parametrize("content", [b"", b"\x00\r\n" * 1000, b"a"])
def test_content_is_kept_under_its_hash(files, content):
    assert files.write(content) == hashlib.sha256(content).hexdigest()
    assert files.write(content) == hashlib.sha256(content).hexdigest()
    assert files.read(hashlib.sha256(content).hexdigest()) == content


def test_what_was_never_written_is_not_found(files):
    with pytest.raises(NotFound):
        files.read("0" * 64)


@pytest.mark.parametrize(
    "name", ["", "../../etc/passwd", "/etc/passwd", "A" * 64, "0" * 63, "0" * 64 + "\n", "../" + "0" * 61]
)
def test_only_hashes_are_addresses(tmp_path, name):
    with pytest.raises(InvalidInput):
        FolderFileStore(tmp_path).read(name)


def test_a_write_that_dies_leaves_no_file(tmp_path, monkeypatch):
    store = FolderFileStore(tmp_path)

    def die(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", die)
    with pytest.raises(StorageFailed, match="No space left"):
        store.write(b"content")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    monkeypatch.undo()
    assert store.read(store.write(b"content")) == b"content"


def test_a_folder_that_can_not_be_made_is_said(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageFailed):
        FolderFileStore(tmp_path / "file").write(b"content")


def test_writing_again_mends_a_damaged_file(tmp_path):
    store = FolderFileStore(tmp_path)
    digest = store.write(b"content")
    (tmp_path / digest[:2] / digest).write_bytes(b"contenu")
    assert store.read(digest) == b"contenu"
    store.write(b"content")
    assert store.read(digest) == b"content"
