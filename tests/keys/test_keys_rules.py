"""How keys look, and what a new one may be."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import pytest

from homeostat.errors import InvalidInput
from homeostat.keys.rules import ALPHABET, KEY_LENGTH, checksum, digest_of, id_of, is_key, made, new_secret
from homeostat.records import KeyRole, KeyState, NewKey, key_report, with_included

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def key(name="ci", roles=(KeyRole.PREDICT,), expires=None):
    return made(new_secret(), name, roles, expires=expires, actor="anna", now=NOW)


def test_keys_are_recognised_by_their_form():
    secret = new_secret()
    assert is_key(secret)
    assert len(secret) == KEY_LENGTH
    assert secret.startswith(f"hst_{id_of(secret)}_")
    assert len({new_secret() for _ in range(200)}) == 200
    for place in range(len(secret)):
        other = ALPHABET[(ALPHABET.find(secret[place]) + 1) % len(ALPHABET)]
        assert not is_key(secret[:place] + other + secret[place + 1 :])
    for broken in ("", "hst_", secret[:-1], secret + "0", secret + "\n", " " + secret, secret.upper()):
        assert not is_key(broken)


def test_the_checksum_is_crc32_in_base_62():
    value = 0
    for character in checksum("123456789"):
        value = value * 62 + ALPHABET.index(character)
    # The check value of CRC-32/ISO-HDLC.
    assert value == 0xCBF43926


def test_only_a_hash_is_kept():
    secret = new_secret()
    record = made(secret, "ci", [KeyRole.PREDICT], expires=None, actor="anna", now=NOW)
    assert record.sha256 == hashlib.sha256(secret.encode()).hexdigest() == digest_of(secret.encode()).hex()
    assert secret[15:] not in repr(record)
    shown = NewKey(key=key_report(record, NOW), secret=secret)
    assert secret not in repr(shown)
    assert secret not in f"{shown}"


def test_a_key_ends_when_it_should():
    record = key(expires="90d")
    assert record.expires_at == NOW + timedelta(days=90)
    assert record.state(NOW + timedelta(days=90, microseconds=-1)) is KeyState.LIVE
    assert record.state(NOW + timedelta(days=90)) is KeyState.EXPIRED
    assert key().state(NOW + timedelta(days=99999)) is KeyState.LIVE


@pytest.mark.parametrize("expires", ["", "0d", "never", "5 rows", "-1d", "1e9d", "3651d", "9" * 400 + "d", "1y", "90"])
def test_times_that_are_none_are_refused(expires):
    with pytest.raises(InvalidInput, match=r"such as 12h or 90d, of at most 3650d\.$"):
        key(expires=expires)


@pytest.mark.parametrize(
    "name", ["", "a b", "-x", ".x", "a/b", "a\n", "ü", "x" * 65, "token", "api", "homeostat", "<b>"]
)
def test_names_that_would_mislead_are_refused(name):
    with pytest.raises(InvalidInput):
        key(name=name)


def test_a_key_needs_a_role_and_has_each_once():
    with pytest.raises(InvalidInput):
        key(roles=())
    assert key(roles=[KeyRole.LABEL, KeyRole.PREDICT, KeyRole.LABEL]).roles == (KeyRole.PREDICT, KeyRole.LABEL)


def test_the_lattice_of_roles():
    assert with_included([]) == frozenset()
    for role in (KeyRole.PREDICT, KeyRole.LABEL, KeyRole.READ):
        assert with_included([role]) == {role}
    assert with_included([KeyRole.OPERATE]) == {KeyRole.OPERATE, KeyRole.READ}
    assert with_included([KeyRole.ADMIN]) == set(KeyRole)
