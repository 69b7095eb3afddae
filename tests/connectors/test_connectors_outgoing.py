"""What goes out reaches the open internet alone, once, and not for long."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from homeostat.connectors.outgoing import Outgoing, is_public, target_of
from homeostat.connectors.webhooks import WebhookNotifier
from homeostat.errors import DeliveryFailed, DestinationRefused
from homeostat.records import Alert, AlertState, Severity

FINE = b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n"
WORD = "mischief"


def request_of(one: socket.socket) -> bytes:
    """A whole request; its body has two bytes or more where it has a length."""
    said = b""
    while part := one.recv(100_000):
        said += part
        head, _, content = said.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        if b"\r\n\r\n" in said and len(content) >= int(length or 0):
            break
    return said


@contextmanager
def listening(answer: Callable[[socket.socket], None], context: ssl.SSLContext | None = None) -> Iterator[Any]:
    """A server in a thread that lets a function answer each connection; gives its port and what it was sent."""
    heard: list[bytes] = []
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                try:
                    with connection if context is None else context.wrap_socket(connection, server_side=True) as one:
                        heard.append(request_of(one))
                        answer(one)
                except OSError:
                    pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1], heard
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)


def resolving(*addresses: str) -> tuple[Callable[..., Any], list[str]]:
    """A resolver whose answers are these, one after another for each call, and the names that it was asked for."""
    asked: list[str] = []
    answers = list(addresses)

    def resolve(host: str, port: int, **_: Any) -> Any:
        asked.append(host)
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in found.split()]

    return resolve, asked


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.example.com",
        "//hooks.example.com/",
        "ftp://hooks.example.com/",
        "file:///etc/passwd",
        "gopher://hooks.example.com/",
        "javascript:alert(1)",
        "http://",
        "http:///a",
        "http://user@hooks.example.com/",
        "http://hooks.example.com:x@127.0.0.1/",
        "http://hooks.example.com@127.0.0.1/",
        "http://127.0.0.1\\@hooks.example.com/",
        "http://hooks.example.com\\.evil.example/",
        "http://hooks.example.com /",
        "http://hooks.example.com/\r\nx: y",
        "http://hooks.example.com/\ta",
        "http://hooks.example.com/ü",
        "http://１２７.0.0.1/",
        "http://127。0。0。1/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0x7f.1/",
        "http://0177.0.0.1/",
        "http://127.1/",
        "http://127.0.0.01/",
        "http://0/",
        "http://1.2.3.4.5/",
        "http://[::1/",
        "http://[::1%25lo]/",
        "http://[fe80::1%eth0]/",
        "http://[v1.a]/",
        "http://-x.example/",
        "http://a..example/",
        "http://%6c%6fcalhost/",
        "http://hooks.example.com:0/",
        "http://hooks.example.com:22/",
        "http://hooks.example.com:25/",
        "http://hooks.example.com:6379/",
        "http://hooks.example.com:99999/",
        "http://hooks.example.com:x/",
        "http://hooks.example.com/" + "x" * 2000,
    ],
)
def test_what_is_no_plain_address_of_the_web_is_refused(url: str) -> None:
    with pytest.raises(DestinationRefused) as refused:
        target_of(url)
    assert "x" * 100 not in refused.value.message


def test_plain_addresses_are_taken_apart() -> None:
    for url, named, path in (
        ("http://hooks.example.com", "hooks.example.com", "/"),
        ("https://hooks.example.com:443/a/b?c=d#e", "hooks.example.com", "/a/b?c=d"),
        ("https://Hooks.Example.com:8443/", "hooks.example.com:8443", "/"),
        ("http://[2606:4700::1111]/x", "[2606:4700::1111]", "/x"),
        ("http://93.184.216.34/x", "93.184.216.34", "/x"),
    ):
        target = target_of(url)
        assert (target.named, target.path) == (named, path)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.255.0.9", "0.0.0.0", "0.1.2.3", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1"),
        *("169.254.169.254", "169.254.170.2", "100.100.100.200", "100.64.0.1", "168.63.129.16", "192.0.0.192"),
        *("224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "198.18.0.1", "192.0.2.1", "203.0.113.9"),
        *("::", "::1", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "fec0::1", "2001:db8::1", "2001::1", "100::1"),
        *("::ffff:127.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b:1::1"),
        *("2002:7f00:1::", "2002:a9fe:a9fe::1", "2002:a00:1::1"),
    ],
)
def test_addresses_that_are_not_of_the_open_internet_are_refused(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))
    resolve, _ = resolving(address)
    with pytest.raises(DestinationRefused) as refused:
        Outgoing(resolve=resolve).post(f"https://hooks.example.com/{WORD}", b"{}")
    assert WORD not in refused.value.message
    assert address not in refused.value.message


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_addresses_of_the_open_internet_are_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


def test_names_of_this_machine_are_refused_by_what_they_resolve_to() -> None:
    for url in ("http://localhost/", "http://127.0.0.1/", "http://[::1]/"):
        with pytest.raises(DestinationRefused):
            Outgoing().post(url, b"{}")


def test_one_private_address_among_several_is_enough_to_refuse() -> None:
    resolve, _ = resolving("93.184.216.34 127.0.0.1")
    with pytest.raises(DestinationRefused):
        Outgoing(resolve=resolve).post("http://hooks.example.com/", b"{}")


def test_a_name_is_resolved_once_and_the_checked_address_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    # DNS rebinding: the second answer of the name server leads home.
    resolve, asked = resolving("93.184.216.34", "127.0.0.1")
    connected: list[Any] = []

    def connect(address: Any, **_: Any) -> Any:
        connected.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(DeliveryFailed):
        Outgoing(resolve=resolve).post("http://rebind.example/", b"{}")
    assert asked == ["rebind.example"]
    assert connected == [("93.184.216.34", 80)]


def test_a_request_goes_out_as_it_should_and_its_reply_comes_back() -> None:
    resolve, _ = resolving("127.0.0.1")
    with listening(lambda one: one.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")) as (port, heard):
        outgoing = Outgoing(allow_private=True, resolve=resolve)
        reply = outgoing.post(f"http://hooks.example.com:{port}/a?b=c", b"{}", headers={"Content-Type": "x/y"})
        assert (reply.status, reply.content) == (200, b"ok")
    head, _, content = heard[0].partition(b"\r\n\r\n")
    assert head.split(b"\r\n")[0] == b"POST /a?b=c HTTP/1.1"
    assert f"Host: hooks.example.com:{port}".encode() in head
    assert content == b"{}"


def test_redirects_are_not_followed() -> None:
    with listening(lambda one: one.sendall(FINE)) as (inner, reached):

        def away(one: socket.socket) -> None:
            to = f"location: http://127.0.0.1:{inner}/metadata\r\n"
            one.sendall(f"HTTP/1.1 302 Found\r\n{to}content-length: 0\r\n\r\n".encode())

        with listening(away) as (port, _):
            assert Outgoing(allow_private=True).post(f"http://127.0.0.1:{port}/", b"{}").status == 302
        assert reached == []


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        listening(lambda one: one.sendall(FINE)) as (proxy, reached),
        listening(lambda one: one.sendall(FINE)) as (
            port,
            heard,
        ),
    ):
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy}")
        assert Outgoing(allow_private=True).post(f"http://127.0.0.1:{port}/", b"{}").status == 204
        assert (len(heard), reached) == (1, [])


def drip(one: socket.socket) -> None:
    one.sendall(b"HTTP/1.1 200 OK\r\n")
    for _ in range(2000):
        one.sendall(b"x: y\r\n")
        time.sleep(0.05)


def drip_body(one: socket.socket) -> None:
    one.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    for _ in range(2000):
        one.sendall(b"x")
        time.sleep(0.05)


@pytest.mark.parametrize("answer", [drip, drip_body, lambda one: time.sleep(1)])
def test_a_reply_has_to_be_done_in_time(answer: Callable[[socket.socket], None]) -> None:
    with listening(answer) as (port, _):
        started = time.monotonic()
        with pytest.raises(DeliveryFailed, match="in time"):
            Outgoing(allow_private=True, seconds=0.5).post(f"http://127.0.0.1:{port}/{WORD}", b"{}")
        assert time.monotonic() - started < 60


def test_no_more_of_a_reply_is_read_than_is_of_use() -> None:
    def flood(one: socket.socket) -> None:
        one.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(1000):
            one.sendall(b"x" * 100_000)

    with listening(flood) as (port, _):
        reply = Outgoing(allow_private=True, most_reply=1000).post(f"http://127.0.0.1:{port}/", b"{}")
        assert len(reply.content) == 1000


@pytest.mark.parametrize("answer", [b"", b"hello\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 1000 + b"\r\n"])
def test_what_is_no_reply_is_a_failure_and_nothing_else(answer: bytes) -> None:
    with listening(lambda one: one.sendall(answer)) as (port, _), pytest.raises(DeliveryFailed) as failed:
        Outgoing(allow_private=True).post(f"http://127.0.0.1:{port}/{WORD}", b"{}")
    assert WORD not in failed.value.message


def test_a_certificate_is_held_against_the_name(tmp_path: Path) -> None:
    server, client = contexts(tmp_path, "hooks.example.com")
    resolve, _ = resolving("127.0.0.1")
    with listening(lambda one: one.sendall(FINE), server) as (port, _):
        outgoing = Outgoing(allow_private=True, resolve=resolve, context=client)
        assert outgoing.post(f"https://hooks.example.com:{port}/", b"{}").status == 204
        for url in (f"https://other.example.com:{port}/", f"https://127.0.0.1:{port}/"):
            with pytest.raises(DeliveryFailed, match="CertVerification"):
                outgoing.post(url, b"{}")
        with pytest.raises(DeliveryFailed, match="CertVerification"):
            Outgoing(allow_private=True, resolve=resolve).post(f"https://hooks.example.com:{port}/", b"{}")


def contexts(folder: Path, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's and a client's, with a certificate that only that client trusts."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    file = folder / "both.pem"
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
        + made.public_bytes(serialization.Encoding.PEM)
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(file)
    return server, ssl.create_default_context(cafile=str(file))


ALERT = Alert(
    id="spam-alert-1",
    model="spam",
    subject="drift",
    severity=Severity.HIGH,
    state=AlertState.OPEN,
    message="links moved",
    finding="f1",
    opened_at=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    last_seen_at=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
)


def test_an_alert_is_posted_by_a_thread_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    with listening(lambda one: one.sendall(FINE)) as (port, heard):
        url = f"http://127.0.0.1:{port}/{WORD}"
        notifier = WebhookNotifier(url, Outgoing(allow_private=True), allow_private=True)
        notifier.notify(ALERT, None)
        notifier._sender.shutdown(wait=True)
    sent = msgspec.json.decode(heard[0].partition(b"\r\n\r\n")[2])
    assert sent["alert"]["id"] == ALERT.id
    assert not caplog.records


@pytest.mark.parametrize("status", [302, 404, 500])
def test_a_channel_that_is_down_is_in_the_log_without_its_secret(status: int, caplog: pytest.LogCaptureFixture) -> None:
    with listening(lambda one: one.sendall(f"HTTP/1.1 {status} X\r\n\r\n".encode())) as (port, _):
        notifier = WebhookNotifier(f"http://127.0.0.1:{port}/{WORD}", Outgoing(allow_private=True), allow_private=True)
        notifier.notify(ALERT, None)
        notifier._sender.shutdown(wait=True)
    (record,) = caplog.records
    assert f"status {status}" in record.getMessage()
    assert WORD not in record.getMessage()


def test_an_address_that_can_not_be_is_refused_at_the_start() -> None:
    with pytest.raises(DestinationRefused):
        WebhookNotifier("file:///etc/passwd", Outgoing())
