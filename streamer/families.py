"""The families of networks that a trainer can hold: all are served alike."""

from __future__ import annotations

from collections.abc import Callable

from feature_store.vectors import ITEM_NAMES, NAMES
from online_models.served import ServedRanker, ServedSizes
from online_models.zoo.caser_ranker import CaserRanker
from online_models.zoo.in_session import InSessionRanker
from streamer.errors import HeadwaterError
from streamer.settings import Settings


def _session(sizes: ServedSizes) -> ServedRanker:
    return InSessionRanker(InSessionRanker.Config(**vars(sizes)))


def _caser(sizes: ServedSizes) -> ServedRanker:
    return CaserRanker(CaserRanker.Config(**vars(sizes)))


FAMILIES: dict[str, Callable[[ServedSizes], ServedRanker]] = {"session": _session, "caser": _caser}
"""How the ranker of a family is made: a transformer over the session, or Caser's convolutions over its last events."""


def check_family(name: str) -> None:
    """Raise :class:`HeadwaterError` for a family that does not exist.

    >>> check_family("caser")
    """
    if name not in FAMILIES:
        raise HeadwaterError(
            f"learning.family is {name!r}; the families are {', '.join(FAMILIES)}."
            " Set HEADWATER_LEARNING__FAMILY, or give --family."
        )


def make_ranker(settings: Settings, sources: int) -> ServedRanker:
    """Make the ranker that the settings ask for.

    Parameters
    ----------
    settings
        Family and sizes.
    sources
        S, candidate sources whose scores it reads.

    Raises
    ------
    HeadwaterError
        There is no such family.
    """
    sizes = settings.learning
    check_family(sizes.family)
    served = ServedSizes(
        catalog_rows=sizes.catalog_rows,
        features=len(NAMES),
        sources=sources,
        item_features=len(ITEM_NAMES),
        dimension=sizes.dimension,
        history=settings.sessions.history_limit,
    )
    return FAMILIES[sizes.family](served)
