"""An experiment from its draft to its end, over real sockets: the client makes it, callers are split and stay."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from homeostat.cli.app import run
from homeostat.errors import IllegalTransition, InvalidExperiment, InvalidInput, RangesTaken, UnknownRecord
from homeostat.experiments.planning import planned
from homeostat.http.protocol import bounded
from homeostat.records import Arm, Buckets, ExperimentDraft, ExperimentMetric, ExperimentState, MetricRole, PlanQuestion
from homeostat.sdk import Client

WHO = {"actor": "ann", "reason": "to know"}
EVERY = "/api/v1/experiments"
ARMS = (Arm(name="control", version=1, weight=0.5), Arm(name="new", version=2, weight=0.5))
METRICS = (
    ExperimentMetric(name="accuracy", role=MetricRole.SUCCESS),
    ExperimentMetric(name="clicks", role=MetricRole.GUARDRAIL, is_own=True, margin=0.1, bounds=(0.0, 1.0)),
)
DRAFT = ExperimentDraft(model="spam", name="try", arms=ARMS, metrics=METRICS, share=0.5)


def predicted(client: Client, entities: list[str]) -> list[tuple[str, int]]:
    rows = [{"links": 0.5, "length": 1.0}] * len(entities)
    found = client.predict_batch("spam", rows, entities=entities)
    return list(zip(found.arms, found.versions, strict=True))


def test_from_draft_to_archive(used: Any, small_servers: Any) -> None:
    with (
        small_servers.listening(used.server.application, bounded(5.0, used.server.direct)) as port,
        Client(f"http://127.0.0.1:{port}") as client,
    ):
        one = client.create_experiment(DRAFT, **WHO)
        assert (one.state, one.ranges) == (ExperimentState.DRAFT, (Buckets(start=0, stop=5000),))
        with pytest.raises(RangesTaken):
            client.set_holdouts("spam", [Buckets(start=0, stop=10)], **WHO)
        assert client.set_holdouts("spam", [Buckets(start=9000, stop=10_000)], **WHO) == client.namespaces()[0]
        client.start_experiment(one.id, **WHO)
        used.server.follower.follow()
        entities = [f"user-{number}" for number in range(300)]
        first = predicted(client, entities)
        names = {"control", f"{one.id}/control", f"{one.id}/new"}
        assert {arm for arm, _ in first} == names
        assert all(version == (2 if arm.endswith("/new") else 1) for arm, version in first)
        assert 40 < sum(version == 2 for _, version in first) < 110
        assert predicted(client, entities) == first
        # One row at a time goes the short way, to the same arms.
        for entity, (arm, version) in list(zip(entities, first, strict=True))[:20]:
            answer = client.predict("spam", {"links": 0.5, "length": 1.0}, entity=entity)
            assert (answer.arm, answer.version) == (arm, version)
        kept = {row["entity"]: row["arm"] for row in used.logged("spam").values()}
        assert [kept[entity] for entity in entities] == [arm for arm, _ in first]
        grown = client.weigh_experiment(one.id, [0.2, 0.8], **WHO)
        assert grown.epochs[-1].weights == (0.2, 0.8)
        used.server.follower.follow()
        again = predicted(client, entities)
        assert all(now == was for was, now in zip(first, again, strict=True) if was[1] == 2)
        assert client.log_metric(one.id, "clicks", ["user-1"], [1.0]).accepted == 1
        with pytest.raises(InvalidExperiment):
            client.log_metric(one.id, "clicks", ["user-1"], [7.0])
        used.server.system.tick()
        seen = client.experiment(one.id)
        assert (seen.state, sum(seen.evidence["units"]) > 50) == (ExperimentState.RUNNING, True)
        assert client.pause_experiment(one.id, **WHO).state is ExperimentState.PAUSED
        assert client.resume_experiment(one.id, **WHO).state is ExperimentState.RUNNING
        ended = client.stop_experiment(one.id, **WHO)
        assert (ended.state, ended.verdict) == (ExperimentState.CONCLUDED, None)
        used.server.follower.follow()
        assert {arm for arm, _ in predicted(client, entities)} == {"control"}
        with pytest.raises(IllegalTransition):
            client.start_experiment(one.id, **WHO)
        assert client.archive_experiment(one.id, **WHO).state is ExperimentState.ARCHIVED
        assert [each.id for each in client.experiments("spam")] == [one.id]
        with pytest.raises(UnknownRecord):
            client.experiment("nope")
        assert httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=120).status_code == 200


def test_all_of_it_from_the_command_line(
    used: Any, small_servers: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with small_servers.listening(used.server.application, bounded(5.0, used.server.direct)) as port:
        server = ["--server", f"http://127.0.0.1:{port}"]

        def told(status: int, *arguments: str) -> str:
            found = run([*arguments, *server])
            said = capsys.readouterr()
            assert found == status, said
            return said.out + said.err

        arms = ["--arm", "control=1:0.5", "--arm", "new=2:0.5"]
        metrics = ["--metric", "accuracy:success:0:0.02", "--own-metric", "clicks:guardrail:higher:0.1:0..1:0.05"]
        limits = [
            "--maximum-units",
            "5000",
            "--futility",
            "0.1",
            "--power",
            "0.9",
            "--shadow-rows",
            "7",
            "--reweigh",
            "2h",
        ]
        costs = ["--cost-false-positive", "2", "--cost-false-negative", "9"]
        create = ["experiment", "create", "spam", "all", *arms, *metrics, *limits, *costs, "--share", "20%"]
        one = json.loads(told(0, *create, "--json"))
        plan = one["plan"]
        assert [metric["minimum_effect"] for metric in plan["metrics"]] == [0.02, 0.05]
        assert (plan["maximum_units"], plan["futility"], plan["power"], plan["shadow_rows"]) == (5000, 0.1, 0.9, 7)
        assert (plan["reweigh_seconds"], plan["cost_false_positive"], plan["cost_false_negative"]) == (7200, 2, 9)
        assert "has not run" in told(2, "experiment", "report", one["id"])
        told(0, "experiment", "abort", one["id"])

        more = ["--label-window", "0", "--observe", "0", "--share", "20%"]
        one = json.loads(told(0, "experiment", "create", "spam", "some", *arms, *metrics, *more, "--json"))
        told(0, "experiment", "start", one["id"])
        assert f"{one['id']} {one['ranges'][0]['start']}-" in told(0, "experiment", "namespaces")
        used.server.follower.follow()
        entities = [f"user-{number}" for number in range(400)]
        with Client(f"http://127.0.0.1:{port}") as client:
            predicted(client, entities)
        (tmp_path / "clicks.csv").write_text("entity,value\n" + "".join(f"{name},1\n" for name in entities))
        values = ["experiment", "values", one["id"], "clicks"]
        assert "400 values of clicks" in told(0, *values, str(tmp_path / "clicks.csv"))
        for table, why in (("entity,value\na,many\n", "row 1"), ("who,value\na,1\n", "no column 'entity'"), ("", "")):
            (tmp_path / "bad.csv").write_text(table)
            assert why in told(2, *values, str(tmp_path / "bad.csv"))
        told(2, "experiment", "values", one["id"], "nothing", str(tmp_path / "clicks.csv"))
        used.server.system.tick()
        status = told(0, "experiment", "status", one["id"])
        for words in (
            "As of a fixed sample",
            "effect size",
            "days to go",
            "Ripe entities with a value",
            "may be ordered",
        ):
            assert words in status
        told(0, "experiment", "report", one["id"], "-o", str(tmp_path / "page.html"))
        with Client(f"http://127.0.0.1:{port}") as client:
            assert client.experiment_report(one["id"]).html == (tmp_path / "page.html").read_text()
            question = PlanQuestion(baseline=0.9, effect=0.02, units_a_day=1000)
            assert client.plan_experiment(question) == planned(question)
            with pytest.raises(InvalidInput, match="above 0"):
                client.plan_experiment(PlanQuestion(baseline=0.9))
        told(0, "experiment", "abort", one["id"])


def body(**changes: Any) -> dict[str, Any]:
    arms = [{"name": "control", "version": 1, "weight": 0.5}, {"name": "new", "version": 2, "weight": 0.5}]
    draft = {"model": "spam", "name": "x", "arms": arms, "metrics": [{"name": "accuracy", "role": "success"}]}
    return {"experiment": draft | changes}


@pytest.mark.parametrize(
    ("target", "sent", "status", "code"),
    [
        (EVERY, body(arms=[]), 400, "invalid_experiment"),
        (EVERY, body(colour="mischief"), 400, "invalid_request"),
        (EVERY, body(metrics=[{"name": "accuracy", "role": "mischief"}]), 400, "invalid_request"),
        (EVERY, body(metrics=[{"name": "accuracy", "role": "success", "margin": -1}]), 400, "invalid_experiment"),
        (EVERY, body(metrics=[{"name": "mischief", "role": "success"}]), 400, "invalid_experiment"),
        (EVERY, body(model="nobody"), 404, "unknown_model"),
        (EVERY, body(ranges=[{"start": 0, "stop": 5}, {"start": 4, "stop": 9}]), 400, "invalid_experiment"),
        (f"{EVERY}/plan", {"baseline": 0.9, "effect": 1e300}, 400, "invalid_input"),
        (f"{EVERY}/plan", {"mischief": 0.9}, 400, "invalid_request"),
        (f"{EVERY}/nobody/start", b"", 404, "unknown_record"),
        (f"{EVERY}/nobody/weights", {"weights": [0.5, 0.5]}, 404, "unknown_record"),
        (f"{EVERY}/nobody/schedule", {"at": "soon"}, 400, "invalid_request"),
        (f"{EVERY}/nobody/values", {"metric": "m", "values": []}, 400, "invalid_request"),
        ("/api/v1/namespaces", {"namespace": "a b", "holdouts": []}, 400, "invalid_request"),
        ("/api/v1/namespaces", {"namespace": "a", "holdouts": [{"start": 9, "stop": 3}]}, 400, "invalid_experiment"),
    ],
)
def test_bad_requests_are_refused(refuses: Any, target: str, sent: Any, status: int, code: str) -> None:
    refuses(status, code, "POST", target, sent)
