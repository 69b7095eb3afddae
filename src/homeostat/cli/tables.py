"""What commands share that send a table in parts: which model and file, which rows count, and how far it got."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

from homeostat.cli.context import existing
from homeostat.errors import HomeostatError, InvalidInput, UnknownModel

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from homeostat.ports import ControlPlane
    from homeostat.records import Model

DIGEST_BYTES = 16
MOST_ARGUMENTS = 2
Told = Callable[[int, int], None] | None


def where(arguments: Sequence[str], option: str | None) -> tuple[Path, str | None]:
    """The file, and the model where one is named: `[MODEL] PATH`, or `PATH --model MODEL`. Raises `InvalidInput`."""
    if len(arguments) > MOST_ARGUMENTS:
        raise InvalidInput("Name one file, and before it the model: [MODEL] PATH.")
    if len(arguments) == MOST_ARGUMENTS and option is not None:
        raise InvalidInput("The model is named twice. Say it before the file, or with --model.")
    named = arguments[0] if len(arguments) == MOST_ARGUMENTS else option
    return existing(Path(arguments[-1])), named


def model_of(plane: ControlPlane, name: str | None) -> Model:
    """The model of that name, or without one the only one there is. Raises `UnknownModel` or `InvalidInput`."""
    models = plane.models()
    known = [model.name for model in models]
    if name is None and len(models) != 1:
        raise InvalidInput(f"Which model is it? Name it before the file. There are: {', '.join(known) or 'none'}.")
    for model in models:
        if name in (None, model.name):
            return model
    raise UnknownModel(model=name, known=known)


def tell(told: Told, share: float) -> None:
    """Move a progress bar on, where there is one."""
    if told is not None:
        told(round(share * 1000), 1000)


@contextmanager
def counted(before: int, what: str) -> Iterator[None]:
    """Let an error say how much was kept before it: to send all again does no harm."""
    try:
        yield
    except HomeostatError as error:
        if before:
            raise type(error)(
                f"{error.message} Before that, {before:,} {what} were kept; the same import may be run again.",
                **error.data,
            ) from error
        raise


class LastOfEach:
    """Which rows of a table are the last with their id, in 16 bytes a row however long the ids are."""

    def __init__(self) -> None:
        self._digests: list[bytes] = []
        self.rows = 0

    def add(self, ids: Sequence[str]) -> None:
        """Take in the ids of the rows that follow."""
        texts = (id_.encode("utf-8", "surrogatepass") for id_ in ids)
        self._digests.append(b"".join(blake2b(text, digest_size=DIGEST_BYTES).digest() for text in texts))
        self.rows += len(ids)

    def kept(self) -> npt.NDArray[np.bool_]:
        """For every row whether no later one has its id."""
        import numpy as np

        halves = np.frombuffer(b"".join(self._digests), dtype=np.uint64).reshape(-1, 2)
        # Rows with one id come to stand beside each other, in the order of the table.
        order = np.lexsort((np.arange(self.rows), halves[:, 1], halves[:, 0]))
        found = halves[order]
        is_last = np.ones(self.rows, dtype=bool)
        is_last[:-1] = (found[1:] != found[:-1]).any(axis=1)
        kept = np.zeros(self.rows, dtype=bool)
        kept[order[is_last]] = True
        return kept
