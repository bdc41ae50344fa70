"""The smallest request there is: whether a worker still produces a token."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import aclosing

from drover.errors import DroverError, RetryElsewhere
from drover.v1 import engine_pb2 as pb
from frontend.fleet.base import Worker
from frontend.fleet.delivery import events_of

_SECONDS = 10.0


async def answers(worker: Worker) -> bool:
    request = pb.GenerateRequest(
        request_id=secrets.token_hex(16), raw="probe", sampling=pb.Sampling(max_tokens=1, temperature=0)
    )
    handle = worker.submit(request, "probe")
    try:
        async with asyncio.timeout(_SECONDS), aclosing(events_of(handle)) as events:
            async for event in events:
                if event.HasField("done"):
                    return True
    except (RetryElsewhere, TimeoutError):
        return False
    except DroverError:
        # Whoever refuses is alive.
        return True
    finally:
        handle.cancel()
    return False
