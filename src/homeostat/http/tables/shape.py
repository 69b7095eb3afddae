"""What a table may be at most, and which columns it has to have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from homeostat.errors import InvalidFeatures, TooLarge

MOST_COLUMNS = 10_000
SHOWN_NAMES = 10
SHOWN_LENGTH = 60


@dataclass(frozen=True, slots=True)
class Limits:
    """How many rows a table may have, and how many bytes its texts.

    `ignores_others`: columns that nobody asked for are passed over instead of refused.
    """

    most_rows: int
    most_bytes: int
    ignores_others: bool

    def check_rows(self, count: int) -> None:
        """Raise `TooLarge` where there are more rows than that."""
        if count > self.most_rows:
            raise TooLarge(f"The batch has {count:,} rows; this server takes {self.most_rows:,}. Send it in parts.")

    def check_width(self, count: int) -> None:
        """Raise `TooLarge` where there are more columns than any table should have."""
        if count > MOST_COLUMNS:
            raise TooLarge(f"The table has {count:,} columns; this server takes {MOST_COLUMNS:,}.")

    def check_names(self, names: Sequence[str], wanted: Collection[str], optional: Collection[str]) -> None:
        """Raise `InvalidFeatures` where a wanted column is not there or two columns have one name that counts.

        >>> Limits(10, 10, ignores_others=True).check_names(["b", "a", "c", "c"], ["a", "b"], [])
        """
        counted = Counter(names)
        absent = [name for name in wanted if name not in counted]
        if absent:
            shown = [name if len(name) <= SHOWN_LENGTH else name[: SHOWN_LENGTH - 1] + "…" for name in absent]
            more = f" and {len(absent) - SHOWN_NAMES} more" if len(absent) > SHOWN_NAMES else ""
            raise InvalidFeatures(f"Missing features: {', '.join(shown[:SHOWN_NAMES])}{more}.", missing=absent)
        known = {*wanted, *optional}
        if any(counted[name] > 1 for name in known):
            raise InvalidFeatures("Two columns have the same name.")
        others = len(counted.keys() - known)
        if others and not self.ignores_others:
            raise InvalidFeatures(f"There are {others} columns that the model does not know.")
