"""An error rate as a budget: split over metrics, arms and steps, and never spent twice."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Self

from homeostat.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class AlphaBudget:
    """How much of an error rate is there, and what it went to; by Boole's inequality the sum bounds the total error.

    Shares are exact fractions, so that thirds of a third of 0.05 add up to 0.05. A budget never changes: `spend` and
    `split` give new ones, and what they give never adds up to more than there was.

    >>> budget = AlphaBudget.of(0.05)
    >>> parts = budget.split({"accuracy": 2, "latency": 1, "errors": 1})
    >>> {name: float(part.total) for name, part in parts.items()}
    {'accuracy': 0.025, 'latency': 0.0125, 'errors': 0.0125}
    >>> left = parts["accuracy"].spend(0.01, "canary 10 %")
    >>> float(left.remaining), float(left.spent)
    (0.015, 0.01)
    """

    total: Fraction
    entries: tuple[tuple[str, Fraction], ...] = ()
    name: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.total < 1:
            raise InvalidInput(f"An error rate lies between 0 and 1; got {float(self.total):g}.")
        if self.spent > self.total:
            raise InvalidInput(f"{float(self.spent):g} of an error rate of {float(self.total):g} can't be spent.")

    @classmethod
    def of(cls, alpha: float | Fraction, name: str = "") -> Self:
        """A budget of the error rate as it is written: 0.05 is 1/20 exactly."""
        return cls(exact(alpha), name=name)

    @property
    def spent(self) -> Fraction:
        """What has been spent so far."""
        return sum((part for _, part in self.entries), Fraction(0))

    @property
    def remaining(self) -> Fraction:
        """What is left."""
        return self.total - self.spent

    @property
    def alpha(self) -> float:
        """What is left, as the number that tests take; rounded down, so that sums never exceed the total."""
        nearest = float(self.remaining)
        return nearest if Fraction(nearest) <= self.remaining else math.nextafter(nearest, 0.0)

    def spend(self, alpha: float | Fraction, on: str) -> Self:
        """The budget after a decision that may err with probability `alpha`.

        Raises:
            InvalidInput: less than that is left.
        """
        part = exact(alpha)
        if part > self.remaining:
            raise InvalidInput(
                f"{float(part):g} can't be spent on {on!r}: of {float(self.total):g} only {float(self.remaining):g} "
                "is left."
            )
        return replace(self, entries=(*self.entries, (on, part)))

    def split(self, parts: int | Sequence[str] | Mapping[str, float]) -> dict[str, AlphaBudget]:
        """What is left, divided into budgets of their own; they replace this one.

        Args:
            parts: how many equal parts, the names of equal parts, or names with weights.

        Raises:
            InvalidInput: no part, a name twice, or weights that are negative or all 0.
        """
        if isinstance(parts, bool) or (isinstance(parts, int) and parts < 1):
            raise InvalidInput(f"A budget can be split into one part or more; got {parts!r}.")
        if isinstance(parts, int):
            weights = {str(number): Fraction(1) for number in range(1, parts + 1)}
        elif isinstance(parts, Mapping):
            weights = {name: exact(weight, least=True) for name, weight in parts.items()}
        else:
            weights = dict.fromkeys(parts, Fraction(1))
            if len(weights) != len(parts):
                raise InvalidInput(f"Each part needs a name of its own; got {', '.join(parts)}.")
        whole = sum(weights.values(), Fraction(0))
        if not whole > 0:
            raise InvalidInput("A budget can't be split without parts of a weight above 0.")
        prefix = f"{self.name}/" if self.name else ""
        return {
            part: AlphaBudget(self.remaining * weight / whole, name=f"{prefix}{part}")
            for part, weight in weights.items()
        }

    def step(self, number: int) -> AlphaBudget:
        """The share of the `number`-th of any number of steps, from 1 on: 1/(k(k + 1)) of what is left, 1 in total.

        >>> [float(AlphaBudget.of(0.06).step(k).total) for k in (1, 2, 3)]
        [0.03, 0.01, 0.005]
        """
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise InvalidInput(f"Steps are counted from 1; got {number!r}.")
        prefix = f"{self.name}/" if self.name else ""
        return AlphaBudget(self.remaining / (number * (number + 1)), name=f"{prefix}step {number}")

    def to_dict(self) -> dict[str, Any]:
        """The budget as texts only, exact."""
        return {
            "total": str(self.total),
            "entries": [[name, str(part)] for name, part in self.entries],
            "name": self.name,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The budget that `to_dict` wrote.

        Raises:
            InvalidInput: something is missing or can't be read.
        """
        try:
            entries = tuple((str(name), Fraction(part)) for name, part in data["entries"])
            return cls(Fraction(data["total"]), entries, str(data["name"]))
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            raise InvalidInput(f"This is not a written budget: {data!r}.") from error


def exact(number: float | Fraction, *, least: bool = False) -> Fraction:
    """A number as it is written in decimals, not as it is stored: 0.05 is 1/20.

    Raises:
        InvalidInput: it is not a finite number of 0 or more; unless `least` it must lie below 1 too.
    """
    fits = isinstance(number, int | float | Fraction) and not isinstance(number, bool) and math.isfinite(number)
    if not fits or number < 0 or (number >= 1 and not least):
        raise InvalidInput(f"{number!r} is not {'a weight of 0 or more' if least else 'an error rate from 0 to 1'}.")
    return number if isinstance(number, Fraction) else Fraction(repr(float(number)))
