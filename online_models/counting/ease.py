"""EASE: a closed-form linear autoencoder over items, refitted from a Gram matrix that follows the stream."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import lapack
from torch import Tensor

from online_models.batch import Batch, Candidates, Context
from online_models.counting.pairs import Rows, newest_distinct
from online_models.learner import Graph

Weights = NDArray[np.float32]


class EASE:
    """Item weights ``B = -P / diag(P)`` with zero diagonal, ``P = (XᵀX + λI)⁻¹`` [1]_.

    Every event adds its item and its pairs with the user's history to the Gram matrix XᵀX, exactly; every
    ``refit_events`` events the weights are solved for anew. A score sums B over the user's items.

    Items get slots of the matrix when they are first taken. When all ``capacity`` are in use, the newcomer takes the
    slot of the item with the fewest users, so memory stays ``4 · capacity²`` bytes and a refit a fixed time (about
    a third of a second at 2,048 on one core).

    Parameters
    ----------
    rows
        Rows of the catalogue.
    width
        Weights that each item publishes, the largest ones.
    l2
        λ: the larger, the more an item's weights lean on what is popular with it.
    capacity
        Items in the matrix.
    refit_events
        Events between two refits.

    References
    ----------
    .. [1] H. Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019. What differs: XᵀX is kept up to
       date on the stream, and only the largest weights of an item are read.

    Examples
    --------
    >>> learner = EASE(rows=8, width=4, l2=1.0)
    >>> for history, target in (([], 2), ([2], 3), ([], 2), ([2], 3), ([], 4)):
    ...     learner.observe(np.array(history, dtype=np.int64), target)
    >>> learner.refit()
    >>> learner.best(2, 1)[0].tolist()
    [3]
    """

    name = "ease"
    law_exceptions = {
        "learn_lowers_loss": "a counting learner has no loss",
        "graphs_agree": "a counting learner publishes rows, not a graph",
    }

    def __init__(
        self,
        rows: int = 20_000,
        width: int = 256,
        l2: float = 100.0,
        capacity: int = 2048,
        refit_events: int = 500,
    ) -> None:
        self.width = width
        self.l2 = l2
        self.capacity = capacity
        self.refit_events = refit_events
        self.gram = np.zeros((0, 0), np.float32)  # [C, C], grown to the slots in use
        self.row_of_slot: Rows = np.zeros(0, np.int64)  # [C] 0 where the slot is free
        self.slot_of_row: Rows = np.full(rows, -1, np.int64)  # [R] -1 where the row has no slot
        self.items = np.zeros((rows, 0), np.int32)  # [R, W] as of the last refit
        self.weights = np.zeros((rows, 0), np.float32)  # [R, W]
        self.since_refit = 0
        self._touched: set[int] = set()

    @classmethod
    def make_for_checks(cls) -> EASE:
        """Build a small one for the laws, that refits often."""
        from online_models.checks import SIZES

        return cls(rows=SIZES.rows, refit_events=10)

    def learn(self, batch: Batch) -> dict[str, float]:
        """Count every positive of the batch in order, refit when it is time; returns how many were counted."""
        histories = batch.context.history_items.numpy()
        counted = 0
        for example, place in batch.labels.nonzero().tolist():
            target = int(batch.candidates.items[example, place])
            if target > 1:
                self.observe(histories[example], target)
                counted += 1
        return {"counted": float(counted)}

    def observe(self, history: Rows, target: int) -> None:
        """Add one event to XᵀX: ``target`` [ ] was taken after ``history`` [L]; an item taken before adds nothing."""
        self.since_refit += 1
        if target not in history:
            slot = self._slot(target)
            before, _ = newest_distinct(history, len(history), target)
            others = self.slot_of_row[before]
            others = others[others >= 0]
            self.gram[others, slot] += 1
            self.gram[slot, others] += 1
            self.gram[slot, slot] += 1
        if self.since_refit >= self.refit_events:
            self.refit()

    def refit(self) -> None:
        """Solve for the weights; every item in the matrix is touched."""
        used = np.flatnonzero(self.row_of_slot)
        self.since_refit = 0
        if len(used) == 0:
            return
        weights = ease_weights(self.gram[np.ix_(used, used)], self.l2)  # [U, U]
        order = np.argsort(-weights, axis=1, kind="stable")[:, : self.width]  # [U, W]
        rows = self.row_of_slot[used]
        shape = (len(self.items), order.shape[1])
        self.items, self.weights = np.zeros(shape, np.int32), np.zeros(shape, np.float32)
        self.items[rows] = rows[order]
        self.weights[rows] = np.take_along_axis(weights, order, axis=1)
        self._clear_itself(rows)
        self._touched.update(rows.tolist())

    def lookup(self, rows: Rows) -> tuple[NDArray[np.int32], Weights]:
        """Neighbours and weights of rows [H] -> [H, W], [H, W], as of the last refit."""
        return self.items[rows], self.weights[rows]

    def best(self, row: int, width: int) -> tuple[NDArray[np.int32], Weights]:
        """Return the ``width`` strongest neighbours of a row, best first: what is published."""
        known = self.items[row] > 0
        return self.items[row][known][:width], self.weights[row][known][:width]

    def score(self, context: Context, candidates: Candidates) -> Tensor:
        """Sum the weights of the history's distinct items -> [B, N]."""
        scores = np.zeros(candidates.items.shape, np.float32)
        for example, items in enumerate(candidates.items.numpy()):
            history = np.unique(context.history_items[example].numpy())
            near, weights = self.lookup(history[history > 1])
            sums = np.bincount(near.ravel(), weights.ravel(), minlength=len(self.items))
            sums[:2] = 0  # padding and the unknown item are nobody's neighbours
            scores[example] = sums[items]
        return torch.from_numpy(scores)  # [B, N]

    def touched(self) -> list[int]:
        """Rows whose neighbours changed since the last call."""
        rows, self._touched = sorted(self._touched), set()
        return rows

    def forget(self, rows: Rows) -> None:
        """Clear rows whose item left the catalogue."""
        slots = self.slot_of_row[rows]
        self._free(slots[slots >= 0])
        self.items[rows], self.weights[rows] = 0, 0
        gone = np.isin(self.items, rows)
        self.items[gone], self.weights[gone] = 0, 0

    def state_dict(self) -> dict[str, Any]:
        """Return the matrix, who has which slot, the weights in use, and the rows not yet published."""
        used = int(np.flatnonzero(self.items.any(axis=1)).max(initial=0)) + 1
        return {
            "gram": self.gram.copy(),
            "row_of_slot": self.row_of_slot.copy(),
            "items": self.items[:used].copy(),
            "weights": self.weights[:used].copy(),
            "since_refit": self.since_refit,
            "touched": sorted(self._touched),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``."""
        self.gram, self.row_of_slot = np.array(state["gram"]), np.array(state["row_of_slot"])
        self.slot_of_row[:] = -1
        slots = np.flatnonzero(self.row_of_slot)
        self.slot_of_row[self.row_of_slot[slots]] = slots
        shape = (len(self.slot_of_row), state["items"].shape[1])
        self.items, self.weights = np.zeros(shape, np.int32), np.zeros(shape, np.float32)
        self.items[: len(state["items"])] = state["items"]
        self.weights[: len(state["weights"])] = state["weights"]
        self.since_refit = state["since_refit"]
        self._touched = set(state["touched"])

    def export(self) -> dict[str, Graph]:
        """Nothing to trace: rows are published as they change."""
        return {}

    def _clear_itself(self, rows: Rows) -> None:
        """Take out the zero diagonal where a short list has reached it."""
        itself = self.items[rows] == rows[:, None]  # [U, W]
        self.items[rows] = np.where(itself, 0, self.items[rows])

    def _slot(self, row: int) -> int:
        """Slot of an item, given to it where it has none."""
        if self.slot_of_row[row] < 0:
            free = np.flatnonzero(self.row_of_slot == 0)
            slot = int(free[0]) if len(free) else self._make_room()
            self.row_of_slot[slot], self.slot_of_row[row] = row, slot
        return int(self.slot_of_row[row])

    def _make_room(self) -> int:
        """Double the matrix up to the capacity; then free the slot of the item with the fewest users."""
        size = len(self.gram)
        if size >= self.capacity:
            fewest = int(np.diagonal(self.gram).argmin())
            self._free(np.array([fewest]))
            return fewest
        gram = np.zeros((min(max(2 * size, 16), self.capacity),) * 2, np.float32)
        gram[:size, :size] = self.gram
        self.gram = gram
        self.row_of_slot = np.concatenate([self.row_of_slot, np.zeros(len(gram) - size, np.int64)])
        return size

    def _free(self, slots: Rows) -> None:
        self.gram[slots] = 0
        self.gram[:, slots] = 0
        self.slot_of_row[self.row_of_slot[slots]] = -1
        self.row_of_slot[slots] = 0


def ease_weights(gram: Weights, l2: float) -> Weights:
    """Solve for ``B = -P / diag(P)`` with zero diagonal, ``P = (G + λI)⁻¹``, by Cholesky in place. [N, N] -> [N, N].

    ``B[i, j]`` is what item i says for item j.

    Raises
    ------
    ValueError
        ``l2`` is not positive, or the matrix is no Gram matrix.

    Examples
    --------
    >>> ease_weights(np.array([[2, 1], [1, 1]], np.float32), l2=1.0).tolist()
    [[0.0, 0.333], [0.5, 0.0]]
    """
    if l2 <= 0:
        raise ValueError(f"l2 is {l2}; give a positive number, such as 100")
    matrix = np.array(gram, np.float32, order="F")  # column-major, as LAPACK works in place
    np.fill_diagonal(matrix, matrix.diagonal() + np.float32(l2))
    inverse = _inverse(matrix)
    inverse /= -inverse.diagonal().copy()  # column j by its own P_jj
    np.fill_diagonal(inverse, 0)
    return inverse


def _inverse(matrix: Weights) -> Weights:
    """Inverse of a symmetric positive definite matrix, in its place. [N, N]."""
    factor, failed = lapack.spotrf(matrix, lower=True, overwrite_a=True)
    if failed:
        raise ValueError("the matrix plus λI is not positive definite; give a Gram matrix of finite numbers")
    inverse: Weights = lapack.spotri(factor, lower=True, overwrite_c=True)[0]
    block = 1024  # the upper half is copied by blocks, so that no second matrix is needed
    for start in range(0, len(inverse), block):
        here, after = slice(start, start + block), slice(start + block, None)
        inverse[here, after] = inverse[after, here].T
        inverse[here, here] = np.tril(inverse[here, here]) + np.tril(inverse[here, here], -1).T
    return inverse
