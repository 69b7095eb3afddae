"""The parts of a server process that need no sockets of a client: time, tokens, addresses, leases of the dead."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from homeostat.controllers.clock import SimulatedClock
from homeostat.errors import Conflict, InvalidSettings
from homeostat.keys.rules import new_secret
from homeostat.records import Lease
from homeostat.settings import ServeSettings, load
from homeostat.wiring import simulation
from homeostat.wiring.processes import is_gone
from homeostat.wiring.serving import bind, run_server, warn_of_plain_text, with_token
from homeostat.wiring.system import open_system

NOW = datetime(2025, 5, 1, tzinfo=UTC)


def settings_at(tmp_path, **serve):
    return replace(load(environment={}), home=tmp_path, serve=ServeSettings(**serve))


def test_simulated_time_goes_on_where_a_killed_server_left_it(tmp_path):
    clock = SimulatedClock(simulation.BEGINNING)
    system = open_system(settings_at(tmp_path), clock=clock, is_server=True)
    done = []
    report = simulation.advance(system, clock, NOW, lambda: done.append(clock.now()))
    assert report.now == NOW
    assert done == [NOW]
    with pytest.raises(Conflict):
        simulation.advance(system, clock, NOW - timedelta(seconds=1), lambda: None)
    system.close()
    fresh = SimulatedClock(simulation.BEGINNING)
    again = open_system(settings_at(tmp_path), clock=fresh, is_server=True)
    simulation.restore(fresh, again.store)
    assert fresh.now() == NOW
    # The same order, sent again, is no step back.
    assert simulation.advance(again, fresh, NOW, lambda: None).now == NOW
    again.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.1.2.3"])
def test_this_machine_needs_no_token(tmp_path, host):
    settings, path = with_token(settings_at(tmp_path, host=host))
    assert (settings.token, path) == ("", None)
    assert not (tmp_path / "token").exists()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_beyond_it_a_token_is_made_once_and_kept_from_others(tmp_path, host):
    settings, path = with_token(settings_at(tmp_path, host=host))
    assert len(settings.token) >= 32
    assert path == tmp_path / "token"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert with_token(settings_at(tmp_path, host=host))[0].token == settings.token
    given = replace(settings_at(tmp_path, host=host), token="given-by-the-environment")
    assert with_token(given) == (given, None)


@pytest.mark.parametrize(
    ("serve", "is_said"),
    [
        ({"host": "0.0.0.0"}, True),
        ({"host": "127.0.0.1"}, False),
        ({"host": "0.0.0.0", "tls_certificate": "chain.pem"}, False),
        ({"host": "0.0.0.0", "trusted_proxies": "10.0.0.0/8"}, False),
    ],
)
def test_who_serves_others_in_plain_is_told(tmp_path, caplog, serve, is_said):
    warn_of_plain_text(settings_at(tmp_path, **serve))
    assert ("serve.tls_certificate" in caplog.text) is is_said


def test_an_empty_token_file_lets_nobody_in(tmp_path):
    (tmp_path / "token").write_text("\n")
    with pytest.raises(InvalidSettings):
        with_token(settings_at(tmp_path, host="0.0.0.0"))


def test_an_address_that_is_taken_or_makes_no_sense_is_refused(tmp_path):
    taken = bind("127.0.0.1", 0)
    with pytest.raises(InvalidSettings, match="--port"):
        bind("127.0.0.1", taken.getsockname()[1])
    taken.close()
    for host in ("no such host", "300.1.1.1", "a" * 300):
        with pytest.raises(InvalidSettings):
            bind(host, 0)


def test_parts_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(InvalidSettings):
        run_server(settings_at(tmp_path, workers=2), simulated=True, on_listening=lambda _: None)


def test_only_a_dead_process_of_this_machine_is_gone():
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    host = socket.gethostname()
    assert is_gone(f"{host}:{dead.pid}:abcd")
    assert not is_gone(f"{host}:{os.getpid()}:abcd")
    assert not is_gone(f"elsewhere:{dead.pid}:abcd")
    for odd in ("", "demo", f"{host}:x:y", f"{host}:{10**30}:y", "a:b"):
        assert not is_gone(odd)


def test_the_lease_of_a_dead_process_is_taken_over_at_once(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    clock = SimulatedClock(NOW)
    system = open_system(settings_at(tmp_path), clock=clock, is_server=True)
    until = NOW + timedelta(seconds=50)
    with system.store.begin() as transaction:
        transaction.insert(Lease(name="controllers:a", holder=f"{socket.gethostname()}:{dead.pid}:ffff", until=until))
        transaction.insert(Lease(name="controllers:b", holder="elsewhere:1:ffff", until=until))
    assert system.loop._lease("a", NOW)
    assert not system.loop._lease("b", NOW)
    system.close()


def test_who_asks_for_keys_on_this_machine_gets_a_token_for_the_first_one(tmp_path):
    settings, path = with_token(settings_at(tmp_path, host="127.0.0.1", auth=True))
    assert len(settings.token) >= 32
    assert path == tmp_path / "token"


def test_an_api_key_is_no_token_of_a_server(tmp_path):
    for host in ("127.0.0.1", "0.0.0.0"):
        settings = replace(settings_at(tmp_path, host=host), token=new_secret())
        with pytest.raises(InvalidSettings, match="is an API key"):
            with_token(settings)
