"""Fitted models as files that are served without ever unpickling.

`compile_model` takes the fastest form whose outputs are those of the original: trees by treelite or as an ONNX
operator, linear models as a product, boosters by their own library, other graphs by ONNX, and what is left by skops.
`load_predictor` reads the files back; `read_model` reads models that other libraries saved.
"""

from homeostat.connectors.models.compiling import Compiled, compile_model, load_predictor
from homeostat.connectors.models.estimators import load_skops
from homeostat.connectors.models.exported import GivenGraph
from homeostat.connectors.models.original import Given
from homeostat.connectors.models.python_class import FORMAT as PYTHON
from homeostat.connectors.models.python_class import GivenPython
from homeostat.connectors.models.python_files import read_python_files
from homeostat.connectors.models.reading import SUFFIXES, read_model
from homeostat.connectors.models.serving import Predictor

__all__ = [
    "PYTHON",
    "SUFFIXES",
    "Compiled",
    "Given",
    "GivenGraph",
    "GivenPython",
    "Predictor",
    "compile_model",
    "load_predictor",
    "load_skops",
    "read_model",
    "read_python_files",
]
