"""Click-through rate, cleared of the position in which the item was shown."""

from __future__ import annotations

from dataclasses import dataclass
from math import log, log1p

from feature_store import decay
from feature_store.families.family import Entity
from feature_store.item_state import ItemState, Sighting
from feature_store.user_state import ItemInfo

PRIOR_CTR = 0.05
_PRIOR_EXAMINATIONS = 10.0
_LARGEST = 3.0


def relevance(state: ItemState, now_ms: int) -> float:
    r"""Clicks over expected examinations, smoothed: :math:`(c + 0.05 \cdot 10) / (\sum_j \theta_{k_j} + 10)`.

    >>> relevance(ItemState(item_id="i"), 0)
    0.05
    """
    sums = state.families.get(CTR.name, {})
    taken = decay.read(sums, "taken", now_ms, decay.WEEK_MS)
    examined = decay.read(sums, "examined", now_ms, decay.WEEK_MS)
    return (taken + PRIOR_CTR * _PRIOR_EXAMINATIONS) / (examined + _PRIOR_EXAMINATIONS)


@dataclass(frozen=True)
class Ctr:
    r"""Position-debiased CTR :math:`\log(\gamma_i / 0.05) / 2`, within ±3, and the log of the examinations behind it.

    In the position-based click model :math:`P(click) = \theta_k \gamma_i` an exposure in position k counts as
    :math:`\theta_k` examinations (:class:`~feature_store.position_bias.PositionBias` estimates them), so an item is not
    punished for having been shown where nobody looks. Clicks and examinations decay with a half-life of a week.

    Examples
    --------
    >>> top, bottom = ItemState(item_id="a"), ItemState(item_id="b")
    >>> CTR.update(top, Sighting(event_time_ms=0, position=0, examination=1.0), None)
    >>> CTR.update(bottom, Sighting(event_time_ms=0, position=9, examination=0.1), None)
    >>> relevance(top, 0) < relevance(bottom, 0)
    True
    """

    name: str = "ctr"
    entity: Entity = "item"
    fields: tuple[str, ...] = ("debiased_ctr", "log_examinations")

    def update(self, state: ItemState, sighting: Sighting, item: ItemInfo | None) -> None:
        """Add one exposure with its outcome; an interaction outside any slate says nothing of the rate."""
        if sighting.position is None:
            return
        sums = state.families.setdefault(self.name, {})
        decay.add(sums, "examined", sighting.event_time_ms, sighting.examination, decay.WEEK_MS)
        if sighting.taken:
            decay.add(sums, "taken", sighting.event_time_ms, 1.0, decay.WEEK_MS)

    def value(self, state: ItemState, now_ms: int) -> dict[str, float]:
        """Rate and evidence at now; 0 for an item never shown."""
        examined = decay.read(state.families.get(self.name, {}), "examined", now_ms, decay.WEEK_MS)
        rate = log(relevance(state, now_ms) / PRIOR_CTR) / 2
        return {"debiased_ctr": min(max(rate, -_LARGEST), _LARGEST), "log_examinations": log1p(examined) / 3}


CTR = Ctr()
