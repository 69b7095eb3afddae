"""Who asks, and what they may ask for."""

from __future__ import annotations

from dataclasses import dataclass

from homeostat.errors import Forbidden
from homeostat.records import KeyRole

# What the log calls whoever has the token of the settings.
TOKEN_NAME = "token"  # noqa: S105 (a name, no secret)


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever sent a request: the name of the key, and all that it is allowed."""

    name: str
    roles: frozenset[KeyRole]
    is_key: bool = False

    def check(self, role: KeyRole | None) -> None:
        """Raise `Forbidden` where a role is needed that the caller lacks."""
        if role is not None and role not in self.roles:
            raise Forbidden(f"The key may not do this: it needs the role '{role}'. 'homeostat key list' shows roles.")

    def as_actor(self, given: str, default: str) -> str:
        """Who did it, as decisions keep it: nobody can act with a key and leave its name out.

        >>> Caller("ci", frozenset(), is_key=True).as_actor("anna", "api")
        'anna (key ci)'
        """
        if not self.is_key:
            return given or default
        return self.name if given in ("", default) else f"{given} (key {self.name})"


# Nobody was asked who they are: all may do everything, or the operation is open to all.
ANYBODY = Caller("", frozenset(KeyRole))
TOKEN_HOLDER = Caller(TOKEN_NAME, frozenset(KeyRole))
