"""Versions: how they are written, which moves are legal, and what is kept of them."""

import itertools
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
import pytest

from homeostat.errors import (
    Conflict,
    IllegalMove,
    IntegrityError,
    InvalidInput,
    ModelExists,
    NothingToRollBackTo,
    UnknownModel,
    UnknownVersion,
)
from homeostat.frames import Columns, Kind
from homeostat.journal import latest_route
from homeostat.records import Decision, Feature, Manifest, ServingForm, Signature, Stage, Task, Version
from homeostat.registry.rules import check_move
from homeostat.registry.service import Registry, VersionDraft
from homeostat.stores.memory import MemoryControlStore, MemoryFileStore

NOW = datetime(2025, 1, 1, tzinfo=UTC)
WHO = {"at": NOW, "actor": "ana", "reason": "because"}
D, T, S, P, A = Stage
LEGAL = {(D, T), (T, S), (S, P), (T, D), (S, D), (D, A), (T, A), (S, A), (P, A)}


class FakeCompiler:
    def compile(self, model, signature, reference, *, seed=0):
        form = ServingForm(format="fake", reason="test", rows_checked=1, largest_difference=0.0)
        return type("Compiled", (), {"files": {"weights": model.encode()}, "form": form})()

    def load(self, files, form, signature, *, is_new=False):
        assert set(files) == {"weights"}

        @dataclass
        class Loaded:
            content: bytes

            def predict(self, columns):
                share = 1 / (1 + np.exp(-columns["x"]))
                return np.column_stack([1 - share, share])

        return Loaded(files["weights"])


@pytest.fixture
def files():
    return MemoryFileStore()


@pytest.fixture
def registry(files):
    return Registry(MemoryControlStore(), files, FakeCompiler(), code_version="1.2.3")


def draft(model="spam", *, task=Task.BINARY, **more):
    rng = np.random.default_rng(0)
    return VersionDraft(
        model=model,
        estimator=more.pop("estimator", "v1"),
        signature=Signature(
            task=task, features=(Feature(name="x", kind=Kind.NUMERIC),), target="y", classes=("0", "1")
        ),
        columns=Columns({"x": rng.normal(size=50)}),
        target=np.array(["0", "1"] * 25, dtype=object),
        **more,
    )


def register(registry, **more):
    return registry.register(draft(**more), **WHO)


@pytest.mark.parametrize(("source", "target"), list(itertools.product(Stage, Stage)))
@pytest.mark.parametrize("is_rollback", [False, True])
def test_every_pair_of_stages(registry, source, target, is_rollback):
    version = replace_stage(register(registry), source)
    if (source, target) in LEGAL or (is_rollback and (source, target) == (A, P)):
        check_move(version, target, is_rollback=is_rollback)
    else:
        with pytest.raises(IllegalMove) as caught:
            check_move(version, target, is_rollback=is_rollback)
        assert (caught.value.data["source"], caught.value.data["target"]) == (source.value, target.value)


def replace_stage(version, stage):
    import msgspec

    return msgspec.structs.replace(version, stage=stage)


def test_numbers_count_up_within_a_model(registry):
    numbers = [register(registry, model=name).number for name in ("spam", "ham", "spam", "spam", "ham")]
    assert numbers == [1, 1, 2, 3, 2]
    assert [version.number for version in registry.versions("spam")] == [1, 2, 3]
    assert [model.name for model in registry.models()] == ["spam", "ham"]


def test_a_version_says_where_it_comes_from(registry):
    times = np.array(["2025-01-01", "2025-01-03"], dtype="M8[us]").repeat(25)
    first = register(registry, times=times, metrics={"auc": np.float64(0.9), "nothing": float("nan")})
    second = register(registry, parent=1, run="run-1", keep_training=True)
    lineage = first.lineage
    assert (lineage.rows, lineage.code_version, lineage.registered_by) == (50, "1.2.3", "ana")
    assert (lineage.trained_from, lineage.trained_until) == (NOW, datetime(2025, 1, 3, tzinfo=UTC))
    assert (second.lineage.parent, second.lineage.run) == (1, "run-1")
    assert second.lineage.data_sha256 == lineage.data_sha256
    # A metric that is not defined must not make the version unreadable.
    assert registry.version("spam", 1).metrics == {"auc": 0.9}
    assert registry.history_rows("spam")[0].rows == 50


def test_a_run_that_is_repeated_finds_its_version(registry):
    first = register(registry, run="run-1")
    assert register(registry, run="run-1") == first
    assert register(registry, run="run-2").number == 2
    assert len(registry.versions("spam")) == 2


@pytest.mark.parametrize("change", ["task", "target"])
def test_a_model_keeps_its_task_and_target(registry, change):
    register(registry)
    other = draft()
    import msgspec

    fields = {"task": Task.MULTICLASS} if change == "task" else {"target": "z"}
    with pytest.raises(ModelExists):
        registry.register(replace(other, signature=msgspec.structs.replace(other.signature, **fields)), **WHO)
    assert len(registry.versions("spam")) == 1


@pytest.mark.parametrize("name", ["a", "Spam-2.0_x", "ü", "_x", "a" * 100])
def test_names(registry, name):
    assert register(registry, model=name).model == name


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "-rf", "a/b", "a b", "a:1", "a\n", "a" * 101, "a?"])
def test_what_is_no_name(registry, name):
    with pytest.raises(InvalidInput):
        register(registry, model=name)
    assert registry.models() == []


def test_the_history_names_every_move_with_who_and_why(registry):
    register(registry)
    registry.advance("spam", 1, Stage.STAGING, at=NOW, actor="bob", reason="tested")
    registry.install("spam", 1, at=NOW, actor="eve", reason="go")
    moves = [(c.source, c.target, c.actor, c.reason) for c in registry.history("spam", 1)]
    assert moves == [
        (None, D, "ana", "because"),
        (D, T, "bob", "tested"),
        (T, S, "bob", "tested"),
        (S, P, "eve", "go"),
    ]
    assert registry.history("spam", 2) == []


def test_installing_archives_the_other_and_routes_to_it(registry):
    for _ in range(2):
        register(registry)
        registry.install("spam", len(registry.versions("spam")), **WHO)
    assert [version.stage for version in registry.versions("spam")] == [A, P]
    with registry._store.read() as transaction:
        assert [(arm.version, arm.weight) for arm in latest_route(transaction, "spam").arms] == [(2, 1.0)]
        kinds = [found.kind for found in transaction.list(Decision, model="spam")]
    assert kinds == ["registered", "installed", "registered", "promotion"]


def test_installing_what_is_in_production_changes_nothing(registry):
    register(registry)
    registry.install("spam", 1, **WHO)
    before = registry.history("spam")
    assert registry.install("spam", 1, **WHO).stage is P
    assert registry.history("spam") == before


def test_an_archived_version_is_not_installed_and_production_stays(registry):
    register(registry)
    register(registry)
    registry.install("spam", 1, **WHO)
    registry.advance("spam", 2, Stage.ARCHIVED, **WHO)
    with pytest.raises(IllegalMove):
        registry.install("spam", 2, **WHO)
    with pytest.raises(Conflict, match="nothing to serve"):
        registry.advance("spam", 1, Stage.ARCHIVED, **WHO)
    assert registry.production("spam").number == 1


def test_a_rollback_returns_to_the_last_production_version(registry):
    with pytest.raises(UnknownModel):
        target(registry)
    for number in (1, 2, 3):
        register(registry)
        if number == 1:
            with pytest.raises(NothingToRollBackTo):
                target(registry)
        registry.install("spam", number, **WHO)
    assert target(registry) == 2
    assert target(registry, 1) == 1
    with pytest.raises(UnknownVersion):
        target(registry, 9)
    with registry._store.begin() as transaction:
        registry.move(transaction, "spam", 3, A, **WHO)
        registry.move(transaction, "spam", 2, P, **WHO, is_rollback=True)
    # Version 3 was taken back: going back once more must not bring it into production again.
    assert target(registry) == 1
    assert [version.stage for version in registry.versions("spam")] == [A, P, A]


def target(registry, number=None):
    with registry._store.read() as transaction:
        return registry.rollback_target(transaction, "spam", number)


def test_what_does_not_exist_is_named(registry):
    register(registry)
    with pytest.raises(UnknownModel, match="spam"):
        registry.versions("ham")
    with pytest.raises(UnknownVersion, match="It has: 1"):
        registry.version("spam", 2)
    assert registry.production("spam") is None


def test_only_the_bytes_that_were_hashed_are_loaded(registry, files):
    version = register(registry)
    assert registry.load(version).content == b"v1"
    assert registry.verify(version) == []
    for entry in version.manifest.files:
        good = files._files[entry.sha256]
        files._files[entry.sha256] = bytes([good[0] ^ 1]) + good[1:]
        assert registry.verify(version) == [entry.path]
        with pytest.raises(IntegrityError) as caught:
            registry.read_file(version, entry.path)
        assert caught.value.data["path"] == entry.path
        del files._files[entry.sha256]
        assert registry.verify(version) == [entry.path]
        files._files[entry.sha256] = good
    assert isinstance(version.manifest, Manifest)
    assert isinstance(version, Version)
