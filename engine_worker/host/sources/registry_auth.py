"""How registries are shown who asks: basic authentication, and Docker's tokens."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence, Set
from urllib.parse import urlsplit

import aiohttp
import orjson

from drover.errors import NotTransferable, SourceFailed
from engine_worker.host.sources.bodies import bounded_body
from engine_worker.host.sources.docker_config import Credentials, DockerConfig
from engine_worker.host.sources.redirects import check_target, host_of, origin_of

# Each word is looked at once: headers come from outside.
_PARAMETER = re.compile(r'(?<!\w)(\w+)="([^"]*)"')
_MAX_TOKEN_BYTES = 64 * 1024
_CLIENT_ID = "drover"
_THIS_MACHINE = frozenset({"127.0.0.1", "::1", "localhost"})


class RegistryAuth:
    """Headers by the origin that they belong to; none is sent to another one. Credentials are shown with TLS
    only, but for `plain` origins, which the operator has named, and this machine: any request may ask for a
    pull without TLS.
    """

    def __init__(self, config: DockerConfig, plain: Set[str] = frozenset()) -> None:
        self._config = config
        self._plain = plain
        self._headers: dict[str, str] = {}

    def header(self, origin: str) -> str:
        """The value for Authorization; empty if none was asked for yet."""
        return self._headers.get(origin, "")

    async def accept(self, session: aiohttp.ClientSession, origin: str, challenges: Sequence[str]) -> bool:
        """Do what a registry asks for. False if that is not possible, or was done already.

        Raises NotTransferable if the credentials are refused, SourceFailed if it gives no token, and what
        aiohttp raises.
        """
        may_show = self._may_show(origin)
        credentials = await asyncio.to_thread(self._config.find, host_of(origin)) if may_show else None
        before = self.header(origin)
        for challenge in challenges:
            scheme, asked = challenge.partition(" ")[0].casefold(), dict(_PARAMETER.findall(challenge))
            # Hubs have other words in a realm.
            if scheme == "bearer" and urlsplit(asked.get("realm", "")).scheme in ("http", "https"):
                token = await self._token(session, origin, asked, credentials)
                self._headers[origin] = f"Bearer {token}"
                return True
            if scheme == "basic" and credentials is not None and credentials.password:
                self._headers[origin] = credentials.basic
                return credentials.basic != before
        return False

    async def refusal(self, url: str) -> str:
        """Why a registry may have answered that the model is not for this host."""
        host = host_of(url)
        if not self._may_show(origin_of(url)):
            reason = (
                "credentials are not shown without TLS; if they may be, start the host with "
                f"{host}={origin_of(url)} among --sources"
            )
        elif await asyncio.to_thread(self._config.find, host) is not None:
            reason = "the user and password that `docker login` has kept for it do not open this model"
        elif helper := await asyncio.to_thread(self._config.helper_of, host):
            reason = (
                f"its credentials are with the credential helper {helper!r}, which is not supported; log in "
                "with a Docker configuration (DOCKER_CONFIG) that has no credsStore and no credHelpers"
            )
        else:
            reason = f"there are no credentials for it; run `docker login {host}` as the user of the host"
        return f"unauthorized: access denied by {host}: {reason}"

    def _may_show(self, origin: str) -> bool:
        parts = urlsplit(origin)
        return parts.scheme == "https" or origin in self._plain or parts.hostname in _THIS_MACHINE

    async def _token(
        self,
        session: aiohttp.ClientSession,
        origin: str,
        asked: Mapping[str, str],
        credentials: Credentials | None,
    ) -> str:
        """Without credentials an anonymous one, as registries give to anybody for public models."""
        realm = asked["realm"]
        await check_target(origin, realm)
        about = {key: asked[key] for key in ("service", "scope") if key in asked}
        if credentials is not None and credentials.identity_token:
            form = {"grant_type": "refresh_token", "refresh_token": credentials.identity_token}
            sending = session.post(
                realm, data={**about, **form, "client_id": _CLIENT_ID}, allow_redirects=False
            )
        else:
            headers = {} if credentials is None else {"Authorization": credentials.basic}
            sending = session.get(realm, params=about, headers=headers, allow_redirects=False)
        async with sending as answer:
            if answer.status in (401, 403):
                raise NotTransferable(await self.refusal(origin))
            if answer.status != 200:
                raise SourceFailed(f"{host_of(origin)}: it gives no token ({answer.status})")
            return _token_of(await bounded_body(answer, _MAX_TOKEN_BYTES), host_of(origin))


def _token_of(body: bytes, host: str) -> str:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = None
    found = document.get("token") or document.get("access_token") if isinstance(document, dict) else None
    if not isinstance(found, str) or not found.isascii() or not found.isprintable():
        raise SourceFailed(f"{host}: it gives no token")
    return found
