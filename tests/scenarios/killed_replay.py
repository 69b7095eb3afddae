"""Replays a small drifting table on SQLite, is killed (SIGKILL) at a chosen write, goes on, and prints how it ended.

Run as a program: `killed_replay.py FOLDER KILL_AT...`; 0 is a replay that nobody kills. Each replay is a forked
child, so that the heavy imports are paid for once and a kill takes nothing else with it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

ROWS, BATCHES = 700, 50
OVERRIDES = {
    "policy.training.algorithms": ["logistic_regression"],
    "policy.training.retry_after": "1s",
    "seed": 3,
}


def make_table() -> Any:
    from homeostat.connectors.tables import prepare

    rng = np.random.default_rng(5)
    x = rng.normal(size=(ROWS, 3))
    weights = np.array([2.0, -1.0, 0.5])
    score = x @ weights
    score[ROWS // 2 :] = x[ROWS // 2 :] @ -weights
    label = np.where(score + rng.normal(size=ROWS) * 0.3 > 0, "yes", "no")
    return prepare({"a": x[:, 0], "b": x[:, 1], "c": x[:, 2], "y": label.astype(object)}, target="y", name="small")


def kill_after_writes(kill_at: int) -> list[int]:
    """Count every durable write of the process, and die right after the chosen one."""
    from homeostat.stores.sqlite import SqliteControlStore, SqlitePredictionLog

    count = [0]

    def written() -> None:
        count[0] += 1
        if count[0] == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    begin = SqliteControlStore.begin

    @contextmanager
    def counted(self: SqliteControlStore) -> Iterator[Any]:
        with begin(self) as transaction:
            yield transaction
        written()

    SqliteControlStore.begin = counted  # type: ignore[method-assign]
    for name in ("append", "append_labels"):
        original = getattr(SqlitePredictionLog, name)

        def logged(self: Any, block: Any, original: Any = original) -> Any:
            result = original(self, block)
            written()
            return result

        setattr(SqlitePredictionLog, name, logged)
    return count


def replay_once(folder: Path, kill_at: int, answer: Path) -> None:
    from homeostat.backtest.replay import Options
    from homeostat.settings import load
    from homeostat.wiring import run_backtest

    count = kill_after_writes(kill_at)
    result = run_backtest(
        make_table(), Options(batches=BATCHES, seed=3), load(environment={}, overrides=OVERRIDES), state=folder
    )
    figures = result.to_dict()
    answer.write_text(
        json.dumps(
            {
                "decisions": [[d["time"], d["kind"], d["reason"]] for d in figures["decisions"]],
                "healed": figures["strategies"]["healed"],
                "promotions": figures["promotions"],
                "labels": figures["labels_used"],
                "writes": count[0],
            }
        )
    )


def in_child(folder: Path, kill_at: int, answer: Path) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            replay_once(folder, kill_at, answer)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def logged_rows(folder: Path) -> list[int]:
    """How many served rows the log holds, and how many different ids."""
    from homeostat.stores.sqlite import SqlitePredictionLog

    log = SqlitePredictionLog(folder / "log.db", folder / "log")
    ids = [id_ for _, block in log.blocks_after("backtest", 0) if not block.shadow for id_ in block.ids]
    log.close()
    return [len(ids), len(set(ids))]


def main() -> None:
    import homeostat.wiring  # noqa: F401 (paid for once, before forking)

    base = Path(sys.argv[1])
    ended = []
    for kill_at in map(int, sys.argv[2:]):
        folder, answer = base / f"at-{kill_at}", base / f"at-{kill_at}.json"
        code = in_child(folder, kill_at, answer)
        killed = code == -signal.SIGKILL
        if killed:
            code = in_child(folder, 0, answer)
        if code != 0:
            sys.exit(f"the replay killed at write {kill_at} could not go on (exit {code})")
        ended.append(
            {"kill_at": kill_at, "killed": killed, "rows": logged_rows(folder), **json.loads(answer.read_text())}
        )
    print(json.dumps(ended))


if __name__ == "__main__":
    main()
