"""A sequence ranker with an optimiser and negatives: a step on whole histories, every new event of them a target."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from online_models import samplers
from online_models.bucketing import sequences
from online_models.evaluation.interactions import Histories, Rows
from online_models.learner import OptimizerFactory, TorchLearner, adam
from online_models.sequences import SequenceLoss, SequenceRanker, Sequences, sampled_softmax

# (how often each catalogue row has been a target [R], K, generator) -> (rows [K], their log(K p) [K])
NegativeSampler = Callable[[Tensor, int, torch.Generator], tuple[Tensor, Tensor]]


def uniform(counts: Tensor, number: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw K shared negatives, every row that has been seen alike.

    >>> uniform(torch.tensor([0.0, 0.0, 5.0, 0.0]), 2, torch.Generator())
    (tensor([2, 2]), tensor([0.6931, 0.6931]))
    """
    items, log_q = samplers.uniform(counts.nonzero().squeeze(1), 1, number, generator)
    return items[0], log_q[0]


def popular(counts: Tensor, number: int, generator: torch.Generator, alpha: float = 0.75) -> tuple[Tensor, Tensor]:
    """Draw K shared negatives with ``p ∝ counts ** alpha``.

    >>> popular(torch.tensor([0.0, 0.0, 5.0, 0.0]), 2, torch.Generator())
    (tensor([2, 2]), tensor([0.6931, 0.6931]))
    """
    items, log_q = samplers.popularity(counts, 1, number, generator, alpha)
    return items[0], log_q[0]


def mixed(
    counts: Tensor, number: int, generator: torch.Generator, share: float = 0.5, alpha: float = 0.75
) -> tuple[Tensor, Tensor]:
    """Draw K shared negatives from a mixture: ``share`` by popularity, the rest uniformly; log q of the mixture [1]_.

    References
    ----------
    .. [1] J. Yang et al., "Mixed Negative Sampling for Learning Two-tower Neural Networks in Recommendations", WWW 2020

    Examples
    --------
    >>> items, log_q = mixed(torch.tensor([0.0, 0.0, 8.0, 8.0]), 2, torch.Generator())
    >>> log_q
    tensor([0., 0.])
    """
    by_popularity = round(share * number)
    popular_rows, _ = popular(counts, by_popularity, generator, alpha)
    uniform_rows, _ = uniform(counts, number - by_popularity, generator)
    items = torch.cat([popular_rows, uniform_rows])  # [K]
    powers = torch.where(counts > 0, counts.double() ** alpha, 0.0)  # [R]
    probabilities = (
        by_popularity / number * powers[items] / powers.sum() + (1 - by_popularity / number) / (counts > 0).sum()
    )
    return items, (number * probabilities).log().float()


class SequenceLearner(TorchLearner):
    """Trains a :class:`~online_models.sequences.SequenceRanker` on whole histories, several events a history at once.

    ``learn_sequences`` takes groups of histories, each group padded to its own longest, and makes one step of the mean
    loss over all their targets, against K negatives that all positions share. What else a
    :class:`~online_models.learner.TorchLearner` does stays: listwise batches, skipped steps, exact resume.

    Parameters
    ----------
    ranker
        Build it inside :func:`~online_models.learner.seeded`.
    optimizer
        Makes the optimiser of the parameters.
    loss
        Of the positions, such as :func:`~online_models.sequences.sampled_softmax`.
    sampler
        Draws the negatives from how often each row has been a target.
    negatives
        K; 0 draws one for each target.
    clip_norm
        Gradients longer than this are shortened to it; None leaves them.
    seed
        Start of the learner's own random numbers.

    Examples
    --------
    >>> from online_models.bucketing import sequences
    >>> from online_models.evaluation.interactions import Histories
    >>> from online_models.learner import seeded
    >>> from online_models.zoo.sasrec import SASRec
    >>> with seeded(1):
    ...     learner = SequenceLearner(SASRec(SASRec.Config(catalog_rows=9, dimension=8)), negatives=4)
    >>> histories = sequences(Histories.of([[2, 3, 4], [5, 6, 7]]), 50)
    >>> losses = [learner.learn_sequences(histories)["loss"] for _ in range(40)]
    >>> losses[-1] < losses[0], learner.counts.tolist()
    (True, [0.0, 0.0, 0.0, 40.0, 40.0, 0.0, 40.0, 40.0, 0.0])
    """

    ranker: SequenceRanker

    def __init__(
        self,
        ranker: SequenceRanker,
        optimizer: OptimizerFactory = adam,
        *,
        loss: SequenceLoss = sampled_softmax,
        sampler: NegativeSampler = uniform,
        negatives: int = 256,
        clip_norm: float | None = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__(ranker, optimizer, clip_norm=clip_norm, seed=seed)
        self.sequence_loss = loss
        self.sampler = sampler
        self.negatives = negatives
        self.counts = torch.zeros(ranker.items.num_embeddings)  # [R] how often a row has been learnt
        self._draws = torch.Generator().manual_seed(seed + 1)

    def learn_sequences(self, *groups: Sequences) -> dict[str, float]:
        """Take one step on the targets of all groups; groups without a target are left out, and may be all there are.

        Returns
        -------
        dict
            What :meth:`~online_models.learner.TorchLearner.step` returns, and ``targets``, the number learnt. Where
            there is none: ``{"targets": 0}``, and nothing has changed.
        """
        taught = [group for group in groups if bool((group.target_weights > 0).any())]
        if not taught:
            return {"targets": 0.0}
        learnt = torch.cat([group.items[group.target_weights > 0] for group in taught])  # [P]
        self.counts += torch.bincount(learnt, minlength=len(self.counts))
        negatives, log_q = self.sampler(self.counts, self.negatives or len(learnt), self._draws)
        return {**self.step(lambda: self._loss_of(taught, negatives, log_q)), "targets": float(len(learnt))}

    @torch.no_grad()
    def states(self, asked: Sequences) -> Tensor:
        """User states after the newest events. [B, D]."""
        return self.ranker.newest_state(asked)

    @torch.no_grad()
    def embed(self, histories: Histories, width: int, positions: int = 16_384) -> Tensor:
        """User states after ragged histories, of their newest ``width`` events; no padding is encoded. [B, D]."""
        if len(histories) == 1:
            return self.states(sequences(histories, width))
        lengths = np.minimum(histories.lengths, width)
        order = np.argsort(lengths, kind="stable")
        found, first = [], 0
        while first < len(order):
            longest = _longest(lengths[order[first:]], positions)
            found.append(self.states(sequences(histories.take(order[first : first + longest]), width)))
            first += longest
        if not found:
            return torch.zeros(0, self.ranker.items.embedding_dim)
        return torch.cat(found)[torch.from_numpy(np.argsort(order))]

    @torch.no_grad()
    def score_all(self, histories: Histories, width: int) -> NDArray[np.float32]:
        """Score the catalogue after each history; who has none gets what has been learnt most often. [B, R]."""
        scores = self.embed(histories, width) @ self.ranker.catalogue_vectors().T  # [B, R]
        empty = torch.from_numpy(histories.lengths == 0)
        if bool(empty.any()):
            scores[empty] = self.counts
        return scores.numpy()

    def state_dict(self) -> dict[str, Any]:
        """Copy everything: later steps do not change what was returned."""
        return super().state_dict() | {"counts": self.counts.clone(), "draws": self._draws.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where ``state_dict`` was taken."""
        super().load_state_dict({name: value for name, value in state.items() if name not in ("counts", "draws")})
        self.counts = copy.deepcopy(state["counts"])
        self._draws.set_state(state["draws"])

    def _loss_of(self, groups: list[Sequences], negatives: Tensor, log_q: Tensor) -> Tensor:
        """Mean over all targets: each group's mean weighed by its share of them."""
        shares = torch.stack([group.target_weights.sum() for group in groups])  # [G]
        losses = [self.ranker.sequence_loss(group, negatives, log_q, self.sequence_loss) for group in groups]
        return (torch.stack(losses) * shares).sum() / shares.sum()


def _longest(lengths: Rows, positions: int) -> int:
    """How many of these rising lengths make one batch: of one length nearly, and of so many positions at most."""
    close = int(np.searchsorted(lengths, max(1.25 * lengths[0], lengths[0] + 1), side="right"))
    return max(min(close, positions // max(int(lengths[close - 1]), 1)), 1)
