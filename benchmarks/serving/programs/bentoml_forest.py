"""BentoML around a scikit-learn model, one worker. Served by `bentoml serve` in the environment `bentoml`.

`MODEL` in the environment names the file.
"""

import os

import bentoml
import joblib


@bentoml.service(workers=1)
class Forest:
    def __init__(self) -> None:
        self.model = joblib.load(os.environ["MODEL"])

    @bentoml.api
    def predict(self, features: dict[str, float]) -> dict[str, float]:
        return {"probability": float(self.model.predict_proba([list(features.values())])[0, 1])}
