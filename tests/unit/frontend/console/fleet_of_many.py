"""Workers and requests as the console gets them, without a fleet behind them."""

from __future__ import annotations

from drover.v1 import engine_pb2 as pb
from frontend.observability.request_record import RequestRecord
from frontend.routing.fleet import WorkerStatus


async def _send(message: object) -> None:
    pass


def worker(address: str, model: str = "m", generated: int = 0, **report: int) -> WorkerStatus:
    return WorkerStatus(
        address=address,
        model=model,
        ready=True,
        requests=1,
        cache_hit_rate=0.0,
        info=pb.Model(names=[model, f"{model}-alias"], engine_kind="sim", context_length=4096),
        report=pb.LoadReport(running_limit=8, decode_tokens_done=generated, **report),  # type: ignore[arg-type]  # mypy cannot type fields in **
        is_stalled=False,
        is_avoided=False,
    )


def lost(address: str, model: str = "m") -> WorkerStatus:
    return WorkerStatus(address, model, False, 0, 0.0, pb.Model(names=[model]), None, False, False)


def finished(model: str = "m", **facts: object) -> RequestRecord:
    """`facts`: attributes of the record."""
    record = RequestRecord("id", _send, client="client", served=model, status=200)
    for name, value in facts.items():
        setattr(record, name, value)
    return record


def failed(text: str, model: str = "m", status: int = 500, client: str = "client") -> RequestRecord:
    record = finished(model, status=status, client=client)
    record.fields["error_message"] = text
    return record
