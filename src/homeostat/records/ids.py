"""Prediction ids as the log keeps them: 16 bytes for a UUID in its usual form, the text itself for any other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pyarrow as pa

KEY_BYTES, TEXT_LENGTH = 16, 36
FEW = 8
# From so many on, making ids all at once is faster than one after the other.
MANY = 32
_DASHES = (8, 13, 18, 23)
_DIGITS = np.array([position for position in range(TEXT_LENGTH) if position not in _DASHES])
_DIGIT_OF = np.frombuffer(b"0123456789abcdef", np.uint8)

Ids = Sequence[str] | npt.NDArray[np.object_]


def key_of(id_: str) -> bytes | str:
    """What the log knows one id by. Different ids have different keys.

    >>> key_of("017f22e2-79b0-7cc3-98c4-dc0c0c07398f").hex()
    '017f22e279b07cc398c4dc0c0c07398f'
    >>> key_of("017F22E2-79B0-7CC3-98C4-DC0C0C07398F"), key_of("order-17")
    ('017F22E2-79B0-7CC3-98C4-DC0C0C07398F', 'order-17')
    """
    if len(id_) != TEXT_LENGTH or id_[8] != "-" or id_[13] != "-" or id_[18] != "-" or id_[23] != "-":
        return id_
    digits = id_.replace("-", "")
    try:
        key = bytes.fromhex(digits)
    except ValueError:
        return id_
    return key if key.hex() == digits else id_


def packed(ids: Ids) -> bytes | None:
    """The keys of all ids after each other where every one is a UUID in its usual form, else `None`."""
    count = len(ids)
    if count < FEW:
        keys = [key_of(id_) for id_ in ids]
        return b"".join(keys) if all(type(key) is bytes for key in keys) else None  # type: ignore[arg-type]
    if set(map(len, ids)) != {TEXT_LENGTH}:
        return None
    whole = "".join(ids)
    digits = whole.replace("-", "")
    if len(digits) != 2 * KEY_BYTES * count or any(whole[dash::TEXT_LENGTH] != "-" * count for dash in _DASHES):
        return None
    try:
        keys_of_all = bytes.fromhex(digits)
    except ValueError:
        return None
    # Capitals and blanks would be read as well; what is read back must be the text that was given.
    return keys_of_all if keys_of_all.hex() == digits else None


def key_bytes(chunk: pa.Array) -> memoryview:
    """The bytes of keys in an Arrow array, 16 each."""
    return memoryview(chunk.buffers()[1])[chunk.offset * KEY_BYTES : (chunk.offset + len(chunk)) * KEY_BYTES]


def texts_of(keys: bytes | memoryview) -> list[str]:
    """The ids of keys that lie after each other.

    >>> texts_of(packed(["017f22e2-79b0-7cc3-98c4-dc0c0c07398f"]))
    ['017f22e2-79b0-7cc3-98c4-dc0c0c07398f']
    """
    values = np.frombuffer(keys, np.uint8).reshape(-1, KEY_BYTES)
    # A line for each, which Python splits at once.
    letters = np.full((len(values), TEXT_LENGTH + 1), ord("-"), dtype=np.uint8)
    letters[:, _DIGITS[0::2]] = _DIGIT_OF[values >> 4]
    letters[:, _DIGITS[1::2]] = _DIGIT_OF[values & 15]
    letters[:, TEXT_LENGTH] = ord("\n")
    return letters.tobytes().decode("ascii").splitlines()


def uuid7_texts(moment: bytes, random: bytes) -> list[str]:
    """UUIDv7s (RFC 9562, section 5.7) of a moment, in milliseconds as 6 bytes, from 16 random bytes for each.

    >>> uuid7_texts(bytes.fromhex("017f22e279b0"), bytes(16))
    ['017f22e2-79b0-7000-8000-000000000000']
    """
    keys = np.frombuffer(random, np.uint8).reshape(-1, KEY_BYTES).copy()
    keys[:, : len(moment)] = np.frombuffer(moment, np.uint8)
    keys[:, 6] = keys[:, 6] & 0x0F | 0x70
    keys[:, 8] = keys[:, 8] & 0x3F | 0x80
    return texts_of(keys.tobytes())
