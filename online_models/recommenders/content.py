"""Similarity of items by their titles and categories: what a source can say of an item that nobody has taken."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from online_models.evaluation.interactions import Histories, Interactions
from online_models.recommenders import Factory, Setting
from online_models.recommenders.pair_store import history_matrix

Floats = NDArray[np.float32]
_WORD = re.compile(r"[^\W_]+")


class ContentRecommender:
    """Scores by the cosine of TF-IDF vectors over title words and categories, summed over the history by recency.

    ``v(j) = Σ_k decay^k cos(h_k, j)`` with each item's ``width`` nearest items. Nothing is learnt from events.

    Parameters
    ----------
    catalogue
        Interactions whose titles and categories are read, never its events.
    width
        Neighbours of an item.
    last, decay
        How the history is read.

    References
    ----------
    G. Salton, C. Buckley, "Term-weighting approaches in automatic text retrieval", 1988.
    """

    micro_batch = 1

    def __init__(self, catalogue: Interactions, *, width: int = 200, last: int = 10, decay: float = 0.8) -> None:
        self.last = last
        self.decay = decay
        self.neighbours = nearest(tf_idf(catalogue), width)  # [R, R]

    def fit(self, train: Interactions, validation: Interactions | None = None) -> None:
        """Nothing to fit."""

    def learn(self, events: Interactions, histories: Histories) -> None:
        """Nothing to learn."""

    def score(self, histories: Histories) -> Floats:
        """Score all items for each history. [B, R]."""
        if len(histories) == 1:
            return self._score_one(histories.items[-self.last :])[None]
        read = history_matrix(histories, self.neighbours.shape[0], self.last, self.decay)
        scores: Floats = (read @ self.neighbours).toarray()
        return scores

    def _score_one(self, newest: NDArray[np.int64]) -> Floats:
        """Do the same without a matrix for one history, which is what a stream asks. [H] -> [R]."""
        near, scores = self.neighbours, np.zeros(self.neighbours.shape[0], np.float32)
        for step, item in enumerate(newest[::-1].tolist()):
            part = slice(near.indptr[item], near.indptr[item + 1])
            scores[near.indices[part]] += np.float32(self.decay**step) * near.data[part]
        return scores

    def columns(self, histories: Histories) -> Floats:
        """Scores as the one column of a blend. [1, B, R]."""
        return self.score(histories)[None]


def tf_idf(catalogue: Interactions) -> sparse.csr_matrix:
    """Rows of unit length over words and categories; items without either are zero. [R, V]."""
    vocabulary: dict[str, int] = {}
    rows, columns = [], []
    for row in range(catalogue.rows):
        for word in _words(catalogue, row):
            rows.append(row)
            columns.append(vocabulary.setdefault(word, len(vocabulary)))
    shape = (catalogue.rows, max(len(vocabulary), 1))
    counts = sparse.csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=shape)
    counts.data[:] = 1  # a word twice in a title says no more
    documents = np.bincount(counts.indices, minlength=shape[1])
    described = max(int((np.diff(counts.indptr) > 0).sum()), 1)
    counts.data = np.log((1 + described) / (1 + documents[counts.indices])).astype(np.float32)
    lengths = np.sqrt(np.asarray(counts.multiply(counts).sum(axis=1)).ravel())  # [R]
    counts.data /= np.repeat(np.maximum(lengths, 1e-12), np.diff(counts.indptr)).astype(np.float32)
    return counts


def nearest(vectors: sparse.csr_matrix, width: int, block: int = 512) -> sparse.csr_matrix:
    """Cosines of each row with its ``width`` nearest rows, itself left out. [R, V] -> [R, R]."""
    parts = []
    for start in range(0, vectors.shape[0], block):
        cosines = np.asarray((vectors[start : start + block] @ vectors.T).todense(), np.float32)
        places = np.arange(len(cosines))
        cosines[places, start + places] = 0
        if width < cosines.shape[1]:
            least = np.partition(cosines, -width, axis=1)[:, -width]
            cosines[cosines < least[:, None]] = 0
        parts.append(sparse.csr_matrix(cosines))
    return sparse.vstack(parts).tocsr()


def is_described(catalogue: Interactions | None) -> bool:
    """Whether a catalogue says anything of its items."""
    return catalogue is not None and (any(catalogue.item_titles) or any(catalogue.item_categories))


def _words(catalogue: Interactions, row: int) -> list[str]:
    title = catalogue.item_titles[row] if row < len(catalogue.item_titles) else ""
    categories = catalogue.item_categories[row] if row < len(catalogue.item_categories) else ()
    return _WORD.findall((title or "").lower()) + [f"category {category}" for category in categories]


def _content(setting: Setting) -> ContentRecommender:
    """Items whose titles and categories are like those of the newest items taken."""
    if not is_described(setting.sample):
        raise ValueError("this data set has neither titles nor categories; leave content out of --model")
    assert setting.sample is not None
    return ContentRecommender(setting.sample)


RECOMMENDERS: dict[str, Factory] = {"content": _content}
