"""Workers of a host that was killed, or whose disk was full, and what they leave behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import orjson
import pytest

from drover.v1 import engine_pb2 as pb
from engine_worker.host.memory.placement import Placement
from engine_worker.host.models.base import Needs, StoredModel
from engine_worker.host.models.model_settings import ModelSettings
from engine_worker.host.models.simulated import SIMULATED, SimulatedReader
from engine_worker.host.plan import State
from engine_worker.host.settings import HostSettings
from engine_worker.host.store.store import Store
from engine_worker.host.workers import child as child_module
from engine_worker.host.workers import process as process_module
from engine_worker.host.workers import workers as workers_module
from engine_worker.host.workers.child import Child, ChildPlace, Events
from engine_worker.host.workers.process import WorkerProcess
from engine_worker.host.workers.workers import Workers
from tests.support.hosts import put
from tests.support.waiting import until
from tests.unit.engine_worker.host.conftest import name

SECONDS = 30.0
LOAD_MS = 500


@pytest.fixture
def model(store: Store) -> StoredModel:
    text = {"memory_bytes": 1000, "flags": ["--sim-load-ms", str(LOAD_MS)]}
    manifest = put(store, "one", SIMULATED, orjson.dumps(text))
    found = SimulatedReader(store)(name("one"), manifest, ModelSettings())
    assert found is not None
    return found


@dataclass
class Host:
    """Of workers, as far as they know one. `began`: a host that is started anew has the same folder."""

    folder: Path
    reasons: list[str] = field(default_factory=list)
    children: list[Child] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.workers = self.anew()

    def anew(self) -> Workers:
        settings = HostSettings.load(["--listen", "127.0.0.1:0", "--drain-seconds", "1"])
        events = Events(lambda: None, lambda: None, self._on_end)
        return Workers(self.folder, settings, lambda engine: sys.executable, events)

    def start(self, model: StoredModel) -> Child:
        child = self.workers.start(model, Needs(1000), Placement(), is_extra=False, is_pinned=False)
        self.children.append(child)
        return child

    def find(self, model: StoredModel | None) -> list[Child]:
        """None: the store has no models any more."""
        found = list(self.anew().find_running(lambda key: model if model and key == model.key else None))
        self.children += found
        return found

    def _on_end(self, child: Child, reason: str) -> None:
        self.reasons.append(reason)
        self.workers.forget(child)


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    host = Host(tmp_path / "workers")
    yield host
    for child in host.children:
        child.process.kill()
        await child.stop_watching()


def state_of(child: Child) -> Callable[[], bool]:
    return lambda: child.state is State.READY


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def names_in(folder: Path, pattern: str = "*") -> list[str]:
    return [path.name for path in folder.glob(pattern)]


async def test_a_worker_that_was_loading_when_its_host_died_becomes_ready(
    host: Host, model: StoredModel
) -> None:
    first = host.start(model)
    await first.stop_watching()
    assert first.state is State.LOADING
    (again,) = host.find(model)
    await until(state_of(again), SECONDS, "the load ends")
    assert (again.process.pid, again.memory_bytes) == (first.process.pid, 1000)


@pytest.mark.parametrize("ends_by_itself", [True, False])
async def test_a_worker_whose_model_was_removed_while_there_was_no_host_drains(
    host: Host, model: StoredModel, monkeypatch: pytest.MonkeyPatch, ends_by_itself: bool
) -> None:
    """Its memory counts until it has ended, which is within a bound, and then nothing of it is left."""
    monkeypatch.setattr(child_module, "_END_SECONDS", SECONDS if ends_by_itself else 0.1)
    first = host.start(model)
    await until(state_of(first), SECONDS, "the load ends")
    await first.stop_watching()
    if not ends_by_itself:
        os.kill(first.process.pid, signal.SIGSTOP)
    (again,) = host.find(None)
    found = (again.model.name, again.model.key, again.model.is_simulated)
    assert found == (model.name, model.key, True)
    assert (again.state, again.memory_bytes) == (State.DRAINING, 1000)
    await until(lambda: host.reasons == [""], SECONDS, "it has ended")
    assert (runs(first.process.pid), names_in(host.folder)) == (False, [])


async def test_what_a_worker_had_started_ends_also_where_there_was_no_host(
    host: Host, model: StoredModel
) -> None:
    """Such as SGLang's scheduler, whose worker was killed."""
    child = host.start(model)
    await child.stop_watching()
    with child.place.log.open("ab") as log:
        started = await asyncio.create_subprocess_exec("/bin/sleep", "60", stdout=log)
    os.kill(child.process.pid, signal.SIGKILL)
    await until(lambda: not runs(child.process.pid), SECONDS, "it has ended")
    assert host.find(model) == []
    try:
        async with asyncio.timeout(SECONDS):
            assert await started.wait() == -signal.SIGKILL
    finally:
        with suppress(ProcessLookupError):
            started.kill()
    assert names_in(host.folder) == []


async def test_what_died_while_there_was_no_host_is_removed(
    host: Host, model: StoredModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also the socket's folder, which is elsewhere for a store with a long path."""
    monkeypatch.setattr(workers_module, "_LONGEST_SOCKET_PATH", 0)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    child = host.start(model)
    await child.stop_watching()
    os.kill(child.process.pid, signal.SIGKILL)
    await until(lambda: not runs(child.process.pid), SECONDS, "it has ended")
    assert names_in(tmp_path, "drover-*")
    assert host.find(model) == []
    assert names_in(tmp_path, "drover-*") == names_in(host.folder) == []


async def test_a_worker_that_was_not_noted_is_ended(host: Host, model: StoredModel) -> None:
    """Its host was killed between its start and the note of it."""
    child = host.start(model)
    await child.stop_watching()
    (child.place.folder / "worker.json").unlink()
    assert host.find(model) == []
    await until(lambda: not runs(child.process.pid), SECONDS, "it is ended")
    assert names_in(host.folder) == []


async def test_a_worker_that_cannot_be_noted_is_ended(
    host: Host, model: StoredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk: its memory would be used, and no host would know."""
    pids: list[int] = []

    def fail(model: StoredModel, place: ChildPlace, process: object, memory_bytes: int) -> None:
        pids.append(process.pid)  # type: ignore[attr-defined]
        raise OSError("No space left on device")

    monkeypatch.setattr(workers_module, "_write_state", fail)
    with pytest.raises(OSError, match="No space"):
        host.start(model)
    await until(lambda: not runs(pids[0]), SECONDS, "it is ended")
    assert names_in(host.folder) == []


async def test_a_worker_that_does_not_answer_any_more_is_ended(
    host: Host, model: StoredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop that is shorter than the limit is not noticed."""
    monkeypatch.setattr(child_module, "_LATE_SECONDS", 1.2)
    monkeypatch.setattr(child_module, "_SILENCE_SECONDS", 1.0)
    child = host.start(model)
    await until(state_of(child), SECONDS, "the load ends")
    os.kill(child.process.pid, signal.SIGSTOP)
    await asyncio.sleep(0.3)
    os.kill(child.process.pid, signal.SIGCONT)
    before = child.report
    await until(lambda: child.report is not before, SECONDS, "it reports again")
    assert host.reasons == []
    os.kill(child.process.pid, signal.SIGSTOP)
    await until(lambda: bool(host.reasons), SECONDS, "it is ended")
    assert "its worker ended (signal 9)" in host.reasons[0]


async def test_the_reason_of_its_end_has_no_path_of_the_store(
    host: Host, model: StoredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clients see it."""
    missing = host.folder.parent / "blobs" / "missing"
    child = host.start(replace(model, flags=[*model.flags, "--sim-script", str(missing)]))
    await until(lambda: bool(host.reasons), SECONDS, "it has ended")
    assert child.place.store == host.folder.parent
    assert "blobs/missing" in host.reasons[0]
    assert str(host.folder.parent) not in host.reasons[0]


async def test_what_a_worker_has_started_ends_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scheduler of SGLang, for instance, with its memory, when the worker is killed."""
    monkeypatch.setattr(process_module, "_SESSION_SECONDS", 0.1)
    script = f"sleep 60 & echo $! > {tmp_path / 'pid'}; wait"
    worker = WorkerProcess.start(["/bin/sh", "-c", script], os.environ, tmp_path / "log")
    await until(
        lambda: (tmp_path / "pid").exists() and bool((tmp_path / "pid").read_text()), SECONDS, "it runs"
    )
    pid = int((tmp_path / "pid").read_text())
    worker.kill()
    await worker.wait()
    assert runs(pid)
    await asyncio.to_thread(worker.end_session)
    await until(lambda: not runs(pid), SECONDS, "its child is ended")


async def test_who_writes_a_log_is_found_where_the_path_has_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    log = tmp_path / "link" / "log"
    worker = WorkerProcess.start(["/bin/sleep", "60"], os.environ, log)
    process_module.end_writers(log)
    try:
        async with asyncio.timeout(SECONDS):
            assert await worker.wait() == "signal 9"
    finally:
        worker.kill()


def test_names_of_processes_may_be_any_bytes() -> None:
    """Linux cuts them after 15 bytes, also within a character."""
    own_name = Path("/proc/self/comm")
    before = own_name.read_bytes()
    own_name.write_bytes("модель".encode() + "ёжик".encode()[:3])
    try:
        assert os.getpid() in list(process_module.processes_of(os.getppid()))
    finally:
        own_name.write_bytes(before.strip())


@pytest.mark.parametrize("sign", ["expires_unix_ns", "prefill_tokens_done"])
async def test_requests_between_two_reports_count_as_use(
    host: Host, model: StoredModel, tmp_path: Path, sign: str
) -> None:
    """They may take milliseconds, as those of embedding models do: such a model is not the least used one."""
    process = WorkerProcess.start(["/bin/true"], os.environ, tmp_path / "log")
    events = Events(lambda: None, lambda: None, lambda child, reason: None)
    child = Child(model, ChildPlace("", "", tmp_path), process, 1, events, state=State.READY, last_used=0.0)
    idle = pb.LoadReport(running_limit=4, loaded=True, expires_unix_ns=5, prefill_tokens_done=5)
    for _ in range(2):
        child._on_report(idle)
    assert (child.has_served, child.last_used) == (False, 0.0)
    used = pb.LoadReport()
    used.CopyFrom(idle)
    setattr(used, sign, 6)
    child._on_report(used)
    assert child.has_served
    assert child.last_used > 0
    await process.wait()


def test_the_reason_of_an_end_is_what_its_log_says(tmp_path: Path) -> None:
    lines = [
        '{"level": "info", "message": "listening", "address": "127.0.0.1:1"}',
        "ValueError: no room for the KV cache",
        "",
        '{"level": "error", "message": "the engine failed", "reason": "a process died"}',
        '{"level": "error", "message": "cannot start: no"}',
        "12",
        '{"level": "info", "message": "stopped"}',
    ]
    (tmp_path / "log").write_text("\n".join(lines))
    assert child_module._last_lines(tmp_path / "log") == (
        "ValueError: no room for the KV cache / the engine failed: a process died / cannot start: no / 12"
    )


def test_a_log_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_module, "_LOG_BYTES", 400)
    place = ChildPlace("127.0.0.1:1", "unix:/none", tmp_path)
    with place.log.open("ab", buffering=0) as worker:
        for number in range(39):
            worker.write(b"line %4d\n" % number)
        place.shorten_log()
        assert place.log.stat().st_size == 39 * 10
        for number in range(39, 100):
            worker.write(b"line %4d\n" % number)
        place.shorten_log()
        worker.write(b"line  100\n")
    lines = place.log.read_text().splitlines()
    assert lines == [f"line {number:4d}" for number in range(101 - len(lines), 101)]
    assert 5 < len(lines) < 12
