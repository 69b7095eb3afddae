"""What a snapshot makes of some rows: who answers each, what is answered, and what is scored beside."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from homeostat.errors import HomeostatError, ScoringFailed, Unanswerable
from homeostat.frames import Columns, finite
from homeostat.ports import MatrixPredictor, Predictor
from homeostat.records import PredictionBlock, Route, Version
from homeostat.serving.routing import Allocation, assign
from homeostat.serving.scoring import DEFAULT_THRESHOLD, Scored, interpret

SHADOW = "shadow"
Objects = npt.NDArray[Any]
Places = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class LoadedVersion:
    """A version in memory."""

    version: Version
    predictor: Predictor
    # Asking a protocol whether an object follows it costs as much as a tenth of an answer.
    _of_matrix: MatrixPredictor | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        of_matrix = self.predictor if isinstance(self.predictor, MatrixPredictor) else None
        object.__setattr__(self, "_of_matrix", of_matrix)

    def score(self, columns: Columns) -> Scored:
        """Outputs for some rows. Whatever a model raises becomes `ScoringFailed`."""
        signature = self.version.signature
        try:
            raw = np.asarray(self._outputs(columns), dtype=np.float64)
        except HomeostatError:
            raise
        except Exception as error:
            raise ScoringFailed(
                f"Version {self.version.number} raised {type(error).__name__} while scoring."
            ) from error
        if raw.ndim == 0 or len(raw) != columns.rows:
            raise ScoringFailed(
                f"Version {self.version.number} gave outputs of shape {raw.shape} for {columns.rows} rows."
            )
        return interpret(raw, signature, float(self.version.parameters.get("threshold", DEFAULT_THRESHOLD)))

    def _outputs(self, columns: Columns) -> npt.NDArray[Any]:
        of_matrix = self._of_matrix
        # Numbers that lie side by side need no look at each column.
        if of_matrix is not None and columns.matrix is not None and of_matrix.matrix_features == tuple(columns):
            return of_matrix.predict_matrix(columns.matrix)
        return self.predictor.predict(finite(columns.select(self.version.signature.kinds)))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A route with every version that it names, loaded: swapped whole, never changed.

    `tried` are the versions of the experiments' arms, in the order in which `allocation` numbers them after `arms`.
    """

    route: Route
    arms: tuple[LoadedVersion, ...]
    shadows: tuple[LoadedVersion, ...]
    tried: tuple[LoadedVersion, ...] = ()
    allocation: Allocation | None = None

    @property
    def versions(self) -> tuple[LoadedVersion, ...]:
        """Every version that is held: answering, beside, or tried in an experiment."""
        return (*self.arms, *self.shadows, *self.tried)

    def arm(self, position: int) -> tuple[str, LoadedVersion]:
        """The name of an arm, and its version."""
        count = len(self.arms)
        if position < count:
            return self.route.arms[position].name, self.arms[position]
        assert self.allocation is not None  # noqa: S101 (it numbered the position)
        return self.allocation.names[position], self.tried[position - count]

    def instead_of(self, position: int) -> tuple[LoadedVersion, ...]:
        """The version that answers where an arm's raises: production, or for production one that runs beside."""
        _, loaded = self.arm(position)
        return self.arms[:1] if loaded.version.number != self.arms[0].version.number else self.shadows[:1]

    @property
    def production(self) -> Snapshot:
        """The same route with nothing but its first arm, which is the production version."""
        alone = msgspec.structs.replace(self.route.arms[0], weight=1.0)
        route = msgspec.structs.replace(
            self.route, arms=(alone,), shadows=(), experiments=(), holdouts=(), shadowing=()
        )
        return replace(self, route=route, arms=self.arms[:1], shadows=(), tried=(), allocation=None)


@dataclass(frozen=True, slots=True)
class Asked:
    """Rows to answer: their features, ids, entities and event times, one entry a row."""

    model: str
    columns: Columns
    ids: Objects
    entities: Objects
    times: npt.NDArray[np.datetime64]

    def take(self, places: Places) -> Asked:
        """The rows at some places."""
        return Asked(self.model, self.columns.take(places), self.ids[places], self.entities[places], self.times[places])


@dataclass(frozen=True, slots=True)
class Answered:
    """The rows that were answered; what failed on the way; and why the rest, by its place in what was asked, was not.

    `chosen` is the arm that each answered row was meant for; `None` where there is only one.
    """

    served: PredictionBlock
    failed: list[PredictionBlock]
    errors: dict[int, HomeostatError]
    chosen: Places | None


@dataclass(slots=True)
class _Outputs:
    """What is filled in row by row."""

    output: Objects
    score: npt.NDArray[np.float64]
    latency: npt.NDArray[np.float64]
    version: npt.NDArray[np.int64]
    arm: Objects
    probabilities: npt.NDArray[np.float64] | None = None

    @classmethod
    def of_none(cls, count: int) -> _Outputs:
        """No row is answered yet."""
        return cls(
            output=np.empty(count, dtype=object),
            score=np.full(count, np.nan),
            latency=np.zeros(count),
            version=np.zeros(count, dtype=np.int64),
            arm=np.empty(count, dtype=object),
        )

    @classmethod
    def of_all(cls, scored: Scored, loaded: LoadedVersion, arm: str, seconds: float) -> _Outputs:
        """Every row was answered by one version."""
        count = len(scored.score)
        return cls(
            output=scored.output,
            score=scored.score,
            latency=np.full(count, seconds * 1000 / count),
            version=np.full(count, loaded.version.number, dtype=np.int64),
            arm=np.full(count, arm, dtype=object),
            probabilities=scored.probabilities,
        )

    def put(self, places: Places | slice, scored: Scored, loaded: LoadedVersion, arm: str, seconds: float) -> None:
        self.output[places], self.score[places] = scored.output, scored.score
        self.version[places], self.arm[places] = loaded.version.number, arm
        self.latency[places] = seconds * 1000 / len(scored.score)
        if scored.probabilities is not None:
            self.probabilities = _placed(self.probabilities, scored.probabilities, places, len(self.score))


def answer(snapshot: Snapshot, asked: Asked, *, each: bool) -> Answered:
    """Score every row with the version that its route gives it.

    A version that raises costs nobody an answer while another one is loaded: production answers for a candidate, and
    while a new production version bakes, the one before it. With `each` a row fails alone, and `errors` says why; else
    the rows belong together, and those of a version fail together: then `errors` names all of them.
    """
    count = len(asked.ids)
    made: _Outputs | None = None
    failed: list[PredictionBlock] = []
    errors: dict[int, HomeostatError] = {}
    chosen = _assigned(snapshot, asked)
    for position, places in _by_arm(chosen, count):
        arm, loaded = snapshot.arm(position)
        others = snapshot.instead_of(position)
        for part, scored, error, seconds in _attempts(loaded, asked.columns, places, each=each):
            if scored is not None and len(part) == count:
                made = _Outputs.of_all(scored, loaded, arm, seconds)
                continue
            made = made or _Outputs.of_none(count)
            if scored is not None:
                made.put(part, scored, loaded, arm, seconds)
            elif error is not None:
                own, other = _instead(others, asked.columns, part, each=each)
                # What no model can answer is the caller's fault: it leaves no trace that would count as failure.
                if own or not isinstance(error, Unanswerable):
                    failed.append(failed_block(asked.take(part), loaded, arm, error))
                for rest, found, taken in own:
                    made.put(_whole(rest, count), found, others[0], snapshot.route.arms[0].name, taken)
                errors |= {int(place): other.get(int(place), error) for place in _lacking(part, own)}
    made = made or _Outputs.of_none(count)
    served = PredictionBlock(
        model=asked.model,
        shadow=False,
        ids=asked.ids,
        event_time=asked.times,
        version=made.version,
        arm=made.arm,
        entity=asked.entities,
        output=made.output,
        score=made.score,
        latency_ms=made.latency,
        error=np.empty(count, dtype=object),
        features=asked.columns,
        probabilities=made.probabilities,
    )
    if errors:
        kept = np.ones(count, dtype=bool)
        kept[list(errors)] = False
        served, chosen = served.take(kept), None if chosen is None else chosen[kept]
    return Answered(served, failed, errors, chosen)


def _assigned(snapshot: Snapshot, asked: Asked) -> Places | None:
    """The position of the arm of each row; `None` where there is only one."""
    if snapshot.allocation is not None:
        return snapshot.allocation.assign(asked.entities.tolist(), asked.ids.tolist())
    return assign(snapshot.route, asked.entities.tolist()) if len(snapshot.arms) > 1 else None


def _by_arm(chosen: Places | None, count: int) -> Iterator[tuple[int, Places]]:
    """The places of the rows of each arm that has any."""
    if chosen is None:
        yield 0, np.arange(count)
        return
    for position in np.unique(chosen).tolist():
        yield position, np.flatnonzero(chosen == position)


def _whole(places: Places, count: int) -> Places | slice:
    return slice(None) if len(places) == count else places


def _attempts(
    loaded: LoadedVersion, columns: Columns, places: Places, *, each: bool
) -> Iterator[tuple[Places, Scored | None, HomeostatError | None, float]]:
    """Score rows in one go; with `each`, where that fails, in halves, down to the rows that fail by themselves."""
    started = time.perf_counter()
    try:
        scored = loaded.score(columns if len(places) == columns.rows else columns.take(places))
    except HomeostatError as error:
        if len(places) == 1 or not each:
            yield places, None, error, 0.0
            return
    else:
        yield places, scored, None, time.perf_counter() - started
        return
    middle = len(places) // 2
    for half in (places[:middle], places[middle:]):
        yield from _attempts(loaded, columns, half, each=each)


def _instead(
    others: Sequence[LoadedVersion], columns: Columns, places: Places, *, each: bool
) -> tuple[list[tuple[Places, Scored, float]], dict[int, HomeostatError]]:
    """What the version that answers for another one makes of its rows, and why it answers some of them neither."""
    found: list[tuple[Places, Scored, float]] = []
    errors: dict[int, HomeostatError] = {}
    for other in others:
        for part, scored, error, seconds in _attempts(other, columns, places, each=each):
            if scored is not None:
                found.append((part, scored, seconds))
            elif error is not None:
                errors |= dict.fromkeys(part.tolist(), error)
    return found, errors


def _lacking(places: Places, found: Sequence[tuple[Places, Scored, float]]) -> list[int]:
    answered = {place for part, _, _ in found for place in part.tolist()}
    return [place for place in places.tolist() if place not in answered]


def beside(snapshot: Snapshot, answered: Answered, *, each: bool) -> list[PredictionBlock]:
    """Each row scored with every version of the route that did not answer it.

    So models are compared on the same rows in every step. A version that raises leaves its failure in the log.
    """
    found: list[PredictionBlock] = []
    served = answered.served
    asked = Asked(served.model, served.features, served.ids, served.entity, served.event_time)
    for position, loaded in enumerate((*snapshot.arms, *snapshot.shadows)):
        # Production also answered where a candidate failed, which has been noted.
        due = served.version != loaded.version.number
        if position < len(snapshot.arms):
            due &= answered.chosen != position if answered.chosen is not None else False
        places = np.flatnonzero(due)
        if not len(places):
            continue
        for part, scored, error, seconds in _attempts(loaded, served.features, places, each=each):
            if error is not None:
                found.append(failed_block(asked.take(part), loaded, SHADOW, error))
            if scored is None:
                continue
            count = len(part)
            found.append(
                PredictionBlock(
                    model=served.model,
                    shadow=True,
                    ids=served.ids[part],
                    event_time=served.event_time[part],
                    version=np.full(count, loaded.version.number, dtype=np.int64),
                    arm=np.full(count, SHADOW, dtype=object),
                    entity=served.entity[part],
                    output=scored.output,
                    score=scored.score,
                    latency_ms=np.full(count, seconds * 1000 / count),
                    error=np.empty(count, dtype=object),
                    features=Columns({}, count),
                    probabilities=scored.probabilities,
                )
            )
    return found


def _placed(
    held: npt.NDArray[np.float64] | None, part: npt.NDArray[np.float64], places: Places | slice, count: int
) -> npt.NDArray[np.float64]:
    """Probabilities of an arm in their rows; arms may know different numbers of classes."""
    width = part.shape[1] if held is None else max(part.shape[1], held.shape[1])
    whole = np.full((count, width), np.nan)
    if held is not None:
        whole[:, : held.shape[1]] = held
    whole[places, : part.shape[1]] = part
    return whole


def failed_block(asked: Asked, loaded: LoadedVersion, arm: str, error: HomeostatError) -> PredictionBlock:
    """Rows that a version should have scored and could not."""
    count = len(asked.ids)
    return PredictionBlock(
        model=asked.model,
        shadow=True,
        ids=asked.ids,
        event_time=asked.times,
        version=np.full(count, loaded.version.number, dtype=np.int64),
        arm=np.full(count, arm, dtype=object),
        entity=asked.entities,
        output=np.empty(count, dtype=object),
        score=np.full(count, np.nan),
        latency_ms=np.zeros(count),
        error=np.full(count, error.code, dtype=object),
        features=Columns({}, count),
    )
