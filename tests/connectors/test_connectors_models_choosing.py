"""Which of several right forms is served, what is recorded of the others, and rows as one matrix."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from homeostat import records
from homeostat.connectors import models
from homeostat.connectors.models import choosing
from homeostat.errors import ScoringFailed, Unanswerable
from homeostat.frames import Columns, Kind
from homeostat.ports import MatrixPredictor

NAMES = ("a", "b", "c")
SIGNATURE = records.Signature(
    task=records.Task.BINARY,
    features=tuple(records.Feature(name=name, kind=Kind.NUMERIC) for name in NAMES),
    target="y",
    classes=("0", "1"),
)
MATRIX = np.random.default_rng(0).normal(size=(300, 3))
COLUMNS = Columns({name: MATRIX[:, place].copy() for place, name in enumerate(NAMES)})
LABELS = (MATRIX[:, 0] + MATRIX[:, 1] > 0).astype(int)


class SimulatedTime:
    """A clock that moves only when a call says how long it takes."""

    def __init__(self):
        self.now = 0.0

    def call(self, *seconds):
        taken = iter(seconds)
        last = seconds[-1]

        def run(rows):
            self.now += next(taken, last) * rows

        return run


def test_the_median_of_interleaved_rounds_ignores_a_stall():
    clock = SimulatedTime()
    stalled = clock.call(*[1e-5] * 6, 0.05, *[1e-5] * 99)
    steady = clock.call(2e-5)
    fast, slow = choosing.measured([stalled, steady], clock=lambda: clock.now, budget=100)
    assert fast.one == pytest.approx(1e-5)
    assert slow.in_batch == pytest.approx(2e-5)


def test_measuring_ends_with_its_budget():
    clock = SimulatedTime()
    choosing.measured([clock.call(0.1)], clock=lambda: clock.now, budget=0.5)
    assert clock.now <= 0.1 * 65 * (choosing.FEWEST_ROUNDS + 1) + 1e-9


@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=6))
def test_a_later_form_is_taken_only_where_it_is_clearly_faster(costs):
    taken = choosing.choose(costs)
    assert costs[taken] <= costs[0]
    if taken:
        assert costs[0] > choosing.CLEARLY * costs[taken]
    assert all(costs[taken] <= choosing.CLEARLY * later for later in costs[taken + 1 :])


def test_the_record_tells_each_form_with_its_time_and_why_it_was_not_taken():
    model = RandomForestClassifier(50, random_state=0).fit(MATRIX, LABELS)
    form = models.compile_model(model, SIGNATURE, COLUMNS).form
    assert form.format == "onnx-trees"
    assert 0 < form.batch_row_us < form.original_batch_row_us
    assert form.speedup == pytest.approx(form.original_row_us / form.row_us)
    (other,) = form.rejected
    assert other.format == "treelite"
    assert "times the time" in other.reason
    assert other.batch_row_us > form.batch_row_us
    assert other.largest_difference == 0


def test_a_version_that_was_stored_without_times_is_read():
    stored = (
        b'{"format":"onnx","reason":"r","rows_checked":9,"largest_difference":0.1,"speedup":2.0,'
        b'"rejected":[{"format":"treelite","reason":"no tree"}],"trusted_types":[]}'
    )
    form = msgspec.json.decode(stored, type=records.ServingForm)
    assert form.row_us is None
    assert form.rejected[0].batch_row_us is None
    assert msgspec.json.decode(msgspec.json.encode(form), type=records.ServingForm) == form


def loaded(model, signature=SIGNATURE, **options):
    made = models.compile_model(model, signature, COLUMNS, **options)
    return models.load_predictor(made.files, made.form, signature)


@pytest.mark.parametrize("name", ["treelite", "onnx-trees", "onnx", "skops"])
def test_a_matrix_scores_as_its_columns_do(name):
    kind = LogisticRegression() if name == "onnx" else RandomForestClassifier(5, random_state=0)
    predictor = loaded(kind.fit(MATRIX, LABELS), formats=[name])
    assert isinstance(predictor, MatrixPredictor)
    assert predictor.matrix_features == NAMES
    assert np.array_equal(predictor.predict_matrix(MATRIX), predictor.predict(COLUMNS))
    assert predictor.predict_matrix(MATRIX[:0]).shape == (0, 2)


def test_infinite_values_of_a_matrix_count_as_missing_and_it_is_not_changed():
    predictor = loaded(HistGradientBoostingClassifier(max_iter=5).fit(MATRIX, LABELS))
    rows = MATRIX[:4].copy()
    rows[1, 0], rows[2, 1], rows[3, :2] = np.inf, -np.inf, [np.inf, -np.inf]
    kept = rows.copy()
    gone = np.where(np.isinf(rows), np.nan, rows)
    assert np.array_equal(predictor.predict_matrix(rows), predictor.predict_matrix(gone))
    assert np.array_equal(rows, kept)


def test_a_matrix_that_does_not_fit_is_refused():
    predictor = loaded(LogisticRegression().fit(MATRIX, LABELS))
    for wrong in (MATRIX[:, :2], MATRIX[0], MATRIX.astype(np.float32)):
        with pytest.raises(ScoringFailed, match="float64 matrix of 3 columns"):
            predictor.predict_matrix(wrong)
    hole = MATRIX[:2].copy()
    hole[1, 2] = np.nan
    with pytest.raises(Unanswerable, match="'c' has missing values"):
        predictor.predict_matrix(hole)
    huge = np.full((3, 3), 1e308)
    assert predictor.predict_matrix(huge).shape == (3, 2)


def test_columns_that_the_model_does_not_use_have_their_place_in_the_matrix():
    import pandas as pd

    wider = msgspec.structs.replace(
        SIGNATURE,
        features=tuple(records.Feature(name=name, kind=Kind.NUMERIC) for name in ("spare", "c", "a", "b")),
    )
    model = LogisticRegression().fit(pd.DataFrame(MATRIX, columns=list(NAMES)), LABELS)
    predictor = loaded(model, wider)
    matrix = np.column_stack([np.zeros(len(MATRIX)), MATRIX[:, 2], MATRIX[:, 0], MATRIX[:, 1]])
    assert np.allclose(predictor.predict_matrix(matrix), model.predict_proba(pd.DataFrame(MATRIX, columns=list(NAMES))))


def test_a_signature_with_text_has_no_matrix():
    mixed = msgspec.structs.replace(
        SIGNATURE, features=(*SIGNATURE.features, records.Feature(name="t", kind=Kind.CATEGORICAL))
    )
    import pandas as pd

    model = LogisticRegression().fit(pd.DataFrame(MATRIX, columns=list(NAMES)), LABELS)
    predictor = loaded(model, mixed)
    assert predictor.matrix_features == ()
    with pytest.raises(ScoringFailed, match="text"):
        predictor.predict_matrix(MATRIX)
