"""What the simulator's users and items are like, and how a user goes through a session.

Notation: U users, I items, K categories, D taste dimensions, S positions of a list.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamer.events import Event
from streamer.sources.simulated_drift import PlannedDrift, Subject

DAY_MS = 86_400_000
Floats = NDArray[np.float64]

_ADJECTIVES = ("Quiet", "Bright", "Northern", "Hidden", "Second", "Paper", "Golden", "Late", "Open", "Silver")
_NOUNS = ("River", "Garden", "Signal", "Harbour", "Letter", "Window", "Bridge", "Orchard", "Compass", "Lantern")
_TOPICS = ("travel", "music", "food", "science", "sports", "history", "film", "nature", "design", "games", "health",
           "money", "family", "books", "tech", "style", "cars", "news", "pets", "art")  # fmt: skip
_RELATED = np.array([-3, -2, -1, 1, 2, 3])


@dataclass(frozen=True, kw_only=True)
class WorldConfig:
    """Size and temper of the simulated world."""

    seed: int = 7
    users: int = 2_000
    items: int = 2_000
    new_items_per_day: float = 40.0
    categories: int = 20
    dimension: int = 8
    sessions_per_day: float = 2_000.0
    slate: int = 10
    drift_every_days: float = 2.0
    drift_share: float = 0.25
    wander: float = 0.1  # of a user's taste, with every session
    planned: tuple[PlannedDrift, ...] = ()
    start_ms: int = 1_704_067_200_000  # 2024-01-01


class World:
    """Users and items, and how their tastes and fashions are at a time.

    Parameters
    ----------
    config
        Sizes.
    days
        For how long new items are published.
    """

    def __init__(self, config: WorldConfig, days: float) -> None:
        self.config = config
        self._random = np.random.default_rng([config.seed, 0])
        self._make_users()
        self._make_items(config.items + int(days * config.new_items_per_day))
        self._period = 0
        self._make_otherwise()

    def _make_users(self) -> None:
        config, random = self.config, self._random
        self.taste: Floats = 2.0 * random.normal(size=(config.users, config.categories))  # [U, K]
        self.user_vector: Floats = random.normal(size=(config.users, config.dimension))  # [U, D]
        activity = 1.0 / np.arange(1, config.users + 1) ** 0.4
        self.activity: Floats = np.cumsum(activity / activity.sum())  # [U]

    def _make_items(self, count: int) -> None:
        config = self.config
        # One generator for each property: a longer stream has more items, but the first ones stay the same.
        kinds = [np.random.default_rng([config.seed, 2, number]) for number in range(5)]
        self.category = kinds[0].integers(config.categories, size=count)  # [I]
        self.item_vector: Floats = kinds[1].normal(size=(count, config.dimension))  # [I, D]
        self.quality: Floats = kinds[2].normal(size=count)  # [I]
        self.price: Floats = kinds[3].lognormal(2.5, 0.6, size=count).round(2)  # [I]
        old = config.start_ms - np.sort(kinds[4].exponential(60.0, size=config.items))[::-1] * DAY_MS
        steps = np.arange(1, count - config.items + 1) / max(config.new_items_per_day, 1e-9)
        self.published_ms = np.concatenate([old, config.start_ms + steps * DAY_MS]).astype(np.int64)  # [I] ascending
        self.members = [np.flatnonzero(self.category == number) for number in range(config.categories)]  # ascending
        self.rank_in_category = np.empty(count, dtype=np.int64)  # [I]
        for members in self.members:
            self.rank_in_category[members] = np.arange(len(members))

    def _make_otherwise(self) -> None:
        """Make what users and items become by planned drifts: the later a number, the later its turn."""
        config = self.config
        random = [np.random.default_rng([config.seed, 4, number]) for number in range(4)]
        self._other_taste: Floats = 2.0 * random[0].normal(size=self.taste.shape)  # [U, K]
        self._other_quality: Floats = random[1].normal(size=len(self.quality))  # [I]
        self._turn_of_user: Floats = random[2].random(config.users)  # [U]
        self._turn_of_item: Floats = random[3].random(len(self.quality))  # [I]
        self._changed_users = np.zeros(config.users, bool)
        self._changed_items = np.zeros(len(self.quality), bool)
        self.extent: dict[Subject, float] = {"tastes": 0.0, "features": 0.0, "labels": 0.0}

    def title_of(self, item: int) -> str:
        """Make a readable title, the same for the same item."""
        part = item // len(_ADJECTIVES) // len(_NOUNS) + 1
        words = _ADJECTIVES[item % len(_ADJECTIVES)], _NOUNS[item // len(_ADJECTIVES) % len(_NOUNS)]
        return f"{words[0]} {words[1]} {part}"

    def category_name(self, item: int) -> str:
        """Name of the item's category."""
        return self.topic(int(self.category[item]))

    def topic(self, category: int) -> str:
        """Name of a category, which is also what users type into the search box."""
        lap, number = divmod(category, len(_TOPICS))
        return _TOPICS[number] + (f" {lap + 1}" if lap else "")

    def move_to(self, time_ms: int) -> None:
        """Let the sudden drifts happen that lie before this time."""
        period = int((time_ms - self.config.start_ms) / DAY_MS / self.config.drift_every_days)
        for number in range(self._period, period):
            self._drift(number)
        self._period = max(period, self._period)
        day = (time_ms - self.config.start_ms) / DAY_MS
        for subject in self.extent:
            extents = [drift.extent(day) for drift in self.config.planned if drift.subject == subject]
            self.extent[subject] = max(extents, default=0.0)
        self._change_tastes(self.extent["tastes"])

    def _change_tastes(self, extent: float) -> None:
        """Swap tastes and qualities of those whose turn it is, there or back."""
        users = (self._turn_of_user < extent) != self._changed_users
        items = (self._turn_of_item < extent) != self._changed_items
        if users.any():
            self.taste[users], self._other_taste[users] = self._other_taste[users], self.taste[users]
            self._changed_users ^= users
        if items.any():
            self.quality, other = self.quality.copy(), self.quality
            self.quality[items] = self._other_quality[items]
            self._other_quality[items] = other[items]
            self._changed_items ^= items

    def available(self, time_ms: int) -> int:
        """How many items are published at this time; they are the first ones."""
        return int(np.searchsorted(self.published_ms, time_ms, side="right"))

    def _drift(self, number: int) -> None:
        changed = np.flatnonzero(self._random.random(self.config.users) < self.config.drift_share)
        self.taste[changed] = 2.0 * self._random.normal(size=(len(changed), self.config.categories))
        # As in _make_items: how many items there are must not change what happens to the first ones.
        chosen, redrawn = (np.random.default_rng([self.config.seed, 3, number, part]) for part in range(2))
        fashion = chosen.random(len(self.quality)) < self.config.drift_share
        self.quality = np.where(fashion, redrawn.normal(size=len(fashion)), self.quality)


class Session:
    """One visit of one user: several lists, one after the other, with one intent.

    Parameters
    ----------
    world
        Who and what there is; the user's taste moves a little with each session.
    random
        Source of chance.
    session_id
        First part of all event ids.
    start_ms
        When it begins.
    """

    def __init__(self, world: World, random: np.random.Generator, session_id: str, start_ms: int) -> None:
        world.move_to(start_ms)
        self._world, self._random, self._session_id, self._time_ms = world, random, session_id, start_ms
        self._user = min(int(np.searchsorted(world.activity, random.random())), world.config.users - 1)
        taste = world.taste[self._user]  # [K]
        taste += world.config.wander * random.normal(size=len(taste))
        self._intent = _draw(taste, random)
        self._published = world.available(start_ms)
        self._last_click: int | None = None
        self._number = 0

    def events(self) -> Iterator[Event]:
        """Impressions and interactions of the session in order of time."""
        for number in range(1 + self._random.poisson(2.0)):
            surface = self._surface(number)
            slate = self._slate()
            impression = self._impression(surface, slate)
            yield impression
            yield from self._clicks(impression, slate)
            pace = 1.0 + 4.0 * self._world.extent["features"]
            self._time_ms += int(1_000 * pace * self._random.lognormal(2.5, 0.8))

    def _surface(self, number: int) -> str:
        if self._last_click is not None and self._random.random() < 0.5:
            return "similar"
        searches = (0.4 if number == 0 else 0.2) + 0.5 * self._world.extent["features"]
        return "search" if self._random.random() < searches else "home"

    def _slate(self) -> NDArray[np.int64]:
        """Show what some other recommender would: the intent, what is related to the last click, and chance."""
        world, random, size = self._world, self._random, self._world.config.slate
        members = world.members[self._intent]
        members = members[: int(np.searchsorted(members, self._published))]
        parts = [random.integers(self._published, size=size)]
        if len(members):
            # newer items and better ones come to the top more often
            recent = len(members) - 1 - np.minimum(random.exponential(len(members) / 3, size), len(members) - 1)
            parts.insert(0, members[recent.astype(np.int64)][: (size * 7) // 10])
        if self._last_click is not None:
            parts.insert(0, self._related(self._last_click)[: size // 3])
        unique = np.array(list(dict.fromkeys(np.concatenate(parts).tolist()))[:size], dtype=np.int64)
        return unique[np.argsort(-world.quality[unique] - random.normal(size=len(unique)), kind="stable")]

    def _related(self, item: int) -> NDArray[np.int64]:
        """Neighbours of the item inside its category."""
        members = self._world.members[int(self._world.category[item])]
        ranks = self._world.rank_in_category[item] + self._random.permutation(_RELATED)
        near = members[ranks[(ranks >= 0) & (ranks < len(members))]]
        return np.asarray(near[near < self._published])

    def _click_probability(self, slate: NDArray[np.int64]) -> Floats:
        world = self._world
        match = (
            2.0 * (world.category[slate] == self._intent)
            + 0.4 * world.item_vector[slate] @ world.user_vector[self._user]
        )
        age_days = (self._time_ms - world.published_ms[slate]) / DAY_MS
        turned = 1.0 - 2.0 * world.extent["labels"]  # what was liked is disliked
        score = turned * match + (1 - turned) + 0.8 * turned * world.quality[slate] + 1.0 * np.exp(-age_days / 3.0)
        if self._last_click is not None:
            close = np.abs(world.rank_in_category[slate] - world.rank_in_category[self._last_click]) <= 3
            score += 2.0 * (close & (world.category[slate] == world.category[self._last_click]))
        examined = 1.0 / np.arange(1, len(slate) + 1) ** 0.7  # [S]
        return np.asarray(examined / (1.0 + np.exp(4.0 - score)))

    def _clicks(self, impression: Event, slate: NDArray[np.int64]) -> Iterator[Event]:
        chosen = self._random.random(len(slate)) < self._click_probability(slate)
        for item in slate[chosen].tolist()[:3]:
            self._time_ms += int(1_000 * (1.0 + self._random.lognormal(1.0, 0.7)))
            yield self._interaction(impression, item, "click")
            self._last_click = item
            if self._random.random() < 0.15:
                self._time_ms += int(1_000 * (1.0 + self._random.lognormal(1.5, 0.7)))
                yield self._interaction(impression, item, "purchase" if self._random.random() < 0.4 else "like")

    def _impression(self, surface: str, slate: NDArray[np.int64]) -> Event:
        event_id = self._next_id()
        source = f"i{self._last_click}" if surface == "similar" else None
        return Event(
            event_id=event_id,
            type="impression",
            event_time_ms=self._time_ms,
            user_id=f"u{self._user}",
            impression_id=event_id,
            items=[f"i{item}" for item in slate.tolist()],
            surface=surface,
            query=self._world.topic(self._intent) if surface == "search" else None,
            source_item_id=source,
        )

    def _interaction(self, impression: Event, item: int, action: str) -> Event:
        return Event(
            event_id=self._next_id(),
            type="interaction",
            event_time_ms=self._time_ms,
            user_id=impression.user_id,
            item_id=f"i{item}",
            action=action,
            value=float(self._world.price[item]) if action == "purchase" else None,
            surface=impression.surface,
            query=impression.query,
            source_item_id=impression.source_item_id,
            impression_id=impression.impression_id,
        )

    def _next_id(self) -> str:
        self._number += 1
        return f"{self._session_id}:{self._number}"


def _draw(logits: Floats, random: np.random.Generator) -> int:
    """Draw from the softmax of the logits (Gumbel's way)."""
    return int(np.argmax(logits + random.gumbel(size=len(logits))))
