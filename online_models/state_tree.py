"""State trees: the nested state of a learner as named tensors plus one JSON text, and back, bit for bit.

A state may hold dicts (keys str, int, float, bool or None), lists, tuples, str, bytes, bool, int, float, None, NumPy
arrays and scalars, and torch tensors. Nothing is pickled, so a file of unknown origin can only ever become data.

>>> tensors, structure = pack({"steps": 3, 0: [1.5, torch.ones(2)]})
>>> sorted(tensors), unpack(tensors, structure)
(['0'], {'steps': 3, 0: [1.5, tensor([1., 1.])]})
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

_KEYS = (str, int, float, bool, type(None))
_ALLOWED = "dict, list, tuple, str, bytes, bool, int, float, None, NumPy arrays and torch tensors"


def pack(state: Any) -> tuple[dict[str, Tensor], str]:
    """Split a state into dense CPU tensors by name and the JSON text of everything else.

    Raises
    ------
    TypeError
        The state holds something that is not data; the message says where.
    """
    tensors: dict[str, Tensor] = {}
    structure = _encode(state, "state", tensors)
    return tensors, json.dumps(structure, separators=(",", ":"))


def unpack(tensors: dict[str, Tensor], structure: str) -> Any:
    """Rebuild the state that :func:`pack` has split."""
    return _decode(json.loads(structure), tensors)


def equal(left: Any, right: Any) -> bool:
    """Whether two states agree in structure, types and every bit (so NaN equals NaN, and 0.0 is not -0.0).

    >>> equal({"w": torch.zeros(2)}, {"w": torch.zeros(2)}), equal({"w": torch.zeros(2)}, {"w": torch.zeros(3)})
    (True, False)
    """
    (left_tensors, left_structure), (right_tensors, right_structure) = pack(left), pack(right)
    return left_structure == right_structure and all(
        _same_bits(tensor, right_tensors[name]) for name, tensor in left_tensors.items()
    )


def size_bytes(state: Any) -> int:
    """Bytes that a state takes once packed.

    >>> size_bytes({"w": torch.zeros(10)})
    71
    """
    tensors, structure = pack(state)
    return len(structure) + sum(tensor.nbytes for tensor in tensors.values())


def bits(tensor: Tensor) -> Tensor:
    """Bytes of a tensor, in row-major order, without a copy where that can be. [tensor.nbytes] uint8."""
    # an empty NumPy array brings strides that cannot be viewed as bytes
    flat = tensor.contiguous().reshape(-1) if tensor.numel() else tensor.new_empty(0)
    return flat.view(torch.uint8)


def _same_bits(left: Tensor, right: Tensor) -> bool:
    return left.dtype == right.dtype and left.shape == right.shape and torch.equal(bits(left), bits(right))


def _encode(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """JSON of one value; plain values are themselves, everything else is {tag: content}."""
    if value is None or type(value) in (str, bool, int, float):
        return value
    if isinstance(value, list):
        return [_encode(item, f"{path}[{place}]", tensors) for place, item in enumerate(value)]
    if isinstance(value, tuple):
        return {"tuple": [_encode(item, f"{path}[{place}]", tensors) for place, item in enumerate(value)]}
    if isinstance(value, dict):
        return {"dict": [_encode_item(key, item, path, tensors) for key, item in value.items()]}
    tag, tensor = _as_tensor(value, path)
    name = str(len(tensors))
    tensors[name] = tensor
    return {tag: name}


def _encode_item(key: Any, value: Any, path: str, tensors: dict[str, Tensor]) -> list[Any]:
    if type(key) not in _KEYS:
        raise TypeError(f"{path} has the key {key!r} of {type(key)}; keys may be str, int, float, bool or None")
    return [key, _encode(value, f"{path}[{key!r}]", tensors)]


def _as_tensor(value: Any, path: str) -> tuple[str, Tensor]:
    if isinstance(value, Tensor):
        if value.layout != torch.strided:
            raise TypeError(f"{path} is a tensor of layout {value.layout}; only dense ones are kept: call to_dense()")
        return "tensor", value.detach().cpu().contiguous()
    if isinstance(value, bytes):
        return "bytes", torch.from_numpy(np.frombuffer(value, np.uint8).copy())
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "biufc":
        tag = "array" if isinstance(value, np.ndarray) else "scalar"
        return tag, torch.from_numpy(np.array(value, value.dtype.newbyteorder("="), order="C"))
    what = f"{type(value)} of {value.dtype}" if isinstance(value, np.ndarray) else type(value)
    raise TypeError(f"{path} is a {what}; a state may hold {_ALLOWED}")


_readers: dict[str, Callable[[Tensor], Any]] = {
    "tensor": lambda tensor: tensor,
    "array": lambda tensor: tensor.numpy(),
    "scalar": lambda tensor: tensor.numpy()[()],
    "bytes": lambda tensor: tensor.numpy().tobytes(),
}


def _decode(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_decode(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    ((tag, content),) = value.items()
    if tag == "tuple":
        return tuple(_decode(item, tensors) for item in content)
    if tag == "dict":
        return {key: _decode(item, tensors) for key, item in content}
    return _readers[tag](tensors[content])
