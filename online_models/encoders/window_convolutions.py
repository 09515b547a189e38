"""Convolutions over the last L items of a history, seen as an image of items by dimensions."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class WindowConvolutions(nn.Module):
    """Horizontal and vertical filters over windows of L items, mixed into one vector a window.

    With E the L × D image of a window, missing items 0::

        o_h  = max over time of ReLU(conv_{h × D}(E))      n_h filters of every height h = 1 … L
        õ    = conv_{L × 1}(E)                             n_v filters: weighted sums of the L items
        z    = ReLU(W [o_1 … o_L; õ] + b)

    A convolution runs once over a whole history, and each position takes the maximum over its own window.

    Parameters
    ----------
    dimension
        D, of the image and of what comes out.
    window
        L.
    horizontal_filters, vertical_filters
        n_h of each height, n_v.
    dropout
        Of what the filters answer.

    References
    ----------
    J. Tang, K. Wang, "Personalized Top-N Sequential Recommendation via Convolutional Sequence Embedding", WSDM 2018.

    Examples
    --------
    >>> convolutions = WindowConvolutions(4, window=3, horizontal_filters=2, vertical_filters=1, dropout=0.0)
    >>> convolutions.slide(torch.zeros(1, 7, 4)).shape, convolutions.last(torch.zeros(1, 2, 4)).shape
    (torch.Size([1, 7, 4]), torch.Size([1, 4]))
    """

    def __init__(
        self, dimension: int, *, window: int, horizontal_filters: int, vertical_filters: int, dropout: float
    ) -> None:
        super().__init__()
        self.window = window
        heights = range(1, window + 1)
        self.horizontal = nn.ModuleList(nn.Conv1d(dimension, horizontal_filters, height) for height in heights)
        self.vertical = nn.Conv2d(1, vertical_filters, (window, 1))
        self.dropout = nn.Dropout(dropout)
        self.mix = nn.Linear(horizontal_filters * window + vertical_filters * dimension, dimension)

    def slide(self, vectors: Tensor) -> Tensor:
        """One vector for the window that ends at each of ``vectors`` [B, T, D]. [B, T, D]."""
        return self._mixed(F.pad(vectors, (0, 0, self.window - 1, 0)))

    def last(self, vectors: Tensor) -> Tensor:
        """Only the window that ends at the last of ``vectors`` [B, T, D]; missing ones count as 0. [B, D]."""
        newest = vectors[:, -self.window :]  # [B, ≤ L, D]
        return self._mixed(F.pad(newest, (0, 0, self.window - newest.shape[1], 0)))[:, 0]

    def _mixed(self, image: Tensor) -> Tensor:
        """One vector for each window of the image [B, T + L - 1, D] -> [B, T, D]."""
        seen = [self._strongest(conv, image) for conv in self.horizontal]  # each [B, T, n_h]
        seen.append(self.vertical(image[:, None]).transpose(1, 2).flatten(2))  # [B, T, n_v D]
        return F.relu(self.mix(self.dropout(torch.cat(seen, 2))))  # [B, T, D]

    def _strongest(self, conv: nn.Module, image: Tensor) -> Tensor:
        """Filter once over the image, then take the maximum within each window of L. [B, T, n_h]."""
        assert isinstance(conv, nn.Conv1d)
        places = self.window - conv.kernel_size[0] + 1  # of the filter within a window
        answers = F.relu(conv(image.transpose(1, 2)))  # [B, n_h, T + places - 1]
        return F.max_pool1d(answers, places, stride=1).transpose(1, 2)
