"""What one tested micro-batch says: the values of each signal, example by example."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from online_models.batch import Batch

DEPTH = 10
_NOWHERE = 10**6


@dataclass(frozen=True)
class Readings:
    """Values of the examples of one batch in which exactly one item was taken; NaN where a value cannot be had.

    Attributes
    ----------
    places
        [K] which examples of the batch they are.
    values
        Signal -> [K].
    """

    places: list[int]
    values: dict[str, list[float]]


def read(batch: Batch, served: Tensor, popular: Tensor, frozen: Tensor | None, movement: Tensor) -> Readings:
    r"""Read the signals from scores that were made before the batch was learnt.

    - ``loss``: listwise cross-entropy among what serving would have offered, of items that were offered
    - ``calibration``: the probability that the model itself gives its ten best, minus whether the item was there
    - ``hits``: whether the served ranking had the item in its ten best
    - ``ranks``: the place of the item in the served ranking, as a logarithm; past its end where it was not offered
    - ``quality``: ``hits`` minus that of popularity
    - ``harm``: the loss minus that of the frozen shadow
    - ``movement``: how far the user's vector is from the one of the last time

    Parameters
    ----------
    batch
        The batch [B].
    served, popular, frozen
        Scores [B, N].
    movement
        [B].
    """
    offered = batch.offered  # [B, N]
    place = batch.labels.argmax(1, keepdim=True)  # [B, 1]
    found = offered.gather(1, place).squeeze(1)  # [B]
    loss = _losses(served, offered, place).where(found, torch.nan)  # [B]
    hit = _hits(served, offered, place)
    values = {
        "loss": loss,
        "calibration": _expected_hits(served, offered) - hit,
        "hits": hit,
        "ranks": _log_ranks(served, offered, place),
        "quality": hit - _hits(popular, offered, place),
        "movement": movement,
    }
    if frozen is not None:
        values["harm"] = loss - _losses(frozen, offered, place)
    one = batch.labels.sum(1) == 1
    places: list[int] = one.nonzero().flatten().tolist()
    return Readings(places, {name: value[one].tolist() for name, value in values.items()})


def _losses(scores: Tensor, offered: Tensor, place: Tensor) -> Tensor:
    logs = scores.masked_fill(~offered, -1e9).log_softmax(1)  # [B, N]
    return -logs.gather(1, place).squeeze(1)  # [B]


def _hits(scores: Tensor, offered: Tensor, place: Tensor) -> Tensor:
    return (_ranks(scores, offered, place) <= DEPTH).float()


def _log_ranks(scores: Tensor, offered: Tensor, place: Tensor) -> Tensor:
    past = 2 * offered.sum(1)  # [B] as far behind the end as the list is long
    return torch.minimum(_ranks(scores, offered, place), past).clamp(min=1).float().log2()


def _ranks(scores: Tensor, offered: Tensor, place: Tensor) -> Tensor:
    """Rank of the item taken, from 1 and with ties against it; a number past every list where it was not offered."""
    ahead = ((scores >= scores.gather(1, place)) & offered).sum(1)  # [B]
    return ahead.where(offered.gather(1, place).squeeze(1), _NOWHERE)


def _expected_hits(scores: Tensor, offered: Tensor) -> Tensor:
    chances = scores.masked_fill(~offered, -1e9).softmax(1) * offered  # [B, N]
    return chances.topk(min(DEPTH, chances.shape[1]), 1).values.sum(1)  # [B]
