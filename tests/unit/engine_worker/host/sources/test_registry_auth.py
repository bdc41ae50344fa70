"""Who is shown what: credentials of docker login, tokens of registries, and nothing to anybody else."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from drover.errors import NotTransferable, SourceFailed
from engine_worker.host.sources.docker_config import Credentials, DockerConfig
from engine_worker.host.sources.http import SourceClient
from engine_worker.host.sources.registry_auth import RegistryAuth
from tests.unit.engine_worker.host.sources.registry import FakeRegistry, serving

PATH = "/v2/team/model/manifests/latest"
USER, PASSWORD, TOKEN, IDENTITY = "robot", "correct-horse", "a-token", "an-identity"
ENCODED = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
MAX_BYTES = 10_000


@asynccontextmanager
async def filled() -> AsyncIterator[FakeRegistry]:
    registry = FakeRegistry()
    async with serving(registry):
        registry.put(PATH, b"weights")
        yield registry


@pytest.fixture
async def registry() -> AsyncIterator[FakeRegistry]:
    async with filled() as registry:
        yield registry


@pytest.fixture
async def other() -> AsyncIterator[FakeRegistry]:
    async with filled() as other:
        yield other


@pytest.fixture
async def client() -> AsyncIterator[SourceClient]:
    client = SourceClient()
    yield client
    await client.close()


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    return tmp_path / "config.json"


@pytest.fixture(autouse=True)
def no_secret_in_logs(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.DEBUG)
    yield
    for secret in (PASSWORD, ENCODED, TOKEN, IDENTITY):
        assert secret not in caplog.text


def log_in(config: Path, url: str, **entry: str) -> None:
    config.write_text(json.dumps({"auths": {url.removeprefix("http://"): entry or {"auth": ENCODED}}}))


async def manifest_of(client: SourceClient, registry: FakeRegistry) -> bytes:
    return await client.get(f"{registry.url}{PATH}", {}, MAX_BYTES)


async def test_a_token_is_given_for_the_user_and_goes_to_its_registry_only(
    client: SourceClient, registry: FakeRegistry, other: FakeRegistry, config: Path
) -> None:
    log_in(config, registry.url)
    registry.token, registry.asks_for = TOKEN, f"Basic {ENCODED}"
    registry.leads_to = f"{other.url}{{path}}"
    assert b"layers" in await manifest_of(client, registry)
    assert registry.seen == [(PATH, ""), ("/token", f"Basic {ENCODED}"), (PATH, f"Bearer {TOKEN}")]
    assert other.seen == [(PATH, "")]
    # The second request has it from the beginning.
    await manifest_of(client, registry)
    assert registry.seen[3:] == [(PATH, f"Bearer {TOKEN}")]


async def test_an_identity_token_stands_for_the_user(
    client: SourceClient, registry: FakeRegistry, config: Path
) -> None:
    log_in(config, registry.url, auth=base64.b64encode(b"00000000:").decode(), identitytoken=IDENTITY)
    registry.token, registry.asks_for = TOKEN, IDENTITY
    assert b"layers" in await manifest_of(client, registry)


async def test_a_wrong_password_is_an_error_in_words(
    client: SourceClient, registry: FakeRegistry, config: Path
) -> None:
    log_in(config, registry.url)
    registry.token, registry.asks_for = TOKEN, "Basic another"
    with pytest.raises(NotTransferable, match="do not open this model") as raised:
        await manifest_of(client, registry)
    assert PASSWORD not in str(raised.value)
    assert ENCODED not in str(raised.value)


async def test_credentials_of_another_registry_are_not_used(
    client: SourceClient, registry: FakeRegistry, other: FakeRegistry, config: Path
) -> None:
    log_in(config, other.url)
    registry.token, registry.asks_for = TOKEN, f"Basic {ENCODED}"
    with pytest.raises(NotTransferable, match="there are no credentials for it; run `docker login 127"):
        await manifest_of(client, registry)
    assert ("/token", "") in registry.seen


async def test_who_is_redirected_shows_nothing_to_the_other_one(
    client: SourceClient, registry: FakeRegistry, other: FakeRegistry, config: Path
) -> None:
    """Not even where there are credentials for it: the registry chose it, and not the operator."""
    log_in(config, other.url)
    registry.leads_to, other.token, other.asks_for = f"{other.url}{{path}}", TOKEN, f"Basic {ENCODED}"
    with pytest.raises(NotTransferable):
        await manifest_of(client, registry)
    assert other.seen == [(PATH, "")]


@pytest.mark.parametrize(
    ("origin", "plain", "is_shown"),
    [
        ("https://registry.example", frozenset(), True),
        ("http://registry.example", frozenset(), False),
        ("http://registry.example", frozenset({"http://registry.example"}), True),
        ("http://registry.example:81", frozenset({"http://registry.example"}), False),
    ],
)
async def test_credentials_go_without_tls_only_where_the_operator_says_so(
    config: Path, origin: str, plain: frozenset[str], is_shown: bool
) -> None:
    """Any client may ask for a pull without TLS."""
    log_in(config, origin.partition("://")[2])
    auth = RegistryAuth(DockerConfig(), plain)
    async with aiohttp.ClientSession() as session:
        assert await auth.accept(session, origin, ['Basic realm="x"']) is is_shown
    assert auth.header(origin) == (f"Basic {ENCODED}" if is_shown else "")
    assert ("not shown without TLS" in await auth.refusal(origin)) is not is_shown


@pytest.mark.parametrize("document", [{"credsStore": "desktop"}, {"credHelpers": {"127.0.0.1": "desktop"}}])
def test_a_credential_helper_is_named(config: Path, document: dict[str, object]) -> None:
    config.write_text(json.dumps(document))
    said = asyncio.run(RegistryAuth(DockerConfig()).refusal("http://127.0.0.1/v2/"))
    assert "with the credential helper 'desktop', which is not supported" in said


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"token": 7}', b'{"token": "a\\nb"}', b"x" * 100_000])
async def test_a_token_server_that_gives_none(
    client: SourceClient, registry: FakeRegistry, other: FakeRegistry, body: bytes
) -> None:
    registry.token, registry.realm = TOKEN, f"{other.url}{PATH}"
    other.manifests[PATH] = body
    with pytest.raises(SourceFailed, match=r"gives no token|longer than 65536"):
        await manifest_of(client, registry)


@pytest.mark.parametrize(
    ("key", "host"),
    [
        ("registry.example:5000", "Registry.Example:5000"),
        ("https://registry.example/v2/", "registry.example"),
        ("https://index.docker.io/v1/", "registry-1.docker.io"),
    ],
)
def test_keys_as_docker_writes_them(config: Path, key: str, host: str) -> None:
    config.write_text(json.dumps({"auths": {key: {"auth": ENCODED}}}))
    assert DockerConfig().find(host) == Credentials(USER, PASSWORD)
    assert DockerConfig().find("elsewhere.example") is None


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"auths": []}', '{"auths": {"a": 1}}', '{"auths": {"a": {"auth": "?"}}}', "[" * 9999],
)
def test_a_file_that_cannot_be_used(config: Path, text: str) -> None:
    config.write_text(text)
    assert DockerConfig().find("a") is None
    assert DockerConfig().helper_of("a") == ""


def test_a_password_is_not_shown() -> None:
    assert PASSWORD not in repr(Credentials(USER, PASSWORD, IDENTITY))
    assert IDENTITY not in repr(Credentials(USER, PASSWORD, IDENTITY))
