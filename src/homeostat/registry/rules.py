"""Which moves between stages are legal."""

from __future__ import annotations

from homeostat.errors import IllegalMove
from homeostat.records import Stage, Version

LEGAL: dict[Stage, frozenset[Stage]] = {
    Stage.DRAFT: frozenset({Stage.TESTING, Stage.ARCHIVED}),
    Stage.TESTING: frozenset({Stage.STAGING, Stage.DRAFT, Stage.ARCHIVED}),
    Stage.STAGING: frozenset({Stage.PRODUCTION, Stage.DRAFT, Stage.ARCHIVED}),
    Stage.PRODUCTION: frozenset({Stage.ARCHIVED}),
    Stage.ARCHIVED: frozenset(),
}


def check_move(version: Version, target: Stage, *, is_rollback: bool = False) -> None:
    """Raise `IllegalMove` where a version may not go to that stage. Only a rollback leaves the archive."""
    legal = LEGAL[version.stage]
    if version.stage is Stage.ARCHIVED and is_rollback:
        legal = frozenset({Stage.PRODUCTION})
    if target not in legal:
        raise IllegalMove(
            version=version.number,
            model=version.model,
            source=version.stage.value,
            target=target.value,
            legal=sorted(stage.value for stage in legal),
        )


def path_to(source: Stage, target: Stage) -> list[Stage]:
    """The moves that lead forward from one stage to another, without the first.

    >>> [stage.value for stage in path_to(Stage.DRAFT, Stage.STAGING)]
    ['testing', 'staging']
    """
    order = [Stage.DRAFT, Stage.TESTING, Stage.STAGING, Stage.PRODUCTION]
    if source not in order or target not in order or order.index(target) <= order.index(source):
        return [target]
    return order[order.index(source) + 1 : order.index(target) + 1]
