from __future__ import annotations

import torch

from online_models.candidate_network import CandidateLists
from online_models.recommenders.list_store import ListStore


def lists(*targets: int) -> CandidateLists:
    count = len(targets)
    return CandidateLists(
        inputs=torch.tensor(targets).float()[:, None, None].expand(count, 3, 2),
        contexts=torch.ones(count, 1),
        blended=torch.zeros(count, 3),
        rest=torch.zeros(count),
        targets=torch.tensor(targets),
    )


def test_the_oldest_make_room() -> None:
    store = ListStore(3)
    store.add(lists(0, 1, 2, 9), torch.tensor([0, 1, 2]))
    store.add(lists(-1, 1), torch.tensor([0, 1]))
    assert len(store) == 3 and store.newest(3).targets.tolist() == [2, -1, 1]
    assert store.newest(9).inputs[:, 0, 0].tolist() == [2, -1, 1] and store.newest(1).targets.tolist() == [1]


def test_only_what_is_kept_is_drawn() -> None:
    store = ListStore(2)
    store.add(lists(0, 1, 2), torch.tensor([0, 1, 2]))
    drawn = store.drawn(64, torch.Generator().manual_seed(0))
    assert set(drawn.targets.tolist()) == {1, 2} and drawn.inputs.dtype == torch.float32
