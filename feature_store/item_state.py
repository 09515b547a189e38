"""What the stream knows of one item: the record that the trainer keeps and Feast carries."""

from __future__ import annotations

import msgspec

from feature_store.user_state import ItemInfo


class ItemState(msgspec.Struct, kw_only=True):
    """One item's durable record; times are milliseconds.

    ``families`` holds the flat state of each item family, as :class:`~feature_store.user_state.UserState` does.
    """

    item_id: str
    title: str = ""
    categories: list[str] = []
    price: float | None = None
    published_time_ms: int | None = None
    available: bool = True
    first_seen_ms: int = 0  # 0: never
    last_seen_ms: int = 0
    families: dict[str, dict[str, float]] = {}

    def describe(self, item: ItemInfo) -> None:
        """Take over what the catalogue says.

        >>> state = ItemState(item_id="i")
        >>> state.describe(ItemInfo(item_id="i", title="Alien", price=9.5))
        >>> state.title, state.price
        ('Alien', 9.5)
        """
        self.title = item.title
        self.categories = list(item.categories)
        self.price = item.price
        self.published_time_ms = item.published_time_ms
        self.available = item.available

    def seen_at(self, event_time_ms: int) -> None:
        """Widen the time span in which the item was seen; late events widen it backwards.

        >>> state = ItemState(item_id="i")
        >>> for time_ms in (20, 10):
        ...     state.seen_at(time_ms)
        >>> state.first_seen_ms, state.last_seen_ms
        (10, 20)
        """
        self.first_seen_ms = min(self.first_seen_ms or event_time_ms, event_time_ms)
        self.last_seen_ms = max(self.last_seen_ms, event_time_ms)


class Sighting(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened to one item.

    Either somebody interacted with it (``action`` is set), or it was shown in a slate (``position`` is set), with
    ``taken`` saying whether the user took it there and ``examination`` how likely that position is looked at.
    """

    event_time_ms: int
    action: str | None = None
    position: int | None = None  # 0 is the top of the slate
    taken: bool = False
    examination: float = 1.0
