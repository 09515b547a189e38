"""Histories laid out in columns."""

from __future__ import annotations

import numpy as np

from online_models.evaluation.interactions import Histories


def test_one_history_is_laid_out_as_many_are() -> None:
    many = Histories.of([[5, 6, 7], [], [8]])
    for width in (1, 2, 5):
        alone = [many.take(np.array([place])).padded("items", width)[0] for place in range(3)]
        np.testing.assert_array_equal(np.stack(alone), many.padded("items", width))
