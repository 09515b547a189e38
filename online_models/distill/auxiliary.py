"""Auxiliary-logit distillation: the soft label has a logit of its own, which is never served."""

from __future__ import annotations

from torch import Tensor, nn


class AuxiliaryHead(nn.Module):
    """A second logit from the shared bottom, for the teacher's labels alone.

    With the user's state u, the items' vectors e_j, and x_j what else the main logit reads of a candidate::

        main       z_j     = ⟨u, e_j⟩ + w · x_j                    learns the hard label, is served
        auxiliary  z_j^aux = ⟨A u + c, e_j⟩ + w^aux · x_j + b_j    learns the soft label
        loss = CE(y, z) + α · CE(q, z^aux)

    Both gradients reach the shared bottom, u and e; the soft label's does not reach the main logit's own weights w, and
    a bias of the teacher can settle in A, c, w^aux and b, which are not served. At first A is the identity and
    everything else 0: the head starts as the main logit without w.

    Parameters
    ----------
    dimension
        D of the user's state and of the items' vectors.
    inputs
        S, the number of values in ``main_inputs``; 0 where none are given.
    rows
        Catalogue rows that have a ``b_j`` of their own; 0 for none.

    References
    ----------
    "Bridging the Gap: Unpacking the Hidden Challenges in Knowledge Distillation for Online Ranking Systems", RecSys
    2024. What differs: the logit is listwise, a score of each item rather than one of each task.

    Examples
    --------
    >>> import torch
    >>> head, user, vectors = AuxiliaryHead(2), torch.tensor([[1.0, 2.0]]), torch.tensor([[[3.0, 0.0], [0.0, 1.0]]])
    >>> head(user, vectors).tolist()
    [[3.0, 2.0]]
    """

    def __init__(self, dimension: int, *, inputs: int = 0, rows: int = 0) -> None:
        super().__init__()
        self.user = nn.Linear(dimension, dimension)  # A, c
        nn.init.eye_(self.user.weight)
        nn.init.zeros_(self.user.bias)
        self.inputs = nn.Linear(inputs, 1, bias=False) if inputs else None  # w^aux
        self.item_bias = nn.Embedding(rows, 1, sparse=True) if rows else None  # b over its scale
        # one number has to move as far in a step as an inner product of D entries, or a bias settles in those first
        self.bias_scale = float(dimension)
        for own in (self.inputs, self.item_bias):
            if own is not None:
                nn.init.zeros_(own.weight)

    def forward(
        self,
        user: Tensor,
        candidate_vectors: Tensor,
        main_inputs: Tensor | None = None,
        items: Tensor | None = None,
    ) -> Tensor:
        """Auxiliary logits of candidates.

        Parameters
        ----------
        user
            [B, D] state of the user.
        candidate_vectors
            [B, N, D] vectors of the candidates, or [N, D] where all users share them.
        main_inputs
            [B, N, S] what else the main logit reads.
        items
            [B, N] or [N] catalogue rows of the candidates, which the head reads where it was built with ``rows``.

        Returns
        -------
        Tensor
            [B, N].

        Raises
        ------
        ValueError
            ``main_inputs`` has another width than the head was built for.
        """
        asked = self.user(user)  # [B, D]
        shared = candidate_vectors.dim() == 2
        logits: Tensor = asked @ candidate_vectors.T if shared else (candidate_vectors @ asked[:, :, None]).squeeze(2)
        if main_inputs is not None:
            logits = logits + self._heard(main_inputs)
        if self.item_bias is not None and items is not None:
            logits = logits + self.bias_scale * self.item_bias(items).squeeze(-1)
        return logits

    def _heard(self, main_inputs: Tensor) -> Tensor:
        """``w^aux · x_j``. [B, N]."""
        if self.inputs is None or self.inputs.in_features != main_inputs.shape[-1]:
            built = 0 if self.inputs is None else self.inputs.in_features
            raise ValueError(
                f"main_inputs has {main_inputs.shape[-1]} values a candidate, the head was built for {built}; "
                f"build it with inputs={main_inputs.shape[-1]}"
            )
        heard: Tensor = self.inputs(main_inputs).squeeze(-1)
        return heard
