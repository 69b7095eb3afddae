"""The only place that builds adapters and services, and puts them together."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from homeostat.wiring.system import System, new_prediction_ids, open_system

if TYPE_CHECKING:
    from homeostat.wiring.backtests import BacktestResult, run_backtest
    from homeostat.wiring.demos import DemoResult, run_demo

# A server and most commands need neither, and would wait for them.
_ON_USE = {
    "BacktestResult": "backtests",
    "run_backtest": "backtests",
    "DemoResult": "demos",
    "run_demo": "demos",
}

__all__ = [
    "BacktestResult",
    "DemoResult",
    "System",
    "new_prediction_ids",
    "open_system",
    "run_backtest",
    "run_demo",
]


def __getattr__(name: str) -> Any:
    if name in _ON_USE:
        return getattr(import_module(f"homeostat.wiring.{_ON_USE[name]}"), name)
    raise AttributeError(f"module 'homeostat.wiring' has no attribute '{name}'")
