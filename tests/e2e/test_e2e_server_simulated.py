"""kill -9 of a simulated server while its clock is being moved: sent again, the order ends as it would have."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest

from homeostat import Client
from homeostat.errors import ServerUnreachable
from homeostat.ports import Registration
from homeostat.records import Stage

MODEL = "small"
FIRST, BATCH, BATCHES, TURN = 160, 16, 24, 8
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
SETTINGS = {
    "seed": "3",
    "serve.log_level": "warning",
    "policy.training.algorithms": "logistic_regression",
    "policy.training.retry_after": "1s",
    # How long this machine takes must decide nothing.
    "policy.service.p95_latency_ms": "1e6",
    "policy.guardrails.p95_latency_ms": "1e6",
    "policy.rollout.steps": (
        "shadow for 20 pairs until decided,canary 30% for 1h and 20 rows,ab 50% for 1h and 20 rows,100%,"
        "bake for 2h and 40 rows"
    ),
}


def make_table() -> pd.DataFrame:
    """Rows in the order of time; after some batches the label means the opposite."""
    rng = np.random.default_rng(5)
    rows = FIRST + BATCH * BATCHES
    x = rng.normal(size=(rows, 3))
    score = x @ np.array([2.0, -1.0, 0.5])
    score[FIRST + TURN * BATCH :] *= -1
    frame = pd.DataFrame(x.round(4), columns=["a", "b", "c"])
    frame["y"] = np.where(score + rng.normal(size=rows) * 0.3 > 0, "yes", "no")
    return frame


def moment_of(step: int) -> datetime:
    """Where the clock is moved to in a step."""
    return BEGAN + timedelta(hours=step + 1)


@dataclass
class Ended:
    """How a stream ended: all records that say what was done, what was answered, and how long each step took."""

    records: dict[str, Any]
    served: list[tuple[Any, ...]]
    seconds: list[float]
    cut_off: int = 0


def run_stream(servers: ModuleType, home: Path, kills: Mapping[int, Sequence[float]]) -> Ended:
    """Drive a simulated server through the table; `kills` says how long after the order of a step it is killed.

    Where a step has several, the order that is sent again is cut off again.
    """
    table = make_table()
    with servers.running_server(home, "--simulated", **SETTINGS) as server:
        client = Client(server.url, timeout=120)
        client.advance_clock(BEGAN)
        table[:FIRST].to_csv(home / "training.csv", index=False)
        client.register(MODEL, Registration(home / "training.csv", "y"), actor="tests", reason="first")
        for stage in (Stage.STAGING, Stage.PRODUCTION):
            client.move(MODEL, 1, stage, actor="tests", reason="first")
        ended = Ended({}, [], [])
        for step in range(BATCHES):
            part = table[FIRST + step * BATCH : FIRST + (step + 1) * BATCH]
            now = moment_of(step)
            times = [now - timedelta(minutes=BATCH - position) for position in range(BATCH)]
            ids = [f"row-{number}" for number in part.index]
            entities = [f"entity-{number % 50}" for number in part.index]
            answer = client.predict_batch(
                MODEL, part[["a", "b", "c"]], prediction_ids=ids, entities=entities, event_times=times
            )
            assert answer.probabilities is not None
            ended.served += zip(ids, answer.predictions, answer.probabilities, answer.versions, strict=True)
            naive = np.array([moment.replace(tzinfo=None) for moment in times], dtype="datetime64[us]")
            client.label(MODEL, ids, part["y"].tolist(), event_time=naive)
            for delay in kills.get(step, ()):
                ended.cut_off += kill_meanwhile(server, client, now, delay)
                client.close()
                client = Client(server.start().url, timeout=120)
            started = time.monotonic()
            client.advance_clock(now)
            ended.seconds.append(time.monotonic() - started)
        ended.records = records_of(client)
        client.close()
        assert server.stop() == 0
    return ended


def kill_meanwhile(server: Any, client: Client, now: datetime, delay: float) -> bool:
    """Order it to move its clock, and kill it so many seconds later; returns whether that cut the answer off."""
    killer = threading.Timer(delay, server.process.kill)
    killer.start()
    cut_off = True
    with suppress(ServerUnreachable):
        client.advance_clock(now)
        cut_off = False
    killer.cancel()
    killer.join()
    server.kill()
    return cut_off


def records_of(client: Client) -> dict[str, Any]:
    """What was decided and made."""
    whole = {
        "decisions": client.decisions(MODEL),
        "versions": client.versions(MODEL),
        "stages": client.stages(MODEL),
        "rollouts": client.rollouts(MODEL),
        "routes": client.routes(MODEL, limit=1000).routes,
        "runs": client.runs(MODEL),
        "findings": client.findings(MODEL, limit=100_000),
        "alerts": client.alerts(MODEL, everything=True),
    }
    return {name: without_measured(msgspec.to_builtins(found)) for name, found in whole.items()}


MEASURED = ("speedup", "candidate_p95_ms", "p95_latency_ms", "row_us", "batch_row_us", "original_row_us")
# The forms that were slower say by how much.
MEASURED += ("original_batch_row_us", "rejected")


def without_measured(value: Any) -> Any:
    """A record without what the machine's own clock measured, and without the count of its writes."""
    if isinstance(value, list | tuple):
        return [without_measured(one) for one in value]
    if not isinstance(value, dict):
        return value
    dropped = (*MEASURED, "revision", *(("statistic", "message") if value.get("check") == "service" else ()))
    return {name: without_measured(one) for name, one in value.items() if name not in dropped}


def logged_rows(home: Path) -> list[tuple[Any, ...]]:
    """The served rows of the log: id, output, score and version, in the order of writing."""
    from homeostat.stores.sqlite import SqlitePredictionLog

    log = SqlitePredictionLog(home / "state" / "log.db", home / "state" / "log")
    found = [
        row
        for _, block in log.blocks_after(MODEL, 0)
        if not block.shadow
        for row in zip(block.ids, block.output, block.score.tolist(), block.version.tolist(), strict=True)
    ]
    log.close()
    return found


def check_same(unkilled: Ended, other: Ended) -> None:
    for name, records in unkilled.records.items():
        assert len(other.records[name]) == len(records), name
        for one, expected in zip(other.records[name], records, strict=True):
            assert one == expected, name
    assert other.served == unkilled.served


def busy_steps(unkilled: Ended) -> list[int]:
    """Steps in which something was decided, the longest ones first; there is a retraining and a whole rollout."""
    decisions = unkilled.records["decisions"]
    kinds = {decision["kind"] for decision in decisions}
    assert {"retraining", "candidate", "rollout", "step", "promotion", "completed"} <= kinds
    moments = {datetime.fromisoformat(decision["at"]) for decision in decisions}
    busy = [step for step in range(BATCHES) if moment_of(step) in moments]
    return sorted(busy, key=lambda step: -unkilled.seconds[step])


def run_and_compare(servers: ModuleType, folder: Path, seed: int, plans: Sequence[Mapping[int, int]]) -> None:
    """A stream that nobody kills, then one for each plan: how many kills to which of the busy steps."""
    chance = random.Random(seed)  # noqa: S311
    unkilled = run_stream(servers, folder / "unkilled", {})
    logged, steps = logged_rows(folder / "unkilled"), busy_steps(unkilled)
    assert len({row[0] for row in logged}) == len(logged) == BATCH * BATCHES
    count = cut_off = 0
    for number, plan in enumerate(plans):
        kills = {
            steps[place]: [unkilled.seconds[steps[place]] * chance.uniform(0.02, 0.98) for _ in range(times)]
            for place, times in plan.items()
            if place < len(steps)
        }
        ended = run_stream(servers, folder / f"killed-{number}", kills)
        check_same(unkilled, ended)
        assert logged_rows(folder / f"killed-{number}") == logged
        count, cut_off = count + sum(map(len, kills.values())), cut_off + ended.cut_off
    print(f"{count} kills, {cut_off} of them before the answer; decisions: {len(unkilled.records['decisions'])}")


@pytest.mark.slow
def test_a_simulated_server_that_is_killed_again_and_again_ends_as_it_would_have(
    servers: ModuleType, tmp_path: Path
) -> None:
    every = dict.fromkeys(range(5), 1)
    run_and_compare(servers, tmp_path, 2, [every, {0: 3, 1: 2, 5: 1, 6: 1, 7: 1}])
