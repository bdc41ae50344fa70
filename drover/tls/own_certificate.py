"""Check of a process's own certificate, as the other side would."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from drover.tls.files import TlsFiles, load_authority, load_chain

Role = Literal["server", "client"]
# Flights of a handshake with certificates on both sides, and one to spare.
_MAX_FLIGHTS = 6


@dataclass(frozen=True, slots=True)
class OwnCertificate:
    names: list[str]
    expires: str


def own_certificate(files: TlsFiles, role: Role) -> OwnCertificate:
    """Make a handshake in memory, in which the other side trusts the authority: the one of `files`, or
    without one whatever `certificate` contains. `ssl` shows a certificate's fields only to the side that
    verified it.

    Raises ValueError if the other side refuses the certificate: it has expired, or is for other purposes.
    """
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    other, own = (client, server) if role == "server" else (server, client)
    load_chain(own, files)
    if role == "client":
        load_chain(server, files)
        client.verify_mode = ssl.CERT_NONE
    other.verify_mode = ssl.CERT_REQUIRED
    other.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    load_authority(other, files.authority or files.certificate)
    try:
        seen = _seen_by_other_side(server, client, role)
    except ssl.SSLCertVerificationError as error:
        raise ValueError(f"every {_OTHER[role]} will refuse it: {error.verify_message}") from error
    except ssl.SSLError as error:
        raise ValueError(f"every {_OTHER[role]} will refuse it: {error.reason}") from error
    return OwnCertificate(names_of(seen), str(seen.get("notAfter", "")))


_OTHER: Mapping[Role, str] = {"server": "client", "client": "server"}


def names_of(certificate: Mapping[str, object]) -> list[str]:
    """DNS names and addresses of a certificate as `getpeercert` returns it."""
    found = certificate.get("subjectAltName", ())
    assert isinstance(found, tuple)
    return [name for _, name in found]


def _seen_by_other_side(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext, role: Role
) -> Mapping[str, object]:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    client = client_context.wrap_bio(to_client, to_server)
    other = client if role == "server" else server
    for _ in range(_MAX_FLIGHTS):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return other.getpeercert() or {}
