"""The decomposition is exact for the ranker's own formula."""

from __future__ import annotations

import numpy as np

from exporters.explain import EPSILON, FAINTEST, contributions, why_lines


def test_contributions_and_logits_differ_by_one_constant():
    generator = np.random.default_rng(3)
    scores = generator.random((6, 2)) * (generator.random((6, 2)) > 0.4)
    a, b, deep = np.array([0.2, 0.1]), np.array([1.0, 2.0]), generator.normal(size=6)
    peak = np.maximum(scores.max(0), FAINTEST)
    logits = np.log(scores / peak + EPSILON) @ a + scores / peak @ b + deep
    parts = contributions(["x", "y"], scores, logits, np.concatenate([a, b, [1.0]]))
    rest = logits - parts.values.sum(axis=1)
    assert np.ptp(rest) < 1e-6
    assert (parts.values[:, :2][scores == 0] == 0).all()


def test_nothing_positive_gives_no_line():
    assert why_lines(["popularity"], np.array([-1.0]), {}) == []


def test_lines_come_strongest_first_and_shares_add_up():
    lines = why_lines(["popularity", "transitions", "session"], np.array([1.0, 2.0, 1.0]), {"transitions": "Heat"})
    assert [line["text"] for line in lines] == ["often follows “Heat”", "popular now", "fits this session"]
    assert sum(line["share"] for line in lines) == 1
