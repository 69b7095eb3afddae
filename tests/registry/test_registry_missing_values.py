"""What a model can do without is found out at registration."""

import numpy as np
import pytest

from homeostat.frames import Columns, Kind, missing
from homeostat.records import Feature, Signature, Task
from homeostat.registry.missing_values import with_nullable

SIGNATURE = Signature(
    task=Task.BINARY,
    features=(
        Feature(name="a", kind=Kind.NUMERIC),
        Feature(name="b", kind=Kind.NUMERIC),
        Feature(name="c", kind=Kind.CATEGORICAL),
    ),
    target="y",
    classes=("n", "y"),
)
COLUMNS = Columns(
    {
        "a": np.array([np.nan, 1.0]),
        "b": np.array([1.0, 2.0]),
        "c": np.array(["u", "v"], dtype=object),
    }
)


class Picky:
    """Needs some features, and says so in one of the ways in which models do."""

    def __init__(self, *needed, raises=False):
        self.needed = needed
        self.raises = raises

    def predict(self, columns):
        gone = np.zeros(len(columns["a"]), dtype=bool)
        for name in self.needed:
            gone |= missing(columns[name])
        if self.raises and gone.any():
            raise ValueError("Input contains NaN")
        scores = np.where(gone, np.nan, 0.5)
        return np.column_stack([scores, scores])


def nullable(predictor):
    found = with_nullable(SIGNATURE, predictor, COLUMNS)
    return {feature.name: feature.nullable for feature in found.features}


@pytest.mark.parametrize("raises", [True, False])
def test_features_that_a_model_needs_are_found_one_by_one(raises):
    assert nullable(Picky("b", "c", raises=raises)) == {"a": True, "b": False, "c": False}
    assert nullable(Picky("a", raises=raises)) == {"a": False, "b": True, "c": True}


def test_a_model_that_takes_everything():
    assert nullable(Picky()) == {"a": True, "b": True, "c": True}


def test_a_model_that_answers_nothing_says_nothing_about_single_features():
    class Broken:
        def predict(self, columns):
            raise RuntimeError("never")

    assert nullable(Broken()) == {"a": True, "b": True, "c": True}


def test_no_rows_say_nothing():
    empty = COLUMNS.take(np.array([], dtype=int))
    assert with_nullable(SIGNATURE, Picky("a"), empty) == SIGNATURE
