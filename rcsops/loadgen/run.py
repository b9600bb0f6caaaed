"""The workers of a load as processes: started together, read, added up."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import psutil

from rcsops.errors import EngineError
from rcsops.loadgen.histogram import Histogram
from rcsops.loadgen.plan import Account, LoadPlan
from rcsops.loadgen.report import LoadReport, Second
from rcsops.loadgen.statistics import Statistics

__all__ = ["run_load"]

OnSecond = Callable[[Second, LoadReport], None]

_LINE = 1 << 24
# asyncio reads into buffers of 256 KiB. Left to itself, glibc moves those from mappings of their
# own into the heap, which then grows by holes while what is in use does not.
_HEAP = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(128 << 10),
    "MALLOC_TRIM_THRESHOLD_": str(256 << 10),
}
_PATIENCE = 60.0
"""How long a worker may take beyond its plan, in seconds, before it is given up."""


def run_load(
    plan: LoadPlan,
    accounts: Sequence[Account],
    *,
    on_second: OnSecond | None = None,
    server_pid: int | None = None,
) -> LoadReport:
    """Runs the load with processes of its own, and returns what came of it.

    ``on_second`` is called about once a second. ``server_pid`` is watched for memory and processor.
    Ctrl-C ends it early, in order and with a report; a second one at once. Raises EngineError when
    no agent could register or a worker fails.
    """
    return asyncio.run(_Run(plan, accounts, on_second, server_pid).run())


class _Worker:
    """A worker process and the last that it said."""

    def __init__(self, number: int, process: asyncio.subprocess.Process) -> None:
        self.number = number
        self.process = process
        self.last: dict[str, Any] = {}
        self.processor = (0.0, 0.0)

    @property
    def phase(self) -> str:
        return str(self.last.get("phase", "joining"))

    def order(self, word: bytes) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(OSError, RuntimeError):
            self.process.stdin.write(word + b"\n")

    def busy(self) -> float:
        """The share of a processor that it used since the last call."""
        then, used = self.processor
        now, total = self.last.get("time", 0.0), self.last.get("processor", 0.0)
        self.processor = (now, total)
        return (total - used) / (now - then) if then and now > then else 0.0


class _Run:
    def __init__(
        self,
        plan: LoadPlan,
        accounts: Sequence[Account],
        on_second: OnSecond | None,
        server_pid: int | None,
    ) -> None:
        self._plan = plan
        self._accounts = accounts
        self._on_second = on_second
        self._workers: list[_Worker] = []
        self._report = LoadReport(plan, Statistics())
        self._before: dict[str, tuple[int, int, int, Histogram]] = {}
        self._begun = 0.0
        self._interrupted = False
        self._server: psutil.Process | None = None
        if server_pid is not None:
            with contextlib.suppress(psutil.Error):
                self._server = psutil.Process(server_pid)
                self._server.cpu_percent()

    async def run(self) -> LoadReport:
        started = time.monotonic()
        loop = asyncio.get_running_loop()
        with contextlib.suppress(ValueError, RuntimeError):
            # Not in a thread of somebody's program, whose signals are not ours.
            loop.add_signal_handler(signal.SIGINT, self._interrupt)
            loop.add_signal_handler(signal.SIGTERM, self._interrupt)
        try:
            for number in range(self._plan.processes):
                self._workers.append(await self._start(number))
            readers = [loop.create_task(self._read(worker)) for worker in self._workers]
            ticker = loop.create_task(self._tick())
            try:
                await self._begin(readers)
                limit = self._plan.duration + self._plan.drain + self._plan.settle + _PATIENCE
                async with asyncio.timeout(limit):
                    await asyncio.gather(*readers)
            except TimeoutError:
                raise EngineError("a worker of the load does not come to its end") from None
            finally:
                ticker.cancel()
                for reader in readers:
                    reader.cancel()
        finally:
            await self._end()
        self._second()
        report = self._report
        report.took = time.monotonic() - started
        report.ended = "interrupted" if self._interrupted else "finished"
        kept = [worker.last["left"] for worker in self._workers if worker.last.get("left")]
        if kept:
            report.left = {name: sum(each[name] for each in kept) for name in kept[0]}
        return report

    async def _start(self, number: int) -> _Worker:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "rcsops.loadgen"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=_HEAP | os.environ,
            limit=_LINE,
        )
        worker = _Worker(number, process)
        assert process.stdin is not None
        # By stdin, not as arguments: hashes are secrets.
        process.stdin.write(json.dumps(self._plan.share(number, self._accounts)).encode() + b"\n")
        await process.stdin.drain()
        return worker

    async def _read(self, worker: _Worker) -> None:
        assert worker.process.stdout is not None
        async for line in worker.process.stdout:
            worker.last = json.loads(line)
        code = await worker.process.wait()
        if worker.phase != "done":
            raise EngineError(f"worker {worker.number} of the load ended with exit code {code}")

    async def _begin(self, readers: list["asyncio.Task[None]"]) -> None:
        """Waits until every worker has its agents, and lets them all go."""
        while any(worker.phase == "joining" for worker in self._workers):
            for reader in readers:
                if reader.done():
                    reader.result()
            await asyncio.sleep(0.05)
        self._gather()
        if not self._report.joined and not self._interrupted:
            causes = self._report.statistics["join"].failed.most_common(1)
            reason = causes[0][0] if causes else "there was no time"
            raise EngineError(
                f"no agent could register at {self._plan.server}: {reason}",
                hint="rcsops status tells whether the server runs; are these its accounts?",
            )
        self._begun = time.monotonic()
        for worker in self._workers:
            worker.order(b"stop" if self._interrupted else b"go")

    def _interrupt(self) -> None:
        if self._interrupted:
            for worker in self._workers:
                with contextlib.suppress(ProcessLookupError):
                    worker.process.kill()
            return
        self._interrupted = True
        for worker in self._workers:
            worker.order(b"stop")

    async def _end(self) -> None:
        for worker in self._workers:
            if worker.process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    worker.process.kill()
                await worker.process.wait()

    # --- seconds -----------------------------------------------------------------------------

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self._second()

    def _gather(self) -> None:
        merged = Statistics()
        for worker in self._workers:
            if worker.last:
                merged.merge(Statistics.from_json(worker.last["statistics"]))
        self._report.statistics = merged

    def _second(self) -> None:
        self._gather()
        said = [worker.last for worker in self._workers if worker.last]
        started: dict[str, int] = {}
        done: dict[str, int] = {}
        failed: dict[str, int] = {}
        p50: dict[str, float] = {}
        p99: dict[str, float] = {}
        for name, now in self._report.statistics.operations.items():
            then = self._before.get(name, (0, 0, 0, Histogram()))
            started[name] = now.started - then[0]
            done[name] = now.succeeded - then[1]
            failed[name] = now.failures - then[2]
            latency = now.latency.since(then[3])
            if latency.count:
                p50[name], p99[name] = latency.percentile(0.5), latency.percentile(0.99)
            self._before[name] = (now.started, now.succeeded, now.failures, now.latency)
        server_busy, server_memory = self._look_at_server()
        phases = {worker.phase for worker in self._workers}
        second = Second(
            phase="running" if "running" in phases else self._workers[0].phase,
            time=round(time.monotonic() - self._begun, 2) if self._begun else -1.0,
            started=started,
            done=done,
            failed=failed,
            p50=p50,
            p99=p99,
            open=sum(each["open"] for each in said),
            busy=round(max((worker.busy() for worker in self._workers), default=0.0), 3),
            memory=sum(each["memory"] for each in said),
            server_busy=server_busy,
            server_memory=server_memory,
        )
        self._report.seconds.append(second)
        if self._on_second is not None:
            self._on_second(second, self._report)

    def _look_at_server(self) -> tuple[float | None, int | None]:
        """Of the server with its children, as OpenSIPS has many."""
        if self._server is None:
            return None, None
        try:
            processes = [self._server, *self._server.children(recursive=True)]
            memory = sum(each.memory_info().rss for each in processes)
            return round(self._server.cpu_percent() / 100, 3), memory
        except psutil.Error:
            self._server = None
            return None, None
