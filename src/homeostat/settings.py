"""One table of settings: name, default, help. The environment, `homeostat.toml` and the command line read it."""

from __future__ import annotations

import dataclasses
import math
import os
import tomllib
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any

import msgspec

from homeostat.errors import InvalidSettings
from homeostat.records import PRESETS, Policy, Section, described, parse_span, parse_steps
from homeostat.rollouts.budget import check_guardrails

PREFIX = "HOMEOSTAT_"
FILE = "homeostat.toml"
POLICY = "policy"
SERVE = "serve"
ALERTS = "alerts"
LOG = "log"
LOG_POLICIES = ("block", "spill", "drop")
DURABILITIES = ("process", "power")
SHORTEST_TOKEN = 16
SECRETS = ("token",)


class ServeSettings(Section, frozen=True, kw_only=True):
    """How `homeostat serve` serves."""

    host: Annotated[str, described("address to listen on; beyond this machine a token is asked for")] = "127.0.0.1"
    port: Annotated[int, described("port to listen on; 0 takes a free one")] = 8080
    grpc_port: Annotated[int, described("port to answer the Open Inference Protocol on over gRPC; 0: none")] = 0
    auth: Annotated[bool, described("ask for a key or the token on this machine too; beyond it that is always so")] = (
        False
    )
    tls_certificate: Annotated[
        str, described("PEM file with the certificate chain to answer HTTPS with; empty: plain HTTP")
    ] = ""
    tls_key: Annotated[str, described("PEM file with its private key; empty: it is in the same file")] = ""
    trusted_proxies: Annotated[
        str, described("addresses or networks of proxies, with commas, whose X-Forwarded-For is believed; empty: none")
    ] = ""
    workers: Annotated[int, described("gateway processes on that port")] = 1
    threads: Annotated[int, described("requests that one process works on at the same time")] = 16
    model: Annotated[str, described("model that /predict means; empty: the only one")] = ""
    tick_seconds: Annotated[float, described("seconds between two passes of the controllers")] = 5.0
    follow_seconds: Annotated[float, described("seconds between two looks of a gateway for a newer route")] = 0.05
    body_bytes: Annotated[int, described("largest body of a request, in bytes")] = 10_000_000
    upload_bytes: Annotated[int, described("largest upload of a registration, in bytes")] = 1_000_000_000
    bodies_bytes: Annotated[
        int, described("most bytes of bodies that one process holds at a time; uploads go to disk; 0: no limit")
    ] = 500_000_000
    body_seconds: Annotated[
        float, described("seconds in which a body must have come, and one more for each 50,000 bytes of it")
    ] = 60.0
    concurrent_requests: Annotated[int, described("requests that one process has in hand at a time; 0: no limit")] = (
        1000
    )
    requests_per_second: Annotated[
        float, described("requests that one process takes of one key, or else one address, a second; 0: no limit")
    ] = 0.0
    burst: Annotated[int, described("requests of one caller that may come at once, beyond that rate")] = 100
    batch_rows: Annotated[int, described("most rows of a batch")] = 50_000
    allow_pickle: Annotated[
        bool, described("take pickled pipelines over HTTP; they can run any code on the server")
    ] = False
    allow_python: Annotated[
        bool, described("serve models that are Python classes, and take them over HTTP; they run their own code")
    ] = False
    python_seconds: Annotated[float, described("seconds in which a Python class has to be imported and loaded")] = 60.0
    log_level: Annotated[
        str, described("what is logged: info (every request but answered single rows), warning or error")
    ] = "info"
    grace_seconds: Annotated[float, described("seconds that a stopping server gives to running requests")] = 30.0


class AlertSettings(Section, frozen=True, kw_only=True):
    """Where alerts go beside the log."""

    webhook: Annotated[str, described("address that alerts are posted to as JSON; never shown")] = ""
    allow_private: Annotated[
        bool, described("let that address lie on this machine, in a private network, or on any port")
    ] = False


class LogSettings(Section, frozen=True, kw_only=True):
    """How the prediction log takes rows, and what becomes of those that it can't take."""

    policy: Annotated[
        str,
        described("what becomes of rows that can't be logged: block (refused), spill (to a file), drop (counted)"),
    ] = "block"
    wait_seconds: Annotated[float, described("longest wait for the log, in seconds, before the policy acts")] = 10.0
    queue_appends: Annotated[int, described("most appends that wait to be written")] = 1024
    queue_bytes: Annotated[int, described("most bytes that wait to be written")] = 64 * 2**20
    spill: Annotated[str, described("folder of spill files; empty: spill in home. Best on another disk")] = ""


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table; `classic` differs from `default` where the preset `calibrated` replaces it."""

    name: str
    default: Any
    classic: Any
    help: str

    @property
    def environment(self) -> str:
        """The variable that sets it, such as `HOMEOSTAT_POLICY__DRIFT__SHARE`."""
        return PREFIX + self.name.replace(".", "__").upper()


@dataclass(frozen=True, slots=True)
class Settings:
    """What a process runs by. `policies` holds those of models that differ from `policy`."""

    home: Path
    durability: str
    policy: Policy
    policies: Mapping[str, Policy]
    seed: int
    server: str = ""
    token: str = dataclasses.field(default="", repr=False)
    serve: ServeSettings = dataclasses.field(default_factory=ServeSettings)
    alerts: AlertSettings = dataclasses.field(default_factory=AlertSettings, repr=False)
    log: LogSettings = dataclasses.field(default_factory=LogSettings)

    def policy_of(self, model: str) -> Policy:
        """The policy that holds for a model."""
        return self.policies.get(model, self.policy)


_GENERAL = (
    Setting("home", ".homeostat", ".homeostat", "folder of all state"),
    Setting(
        "durability", "process", "process", "what a logged prediction survives: the death of the process, or power"
    ),
    Setting("seed", 0, 0, "seed of everything random"),
    Setting("server", "", "", "address of a server that commands are sent to, such as http://127.0.0.1:8080"),
    Setting("token", "", "", "secret that requests to a server carry; never shown"),
)


def table() -> list[Setting]:
    """Every setting, in order."""
    serve, alerts, log = ServeSettings(), AlertSettings(), LogSettings()
    return [
        *_GENERAL,
        *_walk(SERVE, serve, serve),
        *_walk(ALERTS, alerts, alerts),
        *_walk(LOG, log, log),
        *_walk(POLICY, PRESETS["calibrated"], PRESETS["classic"]),
    ]


def shown(settings: Settings) -> dict[str, Any]:
    """The values of all settings by name; of a secret only whether it is set."""
    general = {setting.name: getattr(settings, setting.name) for setting in _GENERAL}
    general |= {name: "(set)" if general[name] else "" for name in SECRETS}
    alerts = msgspec.structs.replace(settings.alerts, webhook="(set)" if settings.alerts.webhook else "")
    walked = [
        *_walk(SERVE, settings.serve, settings.serve),
        *_walk(ALERTS, alerts, alerts),
        *_walk(LOG, settings.log, settings.log),
        *_walk(POLICY, settings.policy, settings.policy),
    ]
    return {**general, "home": str(settings.home), **{setting.name: setting.default for setting in walked}}


def _walk(prefix: str, calibrated: msgspec.Struct, classic: msgspec.Struct) -> Iterator[Setting]:
    hints = typing.get_type_hints(type(calibrated), include_extras=True)
    for field in msgspec.structs.fields(calibrated):
        value, other = getattr(calibrated, field.name), getattr(classic, field.name)
        name = f"{prefix}.{field.name}"
        if isinstance(value, msgspec.Struct):
            yield from _walk(name, value, other)
        else:
            meta = next(m for m in typing.get_args(hints[field.name]) if isinstance(m, msgspec.Meta))
            yield Setting(name, value, other, meta.description or "")


def load(
    path: Path | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    """Settings from a file, then the environment, then overrides such as command-line options.

    Without a path, `homeostat.toml` of the working directory is read where there is one. Raises `InvalidSettings`.
    """
    environment = os.environ if environment is None else environment
    data = _read(path)
    for name, text in environment.items():
        if name.startswith(PREFIX):
            _set(data, name.removeprefix(PREFIX).lower().split("__"), text, name)
    for name, value in (overrides or {}).items():
        _set(data, name.split("."), value, name)
    return _settings(data)


def _read(path: Path | None) -> dict[str, Any]:
    named = path is not None
    path = path or Path(FILE)
    if not path.exists():
        if named:
            raise InvalidSettings(f"There is no settings file {path}.", path=str(path))
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidSettings(f"{path} can't be read as TOML: {error}.", path=str(path)) from error


def _set(data: dict[str, Any], names: list[str], value: Any, shown: str) -> None:
    at = data
    for name in names[:-1]:
        if name == POLICY:
            at[name] = _as_table(at.get(name, {}))
        at = at.setdefault(name, {})
        if not isinstance(at, dict):
            raise InvalidSettings(f"{shown} is below a setting that is no table.")
    last = names[-1]
    # A preset's name changes the preset that the rest of the policy lies over, in whatever order the two are read. What
    # the log does with rows that it can't take is a policy of another kind.
    is_preset = last == POLICY and names[:-1] != [LOG]
    at[last] = _merged(_as_table(at.get(last, {})), _as_table(value)) if is_preset else value


def _settings(data: dict[str, Any]) -> Settings:
    data = dict(data)
    general = {setting.name: data.pop(setting.name, setting.default) for setting in _GENERAL}
    shared = _as_table(data.pop(POLICY, {}))
    serve = _serve_from(data.pop(SERVE, {}))
    alerts = _alerts_from(data.pop(ALERTS, {}))
    log = _log_from(data.pop(LOG, {}))
    models = data.pop("models", {})
    if data:
        known = [setting.name for setting in _GENERAL] + [SERVE, ALERTS, LOG, POLICY, "models"]
        raise InvalidSettings(f"Unknown settings: {', '.join(sorted(data))}. Known: {', '.join(known)}.")
    if general["durability"] not in DURABILITIES:
        raise InvalidSettings(f"durability is one of {', '.join(DURABILITIES)}, not '{general['durability']}'.")
    if not isinstance(models, dict):
        raise InvalidSettings("'models' is a table of models.")
    policies = {}
    for name, section in models.items():
        if not isinstance(section, dict) or set(section) - {POLICY}:
            raise InvalidSettings(f"'models.{name}' is a table that may hold '{POLICY}' and nothing else.")
        policies[name] = policy_from(_merged(shared, _as_table(section.get(POLICY, {}))))
    try:
        seed = msgspec.convert(general["seed"], int, strict=False)
        home = Path(msgspec.convert(general["home"], str))
        server, token = (msgspec.convert(general[name], str) for name in ("server", "token"))
    except msgspec.ValidationError as error:
        raise InvalidSettings(f"seed is a whole number; home, server and token are texts: {error}.") from error
    if token and (len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token):
        raise InvalidSettings(f"A token is at least {SHORTEST_TOKEN} printable ASCII characters without spaces.")
    return Settings(
        home=home,
        durability=general["durability"],
        policy=policy_from(shared),
        policies=policies,
        seed=seed,
        server=server,
        token=token,
        serve=serve,
        alerts=alerts,
        log=log,
    )


def _alerts_from(data: Any) -> AlertSettings:
    if not isinstance(data, dict):
        raise InvalidSettings(f"'{ALERTS}' is a table of settings of alerts.")
    try:
        return msgspec.convert(data, AlertSettings, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidSettings(f"The settings of alerts can't be used: {error}.") from error


def _log_from(data: Any) -> LogSettings:
    if not isinstance(data, dict):
        raise InvalidSettings(f"'{LOG}' is a table of settings of the prediction log.")
    try:
        log = msgspec.convert(data, LogSettings, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidSettings(f"The settings of the prediction log can't be used: {error}.") from error
    if log.policy not in LOG_POLICIES:
        raise InvalidSettings(f"{LOG}.policy is one of {', '.join(LOG_POLICIES)}.")
    if not math.isfinite(log.wait_seconds) or log.wait_seconds < 0:
        raise InvalidSettings(f"{LOG}.wait_seconds is a number from 0 on, not {log.wait_seconds}.")
    if log.queue_appends < 1 or log.queue_bytes < 1:
        raise InvalidSettings(f"{LOG}.queue_appends and {LOG}.queue_bytes are 1 or more.")
    return log


MOST_PORT = 65_535
LOG_LEVELS = ("info", "warning", "error")


def _serve_from(data: Any) -> ServeSettings:
    if not isinstance(data, dict):
        raise InvalidSettings(f"'{SERVE}' is a table of settings of the server.")
    try:
        serve = msgspec.convert(data, ServeSettings, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidSettings(f"The settings of the server can't be used: {error}.") from error
    for name, lowest in (
        ("workers", 1),
        ("threads", 1),
        ("tick_seconds", 0.1),
        ("follow_seconds", 0.001),
        ("body_bytes", 1000),
        ("upload_bytes", 1000),
        ("bodies_bytes", 0),
        ("body_seconds", 0.1),
        ("concurrent_requests", 0),
        ("requests_per_second", 0),
        ("burst", 1),
        ("batch_rows", 1),
        ("grace_seconds", 0),
        ("python_seconds", 0.1),
    ):
        value = getattr(serve, name)
        if not math.isfinite(value) or value < lowest:
            raise InvalidSettings(f"{SERVE}.{name} is a number from {lowest} on, not {value}.")
    if serve.log_level not in LOG_LEVELS:
        raise InvalidSettings(f"{SERVE}.log_level is one of {', '.join(LOG_LEVELS)}.")
    if not 0 <= serve.port <= MOST_PORT or not serve.host:
        raise InvalidSettings(f"{SERVE}.port is 0 to {MOST_PORT}, and {SERVE}.host an address.")
    if serve.tls_key and not serve.tls_certificate:
        raise InvalidSettings(f"{SERVE}.tls_key is the key of a certificate: name that in {SERVE}.tls_certificate.")
    networks_of(serve.trusted_proxies)
    return serve


def networks_of(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """Networks that stand in a text with commas; an address is a network of one. Raises `InvalidSettings`.

    >>> networks_of("127.0.0.1, 10.0.0.0/8")
    (IPv4Network('127.0.0.1/32'), IPv4Network('10.0.0.0/8'))
    """
    try:
        return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise InvalidSettings(f"{SERVE}.trusted_proxies holds addresses or networks with commas: {error}.") from None


def policy_from(data: Any) -> Policy:
    """A policy from a preset's name or a table that overrides parts of its preset. Raises `InvalidSettings`.

    >>> policy_from({"preset": "classic", "drift": {"share": 0.5}}).drift.share
    0.5
    """
    data = _as_table(data)
    preset = data.get("preset", "calibrated")
    if not isinstance(preset, str) or preset not in PRESETS:
        raise InvalidSettings(f"There is no preset '{preset}'. Known: {', '.join(PRESETS)}.")
    base = msgspec.to_builtins(PRESETS[preset])
    try:
        # Values of the environment are text: strict=False reads numbers and booleans from it.
        policy = msgspec.convert(_merged(base, data), Policy, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidSettings(f"The policy can't be used: {error}.") from error
    _check(policy)
    return policy


def _as_table(policy: Any) -> dict[str, Any]:
    if isinstance(policy, str):
        return {"preset": policy}
    if not isinstance(policy, dict):
        raise InvalidSettings("A policy is a table, or the name of a preset.")
    return policy


def _check_numbers(policy: Policy) -> None:
    for setting in _walk(POLICY, policy, policy):
        value = setting.default
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        # A candidate may be let in although it is a little worse.
        lowest = -math.inf if setting.name.endswith(".minimum_gain") else 0
        if not math.isfinite(value) or value < lowest:
            raise InvalidSettings(f"{setting.name} is a finite number from 0 on, not {value}.")


def _check(policy: Policy) -> None:
    _check_numbers(policy)
    if policy.drift.window_rows < 1 or policy.triggers.schedule_hour > 23:
        raise InvalidSettings("policy.drift.window_rows is 1 or more, and policy.triggers.schedule_hour 23 at most.")
    if not min(policy.training.cost_false_positive, policy.training.cost_false_negative):
        raise InvalidSettings("policy.training.cost_false_positive and cost_false_negative are above 0.")
    parse_steps(policy.rollout.steps)
    parse_steps(policy.rollout.manual_steps)
    release = policy.rollout
    check_guardrails(policy.guardrails)
    durations = [policy.triggers.label_lag, policy.training.retry_after, release.lease, release.label_window]
    durations += [release.verify_after, release.confirm_within, release.retry_after, release.rollback_span]
    if policy.triggers.schedule not in ("never", "daily", "weekly", "quarterly"):
        durations.append(policy.triggers.schedule)
    for text in durations:
        if parse_span(text).rows:
            raise InvalidSettings(f"'{text}' is a number of rows where a duration such as 2d is needed.")
    if not parse_span(release.lease).seconds:
        raise InvalidSettings("policy.rollout.lease is above 0: without one no gateway would ever serve a candidate.")
    for text in (policy.triggers.cooldown, policy.triggers.label_lag, policy.training.retry_after):
        parse_span(text)
    if policy.triggers.schedule not in ("never", "daily", "weekly", "quarterly"):
        parse_span(policy.triggers.schedule)
    for name, value in (
        ("rollout.promotion_error", policy.rollout.promotion_error),
        ("rollout.rollback_error", policy.rollout.rollback_error),
        ("rollout.step_back_error", policy.rollout.step_back_error),
        ("training.evaluation_share", policy.training.evaluation_share),
    ):
        if not 0 < value < 1:
            raise InvalidSettings(f"policy.{name} lies between 0 and 1, not at {value}.")


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for name, value in over.items():
        held = result.get(name)
        if isinstance(held, list | tuple) and isinstance(value, str):
            # The environment has no lists: they are written with commas.
            result[name] = [part.strip() for part in value.split(",") if part.strip()]
            continue
        result[name] = _merged(held, value) if isinstance(held, dict) and isinstance(value, dict) else value
    return result
