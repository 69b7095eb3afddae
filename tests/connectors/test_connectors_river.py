"""River's detectors behind the interface of the project's own."""

import importlib
import math

import numpy as np
import pytest

from homeostat.connectors.river import METHODS, RiverDetector
from homeostat.errors import InvalidInput, MissingDependency
from homeostat.stats.streams import StreamDetector

FAST = [method for method in METHODS if method != "KSWIN"]


def stream():
    rng = np.random.default_rng(0)
    return np.concatenate([rng.random(1000) < 0.2, rng.random(600) < 0.7]).astype(int)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_keeps_the_interface(method):
    detector = RiverDetector(method)
    assert isinstance(detector, StreamDetector)
    assert (detector.name, detector.run_length, detector.rows, detector.alarms) == (method, None, 0, ())
    assert detector.update([]).dtype == np.int64
    detector.update([0, 1, 0])
    assert detector.rows == 3
    detector.reset()
    assert detector.rows == 0


@pytest.mark.parametrize("method", FAST)
def test_batches_do_not_change_the_alarms(method):
    whole, parts = RiverDetector(method), RiverDetector(method)
    expected = whole.update(stream())
    got = [position for part in np.array_split(stream(), 23) for position in parts.update(part)]
    assert got == expected.tolist()
    assert [alarm.position for alarm in parts.alarms] == got
    parts.reset()
    assert parts.update(stream()).tolist() == got


@pytest.mark.parametrize("method", [method for method in FAST if method != "Page-Hinkley"])
def test_every_method_finds_a_large_change(method):
    late = [position for position in RiverDetector(method).update(stream()) if position >= 1000]
    assert late
    assert late[0] < 1200


@pytest.mark.parametrize("method", FAST)
def test_the_alarms_are_those_of_river_read_value_by_value(method):
    module, name, _ = METHODS[method]
    plain, expected = getattr(importlib.import_module(module), name)(), []
    for position, value in enumerate(stream().tolist()):
        plain.update(value)
        if plain.drift_detected:
            expected.append(position)
    assert RiverDetector(method).update(stream()).tolist() == expected


def test_kswin_is_repeatable_and_finds_a_change_of_values():
    rng = np.random.default_rng(1)
    values = np.concatenate([rng.normal(0, 1, 150), rng.normal(4, 1, 40)])
    first, second = (RiverDetector("KSWIN", alpha=1e-4).update(values) for _ in range(2))
    assert first.tolist() == second.tolist()
    assert first[0] >= 150


def test_an_alarm_says_that_nothing_is_promised():
    detector = RiverDetector("DDM")
    (position,) = detector.update(stream())[:1]
    alarm = detector.alarms[0]
    assert (alarm.position, alarm.run_length, alarm.direction) == (position, None, "changed")
    assert math.isnan(alarm.estimate)
    assert "neither" in alarm.sentence


def test_options_reach_river():
    assert len(RiverDetector("DDM", drift_threshold=50.0).update(stream())) == 0
    with pytest.raises(InvalidInput, match="refuses"):
        RiverDetector("DDM", sensitivity=3)
    with pytest.raises(InvalidInput, match="refuses"):
        RiverDetector("KSWIN", alpha=-1.0)
    with pytest.raises(InvalidInput, match="known: ADWIN"):
        RiverDetector("FHDDM2")


@pytest.mark.parametrize("values", [[math.nan], [math.inf], ["x"], [[0, 1]], 1, [None]])
@pytest.mark.parametrize("method", ["ADWIN", "DDM"])
def test_values_that_mean_nothing_are_refused(method, values):
    detector = RiverDetector(method)
    with pytest.raises(InvalidInput):
        detector.update(values)
    assert detector.rows == 0


@pytest.mark.parametrize("method", ["DDM", "EDDM", "HDDM_A", "HDDM_W"])
def test_binary_methods_take_only_0_and_1(method):
    with pytest.raises(InvalidInput, match="0 \\(right\\) and 1 \\(wrong\\)"):
        RiverDetector(method).update([0, 0.5])


def test_without_river_the_error_says_what_to_install(monkeypatch):
    def refuse(name, *rest, **options):
        raise ImportError(name)

    monkeypatch.setattr("importlib.import_module", refuse)
    with pytest.raises(MissingDependency, match=r"pip install 'homeostat\[online\]'"):
        RiverDetector("ADWIN")
