"""Popularity by half-life: the stream's columns are the log's."""

from __future__ import annotations

import numpy as np

from online_models.evaluation.interactions import Histories
from online_models.recommenders.recency import PopularityColumns
from tests.online_models.recommenders.small_logs import random_log, stream

NOBODY = Histories.of([[]])


def test_streamed_columns_are_those_of_the_log() -> None:
    log = random_log()
    fitted, streamed = (PopularityColumns(log.rows, (np.inf, 0.01)) for _ in range(2))
    fitted.fit(log)
    stream(streamed, log)
    assert np.allclose(fitted.columns(NOBODY), streamed.columns(NOBODY), atol=1e-6)


def test_long_silences_do_not_overflow() -> None:
    source = PopularityColumns(6, (np.inf, 1.0))
    for day in range(0, 5000, 50):
        source.observe(2 + day // 50 % 2, day * 86_400.0)
    columns = source.columns(NOBODY)[:, 0]
    assert np.isfinite(columns).all()
    assert columns[0, 2] == columns[0, 3] and columns[1, 2] < 1e-6 < columns[1, 3]
