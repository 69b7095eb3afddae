"""Bare FastAPI around a scikit-learn model. Runs in the environment `fastapi`: PORT MODEL."""

from __future__ import annotations

import sys

import joblib
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel


class Row(BaseModel):
    features: dict[str, float]


app = FastAPI()
model = joblib.load(sys.argv[2])


@app.post("/predict")
def predict(row: Row) -> dict[str, float]:
    return {"probability": float(model.predict_proba([list(row.features.values())])[0, 1])}


uvicorn.run(app, port=int(sys.argv[1]), loop="uvloop", http="httptools", access_log=False, log_level="warning")
