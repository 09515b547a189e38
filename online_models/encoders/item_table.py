"""The table of item vectors that rankers start from."""

from __future__ import annotations

from torch import nn

from online_models.batch import PADDING


def item_table(rows: int, dimension: int, *, deviation: float = 0.02, sparse: bool = True) -> nn.Embedding:
    """Vectors [R, D] of catalogue rows, drawn from a normal distribution; padding is zero and stays so.

    Parameters
    ----------
    rows
        R.
    dimension
        D.
    deviation
        Of the draw.
    sparse
        Whether the gradient holds the touched rows alone, for an optimiser that moves only these.

    Examples
    --------
    >>> table = item_table(4, 2)
    >>> table.weight.shape, bool(table.weight[0].any())
    (torch.Size([4, 2]), False)
    """
    table = nn.Embedding(rows, dimension, padding_idx=PADDING, sparse=sparse)
    nn.init.normal_(table.weight, std=deviation)
    nn.init.zeros_(table.weight[PADDING].detach())
    return table
