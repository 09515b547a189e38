"""Direct distillation: the soft label is learnt by the logit that is served."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def soft_list_loss(
    logits: Tensor,
    teacher_logits: Tensor,
    remainder: Tensor,
    mask: Tensor,
    *,
    temperature: float = 1.0,
    weights: Tensor | None = None,
) -> Tensor:
    """Soft cross-entropy of a list against the items that the teacher kept and one class for all others.

    With K the candidates that have a teacher logit and O the other candidates::

        q = softmax([t_j for j in K; remainder] / T)
        p = softmax([z_j for j in K; log Σ_{j in O} exp z_j] / T)
        loss = - T² Σ q log p

    Where the remainder is -inf (the teacher scored nothing else), or the student has no other candidate, the last class
    is left out on both sides: nothing is said of what was not scored. Examples without a teacher logit teach nothing.
    Subtract log q from the logits of sampled candidates first, so that their sum stands for the whole catalogue.

    Parameters
    ----------
    logits
        [B, N] of the student.
    teacher_logits
        [B, N] of the teacher, NaN where it kept none.
    remainder
        [B] log of the summed exponentials of the teacher's other items.
    mask
        [B, N] True where there is a candidate.
    temperature
        T. A remainder is tempered as one class.
    weights
        [B] of the examples; 1 each where None.

    Raises
    ------
    ValueError
        ``temperature`` is not above 0.

    References
    ----------
    G. Hinton, O. Vinyals, J. Dean, "Distilling the Knowledge in a Neural Network", 2015. What differs: the classes that
    the teacher did not keep are one class, so that a label has a bounded size.

    Examples
    --------
    >>> teacher, rest = torch.tensor([[0.0, torch.nan, torch.nan]]), torch.tensor([0.0])
    >>> everywhere = torch.ones(1, 3, dtype=torch.bool)
    >>> agreed = torch.tensor([[0.7, 0.0, 0.0]])  # exp(0.7) is about 2, as the two others are together
    >>> soft_list_loss(agreed, teacher, rest, everywhere)
    tensor(0.6932)
    >>> soft_list_loss(agreed, torch.full((1, 3), torch.nan), rest, everywhere)
    tensor(0.)
    """
    if temperature <= 0:
        raise ValueError(f"temperature is {temperature}; give a number above 0, such as 1.0")
    kept = mask & ~teacher_logits.isnan()  # [B, N]
    others = mask & ~kept  # [B, N]
    open_class = others.any(1) & (remainder > -torch.inf)  # [B]
    rest = _log_sum_exp(logits, others)  # [B]
    ours = torch.cat([logits, rest[:, None]], 1) / temperature  # [B, N + 1]
    theirs = torch.cat([teacher_logits, remainder[:, None]], 1) / temperature  # [B, N + 1]
    classes = torch.cat([kept, open_class[:, None]], 1)  # [B, N + 1]
    losses = -(_shares(theirs, classes) * _log_shares(ours, classes)).sum(1) * temperature**2  # [B]
    counted = kept.any(1) if weights is None else kept.any(1) * weights  # [B]
    return (losses * counted).sum() / counted.sum().clamp(min=1e-12)


def soft_task_loss(logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Pointwise ``CE(σ(t), σ(z))`` of tasks, mean over the places that have a teacher logit (not NaN).

    >>> soft_task_loss(torch.zeros(2), torch.tensor([0.0, torch.nan]))
    tensor(0.6931)
    """
    told = ~teacher_logits.isnan()
    targets = teacher_logits.masked_fill(~told, 0).sigmoid()
    losses = F.binary_cross_entropy_with_logits(logits.masked_fill(~told, 0), targets, reduction="none") * told
    return losses.sum() / told.sum().clamp(min=1)


def _log_sum_exp(logits: Tensor, chosen: Tensor) -> Tensor:
    """``log Σ exp`` over the chosen; 0 where there is none, so that no NaN comes into the gradient. [B]."""
    some = chosen.any(1, keepdim=True)  # [B, 1]
    return logits.masked_fill(~chosen, -torch.inf).masked_fill(~some, 0).logsumexp(1) * some.squeeze(1)


def _log_shares(logits: Tensor, classes: Tensor) -> Tensor:
    """Log-softmax over the classes, 0 elsewhere. [B, C]."""
    some = classes.any(1, keepdim=True)
    shares = logits.masked_fill(~classes, -torch.inf).masked_fill(~some, 0).log_softmax(1)
    return shares.masked_fill(~classes, 0)


def _shares(logits: Tensor, classes: Tensor) -> Tensor:
    """Softmax over the classes, 0 elsewhere; a target, so without gradient. [B, C]."""
    return _log_shares(logits.detach(), classes).exp() * classes
