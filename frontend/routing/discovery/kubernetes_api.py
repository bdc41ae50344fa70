"""Minimal client of the Kubernetes API for use in a pod: list and watch."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

_ACCOUNT_FOLDER = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_CONNECT_SECONDS = 3.0
_ANSWER_SECONDS = 10.0
# Extra time for the server to end a watch.
_SLACK_SECONDS = 10.0
# Limits for a page and an event; objects in the API's store have at most 1.5 MB.
_MAX_PAGE_BYTES = 64 * 2**20
_MAX_EVENT_BYTES = 4 * 2**20
# A watch may be silent for minutes: TCP keepalive detects a dead connection. Pods run on Linux; other systems
# lack some of the options.
_KEEP_ALIVE = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, int(getattr(socket, name)), value)
        for name, value in (("TCP_KEEPIDLE", 4), ("TCP_KEEPINTVL", 2), ("TCP_KEEPCNT", 3))
        if hasattr(socket, name)
    ),
]


class ApiAway(Exception):
    """The API gives no usable response right now; the text is the reason."""


class ApiRefuses(ApiAway):
    """401 or 403: lasts until a token or a Role is changed."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Expired(ApiAway):
    """410: the API no longer has the version to continue from."""


@dataclass(frozen=True)
class ApiServer:
    """`account`: folder with the service account's token, ca.crt and namespace."""

    url: str
    account: Path

    @staticmethod
    def of_this_pod(environment: Mapping[str, str], account: Path = _ACCOUNT_FOLDER) -> ApiServer:
        """The API server of this pod. Raises ValueError outside of a pod."""
        host = environment.get("KUBERNETES_SERVICE_HOST")
        port = environment.get("KUBERNETES_SERVICE_PORT", "443")
        if not host:
            raise ValueError("k8s: works in a Kubernetes pod only: KUBERNETES_SERVICE_HOST is not set")
        return ApiServer(f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}", account)

    def namespace(self) -> str:
        """The pod's namespace. Raises ValueError without a service account."""
        try:
            return (self.account / "namespace").read_text().strip()
        except OSError as error:
            raise ValueError(f"the pod's namespace is not known ({error}): name one") from error

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Connection]:
        """Connect, with the current certificate of the CA. Raises ApiAway."""
        try:
            tls = ssl.create_default_context(cafile=str(self.account / "ca.crt"))
        except OSError as error:
            raise ApiAway(f"no service account in this pod: {self.account / 'ca.crt'}: {error}") from error
        # Clusters' own CAs lack the key identifiers of RFC 5280 that Python requires from 3.13 on.
        tls.verify_flags &= ~ssl.VERIFY_X509_STRICT
        transport = httpx.AsyncHTTPTransport(verify=tls, socket_options=_KEEP_ALIVE)
        async with httpx.AsyncClient(base_url=self.url, transport=transport, trust_env=False) as client:
            yield Connection(client, self.account / "token")


class Connection:
    """A connection to the API. Its methods raise ApiAway, ApiRefuses or Expired."""

    def __init__(self, client: httpx.AsyncClient, token: Path) -> None:
        self._client = client
        self._token = token

    async def get(self, path: str, query: Mapping[str, str]) -> bytes:
        body = bytearray()
        async with aclosing(self._stream(path, query, _ANSWER_SECONDS)) as chunks:
            async for chunk in chunks:
                body += chunk
                if len(body) > _MAX_PAGE_BYTES:
                    raise ApiAway(f"a page has more than {_MAX_PAGE_BYTES} bytes")
        return bytes(body)

    async def watch(self, path: str, query: Mapping[str, str], seconds: int) -> AsyncGenerator[bytes, None]:
        """Yield an empty line once the watch is established, then a line per event, until the server ends it,
        after `seconds` at the latest.
        """
        asked = {**query, "watch": "true", "timeoutSeconds": str(seconds)}
        rest = b""
        async with aclosing(self._stream(path, asked, seconds + _SLACK_SECONDS)) as chunks:
            async for chunk in chunks:
                if not chunk:
                    yield b""
                *lines, rest = (rest + chunk).split(b"\n")
                for line in filter(None, lines):
                    yield line
                if len(rest) > _MAX_EVENT_BYTES:
                    raise ApiAway(f"an event has more than {_MAX_EVENT_BYTES} bytes")

    async def _stream(
        self, path: str, query: Mapping[str, str], silence_seconds: float
    ) -> AsyncGenerator[bytes, None]:
        """Yield an empty chunk once the request is accepted, then the body."""
        timeout = httpx.Timeout(_CONNECT_SECONDS, read=silence_seconds)
        try:
            async with self._client.stream(
                "GET", path, params=query, headers=self._headers(), timeout=timeout
            ) as response:
                if response.status_code != 200:
                    raise _refusal(response.status_code)
                yield b""
                async for chunk in response.aiter_bytes():
                    yield chunk
        except httpx.HTTPError as error:
            raise ApiAway(f"{type(error).__name__}: {error}") from error

    def _headers(self) -> Mapping[str, str]:
        """Read the token each time: the kubelet replaces it long before it expires."""
        try:
            token = self._token.read_text().strip()
        except OSError as error:
            raise ApiAway(f"no service account in this pod: {self._token}: {error}") from error
        return {"authorization": f"Bearer {token}", "accept": "application/json"}


def _refusal(status: int) -> ApiAway:
    reason = f"status {status}"
    if status in (401, 403):
        return ApiRefuses(status, reason)
    return Expired(reason) if status == 410 else ApiAway(reason)
