"""What every order has to say, whoever gives it and however it comes in."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from homeostat.errors import InvalidInput

Given = ParamSpec("Given")
Result = TypeVar("Result")


def explained(order: Callable[Given, Result]) -> Callable[Given, Result]:
    """An order that is refused without a `reason` in words: the history would not say why. Raises `InvalidInput`."""

    @functools.wraps(order)
    def checked(*args: Given.args, **named: Given.kwargs) -> Result:
        if not str(named.get("reason", "")).strip():
            raise InvalidInput("Give a reason in words: it is kept in the history.")
        return order(*args, **named)

    return checked
