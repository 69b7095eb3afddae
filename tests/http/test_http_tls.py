"""HTTPS by the server itself: the same answers, no word in plain, and certificates that are renewed while it serves."""

from __future__ import annotations

import datetime
import ipaddress
import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from homeostat import Client
from homeostat.errors import InvalidSettings
from homeostat.http.certificate import Certificate

x509: Any = pytest.importorskip("cryptography.x509")

ROW = {"features": {"links": 1.0, "length": -0.5}}
TOKEN = "a-secret-of-sixteen"


def write_pair(folder: Path, serial: int, *, password: bytes = b"") -> tuple[Path, Path]:
    """A certificate for this machine that nobody but a test trusts, and its key."""
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "homeostat")])
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    how = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)
    files = folder / "chain.pem", folder / "key.pem"
    for file, content in zip(files, (made.public_bytes(serialization.Encoding.PEM), private), strict=True):
        file.write_bytes(content)
        # Two writes may fall into one tick of the file system's clock.
        os.utime(file, ns=(serial, serial))
    return files


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_pair(tmp_path_factory.mktemp("pair"), 1)


@pytest.fixture(scope="module")
def served(
    small_servers: ModuleType, servers: ModuleType, pair: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    home = tmp_path_factory.mktemp("tls")
    for small in small_servers.closed(small_servers.open_server(home, register=False)):
        table = small.tables["spam"]
        small_servers.put_version(small, home, "spam", table, small_servers.Stage.PRODUCTION)
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = str(free.getsockname()[1])
    settings = {"serve__tls_certificate": str(pair[0]), "serve__tls_key": str(pair[1]), "serve__grpc_port": port}
    with servers.running_server(home, serve__auth="true", token=TOKEN, **settings) as server:
        yield server


def test_the_same_is_answered_over_tls(served: Any, pair: tuple[Path, Path]) -> None:
    assert served.url.startswith("https://127.0.0.1:")
    trusting = ssl.create_default_context(cafile=str(pair[0]))
    with httpx.Client(base_url=served.url, verify=trusting, headers={"authorization": f"Bearer {TOKEN}"}) as client:
        for _ in range(2):
            assert client.post("/models/spam/predict", json=ROW).json()["status"] == "success"
        many = client.post("/models/spam/batch_predict", json={"instances": [ROW["features"]] * 20_000})
        assert many.json()["count"] == 20_000
        assert client.get("/health").status_code == 200
    with pytest.raises(httpx.ConnectError, match=r"(?i)certificate"):
        httpx.get(served.url + "/livez")


def test_nothing_is_said_in_plain_and_old_versions_are_refused(served: Any, pair: tuple[Path, Path]) -> None:
    with closing(socket.create_connection(("127.0.0.1", served.port), timeout=30)) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert b"HTTP" not in connection.recv(1000)
    old = ssl.create_default_context(cafile=str(pair[0]))
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with (
        closing(socket.create_connection(("127.0.0.1", served.port), timeout=30)) as connection,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        old.wrap_socket(connection, server_hostname="localhost")
    assert "Traceback" not in served.log()


def test_the_client_trusts_what_it_is_told_to(
    served: Any, pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(pair[0]))
    with Client(served.url, token=TOKEN) as client:
        assert client.predict("spam", ROW["features"]).version == 1


def test_grpc_speaks_tls_too(served: Any, pair: tuple[Path, Path]) -> None:
    grpc: Any = pytest.importorskip("grpc")
    address, live = f"localhost:{served.environment['HOMEOSTAT_SERVE__GRPC_PORT']}", "/inference.GRPCInferenceService/"
    trusting = grpc.ssl_channel_credentials(pair[0].read_bytes())
    with grpc.secure_channel(address, trusting) as channel:
        assert channel.unary_unary(live + "ServerLive")(b"", timeout=30) == b"\x08\x01"
        with pytest.raises(grpc.RpcError, match="UNAUTHENTICATED"):
            channel.unary_unary(live + "ServerMetadata")(b"", timeout=30)
    with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError, match="UNAVAILABLE"):
        channel.unary_unary(live + "ServerLive")(b"", timeout=5)


def shaken(server: ssl.SSLContext, chain: bytes) -> int:
    """The number of the certificate that a client sees who trusts only this one."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context(cadata=chain.decode())
    ends = [
        server.wrap_bio(to_server, to_client, server_side=True),
        client.wrap_bio(to_client, to_server, server_hostname="localhost"),
    ]
    for end in [ends[1], *ends * 2]:
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return int(ends[1].getpeercert()["serialNumber"], 16)


def test_a_renewed_certificate_is_taken_whole_or_not_at_all(tmp_path: Path) -> None:
    certificate = Certificate(*write_pair(tmp_path, 11))
    first, context = (tmp_path / "chain.pem").read_bytes(), certificate.context
    assert not certificate.renew()
    write_pair(tmp_path, 12)
    second, key = (tmp_path / "chain.pem").read_bytes(), (tmp_path / "key.pem").read_bytes()
    # Half of the new pair only, a file that is none, and one that is gone.
    for spoil in (
        lambda: write_pair(tmp_path, 13) and (tmp_path / "chain.pem").write_bytes(second),
        lambda: (tmp_path / "key.pem").write_bytes(b"mischief"),
        (tmp_path / "key.pem").unlink,
    ):
        spoil()
        assert not certificate.renew()
        assert shaken(context, first) == 11
    (tmp_path / "key.pem").write_bytes(key)
    assert certificate.renew()
    assert certificate.context is context
    assert certificate.pem == (key, second)
    assert shaken(context, second) == 12
    assert not certificate.renew()


def test_what_is_no_certificate_is_said_before_anything_is_served(tmp_path: Path, small_servers: ModuleType) -> None:
    chain, key = write_pair(tmp_path, 21, password=b"mischief")
    for files in ((chain, key), (chain, None), (tmp_path / "none.pem", key), (key, key), (tmp_path, None)):
        with pytest.raises(InvalidSettings, match=r"serve\.tls_certificate") as refused:
            Certificate(*files)
        assert "mischief" not in refused.value.message
    with pytest.raises(InvalidSettings, match=r"serve\.tls_certificate"):
        small_servers.open_server(tmp_path, register=False, serve__tls_certificate=str(chain))
    assert not (tmp_path / "state").exists()
    with pytest.raises(InvalidSettings, match=r"serve\.tls_key"):
        small_servers.open_server(tmp_path, register=False, serve__tls_key=str(key))
