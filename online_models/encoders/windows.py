"""Who may look at whom along a history: causally, and no further back than a time.

Masks are ``[B, 1, T, T]`` with a broadcast axis for heads. Every place may see itself, so no row is empty: a softmax
over nothing would be NaN.
"""

from __future__ import annotations

import torch
from torch import Tensor

SECONDS_A_WEEK = 604_800.0


def causal(mask: Tensor) -> Tensor:
    """Each place sees the real events up to it. ``mask`` [B, T] is above 0 where there is an event.

    >>> causal(torch.tensor([[0.0, 1.0, 1.0]]))[0, 0].int().tolist()
    [[1, 0, 0], [0, 1, 0], [0, 1, 1]]
    """
    length = mask.shape[1]
    square = torch.ones(length, length, dtype=torch.bool, device=mask.device)
    itself = torch.eye(length, dtype=torch.bool, device=mask.device)
    allowed: Tensor = (mask.unsqueeze(1) > 0) & square.tril() | itself  # [B, T, T]
    return allowed.unsqueeze(1)


def within(allowed: Tensor, ages_seconds: Tensor, window_seconds: float) -> Tensor:
    """Of what is allowed, keep what lies at most ``window_seconds`` before the place that looks.

    ``T_k - T_i ≤ H`` with ages counted back from one moment: ``age_i - age_k ≤ H``. ``ages_seconds`` [B, T].

    >>> allowed = causal(torch.ones(1, 3))
    >>> within(allowed, torch.tensor([[100.0, 20.0, 0.0]]), 50.0)[0, 0].int().tolist()
    [[1, 0, 0], [0, 1, 0], [0, 1, 1]]
    """
    back = ages_seconds.unsqueeze(1) - ages_seconds.unsqueeze(2)  # [B, T, T]: how far column i lies before row k
    kept: Tensor = allowed & (back <= window_seconds).unsqueeze(1)
    return kept
