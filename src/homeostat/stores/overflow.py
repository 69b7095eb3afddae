"""What becomes of rows that the prediction log can't take: refused, spilled to a file, or dropped and counted."""

from __future__ import annotations

import contextlib
import enum
import logging
import threading
from collections.abc import Callable, Iterator, Sequence

import msgspec

from homeostat.errors import StorageFailed
from homeostat.records import PredictionBlock
from homeostat.stores import arrow
from homeostat.stores.spill import SpillFile, SpillFolder

# How errors end that callers get, where nothing of their request was kept.
NOT_KEPT = "None of these rows were kept; try again."
RETRY_SECONDS = 1.0
# What is replayed in one transaction.
FRAMES, FRAME_BYTES = 256, 8 * 2**20
_LOG = logging.getLogger("homeostat.stores")


class Policy(enum.StrEnum):
    """What an append does when the log can't take its rows in time."""

    BLOCK = "block"
    SPILL = "spill"
    DROP = "drop"


class SpilledBlock(msgspec.Struct, array_like=True, frozen=True):
    """A block as it lies in a spill file."""

    model: str
    shadow: bool
    core: bytes
    features: bytes


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[SpilledBlock])


class Overflow:
    """Takes rows while the log is away, and brings them back.

    Once the log has failed, rows go past it without trying, until a thread that looks every second finds it well.
    `probe` raises `StorageFailed` while the log is away, and `replay` writes blocks into it.
    """

    def __init__(
        self,
        policy: Policy,
        spill: SpillFolder,
        *,
        probe: Callable[[], object],
        replay: Callable[[Sequence[PredictionBlock]], object],
    ) -> None:
        self._policy = policy
        self._spill = spill
        self._probe = probe
        self._replay = replay
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self.trouble = ""
        self._told = ""
        # Who is told when the log fails, with why, and once it is well again, with an empty text.
        self.on_trouble: Callable[[str], object] = lambda _trouble: None
        if spill.has_any():
            self._look_after(at_once=True)

    @property
    def is_away(self) -> bool:
        """Whether rows go past the log now."""
        return bool(self.trouble) and self._policy is not Policy.BLOCK

    @property
    def outcome(self) -> str:
        """What `take` makes of rows."""
        return "spilled" if self._policy is Policy.SPILL else "dropped"

    def take(self, blocks: Sequence[SpilledBlock], error: StorageFailed | None) -> None:
        """Keep rows that the log could not take, or let them go, as the policy says.

        Raises the error where nothing is to be done about it, and `StorageFailed` where the spill file fails as well.
        """
        with self._lock:
            if error is not None and not self.trouble:
                self.trouble = str(error).removesuffix(NOT_KEPT).rstrip()
                _LOG.error("The prediction log is away; rows are %s. %s", _DOES[self._policy], self.trouble)
        self._look_after()
        if self._policy is Policy.BLOCK:
            raise error or StorageFailed(self.trouble)
        if self._policy is Policy.SPILL:
            try:
                self._spill.write(_encoder.encode(blocks))
            except OSError as failure:
                raise StorageFailed(
                    f"Neither the prediction log nor its spill folder can be written: {failure.strerror}. {NOT_KEPT}"
                ) from failure

    def look(self) -> None:
        """Look for files that processes left which have died since."""
        if self._spill.has_any():
            self._look_after(at_once=True)

    def _look_after(self, *, at_once: bool = False) -> None:
        with self._lock:
            if self._thread is None and not self._closing.is_set():
                self._thread = threading.Thread(
                    target=self._run, args=(at_once,), name="homeostat-log-recovery", daemon=True
                )
                self._thread.start()

    def _run(self, at_once: bool) -> None:  # noqa: FBT001 (the arguments of a thread)
        while at_once or not self._closing.wait(RETRY_SECONDS):
            at_once = False
            self._tell()
            try:
                self.bring_back()
            except StorageFailed as error:
                _LOG.debug("The prediction log is still away: %s", error)
            except Exception:
                _LOG.exception("Spilled rows could not be replayed; they stay where they are.")
            self._tell()
            with self._lock:
                if not self.trouble and self._spill.own() is None:
                    self._thread = None
                    return

    def _tell(self) -> None:
        trouble = self.trouble
        if trouble != self._told:
            self._told = trouble
            try:
                self.on_trouble(trouble)
            except Exception:
                _LOG.exception("Nobody could be told how the prediction log is.")

    def bring_back(self) -> None:
        """Replay what was spilled, by this process and by those that have died. Raises `StorageFailed`."""
        self._probe()
        if self.trouble:
            _LOG.warning("The prediction log is back.")
            self.trouble = ""
        with self._spill.abandoned() as files:
            for file in files:
                self._replay_frames(file)
                file.path.unlink(missing_ok=True)
        while (own := self._spill.own()) is not None:
            end = own.end
            self._replay_frames(own)
            # What came meanwhile is replayed in the next round; what is replayed twice counts once.
            if self._spill.forget(end):
                break

    def _replay_frames(self, file: SpillFile) -> None:
        end, batch, size = 0, [], 0
        unreadable = 0
        size_of_file = file.end
        for content, place in file.frames():
            end = place
            try:
                batch += list(_blocks(content))
            except (ValueError, msgspec.MsgspecError):
                unreadable += 1
                continue
            size += len(content)
            if size > FRAME_BYTES or len(batch) >= FRAMES:
                self._replay(batch)
                batch, size = [], 0
        if batch:
            self._replay(batch)
        if end < size_of_file:
            _LOG.warning("%s ended in a torn frame of %d bytes, which was cut.", file.path, size_of_file - end)
        if unreadable:
            kept = file.path.with_suffix(".unreadable")
            with contextlib.suppress(OSError):
                kept.hardlink_to(file.path)
            _LOG.error("%d frames of %s can't be read by this version; %s keeps them.", unreadable, file.path, kept)

    def close(self) -> None:
        """Try once more to bring rows back; what can't be waits in its file for the next process."""
        with self._lock:
            self._closing.set()
            thread = self._thread
        if thread is not None:
            thread.join()
        if self._spill.own() is not None:
            try:
                self.bring_back()
            except StorageFailed as error:
                _LOG.error("Spilled rows stay in their file until the log is opened again: %s", error)
        self._spill.close()


_DOES = {Policy.BLOCK: "refused", Policy.SPILL: "spilled to a file beside it", Policy.DROP: "dropped, and counted"}


def _blocks(content: bytes) -> Iterator[PredictionBlock]:
    for one in _decoder.decode(content):
        [part] = arrow.gather([(0, one.core, one.features or None)])
        [block] = arrow.to_blocks(one.model, part.table, part.lengths, shadow=one.shadow)
        yield block
