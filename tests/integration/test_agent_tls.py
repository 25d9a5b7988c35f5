"""Encrypted lines to broker and server: the own authority counts, and no other."""

import datetime
import ipaddress
import secrets
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agent.broker_address import BrokerAddress
from agent.link import Link
from agent.server import DeviceApi
from edgeops.clock import SystemClock
from edgeops.contracts.credential import Credential
from edgeops.contracts.update import Connection
from edgeops.errors import TransportError
from fleet.broker.child import BrokerKind
from tests.emulation.fleet_server import FleetServer
from tests.integration.test_agent_link import RULES
from tests.integration.test_broker.clients import running, until
from tests.unit.agent.outbox_words import opened

SECRET = secrets.token_hex(16)
CREDENTIAL = Credential(tenant="acme", device="d9", secret=SECRET)


def certificate(folder: Path) -> tuple[Path, Path]:
    """Write a self-signed certificate for 127.0.0.1; return it and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    start = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=36_500))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    folder.mkdir()
    (folder / "cert.pem").write_bytes(built.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return folder / "cert.pem", folder / "key.pem"


@contextmanager
def encrypted(target: tuple[str, int], folder: Path) -> Iterator[tuple[int, Path]]:
    """Put TLS before a plain port; yield the encrypted port and the authority's file."""
    cert, key = certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    stop = threading.Event()
    threads: list[threading.Thread] = []

    def start(work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work)
        threads.append(thread)
        thread.start()

    def serve(raw: socket.socket) -> None:
        with raw, suppress(OSError):
            raw.settimeout(5.0)
            with context.wrap_socket(raw, server_side=True) as near:
                near.settimeout(0.1)
                with socket.create_connection(target) as far:
                    far.settimeout(0.01)
                    while not stop.is_set():
                        for source, sink in ((near, far), (far, near)):
                            with suppress(TimeoutError):
                                data = source.recv(65536)
                                if not data:
                                    return
                                sink.sendall(data)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)

        def accept() -> None:
            while not stop.is_set():
                with suppress(TimeoutError):
                    raw, _ = listener.accept()
                    start(lambda: serve(raw))  # noqa: B023  # used before the next turn

        start(accept)
        try:
            yield listener.getsockname()[1], cert
        finally:
            stop.set()
            for thread in threads:
                thread.join(10.0)


@contextmanager
def linked(port: int, ca: Path, folder: Path) -> Iterator[Link]:
    folder.mkdir()
    outbox = opened(folder)
    link = Link(
        address=BrokerAddress.parse(f"mqtts://127.0.0.1:{port}", ca=ca),
        credential=CREDENTIAL,
        outbox=outbox,
        connection=lambda: Connection(device="d9", online=True, boot="boot1"),
        on_wake=lambda: None,
        clock=SystemClock(),
        rules=RULES,
    )
    link.start()
    try:
        yield link
    finally:
        link.stop()
        outbox.close()


def test_the_broker_must_be_known_to_the_own_authority(tmp_path: Path) -> None:
    stranger, _ = certificate(tmp_path / "stranger")
    with running(BrokerKind.BUILTIN, tmp_path / "broker") as broker:
        broker.add_users("d9", password=SECRET)
        broker.reload()
        with encrypted(broker.address, tmp_path / "tls") as (port, ca):
            with linked(port, ca, tmp_path / "a") as link:
                until(lambda: link.state().connected, what="connected")
            with linked(port, stranger, tmp_path / "b") as link:
                until(lambda: link.state().failures.get("unreachable", 0) > 1, what="refused")
                assert "certificate" in link.state().last_error.lower()
                assert not link.state().connected


def test_the_server_must_be_known_to_the_own_authority(tmp_path: Path) -> None:
    stranger, _ = certificate(tmp_path / "stranger")
    with FleetServer(CREDENTIAL) as server:
        host, _, port = server.url.removeprefix("http://").partition(":")
        with encrypted((host, int(port)), tmp_path / "tls") as (tls_port, ca):
            good = DeviceApi(f"https://127.0.0.1:{tls_port}", CREDENTIAL, ca=ca)
            assert good.assignments() == ()
            good.close()
            bad = DeviceApi(f"https://127.0.0.1:{tls_port}", CREDENTIAL, ca=stranger)
            with pytest.raises(TransportError, match="CERTIFICATE_VERIFY_FAILED"):
                bad.assignments()
            bad.close()


def test_an_authority_that_cannot_be_read_is_said_and_tried_again(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    with linked(1, tmp_path / "ca.pem", tmp_path / "a") as link:
        until(lambda: link.state().failures.get("unreachable", 0) >= 2, what="said and retried")
