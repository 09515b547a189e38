from __future__ import annotations

from streamer.held_labels import HeldLabels
from streamer.snapshots import SnapshotStore


def test_they_are_bounded(example, soft_label) -> None:
    held = HeldLabels(most=5)
    held.add(soft_label(example(number), {"a": 1.0}) for number in range(20))
    assert len(held) == 5 and held.seen == 20 and "x19" in held and "x14" not in held


def test_a_snapshot_holds_them(example, soft_label, tmp_path) -> None:
    held, again = HeldLabels(most=5), HeldLabels(most=5)
    held.add(soft_label(example(number), {"a": 1.0, "b": -0.5}, tasks={"like": 2.0}) for number in range(4))
    store = SnapshotStore(tmp_path)
    store.save(held.state_dict(), {})
    snapshot = store.latest()
    assert snapshot is not None
    again.load_state_dict(snapshot.state)
    assert again.seen == 4 and [again.pop(f"x{n}") for n in range(4)] == [held.pop(f"x{n}") for n in range(4)]
