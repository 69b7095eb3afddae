"""What the areas need of the outside, as protocols. Adapters live in `stores`, `connectors` and `controllers`."""

from __future__ import annotations

from homeostat.ports.control import ControlPlane, Notifier, Registration
from homeostat.ports.experiments import ExperimentPlane
from homeostat.ports.models import (
    CompiledModel,
    Compiler,
    MatrixPredictor,
    Predictor,
    Trained,
    Trainer,
    TrainingRequest,
)
from homeostat.ports.stores import (
    FEATURE,
    PROBABILITY,
    Clock,
    ControlStore,
    FileStore,
    M,
    PredictionLog,
    R,
    Stages,
    Transaction,
)

__all__ = [
    "FEATURE",
    "PROBABILITY",
    "Clock",
    "CompiledModel",
    "Compiler",
    "ControlPlane",
    "ControlStore",
    "ExperimentPlane",
    "FileStore",
    "M",
    "MatrixPredictor",
    "Notifier",
    "PredictionLog",
    "Predictor",
    "R",
    "Registration",
    "Stages",
    "Trained",
    "Trainer",
    "TrainingRequest",
    "Transaction",
]
