"""HTTP for sources: bounded answers, tokens of registries, resumed downloads."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable, Mapping
from urllib.parse import urlsplit

import aiohttp

from drover import logs
from drover.errors import InvalidRequest, NotTransferable, SourceFailed, StoreUnavailable
from engine_worker.host.store.blobs import PartialBlob

_log = logging.getLogger("drover.host")
_CONNECT_SECONDS = 10.0
# Without a byte for so long, a download is broken off and continued.
_SILENCE_SECONDS = 30.0
_ATTEMPTS = 6
_FIRST_PAUSE_SECONDS = 0.5
_BLOCK_BYTES = 1 << 20
_NOT_FOUND = frozenset({401, 403, 404})
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
_MAX_TOKEN_BYTES = 64 * 1024
_NO_MANIFEST = "pull model manifest: file does not exist"


class SourceClient:
    """One connection pool. `proxies` of the environment are used, as other programs do."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._tokens: dict[str, str] = {}

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(
        self, url: str, headers: Mapping[str, str], max_bytes: int, missing: str = _NO_MANIFEST
    ) -> bytes:
        """The body of a small answer. Raises NotTransferable with the words `missing` if there is none,
        SourceFailed.
        """
        try:
            async with await self.send("GET", url, headers) as answer:
                if answer.status in _NOT_FOUND:
                    raise NotTransferable(missing)
                _check(answer.status == 200, url, f"it answers {answer.status}")
                body = b""
                async for block in answer.content.iter_chunked(_BLOCK_BYTES):
                    body += block
                    _check(len(body) <= max_bytes, url, f"its answer is longer than {max_bytes} bytes")
                return body
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise SourceFailed(f"{host_of(url)} cannot be reached: {words_of(error)}") from error

    async def download(
        self, url: str, headers: Mapping[str, str], partial: PartialBlob, progress: Callable[[int], None]
    ) -> None:
        """Write the file, and continue after a cut. Raises SourceFailed after several cuts without progress,
        InvalidRequest for a file that is not what it should be, StoreUnavailable if the disk is full.
        """
        attempts, pause = 0, _FIRST_PAUSE_SECONDS
        while partial.offset < partial.size_bytes:
            before = partial.offset
            try:
                async for _ in self._blocks(url, headers, partial):
                    progress(partial.offset)
            except (InvalidRequest, StoreUnavailable, NotTransferable):
                raise
            except (aiohttp.ClientError, TimeoutError, OSError, SourceFailed) as error:
                logs.event(
                    _log,
                    logging.WARNING,
                    "a download was cut off",
                    source=host_of(url),
                    at_bytes=partial.offset,
                    reason=words_of(error),
                )
                reason = error
            else:
                reason = SourceFailed(f"{host_of(url)} closed the connection early")
            if partial.offset >= partial.size_bytes:
                return
            attempts = 1 if partial.offset > before else attempts + 1
            if attempts >= _ATTEMPTS:
                raise SourceFailed(f"download from {host_of(url)} failed: {words_of(reason)}")
            await asyncio.sleep(pause * 2 ** (attempts - 1))

    async def _blocks(self, url: str, headers: Mapping[str, str], partial: PartialBlob) -> AsyncIterator[int]:
        wanted = {**headers, **({"Range": f"bytes={partial.offset}-"} if partial.offset else {})}
        async with await self.send("GET", url, wanted) as answer:
            if answer.status in _NOT_FOUND:
                raise NotTransferable(f"{host_of(url)} does not have {partial.digest}")
            _check(answer.status in (200, 206), url, f"it answers {answer.status}")
            if answer.status == 200 and partial.offset:
                # It cannot continue.
                partial.restart()
            async for block in answer.content.iter_chunked(_BLOCK_BYTES):
                await asyncio.to_thread(partial.write, block)
                yield len(block)

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], data: bytes | None = None
    ) -> aiohttp.ClientResponse:
        """With a token where the registry asks for one. The caller releases the answer.

        Raises what aiohttp raises, SourceFailed if the registry gives no token.
        """
        session = self._opened()
        token = self._tokens.get(host_of(url))
        sent = {**headers, **({"Authorization": f"Bearer {token}"} if token else {})}
        answer = await session.request(method, url, headers=sent, data=data)
        challenge = answer.headers.get("WWW-Authenticate", "")
        if answer.status != 401 or not _names_a_realm(challenge):
            return answer
        answer.release()
        token = self._tokens[host_of(url)] = await self._token(url, challenge)
        again = {**headers, "Authorization": f"Bearer {token}"}
        return await session.request(method, url, headers=again, data=data)

    async def _token(self, url: str, challenge: str) -> str:
        """An anonymous token, as OCI registries give to anybody for public models."""
        asked = dict(_CHALLENGE.findall(challenge))
        realm = asked.pop("realm")
        async with self._opened().get(realm, params=asked) as answer:
            _check(answer.status == 200, url, f"it gives no token ({answer.status})")
            body = await answer.content.read(_MAX_TOKEN_BYTES)
        text = re.search(rb'"(?:access_)?token"\s*:\s*"([^"]+)"', body)
        _check(text is not None, url, "it gives no token")
        assert text is not None
        return text[1].decode()

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                trust_env=True,
                auto_decompress=False,
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=_CONNECT_SECONDS, sock_read=_SILENCE_SECONDS
                ),
            )
        return self._session


def _check(is_right: bool, url: str, wrong: str) -> None:
    if not is_right:
        raise SourceFailed(f"{host_of(url)}: {wrong}")


def _names_a_realm(challenge: str) -> bool:
    """Whether tokens are given out at an address; hubs have other words there."""
    realm = dict(_CHALLENGE.findall(challenge)).get("realm", "")
    return challenge.lower().startswith("bearer ") and urlsplit(realm).scheme in ("http", "https")


def host_of(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


def words_of(error: BaseException) -> str:
    return str(error) or type(error).__name__
