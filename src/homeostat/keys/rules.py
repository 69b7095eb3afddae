"""How a key looks, and what may be asked of a new one. Pure, but for the randomness of a new secret."""

from __future__ import annotations

import hashlib
import re
import secrets
import string
import zlib
from collections.abc import Sequence
from datetime import datetime, timedelta

from homeostat.errors import InvalidInput, InvalidSettings
from homeostat.records import ApiKey, KeyRole, parse_span

# A key is `hst_`, an id, `_`, a secret, and a checksum that tells scanners for leaked secrets a key from a name:
# hst_[0-9A-Za-z]{10}_[0-9A-Za-z]{49}
PREFIX = "hst_"
ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
ID_LENGTH = 10
# 43 of 62 characters are 256 bits.
SECRET_LENGTH = 43
CHECKSUM_LENGTH = 6
KEY_LENGTH = len(PREFIX) + ID_LENGTH + 1 + SECRET_LENGTH + CHECKSUM_LENGTH
LONGEST_LIFE = timedelta(days=3650)
_KEY = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{ID_LENGTH}}}_[0-9A-Za-z]{{{SECRET_LENGTH + CHECKSUM_LENGTH}}}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# Who else acts: decisions and the log must not say one for the other.
RESERVED = frozenset({"api", "homeostat", "token"})


def new_secret() -> str:
    """A fresh key of 256 random bits.

    >>> is_key(new_secret())
    True
    """
    id_, secret = _random(ID_LENGTH), _random(SECRET_LENGTH)
    text = f"{PREFIX}{id_}_{secret}"
    return text + checksum(text)


def _random(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def checksum(text: str) -> str:
    """CRC-32 in six characters, the way in which GitHub's tokens end.

    It keeps nobody out; it tells a key from a text that only looks like one, without asking a server.

    >>> checksum("hst_0123456789_")
    '3fKYwG'
    """
    number, made = zlib.crc32(text.encode()), ""
    for _ in range(CHECKSUM_LENGTH):
        number, digit = divmod(number, len(ALPHABET))
        made = ALPHABET[digit] + made
    return made


def is_key(text: str) -> bool:
    """Whether a text is a key by its form: prefix, length and checksum."""
    return _KEY.fullmatch(text) is not None and checksum(text[:-CHECKSUM_LENGTH]) == text[-CHECKSUM_LENGTH:]


def id_of(text: str) -> str:
    """The part of a key that says which one it is, and may be shown."""
    return text[len(PREFIX) : len(PREFIX) + ID_LENGTH]


def digest_of(secret: bytes) -> bytes:
    """What is kept of a key: SHA-256.

    A slow hash (bcrypt, scrypt, Argon2) makes guessing dear where people choose what is hashed. Nobody can guess 256
    random bits, at any speed, so that it would buy nothing here and cost every request milliseconds (NIST SP 800-63B,
    section 5.1.2.2, asks it of look-up secrets of less than 112 bits only).
    """
    return hashlib.sha256(secret).digest()


def made(secret: str, name: str, roles: Sequence[KeyRole], *, expires: str | None, actor: str, now: datetime) -> ApiKey:
    """The record of a new key. Raises `InvalidInput` for a name, roles or an expiry that can't be."""
    if _NAME.fullmatch(name) is None or name in RESERVED:
        raise InvalidInput(
            "A key's name has 1 to 64 letters, digits, '-', '_' or '.', begins with a letter or a digit, and is none "
            f"of {', '.join(sorted(RESERVED))}."
        )
    if not roles:
        raise InvalidInput(f"A key needs a role: {', '.join(KeyRole)}.")
    return ApiKey(
        name=name,
        id=id_of(secret),
        sha256=digest_of(secret.encode()).hex(),
        roles=tuple(role for role in KeyRole if role in roles),
        created_at=now,
        created_by=actor,
        expires_at=None if expires is None else now + _life(expires),
    )


def _life(text: str) -> timedelta:
    try:
        span = parse_span(text)
        life = timedelta(seconds=span.seconds)
    except (InvalidSettings, OverflowError):
        life = timedelta(0)
    if not timedelta(0) < life <= LONGEST_LIFE:
        raise InvalidInput(f"A key expires after a time such as 12h or 90d, of at most {LONGEST_LIFE.days}d.")
    return life
