"""What else an estimated difference between two groups says: its size, its power, and what holds at every look."""

from __future__ import annotations

import math
from dataclasses import dataclass

from homeostat.errors import InvalidInput
from homeostat.stats.inference.results import Result
from homeostat.stats.inference.tails import critical

# Asymptotic confidence sequences say nothing before so many units a group, and are tuned to be narrow at this many.
BURN_IN = 100
TIGHT_AT = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference(Result):
    """A difference of two groups; `entities` are the units that each one's estimate was counted from."""

    entities: tuple[int, int]

    @property
    def effect_size(self) -> float:
        """The difference in standard deviations of a unit (Cohen's d), from the standard error; NaN without one."""
        units = self._units
        return self.estimate / (self.error * math.sqrt(units)) if units and self.error > 0 else math.nan

    @property
    def always_interval(self) -> tuple[float, float]:
        """The interval that holds at every look at once, so that one may act as soon as it leaves out 0.

        The asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas (2024; arXiv 2103.06476),
        narrowest at 1,000 units a group; infinite below 100.
        """
        from homeostat.stats.sequential.normal_mixture import normal_mixture_bound, normal_mixture_rho

        units, alpha = self._units, 1 - self.confidence
        if min(self.entities) < BURN_IN or not self.error > 0:
            return -math.inf, math.inf
        rho = normal_mixture_rho(TIGHT_AT / 2, alpha)
        reach = self.error * float(normal_mixture_bound(units, alpha, rho=rho)) / math.sqrt(units)
        return self.estimate - reach, self.estimate + reach

    def power_to_find(self, effect: float) -> float:
        """The chance that a sample of this size shows a true difference of `effect` in one look; NaN without an error.

        Raises:
            InvalidInput: an effect of 0, or no number.
        """
        from scipy.special import ndtr

        if not self.error > 0:
            return math.nan
        shift, reach = self._effect(effect) / self.error, critical(self.confidence, self.df, "two-sided")
        return float(ndtr(shift - reach) + ndtr(-shift - reach))

    def days_to_go(self, effect: float, units_a_day: float, *, power: float = 0.8) -> float:
        """The days until a true difference of `effect` is found with this power, at so many new units in both groups.

        Raises:
            InvalidInput: an effect of 0, no units a day, or a power outside of 0 to 1.
        """
        if not (0 < units_a_day < math.inf and 0 < power < 1):
            raise InvalidInput("Give a number of units a day above 0, and a power between 0 and 1.")
        if not self.error > 0:
            return math.nan
        reach = critical(self.confidence, math.inf, "two-sided") + critical(power, math.inf, "larger")
        now = sum(self.entities)
        return max(now * (reach * self.error / self._effect(effect)) ** 2 - now, 0.0) / units_a_day

    @property
    def _units(self) -> float:
        one, two = self.entities
        return one * two / (one + two) if one and two else 0.0

    @staticmethod
    def _effect(effect: float) -> float:
        if not 0 < abs(effect) < math.inf:
            raise InvalidInput("The difference to find must be a number other than 0.")
        return abs(effect)
