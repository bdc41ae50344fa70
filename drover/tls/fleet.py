"""Mutual TLS between the tiers: certificates of one authority, whose names say the role.

A worker's certificate must not pass for a frontend's, since each worker has one: a frontend's has the name
`frontend.drover`, a worker's `worker.drover`, unless settings say otherwise.
"""

from __future__ import annotations

import ssl
from typing import NamedTuple

from drover.tls.files import Pem, TlsFiles, load_authority, load_chain, pem_of

FRONTEND_NAME = "frontend.drover"
WORKER_NAME = "worker.drover"
# Both tiers speak HTTP/2 between them.
_ALPN = ["h2"]


class FleetCertificates(NamedTuple):
    """`pem` is for gRPC; `context` explains failures, of which gRPC says little."""

    pem: Pem
    context: ssl.SSLContext


def fleet_certificates(files: TlsFiles) -> FleetCertificates:
    """Raises ValueError, which names the file, for files that cannot be used."""
    assert files.authority is not None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    load_chain(context, files)
    load_authority(context, files.authority)
    context.set_alpn_protocols(_ALPN)
    # Authorities of one's own may lack what RFC 5280 wants, which gRPC does not check either.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return FleetCertificates(pem_of(files), context)
