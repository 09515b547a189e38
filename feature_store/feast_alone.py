"""What this package uses of Feast, imported without torch.

Feast imports torch where it is installed, for a conversion to tensors that is not used here. That takes a second or two
of every start of a worker or a server, and some 180 MB of its memory, so torch is out of reach while Feast is imported;
a process that has it already, or wants it later, is not affected.

>>> FeatureStore.__module__
'feast.feature_store'
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _out_of_reach(module: str) -> Iterator[None]:
    """Let imports of a module fail that has not been imported yet."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[module]


with _out_of_reach("torch"):
    from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, PushSource, ValueType
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import FloatList, Int64List, StringList, Value
    from feast.types import Array, Bool, Bytes, FeastType, Float32, Float64, Int64, String

__all__ = [
    "Array", "Bool", "Bytes", "Entity", "EntityKey", "FeastType", "FeatureService", "FeatureStore", "FeatureView",
    "Field", "FileSource", "Float32", "Float64", "FloatList", "Int64", "Int64List", "PushSource", "String",
    "StringList", "Value", "ValueType",
]  # fmt: skip
