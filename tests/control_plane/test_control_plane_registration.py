"""What is told to whoever registers something that is no model."""

from __future__ import annotations

from pathlib import Path

import pytest

from homeostat.control_plane.registration import load_pipeline
from homeostat.errors import InvalidInput


@pytest.mark.parametrize("allow_pickle", [False, True])
@pytest.mark.parametrize("name", ["rows.csv", "rows.csv.gz", "rows.parquet"])
def test_files_in_the_wrong_order_are_told_as_such(tmp_path: Path, name: str, *, allow_pickle: bool) -> None:
    (tmp_path / name).write_bytes(b"a,b\n1,2\n")
    with pytest.raises(InvalidInput, match="The model's file comes first"):
        load_pipeline(tmp_path / name, allow_pickle=allow_pickle)
