"""The only place that builds adapters and services, and puts them together."""

from homeostat.wiring.backtests import BacktestResult, run_backtest
from homeostat.wiring.demos import DemoResult, run_demo
from homeostat.wiring.registration import load_pipeline, register_fitted
from homeostat.wiring.system import System, new_prediction_id, open_system, to_json

__all__ = [
    "BacktestResult",
    "DemoResult",
    "System",
    "load_pipeline",
    "new_prediction_id",
    "open_system",
    "register_fitted",
    "run_backtest",
    "run_demo",
    "to_json",
]
