"""What an item costs."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, log1p

from feature_store.families.family import Entity
from feature_store.item_state import ItemState, Sighting
from feature_store.user_state import ItemInfo


@dataclass(frozen=True)
class Price:
    r"""Catalogue price as :math:`\log(1 + price) / 3`; 0 where none is known.

    Examples
    --------
    >>> PRICE.value(ItemState(item_id="i", price=19.0), 0)
    {'log_price': 1.0}
    """

    name: str = "price"
    entity: Entity = "item"
    fields: tuple[str, ...] = ("log_price",)

    def update(self, state: ItemState, sighting: Sighting, item: ItemInfo | None) -> None:
        """Nothing to add: the record itself holds the price."""

    def value(self, state: ItemState, now_ms: int) -> dict[str, float]:
        """Log price."""
        price = state.price if state.price is not None and isfinite(state.price) else 0.0
        return {"log_price": log1p(max(price, 0.0)) / 3}


PRICE = Price()
