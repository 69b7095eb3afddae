"""Parquet files from elsewhere are held to what their pages unpack to, whatever they say of themselves."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from homeostat.connectors.feeds.chunks import read_body
from homeostat.errors import InvalidData, TooLarge
from homeostat.frames.parquet import check_pages, text_bytes
from homeostat.http.packed import unpacked

PARQUET = "application/vnd.apache.parquet"
SIZE = 30_000_000


def written(table, **more):
    sink = io.BytesIO()
    pq.write_table(table, sink, **more)
    return sink.getvalue()


def varint(number, width=0):
    found = bytearray()
    number <<= 1
    while number >= 128 or len(found) + 1 < width:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])


@pytest.fixture(scope="module")
def lying():
    """One text of 30 MB in a few KB, of which the footer says that it is 1,000 bytes."""
    content = written(pa.table({"a": ["x" * SIZE], "y": ["1"]}), compression="zstd", use_dictionary=False)
    metadata = pq.ParquetFile(io.BytesIO(content)).metadata
    group = metadata.row_group(0)
    footer = len(content) - 8 - metadata.serialized_size
    end = content[footer:]
    for said in (group.total_byte_size, group.column(0).total_uncompressed_size):
        assert varint(said) in end
        end = end.replace(varint(said), varint(1_000, len(varint(said))))
    content = content[:footer] + end
    assert pq.ParquetFile(io.BytesIO(content)).metadata.row_group(0).total_byte_size == 1_000
    return content


def test_a_page_of_which_the_footer_lies_is_refused_before_it_is_unpacked(lying, tmp_path):
    with pytest.raises(TooLarge):
        read_body(lying, PARQUET, most_rows=10)
    (tmp_path / "rows.parquet").write_bytes(lying)
    with pytest.raises(TooLarge, match=r"rows\.parquet"):
        unpacked(tmp_path / "rows.parquet", "rows.parquet", SIZE // 2)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" * 3, b"PAR1" + bytes(40) + b"PAR1"])
def test_what_is_no_table_is_refused_everywhere(content, tmp_path):
    with pytest.raises(InvalidData):
        read_body(content, PARQUET, most_rows=10)
    with pytest.raises(InvalidData):
        check_pages(content, 1_000)
    (tmp_path / "rows.parquet").write_bytes(content)
    with pytest.raises(InvalidData, match=r"rows\.parquet"):
        unpacked(tmp_path / "rows.parquet", "rows.parquet", 1_000)


def test_honest_files_pass_whatever_wrote_them(tmp_path):
    table = pa.table({"id": ["a", "b", None], "x": [1.5, None, 2.0], "t": pa.array([1, 2, 3], pa.timestamp("us"))})
    for more in ({}, {"compression": None}, {"data_page_version": "2.0"}, {"use_dictionary": False}):
        content = written(table, **more)
        assert check_pages(memoryview(content), 10_000).rows == 3
        assert read_body(content, PARQUET, most_rows=3).columns["id"] == ["a", "b", None]
        (tmp_path / "rows.parquet").write_bytes(content)
        assert unpacked(tmp_path / "rows.parquet", "rows.parquet", 10_000) == tmp_path / "rows.parquet"


def test_texts_are_added_up_as_often_as_they_stand_there():
    column = pa.array(["abc", None, "abc", "", "d"]).dictionary_encode()
    assert text_bytes(column) == 7
    assert text_bytes(column.slice(2)) == 4
    assert text_bytes(pa.array([], pa.string()).dictionary_encode()) == 0
