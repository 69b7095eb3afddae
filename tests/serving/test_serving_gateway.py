"""Route → score → shadow-score → log → answer, and what happens when a part of it breaks."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from homeostat.errors import IntegrityError, InvalidFeatures, NotServing, ScoringFailed, StorageFailed, UnknownVersion
from homeostat.frames import Columns, Kind
from homeostat.records import (
    Arm,
    Feature,
    Lineage,
    Manifest,
    Route,
    ServingForm,
    Signature,
    Stage,
    Task,
    Version,
    as_datetime64,
)
from homeostat.serving.answering import LoadedVersion
from homeostat.serving.gateway import RETRY_SECONDS, Gateway
from homeostat.stores.memory import MemoryPredictionLog

NOW = datetime(2025, 1, 1, tzinfo=UTC)
FEATURES = (Feature(name="x", kind=Kind.NUMERIC), Feature(name="c", kind=Kind.CATEGORICAL))


class Constant:
    """Gives every row the same probability, or raises, or gives nonsense."""

    def __init__(self, given):
        self.given = given
        self.rows = 0

    def predict(self, columns):
        if isinstance(self.given, Exception):
            raise self.given
        if isinstance(self.given, np.ndarray):
            return self.given
        self.rows += columns.rows
        assert not np.isinf(columns["x"]).any()
        return np.column_stack([np.full(columns.rows, 1 - self.given), np.full(columns.rows, self.given)])


class World:
    def __init__(self, **predictors):
        self.log = MemoryPredictionLog()
        self.predictors = {int(name.removeprefix("v")): Constant(given) for name, given in predictors.items()}
        self.loads = []
        self.broken = {}
        self.findings = []
        self.route = None
        self.count = 0
        self.gateway = Gateway(
            latest_route=self.latest,
            load=self.load,
            log=self.log,
            new_ids=self.new_ids,
            on_integrity_error=lambda error, now: self.findings.append(error),
        )

    def latest(self, _model):
        if isinstance(self.route, Exception):
            raise self.route
        return self.route

    def load(self, model, number):
        self.loads.append(number)
        if number in self.broken:
            raise self.broken[number]
        version = Version(
            model=model,
            number=number,
            stage=Stage.PRODUCTION,
            created_at=NOW,
            signature=Signature(task=Task.BINARY, features=FEATURES, target="y", classes=("no", "yes"), positive="yes"),
            manifest=Manifest(files=()),
            serving=ServingForm(format="onnx", reason="", rows_checked=1, largest_difference=0.0),
            lineage=Lineage(data_sha256="", rows=1),
        )
        return LoadedVersion(version, self.predictors[number])

    def new_ids(self, _now, count):
        self.count += count
        return [f"made-{n}" for n in range(self.count - count + 1, self.count + 1)]

    def point(self, number, *weights, shadows=()):
        arms = tuple(Arm(name=("control", "candidate")[i], version=i + 1, weight=w) for i, w in enumerate(weights))
        self.route = Route(model="spam", number=number, arms=arms, salt="s", at=NOW, reason="", shadows=shadows)

    def predict(self, rows=4, **more):
        return self.gateway.predict("spam", table(rows), now=NOW, **more)

    def blocks(self):
        return [block for _, block in self.log.blocks_after("spam", 0)]


def table(rows):
    return {"c": ["a"] * rows, "more": [0] * rows, "x": [float(n) for n in range(rows)]}


def integrity(number):
    return IntegrityError(path="model/m", version=number, model="spam", expected="a", found="b")


def test_a_row_is_scored_logged_and_answered():
    world = World(v1=0.7)
    world.point(3, 1.0)
    data = {"x": [1.0, None, float("inf")], "c": [None, "ü", ""]}
    answer = world.gateway.predict("spam", data, now=NOW)
    assert answer.output.tolist() == ["yes"] * 3
    assert answer.score.tolist() == pytest.approx([0.7] * 3)
    assert (answer.version.tolist(), answer.arm.tolist(), answer.route) == ([1] * 3, ["control"] * 3, 3)
    assert answer.ids.tolist() == ["made-1", "made-2", "made-3"]
    [block] = world.blocks()
    assert block.ids.tolist() == block.entity.tolist() == answer.ids.tolist()
    assert (block.event_time == as_datetime64(NOW)).all()
    assert list(block.features) == ["x", "c"]
    np.testing.assert_array_equal(block.features["x"], [1.0, np.nan, np.inf])
    assert block.features["c"].tolist() == [None, "ü", ""]


@pytest.mark.parametrize(("score", "expected"), [(0.5, "yes"), (0.4999, "no")])
def test_the_threshold_belongs_to_the_positive_class(score, expected):
    world = World(v1=score)
    world.point(1, 1.0)
    assert world.predict(1).output.tolist() == [expected]


def test_every_version_of_a_route_scores_every_row_once():
    world = World(v1=0.1, v2=0.9, v3=0.6)
    world.point(1, 0.5, 0.5, shadows=(3,))
    answer = world.predict(200)
    first, second = (answer.version == 1).sum(), (answer.version == 2).sum()
    assert min(first, second) > 50
    assert first + second == 200
    assert {number: predictor.rows for number, predictor in world.predictors.items()} == {1: 200, 2: 200, 3: 200}
    served, *beside = world.blocks()
    assert [block.shadow for block in (served, *beside)] == [False, True, True, True]
    for block in beside:
        assert block.features.rows == block.rows
        assert set(block.arm) == {"shadow"}
        own = answer.ids[answer.version == block.version[0]]
        assert set(block.ids) == set(answer.ids) - set(own)
    assert set(answer.output[answer.version == 2]) == {"yes"}
    assert set(answer.output[answer.version == 1]) == {"no"}


def test_entities_stick_and_their_type_does_not_matter():
    world = World(v1=0.1, v2=0.9)
    world.point(1, 0.5, 0.5)
    as_numbers = world.predict(50, entities=np.arange(50))
    as_text = world.predict(50, entities=[str(n) for n in range(50)])
    as_floats = world.predict(50, entities=[float(n) for n in range(50)])
    assert as_numbers.version.tolist() == as_text.version.tolist() == as_floats.version.tolist()
    assert world.blocks()[0].entity.tolist() == [str(n) for n in range(50)]


def test_rows_without_an_entity_are_their_own():
    world = World(v1=0.1)
    world.point(1, 1.0)
    world.predict(4, ids=["a", "b", 3, "d"], entities=[None, "e", float("nan"), ""])
    assert world.blocks()[0].entity.tolist() == ["a", "e", "3", "d"]


@pytest.mark.parametrize(
    "broken", [RuntimeError("boom"), np.ones((1, 2)) / 2, np.full((200, 2), np.nan), np.ones((200, 3)), np.array(1.0)]
)
def test_a_candidate_that_breaks_costs_nobody_an_answer(broken):
    world = World(v1=0.1, v2=broken)
    world.point(1, 0.5, 0.5)
    answer = world.predict(200)
    assert set(answer.version) == {1}
    assert set(answer.arm) == {"control"}
    served, *beside = world.blocks()
    assert served.error.tolist() == [None] * 200
    assert {code for block in beside for code in block.error} == {"scoring_failed"}
    assert sum(block.rows for block in beside) == 200
    assert {int(number) for block in beside for number in block.version} == {2}
    assert world.predictors[1].rows == 200


def test_production_that_breaks_is_no_answer_and_no_row():
    world = World(v1=RuntimeError("secret in the message"), v2=0.9)
    world.point(1, 0.5, 0.5)
    with pytest.raises(ScoringFailed) as caught:
        world.predict(20)
    assert "secret" not in str(caught.value)
    # Nobody was answered, so no served row is there; that production failed is.
    assert all(block.shadow and set(block.error) == {"scoring_failed"} for block in world.blocks())
    assert {int(version) for block in world.blocks() for version in block.version} == {1}


BAD = {
    "missing": ({"x": [1.0]}, {}),
    "text for a number": ({"x": ["abc"], "c": ["a"]}, {}),
    "list for a number": ({"x": [[1.0]], "c": ["a"]}, {}),
    "empty": ({"x": [], "c": []}, {}),
    "columns missing": (Columns({"x": np.ones(1)}), {}),
    "columns of another kind": (Columns({"x": np.array(["a"], dtype=object), "c": np.array(["a"], dtype=object)}), {}),
    "columns of two lengths": (Columns({"x": np.ones(2), "c": np.array(["a"], dtype=object)}), {}),
    "one id for two": (table(2), {"ids": ["a", "a"]}),
    "one id in two types": (table(2), {"ids": ["1", 1]}),
    "no id": (table(2), {"ids": ["a", None]}),
    "too few ids": (table(2), {"ids": ["a"]}),
    "too many entities": (table(2), {"entities": ["a", "b", "c"]}),
    "too few times": (table(2), {"event_time": np.array(["2025-01-01"], dtype="M8[us]")}),
    "no time": (table(1), {"event_time": np.array(["NaT"], dtype="M8[us]")}),
}


@pytest.mark.parametrize("name", BAD)
def test_rows_that_do_not_fit_are_refused_and_not_logged(name):
    world = World(v1=0.1)
    world.point(1, 1.0)
    rows, more = BAD[name]
    with pytest.raises(InvalidFeatures):
        world.gateway.predict("spam", rows, now=NOW, **more)
    assert world.blocks() == []


def test_no_log_no_answer():
    world = World(v1=0.1)
    world.point(1, 1.0)

    def fail(_blocks):
        raise StorageFailed("full")

    world.log.append = fail
    with pytest.raises(StorageFailed):
        world.predict()


def test_a_model_without_a_route_is_not_served():
    with pytest.raises(NotServing):
        World().predict()


def test_a_new_route_is_taken_whole_and_loads_only_what_is_new():
    world = World(v1=0.1, v2=0.9, v3=0.5)
    world.point(1, 1.0, shadows=(3,))
    held = world.gateway.refresh("spam", now=NOW)
    world.point(2, 0.5, 0.5)
    assert world.gateway.held()["spam"] is held
    assert world.predict().route == 1
    assert world.gateway.refresh("spam", now=NOW).route.number == 2
    assert [loaded.version.number for loaded in held.arms] == [1]
    assert sorted(world.loads) == [1, 2, 3]
    assert world.gateway.refresh("spam", now=NOW) is world.gateway.held()["spam"]


@pytest.mark.parametrize(
    "error", [integrity(2), UnknownVersion(model="spam", version=2, known=[1]), StorageFailed("down")]
)
def test_a_version_that_can_not_be_loaded_changes_nothing(error):
    world = World(v1=0.1, v2=0.9)
    world.point(1, 1.0)
    held = world.gateway.refresh("spam", now=NOW)
    world.broken[2] = error
    world.point(2, 0.5, 0.5)
    for second in range(20):
        assert world.gateway.refresh("spam", now=NOW + timedelta(seconds=second)) is held
    assert world.predict().route == 1
    # One try and one finding, not one for each request.
    assert world.loads.count(2) == 1
    assert len(world.findings) == isinstance(error, IntegrityError)
    world.broken.clear()
    later = NOW + timedelta(seconds=RETRY_SECONDS)
    assert world.gateway.refresh("spam", now=later).route.number == 2


def test_where_nothing_is_held_a_broken_version_is_an_error_and_one_finding():
    world = World(v1=0.1)
    world.broken[1] = integrity(1)
    world.point(1, 1.0)
    for _ in range(3):
        with pytest.raises(IntegrityError):
            world.predict()
    assert len(world.findings) == 1
    world.broken.clear()
    assert world.predict().route == 1


def test_serving_does_not_need_the_control_store():
    world = World(v1=0.1)
    world.route = StorageFailed("down")
    with pytest.raises(StorageFailed):
        world.predict()
    world.point(1, 1.0)
    held = world.gateway.refresh("spam", now=NOW)
    world.route = StorageFailed("down")
    assert world.gateway.refresh("spam", now=NOW) is held
    assert world.predict().route == 1


class Picky:
    """Raises for some rows, and says how often it was asked."""

    def __init__(self, refused):
        self.refused = set(refused)
        self.calls = 0

    def predict(self, columns):
        self.calls += 1
        if self.refused & set(columns["x"].tolist()):
            raise RuntimeError("not these")
        return np.column_stack([1 - columns["x"] / 100, columns["x"] / 100])


def each(world, rows):
    snapshot = world.gateway.snapshot("spam", now=NOW)
    kept = {"c": np.array(["a"] * rows, dtype=object), "x": np.arange(float(rows))}
    return world.gateway.predict_each(
        "spam", Columns(kept), now=NOW, ids=[None] * rows, entities=list(range(rows)), snapshot=snapshot
    )


def test_of_rows_of_different_callers_each_fails_alone():
    world = World(v1=0.9)
    world.predictors[1] = Picky([3.0, 11.0])
    world.point(1, 1.0)
    answers, errors = each(world, 16)
    assert sorted(errors) == [3, 11]
    assert {error.code for error in errors.values()} == {"scoring_failed"}
    assert answers.score.tolist() == [n / 100 for n in range(16) if n not in (3, 11)]
    served, *failed = world.blocks()
    assert (served.shadow, served.rows, served.features["x"].tolist()[3]) == (False, 14, 4.0)
    assert [(block.rows, block.error.tolist()) for block in failed] == [(1, ["scoring_failed"])] * 2
    # Halves, not single rows: two of sixteen cost about four calls for each halving.
    assert world.predictors[1].calls <= 16


def test_rows_that_a_candidate_fails_on_are_answered_by_production_and_only_they():
    world = World(v1=0.9, v2=0.2)
    world.predictors[2] = Picky([5.0])
    world.point(1, 0.0, 1.0)
    answers, errors = each(world, 8)
    assert errors == {}
    assert answers.version.tolist() == [2, 2, 2, 2, 2, 1, 2, 2]
    failures = [block for block in world.blocks() if block.shadow and block.error[0] is not None]
    assert [(block.rows, block.version.tolist(), block.ids.tolist()) for block in failures] == [
        (1, [2], [answers.ids[5]])
    ]


def test_nothing_is_served_where_no_row_can_be_answered():
    world = World(v1=0.9)
    world.predictors[1] = Picky([0.0, 1.0])
    world.point(1, 1.0)
    answers, errors = each(world, 2)
    assert (len(answers.ids), sorted(errors)) == (0, [0, 1])
    assert all(block.shadow for block in world.blocks())


def test_shadows_score_behind_the_answer_where_somebody_does_it_later():
    world = World(v1=0.9, v2=0.2)
    later = []
    world.gateway._later = lambda rows, work: later.append((rows, work))
    world.point(1, 1.0, shadows=(2,))
    world.predict(4)
    assert [block.shadow for block in world.blocks()] == [False]
    [(rows, work)] = later
    work()
    assert rows == 4
    assert [(block.shadow, block.version.tolist()) for block in world.blocks()] == [(False, [1] * 4), (True, [2] * 4)]
