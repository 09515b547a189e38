"""When an event was, in a few numbers that an encoder can read."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from online_models.encoders.windows import SECONDS_A_WEEK
from online_models.sequences import Sequences

CLOCK = 8
SECONDS_A_DAY = 86_400.0


def clock_of(sequences: Sequences, published_seconds: Tensor) -> Tensor:
    """Eight numbers that say when: gap since the event before and until the next list, age of the item, day, week.

    [B, T, CLOCK], zeros where padded.
    """
    times, mask = sequences.times_seconds, sequences.mask
    earlier = torch.cat([times[:, :1], times[:, :-1]], 1)  # [B, T]
    first = torch.cat([torch.zeros_like(mask[:, :1]), mask[:, :-1]], 1)  # False where nothing came before
    gaps = (times - earlier).clamp(min=0) * first
    waits = (sequences.next_times_seconds - times).clamp(min=0)
    ages = times - published_seconds  # [B, T] infinite where unknown
    known = ages.isfinite()
    days = torch.where(known, ages, 0.0).clamp(min=0) / SECONDS_A_DAY
    day, week = (2 * math.pi * (times / length % 1.0) for length in (SECONDS_A_DAY, SECONDS_A_WEEK))
    numbers = [gaps.log1p() / 10, waits.log1p() / 10, days.log1p() / 10, known.double()]
    stacked = torch.stack([*numbers, day.sin(), day.cos(), week.sin(), week.cos()], -1)  # [B, T, 8]
    return stacked.float() * mask.unsqueeze(-1)
