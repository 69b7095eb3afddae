"""Adaptive micro-batching: rows that come while others are scored are scored together next.

Nothing waits for company. One thread takes whatever came since it last looked, scores it in one go, logs it in one
block, and says so: under load the fixed costs of scoring and logging are shared by all rows of a group, and without
load a row goes alone. (Crankshaw et al. 2017, "Clipper", section 4.3, batches up to a latency target; here the group
is what one round left behind, so that no target has to be chosen.)
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from queue import SimpleQueue
from typing import Any

from homeostat.errors import InvalidInput, NotServing
from homeostat.serving.answering import Snapshot
from homeostat.serving.decoding import Row, columns_of_rows
from homeostat.serving.gateway import Gateway, Predictions

MOST_ROWS = 256


@dataclass(slots=True, eq=False)
class Waiting:
    """A row that waits for its answer: afterwards `answer` and `place`, or `error`, are set."""

    model: str
    snapshot: Snapshot
    row: Row
    caller: Any
    answer: Predictions | None = None
    place: int = 0
    error: BaseException | None = None


class Batcher:
    """Scores single rows of many callers in groups, in a thread of its own.

    `submit` returns at once. `deliver` is called with each finished group, from that thread.
    """

    def __init__(
        self, gateway: Gateway, *, clock: Callable[[], datetime], deliver: Callable[[list[Waiting]], None]
    ) -> None:
        self._gateway = gateway
        self._clock = clock
        self._deliver = deliver
        self._submitted: SimpleQueue[Sequence[Waiting]] = SimpleQueue()
        # What was taken from the queue and is not in a group yet; the thread's own.
        self._rows: deque[Waiting] = deque()
        self._closed = False
        self._thread: threading.Thread | None = None

    def submit(self, waiting: Sequence[Waiting]) -> None:
        """Let rows wait to be scored. Raises `NotServing` once the batcher was closed."""
        if self._closed:
            raise NotServing(model=waiting[0].model)
        self._submitted.put(waiting)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="homeostat-batches", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Score what waits, and stop."""
        self._closed = True
        # Nothing comes behind this.
        self._submitted.put(())
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while True:
            if not self._rows:
                self._rows.extend(self._submitted.get())
            while not self._submitted.empty():
                self._rows.extend(self._submitted.get())
            if not self._rows:
                return
            group = self._next_group()
            try:
                self._answer(group)
            except BaseException as error:
                for one in group:
                    if one.answer is None:
                        one.error = one.error or error
            self._deliver(group)

    def _next_group(self) -> list[Waiting]:
        """The rows at the head of the queue that are answered with one snapshot."""
        rows = self._rows
        group = [rows.popleft()]
        snapshot = group[0].snapshot
        while rows and len(group) < MOST_ROWS and rows[0].snapshot is snapshot:
            group.append(rows.popleft())
        return group

    def _answer(self, group: Sequence[Waiting]) -> None:
        first = group[0]
        ids = [one.row.prediction_id for one in group]
        given = [id_ for id_ in ids if id_ is not None]
        if len(set(given)) < len(given):
            # Callers who send one id at once are answered one after the other, as the log keeps the first.
            self._answer_halves(group)
            return
        try:
            answers, errors = self._gateway.predict_each(
                first.model,
                columns_of_rows([one.row.values for one in group], first.snapshot.arms[0].version.signature),
                now=self._clock(),
                ids=ids,
                entities=[one.row.entity for one in group],
                snapshot=first.snapshot,
            )
        except InvalidInput as error:
            # Rows are checked before they come here; one that was not must harm nobody else.
            if len(group) > 1:
                self._answer_halves(group)
            else:
                first.error = error
            return
        place = 0
        for asked, one in enumerate(group):
            one.error = errors.get(asked)
            if one.error is None:
                one.answer, one.place = answers, place
                place += 1

    def _answer_halves(self, group: Sequence[Waiting]) -> None:
        middle = len(group) // 2
        self._answer(group[:middle])
        self._answer(group[middle:])
