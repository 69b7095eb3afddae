"""Fitted scikit-learn models as files that are served without ever unpickling.

`compile_model` tries treelite, ONNX and skops in that order and takes the first whose outputs are those of the
original; `load_predictor` reads the files back.
"""

from homeostat.connectors.models.compiling import Compiled, compile_model, load_predictor
from homeostat.connectors.models.estimators import load_skops
from homeostat.connectors.models.serving import Predictor

__all__ = ["Compiled", "Predictor", "compile_model", "load_predictor", "load_skops"]
