"""The wired system on a folder: a changed byte is refused with a finding, and what is held goes on being served."""

import uuid
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from homeostat import settings
from homeostat.controllers.clock import SimulatedClock
from homeostat.errors import IntegrityError
from homeostat.frames import Columns, Kind, to_pandas
from homeostat.records import Alert, Feature, Finding, Severity, Signature, Task
from homeostat.registry.service import VersionDraft
from homeostat.wiring import new_prediction_ids, open_system

START = datetime(2025, 1, 1, tzinfo=UTC)
KINDS = {"a": Kind.NUMERIC, "b": Kind.NUMERIC}
SIGNATURE = Signature(
    task=Task.BINARY,
    features=tuple(Feature(name=name, kind=kind) for name, kind in KINDS.items()),
    target="y",
    classes=("0", "1"),
    positive="1",
)


def draft(seed):
    rng = np.random.default_rng(seed)
    columns = Columns({name: rng.normal(size=200) for name in KINDS})
    target = np.where(columns["a"] + rng.normal(size=200) > 0, "1", "0").astype(object)
    fitted = make_pipeline(StandardScaler(), LogisticRegression()).fit(to_pandas(columns, KINDS), target)
    return VersionDraft(model="m", estimator=fitted, signature=SIGNATURE, columns=columns, target=target, seed=seed)


def open_home(tmp_path, clock):
    return open_system(settings.load(environment={}, overrides={"home": str(tmp_path)}), clock=clock)


@pytest.fixture
def system(tmp_path):
    opened = open_home(tmp_path, SimulatedClock(START))
    for seed in (1, 2):
        opened.registry.register(draft(seed), at=START, actor="me", reason="test")
    opened.registry.install("m", 1, at=START, actor="me", reason="test")
    yield opened
    opened.close()


def flip(tmp_path, version, prefix):
    for entry in version.manifest.files:
        if entry.path.startswith(prefix):
            path = tmp_path / "files" / entry.sha256[:2] / entry.sha256
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 1
            path.write_bytes(content)


def test_a_flipped_byte_is_refused_with_a_finding_while_serving_goes_on(system, tmp_path):
    rows = {"a": [0.5, -2.0], "b": [0.0, 1.0]}
    before = system.predict("m", rows)
    flip(tmp_path, system.registry.version("m", 2), "model/")
    with pytest.raises(IntegrityError):
        system.registry.load(system.registry.version("m", 2))
    system.registry.install("m", 2, at=START, actor="me", reason="test")
    for _ in range(5):
        after = system.predict("m", rows)
        assert (after.version == 1).all()
        np.testing.assert_array_equal(after.score, before.score)
    [finding] = system.records(Finding, "m")
    assert (finding.check, finding.severity, finding.version) == ("integrity", Severity.CRITICAL, 2)
    [alert] = system.records(Alert, "m")
    assert alert.severity is Severity.CRITICAL


def test_a_fresh_process_does_not_serve_changed_bytes(system, tmp_path):
    flip(tmp_path, system.registry.version("m", 1), "model/")
    fresh = open_home(tmp_path, SimulatedClock(START))
    with pytest.raises(IntegrityError):
        fresh.predict("m", {"a": [0.5], "b": [0.0]})
    fresh.close()


def test_what_was_answered_is_there_after_a_restart(system, tmp_path):
    answer = system.predict("m", {"a": [0.5, 3.0], "b": [0.0, 1.0]}, entities=[7, None])
    assert system.label("m", [str(answer.ids[0])], [1]) == 1
    system.close()
    again = open_home(tmp_path, SimulatedClock(START))
    [(_, block)] = again.log.features_after("m", 0)
    assert block.ids.tolist() == answer.ids.tolist()
    np.testing.assert_array_equal(block.score, answer.score)
    np.testing.assert_array_equal(block.features["a"], [0.5, 3.0])
    assert block.entity.tolist() == ["7", answer.ids[1]]
    assert again.view("m").joined.rows().labelled.tolist() == [True, False]
    again.close()


def test_prediction_ids_are_version_7_and_sort_by_time():
    ids = [new_prediction_ids(START + timedelta(milliseconds=n), 1)[0] for n in range(50)]
    assert ids == sorted(ids)
    assert len(set(new_prediction_ids(START, 1000))) == 1000
    for text in ids:
        parsed = uuid.UUID(text)
        assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    assert uuid.UUID(ids[0]).int >> 80 == int(START.timestamp() * 1000)
