"""Triton's model repository extension, over routes: what serves, and what it would take to change that.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_model_repository.md. What a model
is served with is its route, one for all gateways. So loading brings this process up to the newest route, and unloading
what a route names is refused: a worker that forgot a model by itself would answer otherwise than the one beside it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from homeostat.errors import Conflict, HomeostatError, InvalidRequest, NotServing, UnknownModel
from homeostat.frames import Columns, Kind
from homeostat.http.inference_protocol.messages import IndexBody, IndexEntry, LoadBody, ModelLoaded, ModelUnloaded
from homeostat.http.operations import Request
from homeostat.ports import Clock, ControlPlane
from homeostat.records import Signature
from homeostat.serving.answering import Snapshot
from homeostat.serving.gateway import Gateway

READY, UNAVAILABLE = "READY", "UNAVAILABLE"
UNLOAD_PARAMETERS = {"unload_dependents"}


class Repository:
    """The models of the registry as a repository that one gateway serves from."""

    def __init__(self, gateway: Gateway, control: ControlPlane, clock: Clock) -> None:
        self._gateway = gateway
        self._control = control
        self._clock = clock

    def index(self, request: Request) -> list[IndexEntry]:
        body: IndexBody = request.body
        entries = [entry for model in self._control.models() for entry in self._entries(model.name)]
        return [entry for entry in entries if entry.state == READY or not body.ready]

    def _entries(self, model: str) -> Iterator[IndexEntry]:
        roles, trouble = self._roles(model)
        for version in self._control.versions(model):
            role = roles.get(version.number)
            yield IndexEntry(
                name=model,
                version=str(version.number),
                state=UNAVAILABLE if role is None else READY,
                reason=role or trouble or f"in stage {version.stage.value}, not in the model's route",
            )

    def _roles(self, model: str) -> tuple[dict[int, str], str]:
        """What the served route has each version do, or why there is none."""
        try:
            route = self._gateway.snapshot(model, now=self._clock.now()).route
        except NotServing:
            return {}, ""
        except HomeostatError as error:
            return {}, f"{error.code}: {error.message}"
        roles = dict.fromkeys(route.shadows, "scores in the shadow")
        for one in route.experiments:
            for arm in one.arms:
                roles[arm.version] = f"serves {arm.weight:.0%} of {one.id} as {arm.name}"
        for arm in route.arms:
            roles[arm.version] = f"serves {arm.weight:.0%} of the traffic as {arm.name}"
        return roles, ""

    def load(self, request: Request) -> ModelLoaded:
        body: LoadBody = request.body
        model = request.path["model"]
        if body.parameters:
            raise InvalidRequest(
                "Loading takes no parameters here: what a model is comes from its registered version. "
                "POST /api/v1/models/MODEL/versions registers another one."
            )
        self._check_known(model)
        warm(self._gateway.refresh(model, now=self._clock.now()))
        return ModelLoaded(name=model, load=True)

    def unload(self, request: Request) -> ModelUnloaded:
        body: LoadBody = request.body
        model = request.path["model"]
        if not set(body.parameters or {}) <= UNLOAD_PARAMETERS:
            raise InvalidRequest(f"Unloading takes the parameter {', '.join(UNLOAD_PARAMETERS)} and no other.")
        self._check_known(model)
        try:
            self._gateway.refresh(model, now=self._clock.now())
        except NotServing:
            return ModelUnloaded(name=model, unload=True)
        raise Conflict(
            "The model has a production version, and what serves is decided for all gateways at once, never for one. "
            "Promote another version, or roll back to an earlier one, to have this one serve no more."
        )

    def _check_known(self, model: str) -> None:
        known = [one.name for one in self._control.models()]
        if model not in known:
            raise UnknownModel(model=model, known=known)


def warm(held: Snapshot) -> None:
    """Let every version of a route score a made-up row once, which is not logged: first calls are slow."""
    for loaded in held.versions:
        # What it says of such a row is nobody's business.
        with contextlib.suppress(HomeostatError):
            loaded.score(_some_row(loaded.version.signature))


def _some_row(signature: Signature) -> Columns:
    columns: dict[str, Any] = {}
    for feature in signature.features:
        if feature.kind in (Kind.NUMERIC, Kind.BOOLEAN):
            columns[feature.name] = np.zeros(1)
        else:
            columns[feature.name] = np.array([feature.categories[0] if feature.categories else ""], dtype=object)
    return Columns(columns, 1)
