"""Whether the server lives, whether it is ready, and what it serves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from homeostat import __version__
from homeostat.errors import NotReady
from homeostat.http.inference_protocol import Ready
from homeostat.http.operations import Operation, Pool, Request
from homeostat.ports import ControlPlane
from homeostat.records import Stage
from homeostat.serving.gateway import Gateway

TAG = "health"


class Alive(msgspec.Struct, kw_only=True):
    """The process answers."""

    status: Literal["alive"] = "alive"


class ReadyReply(msgspec.Struct, kw_only=True):
    """Every model with a production version is loaded."""

    status: Literal["ready"] = "ready"


class ServedModel(msgspec.Struct, kw_only=True):
    """What the gateway of this process serves for a model."""

    route: int
    versions: list[int]
    production_alone: bool


class HealthReply(msgspec.Struct, kw_only=True):
    """What this process is and serves. `log` says why the prediction log of this process fails, while it does."""

    status: Literal["healthy", "not_ready"]
    version: str
    gateway: str
    models: dict[str, ServedModel]
    why: str = ""
    log: str = ""


class Health:
    """Looks at the gateway and the stores of one process."""

    def __init__(
        self,
        gateway: Gateway,
        control: ControlPlane,
        *,
        name: str,
        is_stopping: Callable[[], bool],
        serves: bool,
        log_trouble: Callable[[], str] = lambda: "",
    ) -> None:
        self._gateway = gateway
        self._control = control
        self._name = name
        self._is_stopping = is_stopping
        self._serves = serves
        self._log_trouble = log_trouble

    def ready(self, _request: Request) -> ReadyReply:
        why = self._what_lacks()
        if why:
            raise NotReady(why)
        return ReadyReply()

    def protocol_ready(self, request: Request) -> Ready:
        self.ready(request)
        return Ready(ready=True)

    def _what_lacks(self) -> str:
        if self._is_stopping():
            return "The server is stopping."
        if not self._serves:
            self._control.models()
            return ""
        held = self._gateway.held()
        if held:
            # Serving needs nothing of the control store: what is loaded can be answered with.
            return ""
        waiting = [
            model.name
            for model in self._control.models()
            if any(
                version.stage is Stage.PRODUCTION and not version.is_external
                for version in self._control.versions(model.name)
            )
        ]
        return f"Not loaded yet: {', '.join(waiting)}." if waiting else ""

    def health(self, _request: Request) -> HealthReply:
        why = self._what_lacks()
        return HealthReply(
            status="not_ready" if why else "healthy",
            version=__version__,
            gateway=self._name,
            models={
                name: ServedModel(
                    route=held.route.number,
                    versions=[one.version.number for one in (*held.arms, *held.tried)],
                    production_alone=self._gateway.serves_alone(name),
                )
                for name, held in self._gateway.held().items()
            },
            why=why,
            log=self._log_trouble(),
        )

    def operations(self) -> list[Operation]:
        """What probes ask, without a token, and what this process serves."""
        return [
            Operation(
                "GET",
                "/livez",
                "Whether the process lives",
                lambda _: Alive(),
                Alive,
                TAG,
                is_open=True,
                pool=Pool.PREDICT,
            ),
            Operation(
                "GET",
                "/readyz",
                "Whether it can answer",
                self.ready,
                ReadyReply,
                TAG,
                is_open=True,
                errors=(NotReady,),
                pool=Pool.PREDICT,
            ),
            Operation("GET", "/health", "What it serves", self.health, HealthReply, TAG, pool=Pool.PREDICT),
        ]
