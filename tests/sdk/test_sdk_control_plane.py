"""Every order and question of the control plane: what is sent, and what is made of the reply."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import numpy as np
import pytest

from homeostat.frames import Columns
from homeostat.ports import ControlPlane
from homeostat.records import KeyRole, PastPredictions, PredictionsAccepted, Stage, as_datetime64
from homeostat.sdk import Client

SAMPLES = runpy.run_path(str(Path(__file__).with_name("samples.py")))
AT = SAMPLES["AT"]
MODEL = SAMPLES["MODEL"]
VERSION = SAMPLES["VERSION"]
CHANGE = SAMPLES["CHANGE"]
ALERT = SAMPLES["ALERT"]
RUN = SAMPLES["RUN"]
ROLLOUT = SAMPLES["ROLLOUT"]
INCIDENT, PAGE, REPLAY = SAMPLES["INCIDENT"], SAMPLES["PAGE"], SAMPLES["REPLAY"]
FINDING = SAMPLES["FINDING"]
DECISION = SAMPLES["DECISION"]
STATUS = SAMPLES["STATUS"]
COMPARISON = SAMPLES["COMPARISON"]
PROMOTION = SAMPLES["PROMOTION"]
ROLLBACK = SAMPLES["ROLLBACK"]
CHECKED = SAMPLES["CHECKED"]
VERIFIED = SAMPLES["VERIFIED"]
ROUTES = SAMPLES["ROUTES"]
POLICY = SAMPLES["POLICY"]
CLOCK = SAMPLES["CLOCK"]
KEY = SAMPLES["KEY"]
NEW_KEY = SAMPLES["NEW_KEY"]
WORD = "a-secret-of-tests"
WHO = {"actor": "ann", "reason": "why not"}
M = "/api/v1/models/mail"
ONE = {"actor": "ann"}
PAST = PastPredictions(
    ids=["a", "b"],
    columns=Columns({"size": np.array([1.5, np.nan]), "kind": np.array([None, "x"], dtype=object)}),
    answers=["spam", None],
    scores=[0.75, None],
    times=np.full(2, as_datetime64(AT)),
    entities=[None, "anna"],
    latencies_ms=[None, 2.5],
    version=2,
)
LOGGED = PredictionsAccepted(model="mail", version=2, accepted=1, duplicates=1)
# call, method, target, body, reply, what the call returns
CALLS: list[tuple[str, Callable[[Client], Any], str, str, Any, Any, Any]] = [
    ("status", lambda c: c.status(), "GET", "/api/v1/status", None, {"models": [STATUS]}, [STATUS]),
    ("models", lambda c: c.models(), "GET", "/api/v1/models", None, {"models": [MODEL]}, [MODEL]),
    ("versions", lambda c: c.versions("mail"), "GET", f"{M}/versions", None, {"versions": [VERSION]}, [VERSION]),
    ("version", lambda c: c.version("mail", 3), "GET", f"{M}/versions/3", None, VERSION, VERSION),
    ("stages", lambda c: c.stages("mail"), "GET", f"{M}/stages", None, {"stages": [CHANGE]}, [CHANGE]),
    ("stages of one", lambda c: c.stages("mail", 3), "GET", f"{M}/stages?version=3", None, {"stages": []}, []),
    (
        "move",
        lambda c: c.move("mail", 3, Stage.PRODUCTION, **WHO),
        "POST",
        f"{M}/versions/3/stage",
        {"stage": "production", **WHO},
        PROMOTION,
        PROMOTION,
    ),
    ("roll_back", lambda c: c.roll_back("mail", to=None, **WHO), "POST", f"{M}/rollback", WHO, ROLLBACK, ROLLBACK),
    (
        "roll_back to",
        lambda c: c.roll_back("mail", to=1, **WHO),
        "POST",
        f"{M}/rollback",
        {"to": 1, **WHO},
        ROLLBACK,
        ROLLBACK,
    ),
    ("verify", lambda c: c.verify(), "POST", "/api/v1/verify", None, VERIFIED, VERIFIED),
    ("verify one", lambda c: c.verify("mail"), "POST", f"{M}/verify", None, VERIFIED, VERIFIED),
    ("check", lambda c: c.check("mail"), "POST", f"{M}/check", None, CHECKED, CHECKED),
    (
        "findings",
        lambda c: c.findings("mail", check="performance 7 days", limit=5),
        "GET",
        f"{M}/findings?check=performance+7+days&limit=5",
        None,
        {"findings": [FINDING]},
        [FINDING],
    ),
    ("alerts", lambda c: c.alerts(), "GET", "/api/v1/alerts", None, {"alerts": [ALERT]}, [ALERT]),
    (
        "all alerts",
        lambda c: c.alerts("mail", everything=True),
        "GET",
        "/api/v1/alerts?model=mail&all=true",
        None,
        {"alerts": []},
        [],
    ),
    ("acknowledge", lambda c: c.acknowledge("a1", **ONE), "POST", "/api/v1/alerts/a1/acknowledge", ONE, ALERT, ALERT),
    ("resolve", lambda c: c.resolve("a1", **ONE), "POST", "/api/v1/alerts/a1/resolve", ONE, ALERT, ALERT),
    ("runs", lambda c: c.runs("mail"), "GET", f"{M}/runs", None, {"runs": [RUN]}, [RUN]),
    ("retrain", lambda c: c.retrain("mail", **WHO), "POST", f"{M}/retrain", WHO, RUN, RUN),
    (
        "comparisons",
        lambda c: c.comparisons("mail"),
        "GET",
        f"{M}/comparisons",
        None,
        {"comparisons": [COMPARISON]},
        [COMPARISON],
    ),
    ("rollouts", lambda c: c.rollouts("mail"), "GET", f"{M}/rollouts", None, {"rollouts": [ROLLOUT]}, [ROLLOUT]),
    (
        "start_rollout",
        lambda c: c.start_rollout("mail", 3, **WHO),
        "POST",
        f"{M}/rollouts",
        {"version": 3, **WHO},
        ROLLOUT,
        ROLLOUT,
    ),
    ("pause", lambda c: c.pause("mail", **WHO), "POST", f"{M}/rollouts/pause", WHO, ROLLOUT, ROLLOUT),
    ("resume", lambda c: c.resume("mail", **WHO), "POST", f"{M}/rollouts/resume", WHO, ROLLOUT, ROLLOUT),
    ("approve", lambda c: c.approve("mail", **WHO), "POST", f"{M}/rollouts/approve", WHO, ROLLOUT, ROLLOUT),
    (
        "rollout_report",
        lambda c: c.rollout_report("mail", "r1"),
        "GET",
        f"{M}/rollouts/report?rollout=r1",
        None,
        PAGE,
        PAGE,
    ),
    ("incidents", lambda c: c.incidents("mail"), "GET", f"{M}/incidents", None, {"incidents": [INCIDENT]}, [INCIDENT]),
    ("incident", lambda c: c.incident("mail", "i/1"), "GET", f"{M}/incidents/i%2F1", None, INCIDENT, INCIDENT),
    ("decision", lambda c: c.decision("d1"), "GET", "/api/v1/decisions/d1", None, DECISION, DECISION),
    ("replay", lambda c: c.replay("d1"), "GET", "/api/v1/decisions/d1/replay", None, REPLAY, REPLAY),
    ("abort", lambda c: c.abort("mail", **WHO), "POST", f"{M}/rollouts/abort", WHO, ROLLOUT, ROLLOUT),
    ("routes", lambda c: c.routes("mail", limit=2), "GET", f"{M}/routes?limit=2", None, ROUTES, ROUTES),
    (
        "decisions",
        lambda c: c.decisions("mail", limit=2),
        "GET",
        f"{M}/decisions?limit=2",
        None,
        {"decisions": [DECISION]},
        [DECISION],
    ),
    ("policy", lambda c: c.policy("mail"), "GET", f"{M}/policy", None, POLICY, POLICY),
    ("settings", lambda c: c.settings(), "GET", "/api/v1/settings", None, {"seed": 0}, {"seed": 0}),
    ("keys", lambda c: c.keys(), "GET", "/api/v1/keys", None, {"keys": [KEY]}, [KEY]),
    (
        "create_key",
        lambda c: c.create_key("ci", [KeyRole.PREDICT], expires="90d", actor="ann"),
        "POST",
        "/api/v1/keys",
        {"name": "ci", "roles": ["predict"], "expires": "90d", **ONE},
        NEW_KEY,
        NEW_KEY,
    ),
    ("revoke_key", lambda c: c.revoke_key("ci", **ONE), "POST", "/api/v1/keys/ci/revoke", ONE, KEY, KEY),
    (
        "log_predictions",
        lambda c: c.log_predictions("mail", PAST),
        "POST",
        "/api/v1/predictions?model=mail&version=2",
        [
            {
                "prediction_id": "a",
                "features": {"size": 1.5, "kind": None},
                "prediction": "spam",
                "score": 0.75,
                "event_time": "2025-03-04T05:06:07.890000Z",
            },
            {
                "prediction_id": "b",
                "features": {"size": None, "kind": "x"},
                "event_time": "2025-03-04T05:06:07.890000Z",
                "entity": "anna",
                "latency_ms": 2.5,
            },
        ],
        LOGGED,
        LOGGED,
    ),
    (
        "advance_clock",
        lambda c: c.advance_clock(AT),
        "POST",
        "/api/v1/clock",
        {"now": "2025-03-04T05:06:07.890000Z"},
        CLOCK,
        CLOCK,
    ),
]


@pytest.mark.parametrize(("call", "method", "target", "body", "reply", "result"), [one[1:] for one in CALLS])
@pytest.mark.parametrize("prefix", ["", "/ml/homeostat"])
def test_a_call_and_its_reply(
    told: Any,
    prefix: str,
    call: Callable[[Client], Any],
    method: str,
    target: str,
    body: Any,
    reply: Any,
    result: Any,
) -> None:
    told.say(reply)
    with Client(f"{told.url}{prefix}/", token=WORD) as client:
        assert call(client) == result
    (asked,) = told.asked
    assert asked.method == method
    found, wanted = urlsplit(asked.target), urlsplit(prefix + target)
    assert found.path == wanted.path
    assert parse_qs(found.query) == parse_qs(wanted.query)
    assert asked.body == b"" if body is None else asked.json == body
    assert asked.headers["authorization"] == f"Bearer {WORD}"


def test_every_order_and_question_of_the_control_plane_is_there() -> None:
    asked = {name for name in vars(ControlPlane) if not name.startswith("_")}
    tested = {name.split()[0] for name, *_ in CALLS} | {"alerts", "register", "wait_for_run", "label"}
    assert asked <= tested
    assert all(callable(getattr(Client, name)) for name in asked)


def test_fields_of_a_later_release_are_passed_over(told: Any) -> None:
    reply = {**msgspec.to_builtins(VERSION), "colour": {"of": "the future"}}
    told.say({"versions": [reply], "next_page": 7})
    with Client(told.url) as client:
        assert client.versions("mail") == [VERSION]
