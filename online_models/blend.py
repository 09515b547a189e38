"""The listwise blend: what many sources say of every item, weighed by the context and learnt one event at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class ListwiseBlend:
    """Score ``s(i) = Σ_f w_f(c) · f(i)``, with ``w_f(c) = ⟨W_f, c⟩`` linear in a small context c.

    Every source gives two features of an item that it scores with v: ``log(v / max v + ε)``, which ranks by ratios and
    keeps a long tail, and ``v / max v``, which looks at the top alone. The loss is softmax cross-entropy over all
    items that may be shown; Adagrad takes one step an event.

    Parameters
    ----------
    sources
        Number of sources, S.
    contexts
        Context features, C; the first should be 1.
    config
        Steps and shape of the features.

    References
    ----------
    J. Duchi, E. Hazan, Y. Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic Optimization",
    JMLR 2011.

    Examples
    --------
    >>> blend = ListwiseBlend(sources=2, contexts=1)
    >>> scores = np.array([[0, 1, 0], [1, 0, 0]], np.float32)  # the first source knows, the second misleads
    >>> context = np.ones(1, np.float32)
    >>> losses = [blend.learn(scores, context, target=1) for _ in range(20)]
    >>> losses[-1] < losses[0], int(blend.score(scores, context).argmax())
    (True, 1)
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """Steps and shape of the features."""

        learning_rate: float = 0.03
        epsilon: float = 1e-3
        initial: float = 0.1  # weight of every feature before anything is learnt
        l2: float = 0.0

    def __init__(self, sources: int, contexts: int, config: Config | None = None) -> None:
        self.config = config or self.Config()
        self.weights = np.zeros((2 * sources, contexts), np.float32)  # [F, C]
        self.weights[:, 0] = self.config.initial
        self.squares = np.full_like(self.weights, 1e-8)  # [F, C] sums of squared gradients
        self.steps = 0

    def features(self, scores: Floats) -> Floats:
        """Log shares, then shares, of non-negative scores; a silent source says the same of all. [S, R] -> [2S, R]."""
        top = scores.max(axis=-1, keepdims=True)  # [S, 1]
        count = len(scores)
        made: Floats = np.empty((2 * count, *scores.shape[1:]), np.float32)
        np.multiply(scores, 1 / np.maximum(top, 1e-30), out=made[count:])
        np.maximum(made[count:], 0, out=made[count:])
        np.log(made[count:] + np.float32(self.config.epsilon), out=made[:count])
        return made

    def score(self, scores: Floats, context: Floats) -> Floats:
        """Blend what the sources say. [S, R], [C] -> [R]; or [S, B, R], [B, C] -> [B, R]."""
        return combine(self.features(scores), self.weights @ context.T)

    def gradient(
        self, features: Floats, context: Floats, target: int, allowed: NDArray[np.bool_] | None = None
    ) -> tuple[float, Floats]:
        """Cross-entropy of one event and its gradient: [F, R], [C], target column, [R] -> loss, [F, C]."""
        logits = combine(features, self.weights @ context)  # [R]
        if allowed is not None:
            logits[~allowed & (np.arange(len(logits)) != target)] = -np.inf
        logits -= logits.max()
        shares = np.exp(logits)  # [R]
        total = float(shares.sum())
        expected = features @ (shares / np.float32(total))  # [F]
        loss = float(np.log(total) - logits[target])
        gradient: Floats = np.outer(expected - features[:, target], context).astype(np.float32)
        return loss, gradient

    def learn(self, scores: Floats, context: Floats, target: int, allowed: NDArray[np.bool_] | None = None) -> float:
        """Take one Adagrad step on one event and return the loss before it.

        Parameters
        ----------
        scores
            [S, R] what the sources said before they learnt the event.
        context
            [C]
        target
            Column of what was taken.
        allowed
            [R] True where an item may be shown; all where None. The target always counts.
        """
        loss, gradient = self.gradient(self.features(scores), context, target, allowed)
        self.step(gradient)
        return loss

    def step(self, gradient: Floats) -> None:
        """Take an Adagrad step along a gradient [F, C]; one that is not finite is skipped."""
        if not np.isfinite(gradient).all():
            return
        gradient = gradient + self.config.l2 * self.weights
        self.squares += gradient * gradient
        self.weights -= self.config.learning_rate * gradient / np.sqrt(self.squares)
        self.steps += 1

    def learn_many(
        self, scores: Floats, contexts: Floats, targets: NDArray[np.int64], allowed: NDArray[np.bool_]
    ) -> float:
        """Take one step on the mean gradient of a batch: the offline form. [S, B, R], [B, C], [B], [B, R] -> loss."""
        features = self.features(scores)  # [F, B, R]
        logits = combine(features, self.weights @ contexts.T)  # [B, R]
        logits[~allowed] = -np.inf
        logits -= logits.max(axis=1, keepdims=True)
        shares = np.exp(logits)
        totals = shares.sum(axis=1)  # [B]
        shares /= totals[:, None]
        places = np.arange(len(targets))
        losses = np.log(totals) - logits[places, targets]
        expected = np.einsum("fbr,br->fb", features, shares, optimize=True)  # [F, B]
        gradients = (expected - features[:, places, targets]) @ contexts  # [F, C]
        self.step((gradients / len(targets)).astype(np.float32))
        return float(losses.mean())

    def state_dict(self) -> dict[str, Any]:
        """Return weights, sums of squares and steps."""
        return {"weights": self.weights.copy(), "squares": self.squares.copy(), "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``.

        Raises
        ------
        ValueError
            The state is of another size.
        """
        if np.shape(state["weights"]) != self.weights.shape:
            raise ValueError(
                f"the state's weights are {np.shape(state['weights'])}, this blend's are {self.weights.shape}; "
                "use the same sources and context"
            )
        self.weights, self.squares = np.array(state["weights"]), np.array(state["squares"])
        self.steps = state["steps"]


def combine(features: Floats, weights: Floats) -> Floats:
    """Sum weighed features. [F, R], [F] -> [R]; or [F, B, R], [F, B] -> [B, R]."""
    if features.ndim == 2:
        flat: Floats = weights @ features
        return flat
    if features.shape[1] == 1:
        return combine(features[:, 0], weights[:, 0])[None]
    mixed: Floats = np.einsum("fbr,fb->br", features, weights)
    return mixed
