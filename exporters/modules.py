"""Modules as they are published: a frozen copy, and every tensor by its name."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


def frozen_copy(module: nn.Module) -> nn.Module:
    """Copy a module to the CPU in evaluation mode, so that learning goes on undisturbed while the copy is published."""
    frozen = copy.deepcopy(module).cpu().eval()
    return frozen.requires_grad_(False)


def values_of(module: nn.Module) -> dict[str, Tensor]:
    """Every parameter and buffer by its name; a shared tensor appears under each of its names.

    >>> sorted(values_of(nn.Linear(2, 1)))
    ['bias', 'weight']
    """
    named = dict(module.named_parameters(remove_duplicate=False))
    return {
        name: tensor.detach() for name, tensor in (named | dict(module.named_buffers(remove_duplicate=False))).items()
    }


def shaken_copy(module: nn.Module, seed: int = 0) -> nn.Module:
    """Copy a module and move every floating-point tensor a little.

    A graph into which a value was baked answers differently from this copy: that is how an export is proven to be live.
    """
    shaken = frozen_copy(module)
    generator = torch.Generator().manual_seed(seed)
    for tensor in {
        tensor.data_ptr(): tensor for tensor in values_of(shaken).values() if tensor.is_floating_point()
    }.values():
        noise = torch.randn(tensor.shape, generator=generator).to(tensor.dtype)
        tensor.mul_(1 + 0.05 * noise)
    for parameter in shaken.parameters():
        noise = torch.randn(parameter.shape, generator=generator).to(parameter.dtype)
        parameter.add_(0.01 * noise)
    return shaken
