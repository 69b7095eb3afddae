"""Which moves between stages are legal, what a model may be called, and which versions it may have."""

from __future__ import annotations

from collections.abc import Sequence

from homeostat.errors import IllegalMove, InvalidInput, ModelExists
from homeostat.records import EXTERNAL, ServingForm, Stage, Version

EXTERNAL_FORM = ServingForm(
    format=EXTERNAL, reason="it is served elsewhere and watched here", rows_checked=0, largest_difference=0.0
)

NAME_LENGTH = 100
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


def check_promotable(version: Version) -> None:
    """Raise `IllegalMove` where somebody orders a draft into production, at once or by a rollout.

    Nobody has said yet that it is ready. What a retraining made is in staging once it has passed its gate.
    """
    if version.stage is Stage.DRAFT:
        name = f"{version.model} {version.number}"
        raise IllegalMove(
            f"Version {version.number} of '{version.model}' is a draft, which can't go to production, nor into a "
            f"rollout, which ends there. Say that it is ready with 'homeostat model promote {name} --to staging', and "
            f"then 'homeostat rollout start {name}', or 'homeostat model promote {name}' for all traffic at once.",
            version=version.number,
            model=version.model,
            source=version.stage.value,
            target=Stage.PRODUCTION.value,
            legal=sorted(stage.value for stage in LEGAL[Stage.DRAFT]),
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


def check_name(name: str) -> None:
    """Raise `InvalidInput` where a model can't be called that."""
    # A name that begins with a dot or a dash would be another path in an address, or an option on a command line.
    legal = 0 < len(name) <= NAME_LENGTH and name[0] not in "-."
    if not legal or not all(char.isalnum() or char in "-_." for char in name):
        raise InvalidInput(
            f"A model's name is 1 to {NAME_LENGTH} letters, digits, '-', '_' or '.', and begins with no '-' or '.'; "
            f"'{name[:NAME_LENGTH]}' is not."
        )


def check_served_alike(versions: Sequence[Version], form: ServingForm) -> None:
    """Raise `ModelExists` where a model would be served partly here and partly elsewhere: nobody could route it."""
    for version in versions:
        if version.is_external != (form.format == EXTERNAL):
            where = "elsewhere" if version.is_external else "by Homeostat"
            raise ModelExists(
                f"Model '{version.model}' is served {where}, and so are all of its versions. Register this one under "
                "another name.",
                model=version.model,
            )
