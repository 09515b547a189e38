"""The teacher without Kafka: what it says of an example, and when its weights may move."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from online_models import state_tree
from streamer.examples import Example
from streamer.settings import Settings, Stores
from streamer.settings import Teacher as Sizes
from streamer.soft_labels import SoftLabel
from streamer.teacher import Teacher
from streamer.teacher_labels import Received
from streamer.teacher_refresh import Loss, Refreshed, Stopped

Make = Callable[..., Teacher]


@pytest.fixture
def make(small_settings: Settings, tmp_path: Path) -> Make:
    """Make teachers with a state folder each."""

    def made(folder: str = "one", **sizes: object) -> Teacher:
        chosen = Sizes(**({"segment_examples": 16, "window_examples": 256, "refresh_batch": 16} | sizes))
        stores = Stores(state_dir=tmp_path / folder)
        return Teacher(small_settings.model_copy(update={"teacher": chosen, "stores": stores}))

    return made


def take(teacher: Teacher, made: list[Example], size: int = 16) -> list[SoftLabel]:
    """Let the teacher have examples in micro-batches."""
    found: list[SoftLabel] = []
    for first in range(0, len(made), size):
        part = made[first : first + size]
        found += teacher.take([Received(0, one.source.offset, one) for one in part])
    return found


def weights(teacher: Teacher) -> dict[str, object]:
    return {name: value.clone() for name, value in teacher.network.network.ranker.state_dict().items()}


def test_every_example_has_one_label_with_its_place(make: Make, walk) -> None:
    teacher, made = make(), walk(40)
    found = take(teacher, made)
    assert [label.example_id for label in found] == [example.example_id for example in made]
    assert [label.offset for label in found] == list(range(40))
    assert take(teacher, made) == [], "what comes again has its label"
    assert teacher.labelled == 40 and {label.version for label in found} == {"teacher-000001"}


def test_a_list_and_its_remainder_are_the_whole_distribution(make: Make, walk) -> None:
    teacher = make(kept=3)
    for label in take(teacher, walk(60))[20:]:
        assert len(label.item_ids) <= 4 and label.scored >= len(label.item_ids)
        assert label.logits[:3] == sorted(label.logits[:3], reverse=True)
        assert len(set(label.item_ids)) == len(label.item_ids)
        assert (label.remainder == -math.inf) == (label.scored == len(label.item_ids))


def test_a_label_knows_nothing_of_its_outcome(make: Make, walk, example) -> None:
    """Two teachers have seen the same; the next example differs only in what was taken."""
    before, history = walk(60), ["i1", "i2", "i3"]
    one, other = make("one"), make("other")
    take(one, before)
    take(other, before)
    new = example(100, "u-new", "i5", history=history)
    (left,) = take(one, [new])
    (right,) = take(other, [msgspec.structs.replace(new, item_id="i7", action="purchase")])
    assert left.item_ids == right.item_ids and left.logits == right.logits
    assert {"i5", "i7"} <= set(left.item_ids), "the test needs both among the candidates"


@pytest.mark.parametrize("item_id", ["never-seen", "i2"])
@pytest.mark.parametrize("slate", [None, ["i1", "i2", "never-seen", "unseen-too"]])
def test_new_items_and_repeats_do_not_show_that_they_were_taken(make: Make, walk, example, item_id, slate) -> None:
    """Learning gives the taken item a row, and a place among the candidates; a label must not tell."""
    teacher = make()
    take(teacher, walk(60))
    outcomes = [int(one == item_id) for one in slate] if slate else None
    asked = example(100, "u1", item_id, history=["i1", "i2"], slate=slate, outcomes=outcomes)
    (label,) = take(teacher, [asked])
    assert label.item_ids and item_id not in label.item_ids


def test_a_slate_that_nothing_was_taken_from_is_labelled_too(make: Make, walk, example) -> None:
    teacher = make()
    take(teacher, walk(60))
    shown = example(100, item_id=None, kind="impression", action=None, slate=["i1", "i2", "i3"], outcomes=[0, 0, 0])
    (label,) = take(teacher, [shown])
    assert label.item_ids and label.tasks == {}


def test_nothing_to_offer_is_a_label_without_items(make: Make, example) -> None:
    (label,) = take(make(), [example(0)])
    assert label.item_ids == [] and label.logits == [] and label.scored == 0


def test_weights_stand_still_between_refreshes_where_they_shall(make: Make, walk) -> None:
    teacher = make(learns=False)
    before = weights(teacher)
    take(teacher, walk(100))
    after = weights(teacher)
    moved = [name for name in before if name not in ("item_categories", "item_published_seconds")]
    assert all(np.array_equal(before[name], after[name]) for name in moved)


def test_a_micro_batch_is_one_step_and_no_label_of_it_knows_that(make: Make, walk) -> None:
    """Labels are those of a teacher that stands still as long as that one has seen the same: the first micro-batch."""
    teacher, still, made = make("one"), make("still", learns=False), walk(64)
    first, same = take(teacher, made[:16]), take(still, made[:16])
    assert [label.logits for label in first] == [label.logits for label in same]
    assert teacher.network.network.learner.steps == 1 and teacher.plotted["loss"] > 0
    later, other = take(teacher, made[16:]), take(still, made[16:])
    assert [label.logits for label in later] != [label.logits for label in other]


def test_labels_say_which_weights_gave_them(make: Make, walk) -> None:
    teacher = make()
    found = take(teacher, walk(40))
    assert [label.learnt for label in found] == [0] * 16 + [16] * 16 + [32] * 8


def test_it_learns_what_no_count_holds_without_a_refresh(make: Make, example) -> None:
    """The item depends on the surface, and whether it is liked on the item."""
    teacher, items = make(), {"home": "i1", "search": "i2"}
    made = [
        example(n, f"u{n}", items[s := ("home", "search")[n % 2]], history=["i0"], surface=s,
                action="purchase" if n % 2 else "view")
        for n in range(640)
    ]  # fmt: skip
    take(teacher, made)
    found = {
        surface: take(teacher, [example(1_000 + n, f"v{n}", item_id, history=["i0"], surface=surface)])[0]
        for n, (surface, item_id) in enumerate(items.items())
    }
    assert {surface: label.item_ids[0] for surface, label in found.items()} == items
    assert found["search"].tasks["satisfaction"] > found["home"].tasks["satisfaction"]
    assert {label.version for label in found.values()} == {"teacher-000001"}


def test_a_refresh_takes_over_as_the_next_version_and_knows_more(make: Make, example) -> None:
    """A pattern that no count holds: the item depends on the surface."""
    teacher = make(epochs=30, learns=False)
    items = {"home": "i1", "search": "i2"}
    made = [example(n, f"u{n}", items[s := ("home", "search")[n % 2]], history=["i0"], surface=s) for n in range(96)]
    first = take(teacher, made)[-1]
    refreshed = teacher.begin_refresh()()
    assert refreshed.better and teacher.adopt(refreshed)
    asked = example(200, "u200", "i2", history=["i0"], surface="search")
    (label,) = take(teacher, [asked])
    assert (first.version, label.version) == ("teacher-000001", "teacher-000002")
    assert label.item_ids[0] == "i2"
    assert label.tasks.keys() == {"satisfaction"} and not first.tasks, "a head that has learnt nothing says nothing"


def test_satisfaction_is_learnt_from_the_hard_outcome(make: Make, example) -> None:
    teacher = make(epochs=15, learns=False)
    actions = {"i1": "purchase", "i2": "view"}
    made = [example(n, f"u{n}", i := f"i{1 + n % 2}", action=actions[i], history=["i0"]) for n in range(96)]
    take(teacher, made)
    assert teacher.adopt(teacher.begin_refresh()())
    liked, seen = take(teacher, [example(100 + n, f"v{n}", f"i{n}", history=["i0"]) for n in (1, 2)])
    assert liked.tasks["satisfaction"] > seen.tasks["satisfaction"]


@pytest.mark.parametrize("learns", [True, False])
def test_a_refresh_that_is_not_better_is_dropped(make: Make, walk, learns: bool) -> None:
    teacher = make(learns=learns)
    take(teacher, walk(120))
    before, refreshed = teacher.network.state_dict(), teacher.begin_refresh()()
    for worse in (
        replace(refreshed, after=Loss(1e6, 1)),
        replace(refreshed, after=Loss(math.nan, 1)),
        replace(refreshed, steps=0),
    ):
        assert not worse.better and not teacher.adopt(worse)
    assert teacher.version == "teacher-000001"
    assert state_tree.equal(teacher.network.state_dict(), before), "weights, optimisers, and all"


def test_a_refresh_runs_beside_the_stream_on_a_copy(make: Make, walk) -> None:
    teacher, twin, made = make(), make("twin"), walk(200)
    take(teacher, made[:120])
    take(twin, made[:120])
    work = teacher.begin_refresh()
    trained = work()
    beside, alone = take(teacher, made[120:]), take(twin, made[120:])
    assert [label.logits for label in beside] == [label.logits for label in alone]
    assert trained.steps > 0 and teacher.adopt(trained) == trained.better


def test_items_that_leave_during_a_refresh_start_afresh(make: Make, example) -> None:
    teacher = make(epochs=20, learns=False)
    made = [example(n, f"u{n}", f"i{n % 5}", history=["i0"]) for n in range(64)]
    take(teacher, made)
    refreshed = teacher.begin_refresh()()
    newcomers = [example(100 + n, f"v{n}", f"n{n}", history=["i0"]) for n in range(40)]  # more than there are rows
    take(teacher, newcomers)
    assert teacher.memory.catalog.row("i3") == 1, "the test needs an item that has left"
    teacher.adopt(replace(refreshed, after=Loss(-1e6, 1)))
    vectors = teacher.network.network.ranker.items.weight.detach()
    row = teacher.memory.catalog.row("n39")
    assert np.array_equal(vectors[row], vectors[1]) or row > 31


def unchanged(teacher: Teacher) -> Refreshed:
    """A refresh whose copy has not been trained: it stands where the teacher stood."""
    teacher.begin_refresh()
    behind = teacher.window.view().newest
    return Refreshed(
        network=teacher.network.copy(), before=Loss(), after=Loss(), steps=1, trained=1, behind=behind, seconds=0.0
    )


def test_what_takes_over_has_learnt_all_that_came_meanwhile(make: Make, walk) -> None:
    teacher, made = make(), walk(101)
    take(teacher, made[:40])
    refreshed = unchanged(teacher)
    take(teacher, made[40:72])
    refreshed = teacher.begin_catching_up(refreshed)()
    take(teacher, made[72:])
    own = teacher.network.state_dict()
    assert teacher.adopt(refreshed) and teacher.judged is not None
    assert state_tree.equal(teacher.network.state_dict(), own)
    assert teacher.judged.before == teacher.judged.after and teacher.judged.after.count > 10


def test_what_catches_up_forgets_what_has_left_and_learns_what_came_in_its_place(make: Make, example) -> None:
    teacher = make()
    take(teacher, [example(n, f"u{n}", f"i{n % 5}", history=["i0"]) for n in range(64)])
    refreshed = unchanged(teacher)
    with torch.no_grad():  # the copy knows the old items well
        refreshed.network.network.ranker.items.weight += 5.0
    take(teacher, [example(100 + n, f"v{n}", f"n{n}", history=["i0"]) for n in range(40)])  # more than there are rows
    assert teacher.memory.catalog.row("i3") == 1, "the test needs an item that has left"
    teacher.adopt(replace(teacher.begin_catching_up(refreshed)(), after=Loss(-1e6, 1)))
    vectors = teacher.network.network.ranker.items.weight.detach()
    newest = teacher.memory.catalog.rows([f"n{n}" for n in range(30, 40)])
    assert float((vectors[newest] - vectors[1]).abs().max()) < 1.0


def test_it_stops_in_the_middle_of_a_refresh(make: Make, walk) -> None:
    teacher, stopping = make(epochs=1_000), threading.Event()
    take(teacher, walk(120))
    work = teacher.begin_refresh(lambda done, total: stopping.set(), stopping)
    with pytest.raises(Stopped):
        work()
    assert teacher.refreshes == 0 and teacher.version == "teacher-000001"


def test_time_bounds_a_refresh(make: Make, walk) -> None:
    teacher = make(epochs=10_000, most_refresh_seconds=0.2)
    take(teacher, walk(120))
    refreshed = teacher.begin_refresh()()
    assert 0 < refreshed.trained < 10_000 * 96


@pytest.mark.parametrize("scale", [1, 2, 4, 8])
def test_scale_is_the_width_and_the_labels_stay_the_same_kind(make: Make, walk, scale: int) -> None:
    teacher = make(scale=scale)
    assert teacher.network.network.ranker.items.weight.shape[1] == 8 * scale
    assert len(take(teacher, walk(16))) == 16


def test_resume_is_bit_exact(make: Make, walk) -> None:
    first, made = make(), walk(200)
    take(first, made[:100])
    first.adopt(first.begin_refresh()())
    take(first, made[100:120])
    state = first.state_dict()
    tensors, structure = state_tree.pack(state)
    second = make()
    second.load_state_dict(state_tree.unpack(tensors, structure))
    assert state_tree.equal(second.state_dict(), state)
    left, right = take(first, made[120:]), take(second, made[120:])
    assert [(label.item_ids, label.logits, label.tasks) for label in left] == [
        (label.item_ids, label.logits, label.tasks) for label in right
    ]
    one, other = first.begin_refresh()(), second.begin_refresh()()
    assert state_tree.equal(one.network.state_dict(), other.network.state_dict())


def test_a_shift_of_the_stream_asks_for_a_refresh(make: Make, example) -> None:
    teacher = make(drift_delta=0.01, epochs=10)
    made = [example(n, f"u{n}", f"i{1 + n % 2}", history=["i0"]) for n in range(128)]
    take(teacher, made)
    teacher.adopt(teacher.begin_refresh()())
    take(teacher, [example(200 + n, f"v{n}", f"i{1 + n % 2}", history=["i0"]) for n in range(200)])
    assert not teacher.drifted
    shifted = [example(500 + n, f"w{n}", f"i{3 + n % 2}", history=["i0"]) for n in range(300)]
    take(teacher, shifted)
    assert teacher.drifted
