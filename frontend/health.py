"""`python -m frontend.health URL`: exits with 0 if a GET of the URL returns 200, for container probes.

Uses the standard library only, so that it starts fast and runs in other images too. Where the frontend's own
settings name a certificate, the URL's scheme becomes https; the certificate is not checked, as it is for the
clients' name of the frontend and not for the loopback address.
"""

from __future__ import annotations

import os
import ssl
import sys
import urllib.request
from collections.abc import Mapping

_SECONDS = 4.0
_CERTIFICATE = "DROVER_FRONTEND_TLS_CERTIFICATE"


def is_ok(url: str) -> bool:
    """True for status 200. Ignores the proxies of the environment."""
    unchecked = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE
    direct = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=unchecked)
    )
    try:
        with direct.open(url, timeout=_SECONDS) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def probed(url: str, environment: Mapping[str, str]) -> str:
    """The URL with the scheme that the frontend of this environment serves."""
    return url.replace("http://", "https://", 1) if environment.get(_CERTIFICATE) else url


if __name__ == "__main__":
    sys.exit(0 if is_ok(probed(sys.argv[1], os.environ)) else 1)
