"""One table of settings: name, default, help. The environment, `homeostat.toml` and the command line read it."""

from __future__ import annotations

import os
import tomllib
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from homeostat.errors import InvalidSettings
from homeostat.records import PRESETS, Policy, parse_span, parse_steps

PREFIX = "HOMEOSTAT_"
FILE = "homeostat.toml"
POLICY = "policy"
DURABILITIES = ("process", "power")


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

    def policy_of(self, model: str) -> Policy:
        """The policy that holds for a model."""
        return self.policies.get(model, self.policy)


_GENERAL = (
    Setting("home", ".homeostat", ".homeostat", "folder of all state"),
    Setting(
        "durability", "process", "process", "what a logged prediction survives: the death of the process, or power"
    ),
    Setting("seed", 0, 0, "seed of everything random"),
)


def table() -> list[Setting]:
    """Every setting, in order."""
    return [*_GENERAL, *_walk(POLICY, PRESETS["calibrated"], PRESETS["classic"])]


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
        at = at.setdefault(name, {})
        if not isinstance(at, dict):
            raise InvalidSettings(f"{shown} is below a setting that is no table.")
    at[names[-1]] = value


def _settings(data: dict[str, Any]) -> Settings:
    data = dict(data)
    general = {setting.name: data.pop(setting.name, setting.default) for setting in _GENERAL}
    shared = data.pop(POLICY, {})
    models = data.pop("models", {})
    if data:
        known = [setting.name for setting in _GENERAL] + [POLICY, "models"]
        raise InvalidSettings(f"Unknown settings: {', '.join(sorted(data))}. Known: {', '.join(known)}.")
    if general["durability"] not in DURABILITIES:
        raise InvalidSettings(f"durability is one of {', '.join(DURABILITIES)}, not '{general['durability']}'.")
    policies = {}
    for name, section in models.items():
        own = section.get(POLICY, {}) if isinstance(section, dict) else {}
        policies[name] = policy_from({**shared, **own} if "preset" in own else _merged(shared, own))
    try:
        seed = int(general["seed"])
    except ValueError as error:
        raise InvalidSettings(f"seed is a whole number, not '{general['seed']}'.") from error
    return Settings(
        home=Path(general["home"]),
        durability=general["durability"],
        policy=policy_from(shared),
        policies=policies,
        seed=seed,
    )


def policy_from(data: Any) -> Policy:
    """A policy from a preset's name or a table that overrides parts of its preset. Raises `InvalidSettings`.

    >>> policy_from({"preset": "classic", "drift": {"share": 0.5}}).drift.share
    0.5
    """
    if isinstance(data, str):
        data = {"preset": data}
    if not isinstance(data, dict):
        raise InvalidSettings("A policy is a table, or the name of a preset.")
    preset = data.get("preset", "calibrated")
    if preset not in PRESETS:
        raise InvalidSettings(f"There is no preset '{preset}'. Known: {', '.join(PRESETS)}.")
    base = msgspec.to_builtins(PRESETS[preset])
    try:
        # Values of the environment are text: strict=False reads numbers and booleans from it.
        policy = msgspec.convert(_merged(base, data), Policy, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidSettings(f"The policy can't be used: {error}.") from error
    _check(policy)
    return policy


def _check(policy: Policy) -> None:
    parse_steps(policy.rollout.steps)
    parse_steps(policy.rollout.manual_steps)
    for text in (policy.triggers.cooldown, policy.triggers.label_lag, policy.training.retry_after):
        parse_span(text)
    if policy.triggers.schedule not in ("never", "daily", "weekly", "quarterly"):
        parse_span(policy.triggers.schedule)
    for name, value in (
        ("rollout.promotion_error", policy.rollout.promotion_error),
        ("rollout.rollback_error", policy.rollout.rollback_error),
        ("training.evaluation_share", policy.training.evaluation_share),
    ):
        if not 0 < value < 1:
            raise InvalidSettings(f"policy.{name} lies between 0 and 1, not at {value}.")


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for name, value in over.items():
        held = result.get(name)
        result[name] = _merged(held, value) if isinstance(held, dict) and isinstance(value, dict) else value
    return result
