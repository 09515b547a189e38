"""Optimisers that torch does not bring."""

from online_models.optim.lazy_adam import LazyAdam

__all__ = ["LazyAdam"]
