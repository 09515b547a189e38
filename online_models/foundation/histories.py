"""The log of every user, as far as it is kept: what windows are cut from."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from online_models.sequences import Sequences

Rows = NDArray[np.int64]

_COLUMNS = {"items": np.int64, "actions": np.int64, "times_seconds": np.float64, "weights": np.float32}


@dataclass
class _History:
    """Events of one user, in arrays that double."""

    place: int
    size: int = 0
    fresh: int = 0  # newest events that were not learnt
    columns: dict[str, NDArray[Any]] = field(
        default_factory=lambda: {name: np.zeros(4, kind) for name, kind in _COLUMNS.items()}
    )

    def append(self, values: Sequence[float], most: int) -> None:
        if self.size == len(self.columns["items"]):
            self._make_room(most)
        for name, value in zip(self.columns, values, strict=True):
            self.columns[name][self.size] = value
        self.size += 1
        self.fresh = min(self.fresh + 1, self.size)

    def _make_room(self, most: int) -> None:
        """Double; at twice ``most`` events drop the older half instead."""
        kept = self.size if self.size < 2 * most else most
        room = min(2 * self.size, 2 * most)
        for name, values in self.columns.items():
            grown = np.zeros(room, values.dtype)
            grown[:kept] = values[self.size - kept : self.size]
            self.columns[name] = grown
        self.size, self.fresh = kept, min(self.fresh, kept)


class HistoryStore:
    """Histories of users, oldest event first, in bounded memory.

    Parameters
    ----------
    most_events
        Events kept of a user; the oldest go first. Up to twice as many are held between two clearings.
    most_users
        Users kept; the one whose last event was appended longest ago goes first.

    Examples
    --------
    >>> store = HistoryStore()
    >>> store.append("ada", item=5, action=1, time_seconds=10.0); store.append("ada", 6, 1, 20.0)
    >>> store.lengths(["ada"]).tolist(), store.fresh(["ada"]).tolist()
    ([2], [2])
    >>> store.cut(["ada"], np.array([0]), 4).items.tolist()
    [[5, 6]]
    """

    def __init__(self, most_events: int = 2_000, most_users: int = 1_000_000) -> None:
        if most_events < 2 or most_users < 1:
            raise ValueError(f"most_events is {most_events}, most_users {most_users}; give at least 2 and 1")
        self.most_events, self.most_users = most_events, most_users
        self._histories: OrderedDict[str | int, _History] = OrderedDict()
        self._fresh: dict[str | int, None] = {}
        self._known = 0  # users so far: gives each its number

    def __len__(self) -> int:
        """Return the number of users."""
        return len(self._histories)

    def __contains__(self, user: object) -> bool:
        """Whether something of the user is kept."""
        return user in self._histories

    def users(self) -> list[str | int]:
        """Everybody, least recently seen first."""
        return list(self._histories)

    def fresh_users(self) -> list[str | int]:
        """Users with events that were not learnt, in the order in which they came."""
        return list(self._fresh)

    def append(self, user: str | int, item: int, action: int, time_seconds: float, weight: float = 1.0) -> None:
        """Add one event at the end of a user's history."""
        history = self._histories.get(user)
        if history is None:
            history = self._histories[user] = _History(self._known)
            self._known += 1
        history.append((item, action, time_seconds, weight), self.most_events)
        self._histories.move_to_end(user)
        self._fresh[user] = None
        if len(self._histories) > self.most_users:
            gone, _ = self._histories.popitem(last=False)
            self._fresh.pop(gone, None)

    def forget_rows(self, rows: Iterable[int]) -> None:
        """Make events of rows whose item has left events of the unknown item."""
        gone = np.array(sorted(rows), np.int64)
        if len(gone) == 0:
            return
        for history in self._histories.values():
            items = history.columns["items"][: history.size]
            items[np.isin(items, gone)] = 1

    def learnt(self) -> None:
        """Note that every event has been learnt."""
        for user in self._fresh:
            self._histories[user].fresh = 0
        self._fresh.clear()

    def lengths(self, users: Sequence[str | int]) -> Rows:
        """Events of each user. [B]."""
        return np.array([self._histories[user].size for user in users], np.int64)

    def fresh(self, users: Sequence[str | int]) -> Rows:
        """How many of each user's events were not learnt. [B]."""
        return np.array([self._histories[user].fresh for user in users], np.int64)

    def numbers(self, users: Sequence[str | int]) -> Rows:
        """Each user's number, given in the order in which they came: what offsets are hashed of. [B]."""
        return np.array([self._histories[user].place for user in users], np.int64)

    def cut(
        self,
        users: Sequence[str | int],
        starts: Rows,
        length: int,
        *,
        only_fresh: NDArray[np.bool_] | None = None,
        asked_seconds: float | None = None,
    ) -> Sequences:
        """Cut a window of each history, right-aligned, as wide as the longest of them.

        Parameters
        ----------
        users
            [B]
        starts
            [B] first event of each window.
        length
            K, events in a window at most.
        only_fresh
            [B] windows in which what was learnt before is no target.
        asked_seconds
            When the list after a window is asked for; None: when its next event came, or its own newest one did.
        """
        found = [self._histories[user] for user in users]
        ends = [min(int(start) + length, history.size) for start, history in zip(starts, found, strict=True)]
        width = max([end - int(start) for start, end in zip(starts, ends, strict=True)], default=1)
        laid = {name: np.zeros((len(found), max(width, 1)), kind) for name, kind in _COLUMNS.items()}  # [B, T] each
        asked = np.zeros(len(found))
        for row, (history, start, end) in enumerate(zip(found, starts.tolist(), ends, strict=True)):
            for name, values in history.columns.items():
                laid[name][row, width - (end - start) :] = values[start:end]
            if only_fresh is not None and only_fresh[row]:
                unlearnt = min(max(end - (history.size - history.fresh), 0), width)
                laid["weights"][row, : width - unlearnt] = 0
            laid["weights"][row, : width - (end - start) + 1] = 0  # the first has nothing before it
            asked[row] = history.columns["times_seconds"][min(end, history.size - 1)]
        if asked_seconds is not None:
            asked[:] = asked_seconds
        return _sequences(laid, self.numbers(users), asked)

    def state_dict(self) -> dict[str, Any]:
        """Everything, in order."""
        histories = self._histories.values()
        empty: list[NDArray[Any]] = [np.zeros(0)]
        return {
            "users": list(self._histories),
            "places": [history.place for history in histories],
            "sizes": np.array([history.size for history in histories], np.int64),
            "fresh": np.array([history.fresh for history in histories], np.int64),
            "fresh_users": list(self._fresh),
            "known": self._known,
            "columns": {
                name: np.concatenate([history.columns[name][: history.size] for history in histories] or empty).astype(
                    kind
                )
                for name, kind in _COLUMNS.items()
            },
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``."""
        self._histories.clear()
        ends = np.cumsum(np.asarray(state["sizes"]))
        columns = {name: np.asarray(values) for name, values in state["columns"].items()}
        for index, user in enumerate(state["users"]):
            size = int(state["sizes"][index])
            part = {name: values[ends[index] - size : ends[index]].copy() for name, values in columns.items()}
            self._histories[user] = _History(state["places"][index], size, int(state["fresh"][index]), part)
        self._fresh = dict.fromkeys(state["fresh_users"])
        self._known = state["known"]


def _sequences(laid: dict[str, NDArray[Any]], numbers: Rows, asked: NDArray[np.float64]) -> Sequences:
    return Sequences(
        items=torch.from_numpy(laid["items"]),
        actions=torch.from_numpy(laid["actions"]),
        times_seconds=torch.from_numpy(laid["times_seconds"]),
        target_weights=torch.from_numpy(laid["weights"]),
        users=torch.from_numpy(numbers),
        asked_seconds=torch.from_numpy(asked),
    )
