"""HTTP for sources: bounded answers, credentials, checked redirects, resumed downloads."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping

import aiohttp

from drover import logs
from drover.errors import NotTransferable, SourceFailed
from engine_worker.host.sources.base import Partial, RemoteFile
from engine_worker.host.sources.bodies import BLOCK_BYTES, bounded_body
from engine_worker.host.sources.docker_config import DockerConfig
from engine_worker.host.sources.redirects import host_of, origin_of, target_of
from engine_worker.host.sources.registry_auth import RegistryAuth

_log = logging.getLogger("drover.host")
_CONNECT_SECONDS = 10.0
# Without a byte for so long, a download is broken off and continued.
_SILENCE_SECONDS = 30.0
# A registry checks or moves a whole file before it answers that an upload is complete.
_COMMIT_SECONDS = 600.0
_ATTEMPTS = 6
_FIRST_PAUSE_SECONDS = 0.5
# A small answer that takes longer is given up, and so are the headers of any.
_ANSWER_SECONDS = 120.0
# Of a download that much must come in that time, or the connection is broken off. Less is no progress.
_PROGRESS_BYTES = 64 * 1024
# The slowest upload.
_SENT_BYTES_PER_SECOND = 4096
_REFUSED = frozenset({401, 403})
_REDIRECTED = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS = 5
_NO_MANIFEST = "pull model manifest: file does not exist"


class SourceClient:
    """One connection pool. `proxies` of the environment are used, as other programs do. `addresses`: URLs
    that the operator has named.
    """

    def __init__(self, addresses: Iterable[str] = ()) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._auth = RegistryAuth(DockerConfig(), frozenset(map(origin_of, addresses)))

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(
        self,
        url: str,
        headers: Mapping[str, str],
        max_bytes: int,
        missing: str = _NO_MANIFEST,
        refused: str = "",
    ) -> bytes:
        """The body of a small answer. Raises NotTransferable with the words `missing` if there is none, and
        `refused` if the source does not give it to this host (empty: what to do at a registry), SourceFailed.
        """
        try:
            async with asyncio.timeout(_ANSWER_SECONDS), await self.send("GET", url, headers) as answer:
                if answer.status in _REFUSED:
                    raise NotTransferable(refused or f"pull model manifest: {await self.refusal(url)}")
                if answer.status == 404:
                    raise NotTransferable(missing)
                _check(answer.status == 200, url, f"it answers {answer.status}")
                return await bounded_body(answer, max_bytes)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise SourceFailed(f"{host_of(url)} cannot be reached: {words_of(error)}") from error

    async def refusal(self, url: str) -> str:
        """Why a registry may have answered that something is not for this host, and what to do."""
        return await self._auth.refusal(url)

    async def download(self, file: RemoteFile, partial: Partial, progress: Callable[[int], None]) -> None:
        """Write the file, and continue after a cut. Raises SourceFailed after several cuts without progress,
        InvalidRequest for a file that is not what it should be, StoreFull.
        """
        attempts, pause, url = 0, _FIRST_PAUSE_SECONDS, file.url
        while partial.offset < partial.size_bytes:
            before = partial.offset
            try:
                await self._receive(file, partial, progress)
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
            attempts = 1 if partial.offset - before >= _PROGRESS_BYTES else attempts + 1
            if attempts >= _ATTEMPTS:
                raise SourceFailed(f"download from {host_of(url)} failed: {words_of(reason)}")
            await asyncio.sleep(pause * 2 ** (attempts - 1))

    async def _receive(self, file: RemoteFile, partial: Partial, progress: Callable[[int], None]) -> None:
        """Up to the end of one answer. Raises what `download` continues after, and what it raises."""
        url, loop = file.url, asyncio.get_running_loop()
        wanted = {**file.headers, **({"Range": f"bytes={partial.offset}-"} if partial.offset else {})}
        async with asyncio.timeout(_ANSWER_SECONDS) as limit, await self.send("GET", url, wanted) as answer:
            if answer.status in _REFUSED:
                raise NotTransferable(file.refused or await self.refusal(url))
            if answer.status == 404:
                raise NotTransferable(f"{host_of(url)} does not have {file.layer.digest or url}")
            _check(answer.status in (200, 206), url, f"it answers {answer.status}")
            if answer.status == 200 and partial.offset:
                # It cannot continue.
                partial.restart()
            seen = partial.offset
            async for block in answer.content.iter_chunked(BLOCK_BYTES):
                await asyncio.to_thread(partial.write, block)
                progress(partial.offset)
                if partial.offset - seen >= _PROGRESS_BYTES:
                    seen = partial.offset
                    limit.reschedule(loop.time() + _ANSWER_SECONDS)

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], data: bytes | None = None, source: str = ""
    ) -> aiohttp.ClientResponse:
        """With what a registry wants to see of who asks. The caller releases the answer. `source`: a URL of
        the registry, where `url` is an address that it has named.

        Raises what aiohttp raises, SourceFailed if the registry gives no token or sends to where no source
        may, NotTransferable if it refuses the credentials.
        """
        source = source or url
        answer, at = await self._follow(method, url, headers, data, source)
        # What is asked for elsewhere is not for this source's credentials.
        if answer.status != 401 or "Authorization" in headers or origin_of(at) != origin_of(source):
            return answer
        challenges = answer.headers.getall("WWW-Authenticate", [])
        try:
            is_new = await self._auth.accept(self._opened(), origin_of(source), challenges)
        except BaseException:
            answer.release()
            raise
        if not is_new:
            return answer
        answer.release()
        return (await self._follow(method, url, headers, data, source))[0]

    async def _follow(
        self, method: str, url: str, headers: Mapping[str, str], data: bytes | None, source: str
    ) -> tuple[aiohttp.ClientResponse, str]:
        """The answer, and where it came from. Credentials stay with the source's own address."""
        at, session = url, self._opened()
        for _ in range(_MAX_REDIRECTS + 1):
            # However slowly it trickles.
            async with asyncio.timeout(_answer_seconds(method, data)):
                answer = await session.request(
                    method,
                    at,
                    headers=self._headers(source, at, headers),
                    data=data,
                    allow_redirects=False,
                    timeout=_timeout(_COMMIT_SECONDS if method == "PUT" else _SILENCE_SECONDS),
                )
            location = answer.headers.get("Location", "")
            if method not in ("GET", "HEAD") or answer.status not in _REDIRECTED or not location:
                return answer, at
            answer.release()
            at = await target_of(url, at, location)
        raise SourceFailed(f"{host_of(url)}: it redirects more than {_MAX_REDIRECTS} times")

    def _headers(self, source: str, at: str, headers: Mapping[str, str]) -> Mapping[str, str]:
        if origin_of(source) != origin_of(at):
            return {key: value for key, value in headers.items() if key != "Authorization"}
        known = self._auth.header(origin_of(source))
        return {**({"Authorization": known} if known else {}), **headers}

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                trust_env=True,
                # Sizes and digests are those of the files, and hubs compress small ones for who takes that.
                headers={"Accept-Encoding": "identity"},
                auto_decompress=False,
                timeout=_timeout(_SILENCE_SECONDS),
            )
        return self._session


def _answer_seconds(method: str, data: bytes | None) -> float:
    """How long the headers of an answer may take, and before them the body of the request."""
    answer_seconds = _COMMIT_SECONDS if method == "PUT" else _ANSWER_SECONDS
    return answer_seconds + len(data or b"") / _SENT_BYTES_PER_SECOND


def _timeout(silence_seconds: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=silence_seconds)


def _check(is_right: bool, url: str, wrong: str) -> None:
    if not is_right:
        raise SourceFailed(f"{host_of(url)}: {wrong}")


def words_of(error: BaseException) -> str:
    return str(error) or type(error).__name__
