"""One worker of a load: ``python -m rcsops.loadgen``, started by `run_load`.

Reads its share of the plan as one line of JSON from stdin, and writes one line of JSON a second to
stdout. When every agent has had its chance to register it says so ("ready"), and waits for the line
``go``; ``stop``, or the end of stdin, ends the load early but in order.
"""

import asyncio
import contextlib
import gc
import json
import resource
import signal
import sys

from rcsops.loadgen.plan import LoadPlan
from rcsops.loadgen.worker import Worker
from rcsops.transport.loop import loop_runner


async def _work() -> None:
    loop = asyncio.get_running_loop()
    # The line with the accounts is as long as there are agents.
    reader = asyncio.StreamReader(limit=1 << 28)
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    try:
        plan, number, accounts = LoadPlan.from_share(json.loads(await reader.readline()))
        worker = Worker(plan, number, accounts, tell=_tell)
        task = loop.create_task(worker.run())
        orders = loop.create_task(_obey(reader, worker))
        try:
            await task
        finally:
            orders.cancel()
            await asyncio.gather(orders, return_exceptions=True)
    finally:
        transport.close()


async def _obey(reader: asyncio.StreamReader, worker: Worker) -> None:
    while line := await reader.readline():
        if line.strip() == b"go":
            worker.go()
        else:
            break
    worker.stop()


def _tell(message: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def main() -> int:
    # Ctrl-C goes to every process of the terminal; whoever started us says when to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # Nothing that a session leaves is a cycle of objects: the collector need not look often.
    gc.set_threshold(10_000, 10, 5)
    with loop_runner() as runner, contextlib.suppress(BrokenPipeError):
        runner.run(_work())
    return 0


if __name__ == "__main__":
    sys.exit(main())
