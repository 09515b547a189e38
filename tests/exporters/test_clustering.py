from __future__ import annotations

import numpy as np

from exporters.clustering import Nearest, cluster, grouped


def lumps(groups: int, each: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    centres = 20 * random.normal(size=(groups, 8))
    return (np.repeat(centres, each, axis=0) + random.normal(size=(groups * each, 8))).astype(np.float32)


def test_the_nearest_centre_is_the_nearest():
    centres, points = lumps(30, 1), lumps(30, 20, seed=1)
    apart = ((points[:, None] - centres[None]) ** 2).sum(-1)
    assert Nearest(centres).of(points).tolist() == apart.argmin(1).tolist()


def test_clusters_are_nearly_as_tight_as_k_means_over_all_centres():
    points = lumps(40, 50)
    centres, labels = cluster(points, 60)
    assert labels.shape == (2_000,) and 40 <= len(centres) <= 60
    near = ((points - centres[labels]) ** 2).sum(1)
    best = ((points[:, None] - centres[None]) ** 2).sum(-1).min(1)
    assert near.mean() < 1.1 * best.mean()
    assert near.mean() < 0.3 * ((points - points.mean(0)) ** 2).sum(1).mean()


def test_the_same_seed_gives_the_same_cells():
    points = lumps(10, 30)
    first, second = cluster(points, 16, seed=3), cluster(points, 16, seed=3)
    assert np.array_equal(first[0], second[0]) and np.array_equal(first[1], second[1])


def test_vectors_that_are_all_the_same_make_one_cell():
    centres, labels = cluster(np.ones((500, 4), np.float32), 20)
    assert len(centres) == 1 and not labels.any()
    assert len(cluster(np.ones((1, 4), np.float32), 20)[0]) == 1


def test_places_are_grouped_by_label():
    labels = np.array([2, 0, 2, 2, 4], np.int32)
    order, ends = grouped(labels, 5)
    assert [order[ends[label] : ends[label + 1]].tolist() for label in range(5)] == [[1], [], [0, 2, 3], [], [4]]
