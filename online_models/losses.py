"""Losses of a list of candidates: pure functions of one signature.

``loss(logits [B, N], labels [B, N], mask [B, N], *, log_q [B, N] = None, weights [B] = None) -> scalar``

Examples without any positive (or, where pairs are formed, without any negative) teach nothing and are left out of the
mean; a batch of nothing else has loss 0. What is masked has no gradient. Bind further parameters with ``partial``.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F


class Loss(Protocol):
    """The one signature."""

    def __call__(
        self,
        logits: Tensor,
        labels: Tensor,
        mask: Tensor,
        *,
        log_q: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> Tensor:
        """Loss of a batch, scalar."""
        ...


def softmax_cross_entropy(
    logits: Tensor, labels: Tensor, mask: Tensor, *, log_q: Tensor | None = None, weights: Tensor | None = None
) -> Tensor:
    """Listwise softmax: ``-Σ_i y_i / Σy · log softmax(s - log q)_i``.

    Subtracting log q makes the sampled softmax an estimate of the full one [1]_. Several positives share the target.

    References
    ----------
    .. [1] Y. Bengio, J.-S. Senécal, "Adaptive Importance Sampling to Accelerate Training of a Neural Probabilistic
       Language Model", 2008.

    Examples
    --------
    >>> everywhere = torch.ones(1, 2, dtype=torch.bool)
    >>> softmax_cross_entropy(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]), everywhere)
    tensor(0.6931)
    """
    log_probabilities = _corrected(logits, log_q).masked_fill(~mask, -torch.inf)  # [B, N]
    # a row that is masked whole would be NaN, and NaN survives a multiplication by 0
    log_probabilities = log_probabilities.masked_fill(~mask.any(1, keepdim=True), 0).log_softmax(dim=1)
    positives = labels * mask  # [B, N]
    total = positives.sum(1)  # [B]
    losses = -(positives * log_probabilities.masked_fill(~mask, 0)).sum(1) / total.clamp(min=1e-12)  # [B]
    return _mean(losses, total > 0, weights)


def binary_cross_entropy(
    logits: Tensor, labels: Tensor, mask: Tensor, *, log_q: Tensor | None = None, weights: Tensor | None = None
) -> Tensor:
    """Pointwise: ``-[y log σ(s) + (1 - y) log σ(-s)]``, mean over each example's candidates.

    Every example with a candidate counts, as a list without a click is evidence here.

    Examples
    --------
    >>> binary_cross_entropy(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]), torch.ones(1, 2, dtype=torch.bool))
    tensor(0.6931)
    """
    losses = F.binary_cross_entropy_with_logits(_safe(_corrected(logits, log_q), mask), labels, reduction="none")
    count = mask.sum(1)  # [B]
    return _mean((losses * mask).sum(1) / count.clamp(min=1), count > 0, weights)


def bpr(
    logits: Tensor, labels: Tensor, mask: Tensor, *, log_q: Tensor | None = None, weights: Tensor | None = None
) -> Tensor:
    """Bayesian personalised ranking: ``-log σ(s_i - s_j)``, mean over the pairs of a positive i and a negative j [1]_.

    References
    ----------
    .. [1] S. Rendle et al., "BPR: Bayesian Personalized Ranking from Implicit Feedback", UAI 2009.

    Examples
    --------
    >>> bpr(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]), torch.ones(1, 2, dtype=torch.bool))
    tensor(0.6931)
    """
    safe = _safe(_corrected(logits, log_q), mask)  # [B, N]
    positive, negative = (labels > 0) & mask, (labels <= 0) & mask  # [B, N]
    pairs = positive[:, :, None] & negative[:, None, :]  # [B, N, N]
    losses = -F.logsigmoid(safe[:, :, None] - safe[:, None, :]) * pairs
    count = pairs.sum((1, 2))  # [B]
    return _mean(losses.sum((1, 2)) / count.clamp(min=1), count > 0, weights)


def gbce(
    logits: Tensor,
    labels: Tensor,
    mask: Tensor,
    *,
    log_q: Tensor | None = None,
    weights: Tensor | None = None,
    sampling_rate: float,
    calibration: float = 0.75,
) -> Tensor:
    """Generalised binary cross-entropy, against the overconfidence that negative sampling brings [1]_.

    ``-[β log σ(s+) + Σ log σ(-s-)] / N`` with ``β = α (t (1 - 1/α) + 1/α)``, α the share of the negatives that is
    sampled (``sampling_rate``) and t the ``calibration``: t = 0 is the plain loss, t = 1 is fully calibrated.

    Raises
    ------
    ValueError
        ``sampling_rate`` is not in (0, 1] or ``calibration`` is not in [0, 1].

    References
    ----------
    .. [1] A. Petrov, C. Macdonald, "gSASRec: Reducing Overconfidence in Sequential Recommendation Trained with Negative
       Sampling", RecSys 2023.

    Examples
    --------
    >>> everywhere = torch.ones(1, 2, dtype=torch.bool)
    >>> gbce(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]), everywhere, sampling_rate=0.5, calibration=0.0)
    tensor(0.6931)
    """
    if not (0 < sampling_rate <= 1 and 0 <= calibration <= 1):
        raise ValueError(f"sampling_rate {sampling_rate} must be in (0, 1] and calibration {calibration} in [0, 1]")
    beta = sampling_rate * (calibration * (1 - 1 / sampling_rate) + 1 / sampling_rate)
    safe = _safe(_corrected(logits, log_q), mask)  # [B, N]
    likelihood = beta * labels * F.logsigmoid(safe) + (1 - labels) * F.logsigmoid(-safe)  # [B, N]
    count = mask.sum(1)  # [B]
    return _mean(-(likelihood * mask).sum(1) / count.clamp(min=1), (labels * mask).sum(1) > 0, weights)


def _corrected(logits: Tensor, log_q: Tensor | None) -> Tensor:
    return logits if log_q is None else logits - log_q


def _safe(logits: Tensor, mask: Tensor) -> Tensor:
    # whatever stands at a masked place (even -inf or NaN) must reach neither value nor gradient
    return logits.masked_fill(~mask, 0)


def _mean(losses: Tensor, counts: Tensor, weights: Tensor | None) -> Tensor:
    """Weighted mean of the examples that count. [B] -> scalar."""
    shares = counts.to(losses.dtype) if weights is None else counts * weights  # [B]
    return (losses * shares).sum() / shares.sum().clamp(min=1e-12)
