"""How old an item is: since it was published (or first seen), and since anybody last met it."""

from __future__ import annotations

from dataclasses import dataclass
from math import log1p

from feature_store.families.family import Entity
from feature_store.item_state import ItemState, Sighting
from feature_store.user_state import ItemInfo

_LOG_SCALE = 6.0  # log1p of a year in seconds is about 17


@dataclass(frozen=True)
class ItemAge:
    r"""Ages on a log scale, :math:`\log(1 + seconds) / 6`.

    The catalogue's publication time wins over the first sighting.

    Examples
    --------
    >>> ITEM_AGE.value(ItemState(item_id="i", published_time_ms=0, last_seen_ms=60_000), 3_600_000)
    {'log_age': 1.36, 'log_idle': 1.36}
    """

    name: str = "item_age"
    entity: Entity = "item"
    fields: tuple[str, ...] = ("log_age", "log_idle")

    def update(self, state: ItemState, sighting: Sighting, item: ItemInfo | None) -> None:
        """Nothing to add: the record itself holds the times of the first and the last sighting."""

    def value(self, state: ItemState, now_ms: int) -> dict[str, float]:
        """Ages at now; 0 for an item that nobody has met and that has no publication time."""
        born_ms = state.published_time_ms
        if born_ms is None:
            born_ms = state.first_seen_ms or now_ms
        last_ms = state.last_seen_ms or born_ms
        return {
            "log_age": log1p(max(now_ms - born_ms, 0) / 1_000) / _LOG_SCALE,
            "log_idle": log1p(max(now_ms - last_ms, 0) / 1_000) / _LOG_SCALE,
        }


ITEM_AGE = ItemAge()
