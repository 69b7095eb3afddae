"""The rows that served forms are checked on, and what the comparison lets through."""

import numpy as np
import pytest
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression

from homeostat import frames, records
from homeostat.connectors.models import forests, parity
from homeostat.connectors.models.original import wrap
from homeostat.frames import Columns, Kind

SIGNATURE = records.Signature(
    task=records.Task.REGRESSION, features=(records.Feature(name="x", kind=Kind.NUMERIC),), target="y"
)


def fitted(model, scale=1.0):
    values = np.random.default_rng(0).normal(size=100)
    columns = Columns({"x": values})
    model.fit(frames.to_pandas(columns, SIGNATURE.kinds), scale * values)
    return wrap(model, SIGNATURE), columns


class Shifted:
    def __init__(self, original, by):
        self.original, self.by = original, by

    def predict(self, columns):
        return self.original.outputs(columns, len(columns["x"])) + self.by


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_a_regression_is_compared_in_units_of_its_own_spread(scale):
    original, columns = fitted(LinearRegression(), scale)
    rows = parity.collect(original, columns, {}, np.random.default_rng(0))
    assert rows.refusals.missing == ("x",)
    assert parity.compare(Shifted(original, 1e-7 * scale), rows, (), 1e-5).fault is None
    assert "outputs differ" in parity.compare(Shifted(original, 1e-3 * scale), rows, (), 1e-5).fault


def test_split_values_and_their_neighbours_are_among_the_rows():
    original, columns = fitted(RandomForestRegressor(3, max_depth=3, random_state=0))
    description, files = forests.build(forests.read(original))
    borders = forests.thresholds(forests.Forest(description, files).forest, description)
    rows = parity.collect(original, columns, borders, np.random.default_rng(0))
    tested = rows.columns["x"][rows.sorts == "values at a split"]
    splits = np.concatenate(
        [tree.tree_.threshold[tree.tree_.children_left != -1] for tree in original.model.estimators_]
    )
    assert len(splits) > 5
    for split in splits:
        for value in (split, np.nextafter(split, np.inf), np.nextafter(np.float32(split), np.float32(-np.inf))):
            assert value in tested
    assert np.isnan(rows.columns["x"]).any()
    assert {1e30, -1e30, 0.0} <= set(rows.columns["x"].tolist())


def test_a_form_that_fails_or_answers_too_much_is_rejected():
    original, columns = fitted(LinearRegression())
    rows = parity.collect(original, columns, {}, np.random.default_rng(0))
    refused = parity.Rows(
        rows.columns, rows.outputs, rows.sorts, rows.refusals, (parity.Case("odd values", "x", columns),)
    )
    assert "odd values in 'x'" in parity.compare(Shifted(original, 0.0), refused, (), 1e-5).fault
