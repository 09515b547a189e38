"""BiasedMF: matrix factorisation with biases, learnt one event at a time by river."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from river import optim, reco
from torch import Tensor

from online_models.batch import Batch, Candidates, Context
from online_models.learner import Graph


class BiasedMF:
    """River's biased matrix factorisation behind the learner contract.

    ``ŷ(u, i) = μ + b_u + b_i + ⟨v_u, v_i⟩``, one SGD step on the squared error for each (user, item, y). Feedback is
    implicit: what was taken has y = 1, and ``negatives`` of the example's other candidates, drawn at random, y = 0.

    What differs from river: its dictionaries are replaced by arrays of fixed shape, so memory is bounded, scoring a
    whole catalogue is one matrix product, and looking at an unknown id creates nothing. Users share rows by modulo.

    Examples
    --------
    >>> from online_models.checks import SIZES, example_batch
    >>> learner = BiasedMF(BiasedMF.Config(rows=SIZES.rows, users=SIZES.users))
    >>> batch = example_batch(seed=1)
    >>> losses = [learner.learn(batch)["loss"] for _ in range(10)]
    >>> losses[-1] < losses[0]
    True

    References
    ----------
    A. Paterek, "Improving regularized singular value decomposition for collaborative filtering", KDD Cup 2007.
    """

    law_exceptions: ClassVar[dict[str, str]] = {"graphs_agree": "river has no graph: scored where it learns"}

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """Sizes and steps."""

        rows: int = 20_000
        users: int = 50_000
        factors: int = 10
        learning_rate: float = 0.05
        l2_latent: float = 0.01
        initial_deviation: float = 0.1
        negatives: int = 4
        seed: int = 7

    def __init__(self, config: Config | None = None) -> None:
        self.config = config = config or self.Config()
        self.steps = 0
        self._random = np.random.default_rng(config.seed)
        self.model = reco.BiasedMF(
            n_factors=config.factors,
            bias_optimizer=optim.SGD(config.learning_rate),
            latent_optimizer=optim.SGD(config.learning_rate),
            l2_latent=config.l2_latent,
        )
        self.model.u_biases = np.zeros(config.users)  # [U]
        self.model.i_biases = np.zeros(config.rows)  # [R]
        self.model.u_latents = self._random.normal(
            0, config.initial_deviation, (config.users, config.factors)
        )  # [U, D]
        self.model.i_latents = self._random.normal(0, config.initial_deviation, (config.rows, config.factors))  # [R, D]

    @classmethod
    def make_for_checks(cls) -> BiasedMF:
        """Build a small one for the laws."""
        from online_models.checks import SIZES

        return cls(cls.Config(rows=SIZES.rows, users=SIZES.users, factors=4, negatives=2))

    def learn(self, batch: Batch) -> dict[str, float]:
        """Take one SGD step for each positive and each sampled negative; the loss is measured before each step."""
        users = self._user_rows(batch.context)  # [B]
        items, labels = batch.candidates.items.numpy(), batch.labels.numpy() > 0  # [B, N]
        errors: list[float] = []
        for example, user in enumerate(users.tolist()):
            for item, target in self._pairs(items[example], labels[example]):
                errors.append((self.model.predict_one(user, item) - target) ** 2)
                self.model.learn_one(user, item, target)
        self.steps += 1
        return {"loss": float(np.mean(errors)) if errors else 0.0}

    def score(self, context: Context, candidates: Candidates) -> Tensor:
        """Score candidates; equal to river's ``predict_one`` for every pair. [B, N]."""
        users, items = self._user_rows(context), candidates.items.numpy()  # [B], [B, N]
        model = self.model
        product = np.einsum("bd,bnd->bn", model.u_latents[users], model.i_latents[items])  # [B, N]
        scores = model.global_mean.get() + model.u_biases[users][:, None] + model.i_biases[items] + product
        return torch.from_numpy(scores.astype(np.float32))

    def forget(self, rows: NDArray[np.int64]) -> None:
        """Give catalogue rows [K] whose item has left a fresh start."""
        self.model.i_biases[rows] = 0.0
        shape = (len(rows), self.config.factors)
        self.model.i_latents[rows] = self._random.normal(0, self.config.initial_deviation, shape)

    def state_dict(self) -> dict[str, Any]:
        """Arrays, river's counters and the state of the random numbers."""
        model = self.model
        return {
            "arrays": {name: getattr(model, name).copy() for name in _ARRAYS},
            "iterations": {name: getattr(model, name).n_iterations for name in _OPTIMIZERS},
            "mean": [model.global_mean.n, float(model.global_mean.get())],
            "steps": self.steps,
            "random": self._random.bit_generator.state,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where ``state_dict`` was taken.

        Raises
        ------
        ValueError
            The state is of another size.
        """
        for name, array in state["arrays"].items():
            expected = getattr(self.model, name).shape
            if array.shape != expected:
                raise ValueError(
                    f"the state's {name} is {array.shape}, this model's is {expected}; use the same Config"
                )
            setattr(self.model, name, array.copy())
        for name, iterations in state["iterations"].items():
            getattr(self.model, name).n_iterations = iterations
        count, mean = state["mean"]
        self.model.global_mean = type(self.model.global_mean)._from_state(count, mean)
        self.steps = state["steps"]
        self._random.bit_generator.state = state["random"]

    def export(self) -> dict[str, Graph]:
        """Return nothing: this baseline is scored where it learns."""
        return {}

    def _user_rows(self, context: Context) -> NDArray[np.int64]:
        rows: NDArray[np.int64] = context.user.numpy() % self.config.users
        return rows

    def _pairs(self, items: NDArray[np.int64], taken: NDArray[np.bool_]) -> list[tuple[int, float]]:
        """Positives of one example [N], and some of what was not taken."""
        present = items > 0
        others = items[present & ~taken]
        drawn = self._random.permutation(len(others))[: self.config.negatives]
        positives = items[present & taken]
        if len(positives) == 0:
            return []
        return [(item, 1.0) for item in positives.tolist()] + [(item, 0.0) for item in others[drawn].tolist()]


_ARRAYS = ("u_biases", "i_biases", "u_latents", "i_latents")
_OPTIMIZERS = ("u_bias_optimizer", "i_bias_optimizer", "u_latent_optimizer", "i_latent_optimizer")
