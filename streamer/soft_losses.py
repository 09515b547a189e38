"""How a student of the trainer learns from soft labels: one class a method, and the table of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from online_models.batch import Batch
from online_models.distill.auxiliary import AuxiliaryHead
from online_models.distill.direct import soft_list_loss
from online_models.distill.ranking import ranking_loss
from online_models.satisfaction import SatisfactionHead
from online_models.served import ServedRanker
from streamer.settings import Learning


class SoftLoss(nn.Module):
    """Loss of a batch that has teacher logits and has taken its hard step; its own parameters are never served."""

    def forward(self, ranker: ServedRanker, batch: Batch) -> tuple[Tensor, Tensor]:
        """Loss by the soft labels, and what is to be added to it whatever its weight."""
        raise NotImplementedError(f"{type(self).__name__} must define forward(ranker, batch) -> (scalar, scalar)")

    def item_tables(self) -> list[Tensor]:
        """Parameters indexed by catalogue row."""
        return []

    def __call__(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Run :meth:`forward`."""
        losses: tuple[Tensor, Tensor] = super().__call__(*args, **kwargs)
        return losses


class AuxiliaryLoss(SoftLoss):
    """The soft label has a logit of its own: see :class:`~online_models.distill.auxiliary.AuxiliaryHead`.

    Parameters
    ----------
    ranker
        Gives the sizes.
    """

    def __init__(self, ranker: ServedRanker) -> None:
        super().__init__()
        sizes = ranker.sizes
        inputs = 2 * sizes.sources + sizes.item_features
        self.head = AuxiliaryHead(sizes.dimension, inputs=inputs, rows=sizes.catalog_rows)

    def forward(self, ranker: ServedRanker, batch: Batch) -> tuple[Tensor, Tensor]:
        """Loss of the auxiliary logits over what serving would have offered: the teacher speaks of that."""
        user, vectors, more = ranker.bottom(batch.context, batch.candidates)
        told = self.head(user, vectors, more, batch.candidates.items)  # [B, N]
        return _list_loss(told, batch), torch.zeros(())

    def item_tables(self) -> list[Tensor]:
        """Name the items' own weights."""
        return [] if self.head.item_bias is None else [self.head.item_bias.weight]


class DirectLoss(SoftLoss):
    """The served logit learns the soft label too, with the hard one beside it: alone it would unlearn that."""

    def forward(self, ranker: ServedRanker, batch: Batch) -> tuple[Tensor, Tensor]:
        """Loss over what serving would have offered, and the hard loss."""
        hard, logits = ranker.loss(batch)
        return _list_loss(logits, batch), hard


class RankingLoss(SoftLoss):
    """The served logit learns the teacher's order: Ranking Distillation over its best ``places`` candidates."""

    places = 10

    def forward(self, ranker: ServedRanker, batch: Batch) -> tuple[Tensor, Tensor]:
        """Loss of the teacher's best candidates; those taken are left to the hard label."""
        assert batch.teacher_logits is not None
        logits = ranker(batch.context, batch.candidates)  # [B, N]
        told = batch.teacher_logits.nan_to_num(-torch.inf).masked_fill(~batch.offered | (batch.labels > 0), -torch.inf)
        best = told.topk(min(self.places, told.shape[1]), dim=1)  # [B, K]
        return ranking_loss(logits.gather(1, best.indices), best.values > -torch.inf), torch.zeros(())


class SecondTask(SoftLoss):
    """The student learns the teacher's opinion of the item taken too: whether it satisfies.

    ``CE(σ(z_teacher), σ(z))``, mean over the examples of which the teacher said so, with the student's z from the user
    and item vectors that its main logit reads. The gradient reaches those; z itself is neither exported nor served.

    Parameters
    ----------
    first
        How the list is learnt.
    weight
        Of the second task.
    ranker
        Gives the sizes.

    References
    ----------
    "Bridging the Gap: Unpacking the Hidden Challenges in Knowledge Distillation for Online Ranking Systems", RecSys
    2024: of all tasks, engagement and satisfaction are worth distilling. What differs: satisfaction has no logit of its
    own for the hard label, since it is not served.
    """

    def __init__(self, first: SoftLoss, weight: float, ranker: ServedRanker) -> None:
        super().__init__()
        self.first, self.weight = first, weight
        self.head = SatisfactionHead(ranker.sizes.dimension, ranker.sizes.item_features)

    def forward(self, ranker: ServedRanker, batch: Batch) -> tuple[Tensor, Tensor]:
        """Losses of the list, with the second task in what is added whatever the weight of the soft labels."""
        soft, beside = self.first(ranker, batch)
        return soft, beside + self.weight * self._second(ranker, batch)

    def item_tables(self) -> list[Tensor]:
        """Name what the list's loss has."""
        return self.first.item_tables()

    def _second(self, ranker: ServedRanker, batch: Batch) -> Tensor:
        assert batch.teacher_satisfaction is not None
        user, vectors, _ = ranker.bottom(batch.context, batch.candidates)
        every, place = torch.arange(len(batch)), batch.labels.argmax(1)  # [B]
        logits = self.head(user, vectors[every, place], batch.candidates.features[every, place])  # [B]
        told = batch.teacher_satisfaction.sigmoid()  # [B]
        return self.head.loss(logits, told.where(batch.labels.any(1), torch.nan))  # what was taken may have left


def _list_loss(logits: Tensor, batch: Batch) -> Tensor:
    assert batch.teacher_logits is not None and batch.teacher_remainder is not None
    told, remainder = batch.teacher_logits, batch.teacher_remainder
    return soft_list_loss(logits, told, remainder, batch.offered, weights=batch.weights)


SOFT_LOSSES: dict[str, Callable[[ServedRanker], SoftLoss]] = {
    "auxiliary": AuxiliaryLoss,
    "direct": lambda ranker: DirectLoss(),
    "ranking": lambda ranker: RankingLoss(),
}
"""Methods by their name in ``learning.distillation``."""
OFF = "off"


def soft_loss_of(sizes: Learning, ranker: ServedRanker) -> SoftLoss:
    """Make the loss of the method that the settings name, with the second task where it has a weight."""
    first = SOFT_LOSSES[sizes.distillation](ranker)
    return first if sizes.satisfaction_weight == 0 else SecondTask(first, sizes.satisfaction_weight, ranker)
