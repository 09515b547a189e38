"""The asynchronous client."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import count
from types import TracebackType
from typing import Unpack

import httpx

from exporters.answers import Accepted, ItemFacts, Live, Models, Ranking, Ready, Reloaded, RolledBack, UserSession
from streamer.client import calls
from streamer.client.calls import Call, Event, ListFields, SearchFields, SimilarFields, T
from streamer.client.errors import ClientError
from streamer.client.retries import Retries

_WAIT_MARGIN_SECONDS = 5.0


class AsyncClient:
    """Calls one server, or the balancer before several.

    Every method raises :class:`streamer.client.ClientError` where no good answer comes, after the retries.

    Parameters
    ----------
    base_url
        ``http://host:port``.
    api_key
        Sent as ``X-API-Key``.
    timeout_seconds
        Of one try.
    retries
        When to try again.
    transport
        Another transport of httpx, for tests.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        timeout_seconds: float = 5.0,
        retries: Retries | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        headers = {"X-API-Key": api_key} if api_key is not None else {}
        self._http = httpx.AsyncClient(base_url=base_url, headers=headers, timeout=timeout_seconds, transport=transport)
        self._timeout_seconds, self._retries = timeout_seconds, retries or Retries()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def recommend(self, user_id: str, **fields: Unpack[ListFields]) -> Ranking:
        """Rank the catalogue for a user."""
        return await self.send(calls.ranking("recommend", {"user_id": user_id, **fields}))

    async def rank(self, user_id: str, candidates: Sequence[str], **fields: Unpack[ListFields]) -> Ranking:
        """Order the given candidates for a user; all of them by default."""
        return await self.send(calls.ranking("rank", {"user_id": user_id, "candidates": list(candidates), **fields}))

    async def search(self, query: str, user_id: str = "anonymous", **fields: Unpack[SearchFields]) -> Ranking:
        """Find items by the words of their titles and categories, ordered for a user."""
        return await self.send(calls.ranking("search", {"user_id": user_id, "query": query, **fields}))

    async def similar(
        self, source_item_id: str, user_id: str = "anonymous", **fields: Unpack[SimilarFields]
    ) -> Ranking:
        """Find what goes with an item, ordered for a user."""
        return await self.send(
            calls.ranking("similar", {"user_id": user_id, **fields, "source_item_id": source_item_id})
        )

    async def publish(self, events: Event | Sequence[Event]) -> Accepted:
        """Publish events; sent again, they count once. What the contract turns away is in the answer's ``errors``."""
        return await self.send(calls.publish(events))

    async def item(self, item_id: str) -> ItemFacts:
        """Describe an item."""
        return await self.send(calls.item(item_id))

    async def session(
        self, user_id: str, *, wait_for_event_id: str | None = None, timeout_ms: float = 5_000
    ) -> UserSession:
        """Read a user's session; with ``wait_for_event_id`` as soon as that event shows in it."""
        waited = timeout_ms / 1_000 + _WAIT_MARGIN_SECONDS if wait_for_event_id else self._timeout_seconds
        return await self.send(calls.session(user_id, wait_for_event_id, timeout_ms), timeout_seconds=waited)

    async def models(self) -> Models:
        """List the published versions and which ones serve."""
        return await self.send(calls.models())

    async def rollback(self, name: str | None = None, version: str | None = None) -> RolledBack:
        """Serve an earlier version again, on every server; needs a key that administers."""
        return await self.send(calls.rollback(name, version))

    async def reload(self) -> Reloaded:
        """Let this server read its settings again; needs a key that administers."""
        return await self.send(calls.reload())

    async def live(self) -> Live:
        """Ask whether the process answers."""
        return await self.send(calls.live())

    async def ready(self) -> Ready:
        """Ask whether requests should come."""
        return await self.send(calls.ready())

    async def send(self, call: Call[T], timeout_seconds: float | None = None) -> T:
        """Send a call, and send it again where that is safe and worth it.

        Raises
        ------
        ClientError
            No good answer came.
        """
        for attempt in count(1):
            try:
                return await self._try(call, timeout_seconds or self._timeout_seconds)
            except ClientError as failure:
                pause_seconds = self._retries.pause_seconds(attempt, failure)
                if pause_seconds is None:
                    raise
            await asyncio.sleep(pause_seconds)
        raise AssertionError("counting does not end")

    async def _try(self, call: Call[T], timeout_seconds: float) -> T:
        headers = {"Content-Type": "application/json"} if call.body is not None else {}
        try:
            response = await self._http.request(
                call.method, call.path, content=call.body, headers=headers, timeout=timeout_seconds
            )
        except httpx.TransportError as error:
            raise call.unreachable(error) from error
        return call.read(response)
