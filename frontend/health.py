"""`python -m frontend.health URL`: status 0 when a GET of the URL is answered well, for a container's probe.

Of the standard library alone, so that it starts fast and serves other images too.
"""

from __future__ import annotations

import sys
import urllib.request

_SECONDS = 4.0


def is_ok(url: str) -> bool:
    """Never through a proxy that the environment names for the web."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(url, timeout=_SECONDS) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(0 if is_ok(sys.argv[1]) else 1)
