"""The OpenAPI document is valid, says all that the server does, and the server does what it says."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import from_schema
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR

HOST = {"host": "localhost:8080"}
DOCUMENT = "/api/v1/openapi.json"
FEATURES = {"spam": ("links", "length"), "iris": ("petal", "sepal"), "price": ("size", "rooms")}
# What is well formed may still be about features, rows or files that a model does not have.
ARMS = [{"name": "old", "version": 1, "weight": 0.5}, {"name": "new", "version": 2, "weight": 0.5}]
EXPERIMENT = {
    "model": "spam",
    "name": "trial",
    "arms": ARMS,
    "metrics": [{"name": "accuracy", "role": "success"}],
    "share": 0.01,
}
OWN_METRIC = [{"name": "clicks", "role": "success", "is_own": True, "bounds": [0.0, 1.0]}]
LOOSE = "/(batch_)?predict$|/infer$|/labels$|/predictions$|/versions$"
FINE = ["2xx", "400", "404", "409", "413"]


@pytest.fixture
def document(app: Any) -> Any:
    return app.get(DOCUMENT).json


def test_the_document_is_valid(document: Any) -> None:
    assert document["openapi"] == "3.1.0"
    assert list(OPENAPI_31_VALIDATOR.iter_errors(document)) == []


def test_every_reference_leads_somewhere_and_nothing_is_left_over(document: Any) -> None:
    schemas = document["components"]["schemas"]
    named = set(re.findall(r"'\$ref': '#/components/schemas/([^']+)'", str(document)))
    assert named == set(schemas)


def test_every_route_is_in_the_document_and_nothing_else(app: Any, document: Any) -> None:
    answered = {(one.path, one.method.lower()) for one in app.server.application.operations}
    described = {(path, method) for path, item in document["paths"].items() for method in item}
    assert answered - described == {(DOCUMENT, "get")}
    assert described <= answered
    ids = [operation["operationId"] for item in document["paths"].values() for operation in item.values()]
    assert len(ids) == len(set(ids))


def test_every_operation_is_described_by_more_than_its_shape(document: Any) -> None:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            assert operation["summary"], (path, method)
            assert operation["tags"], (path, method)
            assert "500" in operation["responses"], (path, method)
            in_path = re.findall(r"{(\w+)}", path)
            assert [one["name"] for one in operation["parameters"] if one["in"] == "path"] == in_path
            assert ("401" in operation["responses"]) == (operation.get("security") != [])


class Fuzzed:
    """A server with something of everything, whose controllers run while it is fuzzed, and what came of it."""

    def __init__(self, small_servers: ModuleType, home: Path) -> None:
        self.small = small_servers.open_server(home, serve__model="spam")
        answer = self.small.post("/models/spam/predict", {"features": [1, 2], "prediction_id": "known"})
        assert answer.status == 200
        label = {"model": "spam", "labels": [{"prediction_id": "known", "label": "yes"}]}
        assert self.small.post("/api/v1/labels", label).status == 200
        made = self.small.post("/api/v1/experiments", {"experiment": EXPERIMENT | {"metrics": OWN_METRIC}})
        assert made.status == 201
        self.experiment = made.json["id"]
        # A draft can't be rolled out.
        moved = self.small.post("/api/v1/models/spam/versions/2/stage", {"stage": "staging", "reason": "it is ready"})
        assert moved.status == 200, moved.json
        self.small.server.start()

    def run(self, *, examples: int, phases: tuple[str, ...], known: bool = False, seed: int = 7) -> Counter[Any]:
        """Fuzz with every check; returns how often each operation answered with which status. Asserts on failures.

        With `known` the names in addresses are those of what exists, else only part of the time.
        """
        names: dict[str, list[Any]] = {
            "model": ["spam", "iris", "price", "loan", "drafts"],
            "version": [1, 2],
            "alert": ["spam-alert-1"],
            "experiment": [self.experiment],
        }
        share = {f"path.{name}": {"dictionary": name, "probability": 0.7} for name in names}
        share |= {f"body.{name}": {"dictionary": "version", "probability": 0.7} for name in ("version", "to")}
        config = SchemathesisConfig.from_dict(
            {
                "headers": HOST,
                "seed": seed,
                "continue-on-failure": True,
                "generation": {"mode": "all", "max-examples": examples, "database": "none"},
                "phases": {
                    name: {"enabled": name in phases} for name in ("examples", "coverage", "fuzzing", "stateful")
                },
                "checks": {"enabled": True},
                "dictionaries": {name: {"values": values} for name, values in names.items()},
                "parameters": {f"path.{name}": values[0] for name, values in names.items()} | {"query.model": "spam"}
                if known
                else share,
                "operations": [
                    {
                        "include-path-regex": LOOSE,
                        "include-method": "POST",
                        "checks": {
                            "positive_data_acceptance": {"expected-statuses": ["2xx", "400", "404", "409", "413"]}
                        },
                    }
                ],
            }
        )
        schema = schemathesis.openapi.from_asgi(DOCUMENT, self.small.server.application, config=config, headers=HOST)
        hook = schemathesis.hook(with_rows(seed))
        statuses: Counter[Any] = Counter()
        failures: dict[tuple[str, str], str] = {}
        try:
            for event in from_schema(schema).execute():
                kind = type(event).__name__
                if kind in ("NonFatalError", "FatalError"):
                    failures[str(getattr(event, "label", "")), kind] = str(getattr(event, "info", event))
                if kind == "ScenarioFinished":
                    note(event.recorder, statuses, failures)
        finally:
            schemathesis.hooks.unregister(hook)
        assert not failures, "\n\n".join(f"{label}, {name}:\n{text}" for (label, name), text in failures.items())
        assert not [one for one in statuses if one[1] >= 500]
        return statuses


def note(recorder: Any, statuses: Counter[Any], failures: dict[tuple[str, str], str]) -> None:
    """Count the answers of one scenario, and keep the first failure of each kind with the request that led to it."""
    for id_, interaction in recorder.interactions.items():
        if interaction.response is not None:
            case = recorder.cases[id_].value
            statuses[f"{case.operation.method.upper()} {case.operation.path}", interaction.response.status_code] += 1
    for id_, checks in recorder.checks.items():
        for check in checks:
            if check.failure_info is not None:
                said = recorder.interactions[id_].response
                shown = "" if said is None else f"\n{said.status_code} {said.content[:500]!r}"
                text = f"{check.failure_info.failure.message}\n{check.failure_info.code_sample}{shown}"
                failures.setdefault((recorder.label, check.name), text)


def with_rows(seed: int) -> Callable[..., None]:
    """Puts rows that a model takes into most of the well-formed requests: no generator could guess its features."""
    rng = np.random.default_rng(seed)

    def before_call(context: Any, case: Any, kwargs: Any) -> None:
        model = (case.path_parameters or {}).get("model") or "spam"
        is_positive = case.meta is not None and case.meta.generation.mode.is_positive
        if not is_positive or not isinstance(case.body, dict) or model not in FEATURES or rng.random() < 0.3:
            return
        values = rng.normal(size=2).tolist()
        row = dict(zip(FEATURES[model], values, strict=True))
        last = case.path.rpartition("/")[2]
        if last == "batch_predict":
            case.body = {"instances": [row, values]}
        elif last == "predict":
            case.body = case.body | {"features": row}
        elif last == "infer":
            case.body = {"inputs": [{"name": "rows", "shape": [1, 2], "datatype": "FP64", "data": values}]}
            # The whole body is JSON.
            (case.headers or {}).pop("inference-header-content-length", None)
        elif last == "invocations":
            case.body = {"dataframe_records": [row], "params": {"output": "all"}}
        elif last == "experiments":
            # Names are unique among those that live.
            case.body = {"experiment": EXPERIMENT | {"name": f"trial-{rng.integers(1 << 30)}"}}
        elif last == "values":
            case.body = {"metric": "clicks", "values": [{"entity": "anna", "value": 0.5}]}
        elif last == "labels":
            case.body = {"model": "spam", "labels": [{"prediction_id": "known", "label": "yes"}]}
            # What the body says must not stand in the address too.
            case.query = {}

    return before_call


@pytest.fixture
def fuzzed(small_servers: ModuleType, tmp_path: Path) -> Iterator[Fuzzed]:
    made = Fuzzed(small_servers, tmp_path)
    for _ in small_servers.closed(made.small):
        yield made


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_edges_of_every_operation_are_as_documented(fuzzed: Fuzzed, document: Any) -> None:
    statuses = fuzzed.run(examples=1, phases=("examples", "coverage"), known=True)
    asked = {label for label, _ in statuses}
    assert asked == {f"{method.upper()} {path}" for path, item in document["paths"].items() for method in item}
    fine = {label for label, status in statuses if status < 300}
    assert asked - fine <= NEEDS_LUCK, "never answered with what it is for"


# What answers only in a state, or to a form, that no generator comes to.
NEEDS_LUCK = {
    "POST /api/v1/models/{model}/versions",
    "POST /api/v1/predictions",
    "POST /api/v1/models/{model}/rollback",
    "POST /api/v1/models/{model}/rollouts/pause",
    "POST /api/v1/models/{model}/rollouts/resume",
    "POST /api/v1/models/{model}/rollouts/abort",
    "POST /api/v1/models/{model}/rollouts/approve",
    *(
        f"POST /api/v1/experiments/{{experiment}}/{order}"
        for order in ("schedule", "start", "pause", "resume", "weights", "stop", "abort", "archive", "values")
    ),
    "POST /api/v1/experiments/plan",
    "GET /api/v1/experiments/{experiment}/report",
    "GET /api/v1/models/{model}/rollouts/report",
    "GET /api/v1/models/{model}/incidents/{incident}",
    "GET /api/v1/decisions/{decision}",
    "GET /api/v1/decisions/{decision}/replay",
    "GET /api/v1/models/{model}/runs/{run}",
    # Only a model that nothing serves can be unloaded, and this one does serve.
    "POST /v2/repository/models/{model}/unload",
}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_great_deal_that_is_made_up_is_answered_as_documented(fuzzed: Fuzzed) -> None:
    statuses = fuzzed.run(examples=40, phases=("fuzzing",))
    statuses += fuzzed.run(examples=10, phases=("stateful",))
    statuses += fuzzed.run(examples=1, phases=("coverage",))
    assert sum(statuses.values()) > 2500
    # It serves as before, whatever was ordered of it in between.
    assert fuzzed.small.post("/models/price/predict", {"features": [1, 2]}).status == 200
