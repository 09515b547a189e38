"""Methods of distillation as a sequence learner takes them: what the soft labels of its positions add to the loss.

Notation as in :mod:`online_models.sequences`; P labelled positions, K items of a label, M shared negatives.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from online_models.batch import PADDING
from online_models.distill.auxiliary import AuxiliaryHead
from online_models.distill.diagnosis import confidence_weights, relation_labels, smoothed_list_loss, spread_list_loss
from online_models.distill.direct import soft_list_loss
from online_models.distill.ranking import estimated_ranks, ranking_loss
from online_models.distill.soft_lists import SoftLists


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """Labelled positions of a step, with the vectors of all items that a method may need."""

    states: Tensor  # [P, D] of the student, before the event
    targets: Tensor  # [P] what was taken
    target_vectors: Tensor  # [P, D]
    labels: SoftLists  # P labels
    kept_vectors: Tensor  # [P, K, D]
    negative_vectors: Tensor  # [M, D]
    negatives: Tensor  # [M]
    log_q: Tensor  # [M] log of how often each is expected among the negatives
    items: int  # that can be drawn as negatives: the catalogue as far as it is known

    @property
    def kept_mask(self) -> Tensor:
        """True where the label has an item. [P, K]."""
        return self.labels.items != PADDING

    @property
    def mask(self) -> Tensor:
        """True at the kept items and at the negatives that are not among them. [P, K + M]."""
        again = (self.negatives[None, :, None] == self.labels.items[:, None, :]).any(2)  # [P, M]
        return torch.cat([self.kept_mask, ~again], 1)

    @property
    def teacher_logits(self) -> Tensor:
        """Logits of the kept items, NaN at the negatives. [P, K + M]."""
        unknown = self.states.new_full((len(self.states), len(self.negatives)), torch.nan)
        return torch.cat([self.labels.logits, unknown], 1)

    @property
    def kept_logits(self) -> Tensor:
        """The student's own logits of the kept items. [P, K]."""
        return (self.kept_vectors @ self.states[:, :, None]).squeeze(2)

    @property
    def logits(self) -> Tensor:
        """The student's logits, corrected where sampled. [P, K + M]."""
        return torch.cat([self.kept_logits, self.states @ self.negative_vectors.T - self.log_q], 1)


class Method(nn.Module):
    """What soft labels add to the hard loss: nothing, unless a method says so. Its weights are trained, never served.

    A method overrides :meth:`loss`, or :meth:`hard_weights` where it changes the hard loss itself.
    """

    def loss(self, lesson: Lesson) -> Tensor:
        """Loss that is added, scalar."""
        return lesson.states.new_zeros(())

    def hard_weights(self, labels: SoftLists, targets: Tensor) -> Tensor | None:
        """Weights of the hard loss at the labelled positions [P]; None leaves them."""
        return None

    def item_tables(self) -> list[Tensor]:
        """Own tables by catalogue row, which learn at the rate of such tables."""
        return []


class Direct(Method):
    """``α · CE(teacher, softmax(z))`` on the served logit, see :func:`~online_models.distill.direct.soft_list_loss`."""

    def __init__(self, weight: float = 1.0, temperature: float = 1.0) -> None:
        super().__init__()
        self.weight, self.temperature = weight, temperature

    def loss(self, lesson: Lesson) -> Tensor:
        """Soft cross-entropy of the main logit."""
        found = soft_list_loss(
            lesson.logits, lesson.teacher_logits, lesson.labels.remainder, lesson.mask, temperature=self.temperature
        )
        return self.weight * found


class Auxiliary(Method):
    """``α · CE(teacher, softmax(z^aux))``, see :class:`~online_models.distill.auxiliary.AuxiliaryHead`."""

    def __init__(self, dimension: int, rows: int = 0, *, weight: float = 1.0, temperature: float = 1.0) -> None:
        super().__init__()
        self.weight, self.temperature = weight, temperature
        self.head = AuxiliaryHead(dimension, rows=rows)

    def item_tables(self) -> list[Tensor]:
        """Bias of the items."""
        return [] if self.head.item_bias is None else [self.head.item_bias.weight]

    def loss(self, lesson: Lesson) -> Tensor:
        """Soft cross-entropy of the auxiliary logit."""
        kept = self.head(lesson.states, lesson.kept_vectors, items=lesson.labels.items)  # [P, K]
        others = self.head(lesson.states, lesson.negative_vectors, items=lesson.negatives) - lesson.log_q  # [P, M]
        logits = torch.cat([kept, others], 1)  # [P, K + M]
        found = soft_list_loss(
            logits, lesson.teacher_logits, lesson.labels.remainder, lesson.mask, temperature=self.temperature
        )
        return self.weight * found


class Ranking(Method):
    """``α Σ_k w_k · (- log σ(s_k))``, see :func:`~online_models.distill.ranking.ranking_loss`; hybrid weights."""

    def __init__(self, weight: float = 1.0, *, number: int = 10, position_steepness: float = 1.0) -> None:
        super().__init__()
        self.weight, self.number, self.position_steepness = weight, number, position_steepness

    def loss(self, lesson: Lesson) -> Tensor:
        """Pull up what the teacher ranks high and the student does not."""
        scores = lesson.kept_logits[:, : self.number]
        mask = (lesson.kept_mask & (lesson.labels.items != lesson.targets[:, None]))[:, : self.number]
        with torch.no_grad():
            ranks = estimated_ranks(scores, lesson.states @ lesson.negative_vectors.T, lesson.items)
        return self.weight * ranking_loss(scores, mask, position_steepness=self.position_steepness, ranks=ranks)


class Smoothing(Method):
    """Plain label smoothing, without any teacher: ``α · CE(uniform, softmax(z))`` at the labelled positions."""

    def __init__(self, weight: float = 0.1) -> None:
        super().__init__()
        self.weight = weight

    def loss(self, lesson: Lesson) -> Tensor:
        """Cross-entropy of the uniform distribution."""
        own = (lesson.states * lesson.target_vectors).sum(1, keepdim=True)  # [P, 1]
        logits = torch.cat([own, lesson.states @ lesson.negative_vectors.T], 1)  # [P, 1 + M]
        other = lesson.negatives[None, :] != lesson.targets[:, None]  # [P, M]
        mask = torch.cat([torch.ones_like(other[:, :1]), other], 1)
        log_q = torch.cat([lesson.log_q.new_zeros(1), lesson.log_q])
        return self.weight * smoothed_list_loss(logits, mask, log_q)


class Confidence(Method):
    """The hard loss alone, each target weighed by how sure the teacher was of it."""

    def hard_weights(self, labels: SoftLists, targets: Tensor) -> Tensor:
        """Teacher's share of the target, with mean 1."""
        return confidence_weights(labels.shares_of(targets))


class Spread(Method):
    """KD-topk: the kept items as they are, the remainder spread evenly over all others."""

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = weight

    def loss(self, lesson: Lesson) -> Tensor:
        """Soft cross-entropy of the main logit against the spread label."""
        found = spread_list_loss(lesson.logits, lesson.teacher_logits, lesson.labels.remainder, lesson.mask)
        return self.weight * found


def relations(item_vectors: Tensor, targets: Tensor, number: int, temperature: float = 0.1) -> SoftLists:
    """Labels of KD-sim, to be learnt as any other: what the teacher's table holds to be like the target."""
    items, logits, remainder = relation_labels(item_vectors, targets, number, temperature=temperature)
    real = logits > -torch.inf
    others = (item_vectors != 0).any(1).sum() - real.sum(1)  # [P]
    return SoftLists(items=items.masked_fill(~real, PADDING), logits=logits, remainder=remainder, others=others)
