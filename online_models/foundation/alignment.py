"""One space for ever: each refresh turns the space of the vectors, and what is published is turned back.

Scores are inner products, so a rotation of items and users together changes none of them. But vectors are read at
different moments: a user's from one refresh, an index from the next. An orthogonal map onto the last published space
keeps old and new vectors comparable.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Alignment:
    """An orthogonal map, and how well it fits."""

    rotation: Tensor  # [D, D]
    residual: float  # what no rotation explains: |X Q - Y| / |Y|, 0 is a perfect fit

    def __call__(self, vectors: Tensor) -> Tensor:
        """Turn vectors [..., D] into the earlier space."""
        return vectors @ self.rotation

    @classmethod
    def identity(cls, dimension: int) -> Alignment:
        """No turn: what the first version gets."""
        return cls(torch.eye(dimension), 0.0)


def procrustes(vectors: Tensor, earlier: Tensor, weights: Tensor | None = None) -> Alignment:
    """Orthogonal map that brings vectors [N, D] nearest to their earlier selves [N, D].

    ``Q = argmin |W½ (X Q - Y)|`` over ``QᵀQ = 1``; with ``Xᵀ W Y = U S Vᵀ`` it is ``Q = U Vᵀ`` [1]_. Reflections are
    allowed, as they change no inner product either. Computed in double precision.

    Parameters
    ----------
    vectors
        The new vectors of what both spaces know.
    earlier
        The same, as last published.
    weights
        [N] how much each counts; all alike where None.

    Raises
    ------
    ValueError
        The two differ in shape, or something in them is not finite.

    References
    ----------
    .. [1] P. Schönemann, "A generalized solution of the orthogonal Procrustes problem", Psychometrika 1966.

    Examples
    --------
    >>> old = torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    >>> turned = old @ torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
    >>> found = procrustes(turned, old)
    >>> torch.allclose(found(turned), old, atol=1e-6), round(found.residual, 4)
    (True, 0.0)
    """
    if vectors.shape != earlier.shape or vectors.dim() != 2:
        raise ValueError(
            f"vectors have shape {list(vectors.shape)}, the earlier ones {list(earlier.shape)}; give [N, D] of both"
        )
    new, old = vectors.double(), earlier.double()
    if not (torch.isfinite(new).all() and torch.isfinite(old).all()):
        raise ValueError("a vector is not finite; publish nothing of a model that has diverged")
    shares = torch.ones(len(new), 1, dtype=torch.float64) if weights is None else weights.double()[:, None]
    left, _, right = torch.linalg.svd(new.T @ (shares * old))
    rotation = left @ right
    error = (shares * (new @ rotation - old) ** 2).sum().sqrt()
    length = (shares * old**2).sum().sqrt()
    residual = float(error / length) if length > 0 else 0.0
    return Alignment(rotation.to(vectors.dtype), residual)
