"""Optimisers that torch does not bring."""

from online_models.optim.clippy import Clippy, clippy_adagrad
from online_models.optim.delayed_adagrad import DelayedAdagrad
from online_models.optim.grouped import Grouped
from online_models.optim.lazy_adam import LazyAdam

__all__ = ["Clippy", "DelayedAdagrad", "Grouped", "LazyAdam", "clippy_adagrad"]
