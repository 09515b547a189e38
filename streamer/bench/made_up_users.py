"""Users of the large catalogue: sessions as the worker would have written them, what they ask, what they do next."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from feature_store import families
from feature_store.user_state import UserState
from streamer import sessions
from streamer.bench.large_catalogue import LargeCatalogue
from streamer.bench.open_loop import Ask
from streamer.events import Event, encode
from streamer.settings import Sessions

_GROUPS_OF_A_USER = 3
_MINUTE_MS = 60_000
_GIVEN = 500  # candidates of a request that brings its own
RESULTS = 20


@dataclass(frozen=True, kw_only=True)
class Mix:
    """Shares of the requests; the rest asks ``/recommend``."""

    rank: float = 0.05
    similar: float = 0.05
    events: float = 0.1
    log: bool = True  # impressions are published, as for a real application


class MadeUpUsers:
    """Users with tastes: each draws from a few groups of the catalogue.

    Parameters
    ----------
    catalogue
        What they look at.
    users
        How many.
    history
        Events that each has behind them, at most; at least a third of it.
    seed
        Of tastes, histories and requests.
    """

    def __init__(self, catalogue: LargeCatalogue, users: int, history: int, seed: int = 7) -> None:
        self._catalogue, self._users, self._history = catalogue, users, history
        self._settings = Sessions(history_limit=history)
        self._random = np.random.default_rng([seed, 6])
        groups = catalogue.items // catalogue.group
        self._tastes = self._random.integers(0, groups, (users, _GROUPS_OF_A_USER))  # [U, 3]
        # Zipf's law over a random order: the hundredth user asks a hundredth as often as the first.
        shares = 1 / np.arange(1, users + 1)
        self._asks = self._random.permutation(shares / shares.sum())  # [U]
        self.states: dict[str, UserState] = {}

    def name_of(self, user: int) -> str:
        """Id of a user."""
        return f"u{user}"

    def live(self, now_ms: int) -> Iterator[UserState]:
        """Let everybody live through their history, event by event, by the worker's own rules; gives their records."""
        for user in range(self._users):
            length = int(self._random.integers(max(self._history // 3, 1), self._history + 1))
            for back in range(length, 0, -1):
                self.apply(self.next_event(user, now_ms - back * 7 * _MINUTE_MS))
            yield self.states[self.name_of(user)]

    def next_event(self, user: int, time_ms: int) -> Event:
        """Draw what a user does at a time."""
        group = int(self._random.choice(self._tastes[user]))
        number = group * self._catalogue.group + int(self._random.integers(self._catalogue.group))
        return Event(
            event_id=f"{user}-{time_ms}-{number}",
            type="interaction",
            user_id=self.name_of(user),
            item_id=self._catalogue.name_of(number),
            action="click",
            event_time_ms=time_ms,
        )

    def apply(self, event: Event) -> UserState:
        """Fold an event into its user's record, as the worker does; returns the record."""
        user_id = event.user_id or ""
        state = self.states.setdefault(user_id, UserState(user_id=user_id))
        sessions.apply(state, event, event.event_time_ms, self._settings)
        families.update(state, event, None)
        return state

    def requests(self, count: int, mix: Mix, from_ms: int, gap_ms: float) -> list[Ask]:
        """Draw what is asked: users by Zipf's law; an event is published by the user of the request before it.

        Parameters
        ----------
        count
            Number of requests.
        mix
            Their kinds.
        from_ms, gap_ms
            Time of the first request and to the next one, for the times of the events.
        """
        users = self._random.choice(self._users, count, p=self._asks)
        kinds = self._random.random(count)
        asks: list[Ask] = []
        for place, (user, kind) in enumerate(zip(users.tolist(), kinds.tolist(), strict=True)):
            before = int(users[max(place - 1, 0)])
            asks.append(self._ask(user, before, kind, mix, int(from_ms + place * gap_ms)))
        return asks

    def _ask(self, user: int, before: int, kind: float, mix: Mix, time_ms: int) -> Ask:
        if kind < mix.events:
            return Ask("POST", "/events", encode(self.next_event(before, time_ms)))
        kind -= mix.events
        body = {"user_id": self.name_of(user), "count": RESULTS, "log": mix.log}
        if kind < mix.rank:
            return _posted("/rank", body | {"candidates": self._given(user)})
        if kind < mix.rank + mix.similar:
            number = int(self._random.integers(self._catalogue.items))
            return _posted("/similar", body | {"source_item_id": self._catalogue.name_of(number)})
        return _posted("/recommend", body)

    def _given(self, user: int) -> list[str]:
        group = int(self._tastes[user, 0])
        first = group * self._catalogue.group
        near: NDArray[np.int64] = np.arange(first, first + self._catalogue.group)[:_GIVEN]
        return [self._catalogue.name_of(number) for number in near.tolist()]


def _posted(path: str, body: dict[str, object]) -> Ask:
    return Ask("POST", path, msgspec.json.encode(body))
