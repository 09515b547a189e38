"""Open-loop load: requests leave at their time whether or not earlier ones were answered.

Latency runs from the moment at which a request was due, not from the moment at which it was sent. A generator that
waits for answers (a closed loop) sends nothing while the server stalls, and so leaves out just the requests that would
have waited: coordinated omission. Here a stall of a second costs every request of that second.

The generator is a process of its own, since a server that shared its interpreter would be measured with it:
``python -m streamer.bench.open_loop PLAN OUTCOME``, or :func:`launch`.
"""

from __future__ import annotations

import asyncio
import gc
import selectors
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

from streamer.bench.arrivals import PROCESSES, Times
from streamer.bench.http_client import Client, request
from streamer.errors import HeadwaterError

_LEAD_SECONDS = 0.2  # from the agreement on the start to the first request
_WARM_CONNECTIONS = 16


class Ask(msgspec.Struct, frozen=True):
    """One request of a plan."""

    method: str
    path: str
    body: bytes = b""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent, when, and to whom. Requests repeat from the first one when there are fewer than arrivals."""

    host: str
    port: int
    requests: list[Ask]
    rate: float
    seconds: float
    arrivals: str = "poisson"
    seed: int = 7
    timeout_seconds: float = 10.0

    def due(self) -> Times:
        """Seconds after the start at which each request is due. [A]."""
        return PROCESSES[self.arrivals](self.rate, self.seconds, self.seed)


class Outcome(msgspec.Struct, kw_only=True):
    """What came of a plan. Lists run over the answered requests, in the order of their answers."""

    sent: int = 0
    answered: int = 0  # with a 2xx, fallbacks included
    fallbacks: int = 0  # lists that the ranker did not make: answered, but no good answer
    errors: dict[str, int] = msgspec.field(default_factory=dict)  # by status, or by what broke
    latencies_ms: list[float] = []  # due -> answered
    late_ms: list[float] = []  # due -> sent: the generator's own lag
    paths: dict[str, list[float]] = {}  # latencies by path
    stages: dict[str, list[float]] = {}  # the server's own account of the lists that the ranker made
    candidates: list[int] = []
    seconds: float = 0.0  # from the start to the last answer

    @property
    def ok(self) -> int:
        """Good answers."""
        return self.answered - self.fallbacks


class Told(msgspec.Struct):
    """What the answer to a ranking request tells of itself."""

    fallback: bool = False
    candidates: int = -1
    timings_ms: dict[str, float] = {}


_told = msgspec.json.Decoder(Told)


class Generator:
    """Sends one plan.

    Parameters
    ----------
    plan
        What to send and when.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._client = Client(plan.host, plan.port)
        self._errors: Counter[str] = Counter()
        self._under_way: set[asyncio.Task[None]] = set()
        self.outcome = Outcome()

    async def run(self, start: Callable[[], float] = time.time) -> Outcome:
        """Send everything at its time, and wait for the last answer.

        Parameters
        ----------
        start
            Asked once, when everything is ready, for the Unix time of the start.
        """
        await self._client.open(_WARM_CONNECTIONS)
        await asyncio.sleep(start() - time.time())
        started = time.perf_counter()
        await self._send_all(started)
        if self._under_way:
            await asyncio.wait(self._under_way)
        self.outcome.seconds = time.perf_counter() - started
        self.outcome.errors = dict(self._errors)
        self._client.close()
        return self.outcome

    async def _send_all(self, started: float) -> None:
        plan = self._plan
        ready = [(ask.path.split("?")[0], request(ask.method, plan.host, ask.path, ask.body)) for ask in plan.requests]
        for number, due in enumerate((started + plan.due()).tolist()):
            wait = due - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            path, raw = ready[number % len(ready)]
            task = asyncio.create_task(self._send(path, raw, due))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def _send(self, path: str, raw: bytes, due: float) -> None:
        outcome = self.outcome
        outcome.sent += 1
        outcome.late_ms.append(1_000 * (time.perf_counter() - due))
        try:
            async with asyncio.timeout(self._plan.timeout_seconds):
                status, body = await self._client.ask(raw)
        except (OSError, ValueError) as error:  # asyncio's TimeoutError is an OSError
            self._errors[type(error).__name__] += 1
            return
        latency_ms = 1_000 * (time.perf_counter() - due)
        outcome.latencies_ms.append(latency_ms)
        outcome.paths.setdefault(path, []).append(latency_ms)
        if 200 <= status < 300:
            self._note(body, latency_ms)
        else:
            self._errors[str(status)] += 1

    def _note(self, body: bytes, latency_ms: float) -> None:
        self.outcome.answered += 1
        told = _told.decode(body) if body.startswith(b"{") else Told()
        self.outcome.fallbacks += told.fallback
        if told.fallback or not told.timings_ms:
            return
        timings = dict(told.timings_ms)
        total = timings.pop("total", sum(timings.values()))
        timings["waiting in the server"] = total - sum(timings.values())  # for a thread, for the event loop
        timings["http and queue"] = latency_ms - total  # due -> handler, and the answer's way back
        for stage, milliseconds in timings.items():
            self.outcome.stages.setdefault(stage, []).append(milliseconds)
        self.outcome.candidates.append(told.candidates)


def launch(plan: Plan, on_start: Callable[[float], None] = lambda start: None) -> Outcome:
    """Send a plan from a process of its own.

    Parameters
    ----------
    plan
        What to send and when.
    on_start
        Told the Unix time of the start as soon as the generator is ready for it.

    Raises
    ------
    HeadwaterError
        The generator has failed.
    """
    with tempfile.TemporaryDirectory(prefix="headwater-load-") as folder:
        given, found = Path(folder, "plan.msgpack"), Path(folder, "outcome.msgpack")
        given.write_bytes(msgspec.msgpack.encode(plan))
        command = [sys.executable, "-m", "streamer.bench.open_loop", str(given), str(found)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            try:
                _agree_on_start(process, on_start)
                process.wait()
            except BaseException:
                process.kill()
                raise
        if process.returncode:
            raise HeadwaterError(
                f"the load generator ended with status {process.returncode}; what it said stands above"
            )
        return msgspec.msgpack.decode(found.read_bytes(), type=Outcome)


def _agree_on_start(process: subprocess.Popen[str], on_start: Callable[[float], None]) -> None:
    """Wait until the generator is ready, however long its interpreter takes, and say when to begin."""
    assert process.stdin is not None and process.stdout is not None
    if process.stdout.readline():
        start = time.time() + _LEAD_SECONDS
        on_start(start)
        process.stdin.write(f"{start}\n")
        process.stdin.flush()


def _told_start() -> float:
    print("ready", flush=True)
    return float(sys.stdin.readline())


def quiet_share(outcome: Outcome) -> float:
    """Share of the requests that the generator sent within a millisecond of their time: below 0.95, distrust a run."""
    return float(np.mean(np.asarray(outcome.late_ms) < 1)) if outcome.late_ms else 1.0


def main(plan_path: str, outcome_path: str) -> None:
    """Send the plan of one file and write what came of it to another."""
    plan = msgspec.msgpack.decode(Path(plan_path).read_bytes(), type=Plan)
    gc.disable()  # a collection in the midst of a run would be the server's latency
    # epoll wakes at whole milliseconds, select at microseconds.
    loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
    outcome = loop.run_until_complete(Generator(plan).run(_told_start))
    loop.close()
    Path(outcome_path).write_bytes(msgspec.msgpack.encode(outcome))


if __name__ == "__main__":
    main(*sys.argv[1:])
