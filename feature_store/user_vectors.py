"""Users' vectors of the foundation model: a process publishes them, servers read one for a request, Feast keeps them.

A vector is of use only beside item vectors of the same space, so each carries the space's name and the version that it
was computed by.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feature_store import rows
from feature_store.definitions import FOUNDATION_VECTOR, PROJECT, Definitions
from feature_store.feast_alone import FloatList, Value
from feature_store.online import prepare_sqlite
from feature_store.repository import OnlineKind, open_repository

_FIELDS = ["vector", "space", "version", "computed_time_ms"]


@dataclass(frozen=True, kw_only=True)
class UserVector:
    """One user's vector as it was published."""

    vector: NDArray[np.float32]  # [D]
    space: str
    version: str
    computed_time_ms: int


class UserVectors:
    """Reads and writes the view ``foundation_vector``. Objects are safe to share between threads.

    A process that is killed inside :meth:`push` leaves some users at the version before; :meth:`read` says which.
    """

    def __init__(self, repository: Any, definitions: Definitions) -> None:
        self._config = repository.config
        self._provider = repository._get_provider()
        self._view = definitions.views[FOUNDATION_VECTOR]
        self._guard: AbstractContextManager[Any] = nullcontext()
        if self._config.online_store.type == "sqlite":
            self._guard = RLock()  # one connection: a read inside another thread's transaction would see it
            prepare_sqlite(self._connection())

    @classmethod
    def open(
        cls,
        feast_dir: Path,
        online_store: OnlineKind = "sqlite",
        redis_url: str = "redis://localhost:6379/0",
        *,
        project: str = PROJECT,
    ) -> UserVectors:
        """Open the repository, see :meth:`feature_store.online.OnlineStore.open`."""
        return cls(*open_repository(feast_dir, online_store, redis_url, project))

    def push(
        self, user_ids: Sequence[str], vectors: NDArray[np.float32], *, space: str, version: str, time_ms: int
    ) -> None:
        """Write the vectors [N, D] of some users [N] in one batch.

        Raises
        ------
        ValueError
            There is not one vector a user, or one is not finite; nothing has been written then.
        """
        if vectors.ndim != 2 or len(vectors) != len(user_ids) or not np.isfinite(vectors).all():
            raise ValueError(
                f"{len(user_ids)} users came with vectors of shape {vectors.shape}; give one finite row a user"
            )
        batch = [
            (rows.user_key(user_id), _values(vector, space, version, time_ms), rows.moment(time_ms), None)
            for user_id, vector in zip(user_ids, vectors, strict=True)
        ]
        if batch:
            with self._guard:
                self._provider.online_write_batch(self._config, self._view, batch, None)

    def read(self, user_id: str) -> UserVector | None:
        """Vector of a user; None for one who has none."""
        with self._guard:
            (_, values), *_ = self._provider.online_read(self._config, self._view, [rows.user_key(user_id)], _FIELDS)
        if not values or not values["vector"].float_list_val.val:
            return None
        return UserVector(
            vector=np.array(values["vector"].float_list_val.val, np.float32),
            space=values["space"].string_val,
            version=values["version"].string_val,
            computed_time_ms=values["computed_time_ms"].int64_val,
        )

    def close(self) -> None:
        """Close the connection."""
        if self._config.online_store.type == "sqlite":
            self._connection().close()
        else:
            self._provider.online_store._get_client(self._config.online_store).close()

    def _connection(self) -> Any:
        return self._provider.online_store._get_conn(self._config)


def _values(vector: NDArray[np.float32], space: str, version: str, time_ms: int) -> dict[str, Any]:
    return {
        "vector": Value(float_list_val=FloatList(val=vector.tolist())),
        "space": Value(string_val=space),
        "version": Value(string_val=version),
        "computed_time_ms": Value(int64_val=time_ms),
    }
