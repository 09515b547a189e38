"""Where a ranking request is answered: deadline, fallback, impression, metrics."""

from __future__ import annotations

import asyncio
import logging
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from prometheus_client import Counter, Histogram

from exporters import metrics
from exporters.asks import Ask
from exporters.bodies import check
from exporters.errors import StoreUnavailable
from exporters.fallback import Fallback, LastLists
from exporters.ordering import is_shown
from exporters.ranking import RankingPath
from exporters.services import Services
from exporters.side_sources import SideSources
from exporters.slates import Slate, Stopwatch
from exporters.stability import ShownLists
from exporters.students import ServedStudent

_log = logging.getLogger(__name__)
READERS = 8  # they wait for the stores most of the time


@dataclass(frozen=True, kw_only=True)
class _Seat:
    """What answers for one student."""

    path: RankingPath
    fallback: Fallback


class Desk:
    """Answers ranking requests.

    What may have to be waited for is read in threads. The ranking itself runs in the thread of the event loop, one list
    at a time, oldest request first, and between two lists the loop takes and sends what has come: in a thread of its
    own it would lose the interpreter to the loop, and back, some dozens of times a list, which took a fifth of a
    server's processor time and most of a busy server's latency. A request whose turn has not come at its deadline is
    answered from memory.

    Parameters
    ----------
    services
        The parts of the server.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._shown = ShownLists()
        self._lists = LastLists()
        self._beside = SideSources()
        self._seats = {student.name: self._seat(student) for student in services.students}
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="reading")
        self._turn = asyncio.Lock()
        self._publishing: set[asyncio.Task[None]] = set()

    async def answer(self, route: str, ask: Ask) -> dict[str, Any]:
        """Rank, within the deadline; returns the document of the response.

        Raises
        ------
        exporters.problem.Problem
            The request breaks a limit.
        """
        now_ms = self._services.clock_ms()
        check(ask, self._services.limits, now_ms)
        moment_ms = now_ms if ask.event_time_ms is None else ask.event_time_ms
        watch = Stopwatch()
        seat = self._seats[self._services.students.answering(ask.user_id).name]
        slate = await self._slate(seat, ask, moment_ms)
        if seat.path.student.canary is not None and ask.log:
            seat.path.student.canary.count_list(ask.user_id, fallback=slate.fallback)
        impression_id = uuid.uuid4().hex
        document = self._document(seat, ask, slate, impression_id)
        if ask.log and slate.item_ids:
            self._services.shown_by.put(impression_id, seat.path.student.name)
            self._publish(self._impression(ask, slate, impression_id, moment_ms))
        document["timings_ms"] = {**slate.timings_ms, "total": watch.total()["total"]}
        self._measure(route, ask, slate, document["timings_ms"])
        return document

    async def close(self) -> None:
        """Wait for impressions under way and stop the threads."""
        if self._publishing:
            _, lost = await asyncio.wait(self._publishing, timeout=5)
            if lost:
                _log.error("%d impressions were not taken by the broker in time and are lost", len(lost))
        self._readers.shutdown(wait=False, cancel_futures=True)
        self._beside.close()

    def _seat(self, student: ServedStudent) -> _Seat:
        path = RankingPath(self._services, self._shown, student, self._beside)
        return _Seat(path=path, fallback=Fallback(path.finder, self._services.catalogue, self._lists))

    async def _slate(self, seat: _Seat, ask: Ask, moment_ms: int) -> Slate:
        until = asyncio.get_running_loop().time() + (ask.deadline_ms or self._services.limits.deadline_ms) / 1_000
        try:
            async with asyncio.timeout_at(until):
                slate = await self._ranked(seat, ask, moment_ms, until)
        except TimeoutError:
            return self._fallen_back(seat, ask, "deadline")
        except StoreUnavailable:  # the store says in the log when it goes and when it is back
            return self._fallen_back(seat, ask, "store_unavailable")
        except Exception:
            _log.exception("ranking for %r failed; the fallback answers", ask.user_id)
            return self._fallen_back(seat, ask, "ranking_failed")
        if not slate.fallback and slate.item_ids and ask.query is None and ask.source_item_id is None:
            self._lists.put(ask.user_id, ask.surface, list(slate.item_ids))
        self._note_shown(ask, slate)
        return slate

    async def _ranked(self, seat: _Seat, ask: Ask, moment_ms: int, until: float) -> Slate:
        """Rank in turn; raises TimeoutError where that could begin at ``until`` (of the loop's clock) or later."""
        loop, path, gathered = asyncio.get_running_loop(), seat.path, None
        if path.waits(ask):
            gathered = await loop.run_in_executor(self._readers, path.gather, ask, moment_ms)
        async with self._turn:
            await asyncio.sleep(0)  # what has come meanwhile is taken, and deadlines are kept, between two lists
            if loop.time() >= until:
                raise TimeoutError
            return path.compute(ask, moment_ms, gathered or path.gather(ask, moment_ms))

    def _note_shown(self, ask: Ask, slate: Slate) -> None:
        """Remember what the user is about to see, and how much of the last list it keeps."""
        if not slate.item_ids or not is_shown(ask):
            return
        overlap = self._shown.put(ask.user_id, ask.surface, slate.session_id, slate.item_ids)
        if overlap is not None:
            self._services.board.list_overlap.add(overlap)
            metrics.LIST_OVERLAP.observe(overlap)

    def _fallen_back(self, seat: _Seat, ask: Ask, reason: str) -> Slate:
        item_ids = tuple(seat.fallback.item_ids(ask, ask.count or self._services.limits.candidates))
        count = len(item_ids)
        return Slate(
            item_ids=item_ids,
            scores=np.linspace(1, 0, count, endpoint=False, dtype=np.float32),
            source_scores=np.zeros((0, 0), np.float32),
            propensities=np.ones(count, np.float32),
            student=seat.path.student.name,
            model_version=seat.path.student.label(seat.path.student.host.version),
            fallback=True,
            reason=reason,
        )

    def _document(self, seat: _Seat, ask: Ask, slate: Slate, impression_id: str) -> dict[str, Any]:
        items = [
            self._item(item_id, score) for item_id, score in zip(slate.item_ids, slate.scores.tolist(), strict=True)
        ]
        for item, why in zip(items, slate.explanation or (), strict=False):
            item.update(why)
        document: dict[str, Any] = {
            "impression_id": impression_id,
            "items": items,
            "student": slate.student,
            "model_version": slate.model_version,
            "fallback": slate.fallback,
            "reason": slate.reason,
            "candidates": slate.candidates,
        }
        if ask.explain:
            document["state"] = slate.state
            document["intents"] = slate.intents or {}
            document["source_names"] = seat.path.finder.source_names
        return document

    def _item(self, item_id: str, score: float) -> dict[str, Any]:
        item = self._services.catalogue.get(item_id)
        return {
            "item_id": item_id,
            "score": score,
            "title": item.title if item else "",
            "categories": item.categories if item else (),
        }

    def _impression(self, ask: Ask, slate: Slate, impression_id: str, moment_ms: int) -> dict[str, Any]:
        event: dict[str, Any] = {
            "event_id": f"impression-{impression_id}",
            "type": "impression",
            "user_id": ask.user_id,
            "event_time_ms": moment_ms,
            "surface": ask.surface,
            "query": ask.query,
            "source_item_id": ask.source_item_id,
            "impression_id": impression_id,
            "items": slate.item_ids,
            "propensities": slate.propensities.tolist(),
            "model_version": slate.model_version,
        }
        if slate.context_features is not None:
            event["source_scores"] = slate.source_scores.tolist()
            event["context_features"] = slate.context_features.tolist()
        return {name: value for name, value in event.items() if value is not None}

    def _publish(self, impression: dict[str, Any]) -> None:
        """Publish behind the response: a slow broker must not slow a list."""
        task = asyncio.get_running_loop().create_task(self._published(impression))
        self._publishing.add(task)
        task.add_done_callback(self._publishing.discard)

    async def _published(self, impression: dict[str, Any]) -> None:
        tracer = self._services.tracer
        try:
            with nullcontext() if tracer is None else tracer.span("publish impression"):
                await self._services.door.publish_impression(impression)
        except Exception as error:
            metrics.IMPRESSIONS.labels("failed").inc()
            _log.error("impression %s was not published: %r", impression["impression_id"], error)
        else:
            metrics.IMPRESSIONS.labels("published").inc()
            self._services.board.counts["impressions"] += 1

    def _measure(self, route: str, ask: Ask, slate: Slate, timings_ms: dict[str, float]) -> None:
        for stage, milliseconds in timings_ms.items():
            _stage_seconds(route, stage).observe(milliseconds / 1_000)
        board = self._services.board
        board.counts["rankings"] += 1
        board.ranking_ms.add(timings_ms["total"])
        board.saw_user(ask.user_id)
        metrics.CANDIDATES.observe(slate.candidates)
        lists, seconds = _student_metrics(slate.student or "", route)
        lists.inc()
        seconds.observe(timings_ms["total"] / 1_000)
        if slate.fallback:
            board.counts["fallbacks"] += 1
            metrics.FALLBACKS.labels(slate.reason).inc()


@cache
def _stage_seconds(route: str, stage: str) -> Histogram:
    """Prometheus finds a child by its labels slowly, and there are few."""
    return metrics.STAGE_SECONDS.labels(route, stage)


@cache
def _student_metrics(student: str, route: str) -> tuple[Counter, Histogram]:
    return metrics.LISTS.labels(student, route), metrics.RANKING_SECONDS.labels(student)
