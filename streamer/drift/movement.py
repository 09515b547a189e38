"""How far users' vectors move from one of their tested examples to the next."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize


class Movement:
    """Remembers the latest vectors of the latest users.

    Parameters
    ----------
    users
        How many are remembered.

    Examples
    --------
    >>> movement = Movement()
    >>> movement.observe(["u"], torch.tensor([[1.0, 0.0]])).isnan().item()
    True
    >>> movement.observe(["u"], torch.tensor([[0.0, 2.0]])).item()
    1.0
    """

    def __init__(self, users: int = 5_000) -> None:
        self._most = users
        self._vectors: OrderedDict[str, Tensor] = OrderedDict()  # longest unheard-of user first

    def observe(self, user_ids: Sequence[str], vectors: Tensor) -> Tensor:
        """Take vectors [B, D]; one minus the cosine to the user's last one, NaN for a new user. [B]."""
        moved = torch.full((len(user_ids),), torch.nan)
        for place, (user_id, vector) in enumerate(zip(user_ids, normalize(vectors, dim=1), strict=True)):
            last = self._vectors.pop(user_id, None)
            if last is not None:
                moved[place] = 1 - float(vector @ last)
            self._vectors[user_id] = vector
        while len(self._vectors) > self._most:
            self._vectors.popitem(last=False)
        return moved

    def state_dict(self) -> dict[str, Any]:
        """Return users and vectors [U, D]."""
        return {"users": list(self._vectors), "vectors": torch.stack([*self._vectors.values()] or [torch.zeros(0)])}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``."""
        self._vectors = OrderedDict(zip(state["users"], torch.as_tensor(state["vectors"]), strict=False))
