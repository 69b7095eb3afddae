"""kill -9 right after any write, in a retraining and in a rollout: the loop goes on and ends as it would have."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).with_name("killed_replay.py")
# Of about 320 writes, the run begins at about 166 and the rollout is over at about 250.
EVERYWHERE = [20, 100, *range(160, 260, 10), 300]


def replays(folder: Path, kill_at: list[int]) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(folder), *map(str, kill_at)],
        capture_output=True,
        text=True,
        check=False,
        timeout=1500,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def check(unkilled: dict[str, Any], others: list[dict[str, Any]]) -> None:
    assert not unkilled["killed"]
    assert unkilled["promotions"] == 1
    for one in others:
        where = f"killed after write {one['kill_at']}"
        assert one["killed"], where
        assert one["rows"] == unkilled["rows"], where
        assert one["rows"][0] == one["rows"][1], where
        assert one["decisions"] == unkilled["decisions"], where
        assert one["healed"] == unkilled["healed"], where
        assert one["labels"] == unkilled["labels"], where


@pytest.mark.slow
@pytest.mark.timeout(1600)
def test_a_loop_killed_at_any_write_ends_as_it_would_have(tmp_path: Path) -> None:
    unkilled, *others = replays(tmp_path, [0, *EVERYWHERE])
    check(unkilled, others)
