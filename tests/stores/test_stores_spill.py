"""Spill files: whole frames come back whatever byte a process died at, and nobody replays what another one holds."""

import os

import numpy as np
import pytest

from homeostat.stores.spill import OPENING, SpillFolder

CONTENTS = [b"first", b"\x00" * 9, b"x" * 300, b"\xff"]


def spilled(folder, contents=CONTENTS):
    spill = SpillFolder(folder, durability="power")
    for content in contents:
        spill.write(content)
    [path] = folder.iterdir()
    whole = path.read_bytes()
    spill.close()
    return path, whole


def frames_of(folder):
    with SpillFolder(folder, durability="process").abandoned() as files:
        return [content for file in files for content, _ in file.frames()]


def test_a_file_that_ends_at_any_byte_gives_its_whole_frames(tmp_path):
    path, whole = spilled(tmp_path)
    ends = [len(OPENING)]
    for content in CONTENTS:
        ends.append(ends[-1] + 8 + len(content))
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        assert frames_of(tmp_path) == CONTENTS[: sum(end <= size for end in ends[1:])]


def test_a_tail_of_zeros_or_of_noise_is_no_frame(tmp_path):
    path, whole = spilled(tmp_path)
    noise = np.random.default_rng(0)
    for tail in (bytes(100), b"\xff" * 100, *(noise.bytes(noise.integers(1, 40)) for _ in range(200))):
        path.write_bytes(whole + tail)
        assert frames_of(tmp_path) == CONTENTS


def test_a_byte_that_changed_ends_what_is_trusted(tmp_path):
    path, whole = spilled(tmp_path)
    for place in range(len(OPENING), len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        found = frames_of(tmp_path)
        assert found == CONTENTS[: len(found)]
        assert len(found) < len(CONTENTS)


def test_a_file_in_use_is_left_to_its_process(tmp_path):
    spill = SpillFolder(tmp_path, durability="process")
    spill.write(b"mine")
    assert frames_of(tmp_path) == []
    own = spill.own()
    assert [content for content, _ in own.frames()] == [b"mine"]
    end = own.end
    spill.write(b"later")
    assert not spill.forget(end)
    assert spill.forget(own.end)
    assert spill.own() is None
    spill.write(b"again")
    spill.close()
    assert frames_of(tmp_path) == [b"again"]


def test_a_deleted_file_is_begun_anew(tmp_path):
    spill = SpillFolder(tmp_path, durability="process")
    spill.write(b"one")
    for path in tmp_path.iterdir():
        path.unlink()
    spill.write(b"two")
    spill.close()
    assert frames_of(tmp_path) == [b"two"]


def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    spill = SpillFolder(tmp_path, durability="process")
    spill.write(b"kept")
    real = os.pwrite

    def full(descriptor, content, place):
        if place > 20:
            raise OSError(28, "No space left on device")
        return real(descriptor, bytes(content)[:3], place)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space"):
        spill.write(b"torn" * 10)
    monkeypatch.undo()
    spill.write(b"after")
    spill.close()
    assert frames_of(tmp_path) == [b"kept", b"after"]
