"""The connectors for models, as the registry wants them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from homeostat.connectors import models as connector
from homeostat.frames import Columns
from homeostat.ports import CompiledModel, Predictor
from homeostat.records import ServingForm, Signature


class ModelCompiler:
    """Compiles and loads; Python classes run where the settings allow it."""

    def __init__(self, *, allow_python: bool, python_seconds: float) -> None:
        self._allow_python = allow_python
        self._python_seconds = python_seconds

    def compile(self, model: Any, signature: Signature, reference: Columns, *, seed: int = 0) -> CompiledModel:
        return connector.compile_model(model, signature, reference, seed=seed)

    def load(
        self, files: Mapping[str, bytes], form: ServingForm, signature: Signature, *, is_new: bool = False
    ) -> Predictor:
        return connector.load_predictor(
            files,
            form,
            signature,
            allow_python=self._allow_python or is_new,
            python_seconds=self._python_seconds,
        )
