"""A learning rate of their own for embedding tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from online_models.optim.lazy_adam import LazyAdam


def with_table_rate(
    tables: Iterable[Tensor], *, rate: float = 1e-3, table_rate: float = 3e-2
) -> Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]:
    """Make Adam at ``rate``, and at ``table_rate`` for the touched rows of ``tables``.

    A row moves only when its item comes, a few times an epoch, while the rest moves in every step. At one rate either
    the rows hardly leave their start or the rest is unstable.

    Parameters
    ----------
    tables
        Parameters with sparse gradients, such as a ranker's ``item_tables()``; buffers among them are passed over.
    rate, table_rate
        Lengths of a first step.

    Examples
    --------
    >>> table, rest = nn.Embedding(3, 1, sparse=True), nn.Linear(1, 1)
    >>> optimizer = with_table_rate([table.weight])([*table.parameters(), *rest.parameters()])
    >>> [(len(group["params"]), group["lr"]) for group in optimizer.param_groups]
    [(1, 0.03), (2, 0.001)]
    """
    chosen = {id(table) for table in tables}

    def make(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        given = list(parameters)
        apart = [parameter for parameter in given if id(parameter) in chosen]
        rest = [parameter for parameter in given if id(parameter) not in chosen]
        groups: list[dict[str, Any]] = [{"params": apart, "lr": table_rate}, {"params": rest}]
        return LazyAdam(groups, lr=rate)

    return make
