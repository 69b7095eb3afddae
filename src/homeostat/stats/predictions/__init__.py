"""What looks wrong with a window of predictions before any label has come.

Each check compares the window with the reference and gives an effect with its interval and p-value. The preset
`classic` decides by customary thresholds alone; `calibrated`, the default, asks that an effect is both large enough to
matter and beyond chance after all checks of the window are allowed for.
"""

from __future__ import annotations

from homeostat.stats.predictions.anomalies import (
    PredictionReport,
    PredictionWindow,
    prediction_anomalies,
)
from homeostat.stats.predictions.confidence import certainty, confidence_collapse, confidence_decay, entropy_rise
from homeostat.stats.predictions.outputs import class_balance, constant_output, out_of_range, outlying_outputs
from homeostat.stats.predictions.results import PredictionAnomaly, PredictionThresholds
from homeostat.stats.predictions.spikes import positive_rate, share_spike, volume_spike

__all__ = [
    "PredictionAnomaly",
    "PredictionReport",
    "PredictionThresholds",
    "PredictionWindow",
    "certainty",
    "class_balance",
    "confidence_collapse",
    "confidence_decay",
    "constant_output",
    "entropy_rise",
    "out_of_range",
    "outlying_outputs",
    "positive_rate",
    "prediction_anomalies",
    "share_spike",
    "volume_spike",
]
