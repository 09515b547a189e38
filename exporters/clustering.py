r"""Clustering of item vectors into cells: k-means that looks only at centres in the neighbourhood.

.. math:: \min_{c, a} \sum_i \lVert x_i - c_{a(i)} \rVert^2

With C centres, every assignment of all vectors would cost N · C products. So centres are put into :math:`\sqrt C`
groups, and a vector is compared with the centres of its own group and of the few groups nearest to that.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Labels = NDArray[np.int32]

_CHUNK = 1 << 19  # scores computed at once: they stay in the processor's cache
_SAMPLE = 48  # vectors a centre is learnt from
_ROUNDS = 4
_NEAR_GROUPS = 8


class Nearest:
    """The nearest of some centres, by squared distance.

    Parameters
    ----------
    centres
        [C, D].

    Examples
    --------
    >>> Nearest(np.array([[0, 0], [3, 0]], np.float32)).of(np.array([[1, 0], [2, 0]], np.float32)).tolist()
    [0, 1]
    """

    def __init__(self, centres: Vectors) -> None:
        self.centres = centres
        self._products = np.ascontiguousarray(centres.T)  # [D, C]
        self._halves = (centres * centres).sum(1) / 2  # [C]

    def of(self, vectors: Vectors) -> Labels:
        """Find the nearest centre of each vector [N, D] -> [N]."""
        labels = np.empty(len(vectors), np.int32)
        chunk = max(16, _CHUNK // max(1, len(self.centres)))
        for start in range(0, len(vectors), chunk):
            scores = vectors[start : start + chunk] @ self._products  # [chunk, C]
            scores -= self._halves
            labels[start : start + chunk] = scores.argmax(1)
        return labels


def cluster(vectors: Vectors, cells: int, seed: int = 0) -> tuple[Vectors, Labels]:
    """Find about ``cells`` centres [C, D] of vectors [N, D], and the centre of each vector [N].

    Parameters
    ----------
    vectors
        At least one.
    cells
        C; fewer come back where there are fewer distinct vectors.
    seed
        Of the sample and of the first centres.

    References
    ----------
    Lloyd (1982), Least squares quantization in PCM. What differs: a sample instead of all vectors, and the search for
    the nearest centre is limited to neighbouring groups of centres.
    """
    random = np.random.default_rng(seed)
    sample = _drawn(vectors, _SAMPLE * cells, random)
    groups = _lloyd(_drawn(sample, 256 * math.isqrt(cells), random), math.isqrt(cells), random)
    centres = np.unique(_drawn(sample, cells, random), axis=0)
    for _ in range(_ROUNDS):
        centres = _means(sample, _Neighbourhoods(centres, groups).of(sample), centres)
    return centres, _Neighbourhoods(centres, groups).of(vectors)


class _Neighbourhoods:
    """The nearest centre among those of the nearest groups."""

    def __init__(self, centres: Vectors, groups: Vectors) -> None:
        own = Nearest(groups).of(centres)  # [C]
        used = np.unique(own)
        self._groups = Nearest(groups[used])
        members = [np.flatnonzero(own == group) for group in used]
        near = np.argsort(_squared_distances(groups[used]), axis=1)[:, :_NEAR_GROUPS]  # [G, near]
        self._members = [np.concatenate([members[place] for place in places]) for places in near]
        self._nearest = [Nearest(centres[places]) for places in self._members]

    def of(self, vectors: Vectors) -> Labels:
        groups = self._groups.of(vectors)
        order, ends = grouped(groups, len(self._members))
        labels = np.empty(len(vectors), np.int32)
        for group, members in enumerate(self._members):
            places = order[ends[group] : ends[group + 1]]
            labels[places] = members[self._nearest[group].of(vectors[places])]
        return labels


def grouped(labels: Labels, count: int) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Sort places by label: the places [N], and where each label's begin [count + 1].

    >>> order, ends = grouped(np.array([1, 0, 1], np.int32), 3)
    >>> order.tolist(), ends.tolist()
    ([1, 0, 2], [0, 1, 3, 3])
    """
    narrow = labels.astype(np.uint16) if count <= 1 << 16 else labels  # 16 bits are sorted by radix
    ends = np.concatenate([[0], np.cumsum(np.bincount(labels, minlength=count))])
    return np.argsort(narrow, kind="stable"), ends


def _drawn(vectors: Vectors, number: int, random: np.random.Generator) -> Vectors:
    if len(vectors) <= number:
        return vectors
    return vectors[random.choice(len(vectors), number, replace=False)]


def _lloyd(sample: Vectors, number: int, random: np.random.Generator) -> Vectors:
    centres = np.unique(_drawn(sample, max(1, number), random), axis=0)
    for _ in range(_ROUNDS):
        centres = _means(sample, Nearest(centres).of(sample), centres)
    return centres


def _means(sample: Vectors, labels: Labels, centres: Vectors) -> Vectors:
    """Means of the vectors of each centre; a centre without any stays where it is."""
    order, ends = grouped(labels, len(centres))
    ordered, means = sample[order], centres.copy()
    for centre in np.flatnonzero(np.diff(ends)).tolist():  # np.add.reduceat would keep all other threads waiting
        means[centre] = ordered[ends[centre] : ends[centre + 1]].mean(0)
    return means


def _squared_distances(points: Vectors) -> Vectors:
    squares = (points * points).sum(1)
    distances: Vectors = squares[:, None] + squares[None] - 2 * points @ points.T
    return distances
