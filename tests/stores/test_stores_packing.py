"""Ids as 16 bytes, and blocks as raw arrays: what comes out is what went in."""

import importlib.util
import uuid
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from homeostat.frames import Columns
from homeostat.records.ids import key_of, packed, texts_of
from homeostat.stores import packing
from homeostat.stores.arrow import gather

_spec = importlib.util.spec_from_file_location("small_blocks", Path(__file__).with_name("small_blocks.py"))
small = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(small)

UUIDS = some.uuids().map(str)
NEARLY = some.one_of(
    UUIDS.map(str.upper),
    UUIDS.map(lambda text: text.replace("-", "")),
    UUIDS.map(lambda text: " " + text[1:]),
    some.text(),
)


@given(some.lists(UUIDS, max_size=20))
def test_uuids_come_back(ids):
    keys = packed(ids)
    assert texts_of(keys) == ids
    assert keys == b"".join(map(key_of, ids)) == b"".join(uuid.UUID(id_).bytes for id_ in ids)


@given(some.lists(some.one_of(UUIDS, NEARLY), max_size=20))
def test_an_id_is_packed_only_if_it_comes_back(ids):
    keys = packed(ids)
    if keys is None:
        assert any(isinstance(key_of(id_), str) for id_ in ids)
    else:
        assert texts_of(keys) == ids
    for id_ in ids:
        key = key_of(id_)
        assert (texts_of(key) if isinstance(key, bytes) else [key]) == [id_]


@pytest.mark.parametrize("rows", [1, 7, 8, 600])
def test_texts_of_other_lengths_that_add_up_are_not_taken_for_uuids(rows):
    one = str(uuid.UUID(int=5))
    ids = [one] * rows
    ids[-1:] = [one[:-1], one + "0"]
    assert packed(ids) is None


@pytest.mark.parametrize("rows", [1, 3, 512, 700])
def test_a_matrix_behind_columns_gives_the_same_bytes_as_columns_of_their_own(rows):
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(rows, 4))
    shared = Columns({str(number): matrix[:, number] for number in range(4)})
    apart = Columns({name: values.copy() for name, values in shared.items()})
    assert packing.pack_features(shared) == packing.pack_features(apart)
    for order in ([1, 0, 2, 3], [0, 1, 2], [3, 3, 3, 3]):
        moved = Columns({f"{place}": matrix[:, number] for place, number in enumerate(order)})
        apart = Columns({name: values.copy() for name, values in moved.items()})
        assert packing.pack_features(moved) == packing.pack_features(apart)


def test_columns_of_different_lengths_are_refused_even_where_they_add_up():
    with pytest.raises(ValueError, match="lengths"):
        packing.pack_features(Columns({"a": np.zeros(3), "b": np.zeros(1)}, 2))


def test_a_text_that_is_none_is_refused_rather_than_lost():
    with pytest.raises(ValueError, match="texts"):
        packing.pack_features(Columns({"c": np.array(["a", 7], dtype=object)}))


@pytest.mark.parametrize(
    ("value", "is_narrow"),
    [
        (0.1, False),
        (float(np.float32(0.1)), True),
        (-0.0, True),
        (np.nan, True),
        (np.inf, True),
        (2.0**300, False),
        (2.0**-148, True),
        (2.0**-200, False),
    ],
)
def test_numbers_that_float32_can_hold_are_held_so_and_come_back(value, is_narrow):
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(600, 3)).astype(np.float32).astype(np.float64)
    matrix[555, 1] = value
    columns = Columns.of_matrix(["a", "b", "c"], matrix)
    found = packing.unpack_features(packing.pack_features(columns))
    assert found.narrow == is_narrow
    dtype = packing.NARROW if found.narrow else packing.FLOAT
    read = np.frombuffer(found.numbers, dtype).astype(np.float64).reshape(600, 3)
    assert np.array_equal(read, matrix, equal_nan=True)
    assert (np.signbit(read) == np.signbit(matrix)).all()


def test_wide_and_narrow_blocks_are_put_together():
    rng = np.random.default_rng(0)
    wide = rng.normal(size=(600, 2))
    narrow = wide.astype(np.float32).astype(np.float64)
    blocks = [(1, wide), (2, narrow), (3, wide[:1])]
    entries = []
    for number, matrix in blocks:
        made = small.block(*(f"{number}-{row}" for row in range(len(matrix))))
        features = packing.pack_features(Columns.of_matrix(["a", "b"], matrix))
        entries.append((number, packing.pack_core(made, None), features))
    [part] = gather(entries)
    found = np.column_stack([part.table.column(f"feature.{name}").to_numpy() for name in "ab"])
    assert np.array_equal(found, np.concatenate([matrix for _, matrix in blocks]))
