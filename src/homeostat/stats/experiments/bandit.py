"""Thompson sampling with a floor: weights for the next epoch from what the epochs before it have shown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput
from homeostat.stats.sequential.result import checked_count, checked_number, checked_values

DRAWS = 20_000


def thompson_weights(
    successes: npt.ArrayLike | Sequence[float],
    trials: npt.ArrayLike | Sequence[float],
    floor: float = 0.1,
    seed: int = 0,
    *,
    draws: int = DRAWS,
) -> tuple[float, ...]:
    """How to weigh the arms in the next epoch: each by the chance that it is the best, and none below the floor.

    The chance is that under independent beta posteriors from even priors, found from `draws` draws; what is above the
    floors is divided by it. Weights hold for a whole epoch (a batch), and the next epoch begins with new ones. Since
    they are known before the units of their epoch come, `judge` stays valid with them at every stopping time: give it
    each epoch's weights. The floor keeps every arm's information growing, at least floor·(1 − floor) a unit.

    Args:
        successes: of each arm so far: a sum of outcomes between 0 and 1.
        trials: of each arm so far.
        floor: the least weight of an arm, above 0 and at most 1 ÷ the number of arms.
        seed: of the draws; the same seed and counts give the same weights.
        draws: how many.

    Returns:
        A weight an arm; they add up to 1.

    Raises:
        InvalidInput: fewer than two arms, more successes than trials, a floor that leaves nothing to divide.

    Sources: Thompson (1933); batches with clipping: Zhang, Janson and Murphy (2020), "Inference for batched bandits".

    >>> weights = thompson_weights([50, 70], [100, 100], floor=0.1)
    >>> weights[1] > 0.89, round(sum(weights), 12)
    (True, 1.0)
    """
    won, seen = checked_values(successes, "successes", low=0), checked_values(trials, "trials", low=0)
    if won.shape != seen.shape or won.ndim != 1 or len(won) < 2:
        raise InvalidInput("Thompson sampling needs the successes and the trials of two arms or more.")
    if (won > seen).any():
        raise InvalidInput("An arm can't have more successes than trials.")
    least = checked_number(floor, "exploration floor", low=0, high=1 / len(won))
    if not least > 0:
        raise InvalidInput("The exploration floor must be above 0, or an arm may never be tried again.")
    rng = np.random.default_rng(checked_count(seed, "seed", least=0))
    drawn = rng.beta(1 + won, 1 + seen - won, size=(checked_count(draws, "number of draws"), len(won)))
    best = np.bincount(drawn.argmax(axis=1), minlength=len(won)) / len(drawn)
    weights = least + (1 - len(won) * least) * best
    return tuple(float(weight) for weight in weights / weights.sum())
