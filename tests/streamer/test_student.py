from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from exporters.deltas import FEATURES, VECTORS, Row
from feature_store.user_state import ItemInfo
from online_models import state_tree
from online_models.vocabulary import category_buckets, query_tokens
from streamer.examples import Position
from streamer.settings import Settings
from streamer.snapshots import SnapshotStore
from streamer.student import Student

TABLES = {"item_knn", "cooccurrence", "transitions", "popularity", VECTORS, FEATURES}


@pytest.fixture
def student(small_settings: Settings) -> Student:
    return Student(small_settings)


def grouped(rows: list[Row]) -> dict[str, dict[str, Row]]:
    tables: dict[str, dict[str, Row]] = {}
    for row in rows:
        tables.setdefault(row.table, {})[row.item_id] = row
    return tables


def smaller(settings: Settings, **changes: Any) -> Settings:
    return settings.model_copy(update={"learning": settings.learning.model_copy(update=changes)})


class TestLearning:
    def test_test_then_learn(self, student: Student, walk, monkeypatch: pytest.MonkeyPatch) -> None:
        order: list[str] = []
        score, learn = student.network.score, student.network.learner.learn
        count = student.memory.counting["item_knn"].learn
        monkeypatch.setattr(student.network, "score", lambda batch: (order.append("score"), score(batch))[1])
        monkeypatch.setattr(student.network.learner, "learn", lambda b: (order.append("learn"), learn(b))[1])
        monkeypatch.setattr(
            student.memory.counting["item_knn"], "learn", lambda b: (order.append("count"), count(b))[1]
        )
        student.replay.share = 0
        student.learn(walk(8))
        assert order == ["score", "learn", "count"]

    def test_users_are_encoded_once_a_batch_and_anew_after_a_step(
        self, student: Student, walk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        student.replay.share, student.tested_every = 0, 1
        student.learn(walk(40))  # from now on the model retrieves
        encoded: list[torch.Tensor] = []
        encode = student.network.ranker.user_vectors
        monkeypatch.setattr(student.network.ranker, "user_vectors", lambda c: (encoded.append(c), encode(c))[1])
        student.learn(walk(8, 40))
        assert len(encoded) == 1, "for retrieval, for the test and for the drift monitor"
        context = student.memory.builder.context(walk(8, 48))
        before = student.network.user_vectors(context)
        assert torch.equal(before, student.network.user_vectors(context)) and len(encoded) == 2
        student.learn(walk(8, 48))
        assert not torch.equal(before, student.network.user_vectors(context))

    def test_behind_nothing_is_replayed_and_every_example_is_learnt(self, student: Student, walk) -> None:
        student.replay.share = 1.0
        for first in range(0, 128, 8):
            plotted = student.learn(walk(8, first), behind=True)
        assert student.learned == 128 and student.network.learner.steps == 16, "one step a batch"
        assert plotted["shed_replay"] == 1
        assert len(student.replay.state_dict()["batches"]) == 16, "what comes meanwhile is kept all the same"
        tested = 128 // 8 // (4 * student.tested_every)
        assert len(student.prequential._ranks["served"]) == tested * 8
        assert "shed_replay" not in student.learn(walk(8, 128)) and student.network.learner.steps == 18

    def test_a_first_sighting_is_a_miss_however_good_the_learner(self, student: Student, example) -> None:
        student.learn([example(1, "u", "a")])
        student.learn([example(number, f"u{number}", "a") for number in range(2, 8)])
        quality = student.prequential.read()
        assert quality["hr@10"] == quality["popular_7d_hr@10"] == 0, "counted before it was tested"

    def test_what_was_learnt_is_tested_later(self, student: Student, walk) -> None:
        for first in range(0, 80, 8):
            student.learn(walk(8, first))
        quality = student.prequential.read()
        assert quality["popular_7d_hr@10"] > 0.3
        assert set(quality) >= {"hr@10", "ndcg@10", "item_knn_hr@10", "popular_7d_ndcg@10"}

    def test_the_plot_has_a_loss_and_a_count(self, student: Student, walk) -> None:
        plotted = student.learn(walk(8))
        assert plotted["learned"] == 8 and np.isfinite(plotted["loss"]) and student.learned == 8

    def test_the_loss_falls_where_there_is_something_to_learn(self, student: Student, example) -> None:
        losses = []
        for offset in range(0, 400, 10):  # b always follows a, d always follows c
            pairs = [("ab", "cd")[number % 2] for number in range(10)]
            made = [example(offset + n, f"v{offset + n}", two[1], history=[two[0]]) for n, two in enumerate(pairs)]
            losses.append(student.learn(made)["loss"])
        assert max(losses[-5:]) < 0.95 * min(losses[1:6])


class TestPositions:
    def test_what_was_applied_is_skipped_and_counted(self, student: Student, walk) -> None:
        first, second = walk(8), walk(8, 8)
        student.learn(first)
        assert student.learn(first) == {"learned": 0.0}
        assert student.learn([*first[4:], *second])["learned"] == 8
        assert (student.learned, student.memory.duplicates) == (16, 12)
        assert student.memory.counting["popularity"].counts.astype(bool).sum() == len(student.memory.catalog)
        assert student.memory.counting["item_knn"].item_counts.sum() == 16

    def test_a_repeat_within_one_batch_counts_once(self, student: Student, example) -> None:
        assert student.learn([example(1), example(1), example(2)])["learned"] == 2
        assert student.memory.duplicates == 1

    def test_one_event_may_give_several_examples(self, student: Student, example) -> None:
        student.learn([example(5, index=0), example(5, index=1)])
        student.learn([example(5, index=1), example(5, index=2)])
        assert (student.learned, student.memory.duplicates) == (3, 1)

    def test_partitions_have_positions_of_their_own(self, student: Student, example) -> None:
        student.learn([example(9, partition=0), example(2, partition=3)])
        student.learn([example(3, partition=3), example(8, partition=0)])
        assert student.memory.positions == {0: Position(0, 9), 3: Position(3, 3)} and student.memory.duplicates == 1

    def test_nothing_at_all_changes_nothing(self, student: Student) -> None:
        assert student.learn([]) == {"learned": 0.0} and student.take_rows() == [] and student.recent() is None


class TestUnknownItems:
    def test_an_impression_without_a_click_admits_nobody(self, student: Student, example) -> None:
        fields = {"kind": "impression", "item_id": None, "action": None}
        student.learn([example(1, slate=["a", "b"], outcomes=[0, 0], **fields)])
        assert len(student.memory.catalog) == 0 and student.learned == 1
        assert student.memory.counting["item_knn"].item_counts.sum() == 0

    def test_an_item_below_its_sightings_is_not_learnt(self, small_settings: Settings, example) -> None:
        student = Student(smaller(small_settings, admission_sightings=3))
        for offset in (1, 2):
            student.learn([example(offset, f"u{offset}")])
        assert "a" not in student.memory.catalog and student.memory.counting["item_knn"].item_counts.sum() == 0
        student.learn([example(3, "u3")])
        assert "a" in student.memory.catalog and student.memory.counting["item_knn"].item_counts.sum() == 1

    def test_histories_of_unknown_items_and_odd_contexts(self, student: Student, example) -> None:
        odd = {"query": "?" * 500, "surface": "fridge", "source_item_id": "nowhere", "action": "ponders"}
        plotted = student.learn([example(1, history=["x", "y"], **odd), example(2, "v", None)])
        assert np.isfinite(plotted["loss"]) and student.memory.catalog.row("x") == 1


class TestSlates:
    def test_what_was_shown_and_left_is_a_negative(self, student: Student, walk, example) -> None:
        student.learn(walk(30))
        served = [[0.0] * len(student.memory.sources.names)] * 3
        slate = {"slate": ["i1", "i2", "i3"], "outcomes": [0, 1, 0], "source_scores": served}
        before = student.network.ranker.items.weight.detach().clone()
        student.replay.share = 0
        student.learn([example(50, "w", "i2", **slate)])
        changed = set((student.network.ranker.items.weight != before).any(1).nonzero().flatten().tolist())
        assert changed >= {student.memory.catalog.row(item_id) for item_id in ("i1", "i2", "i3")}

    def test_what_is_clicked_again_and_again_in_a_slate_rises(self, student: Student, walk, example) -> None:
        student.learn(walk(30))
        slate = ["i1", "i2", "i3", "i4"]
        served = [[0.5] * len(student.memory.sources.names)] * 4
        fields = {"slate": slate, "outcomes": [0, 0, 0, 1], "source_scores": served}
        for offset in range(50, 110):
            student.learn([example(offset, f"w{offset}", "i4", history=["i5"], **fields)])
        batch = student.memory.builder.build([example(200, "new", "i4", history=["i5"], **fields)])
        best = student.network.learner.score(batch.context, batch.candidates).argmax()
        assert batch.candidates.items[0, best] == student.memory.catalog.row("i4")

    def test_clicks_and_displays_reach_the_items_features(self, student: Student, example) -> None:
        student.learn([example(1, "u", "a", slate=["a", "b"], outcomes=[1, 0])])
        row = student.memory.catalog.row("a")
        taken = student.memory.items.get("a")
        assert taken is not None and student.memory.items.get("b") is not None
        assert student.memory.item_features[row].any()
        assert student.memory.item_features[row] == pytest.approx(
            student.memory.items.vectors(["a"], taken.last_seen_ms)[0]
        )


class TestRows:
    @pytest.mark.parametrize("replay_share", [0.0, 1.0])  # what is learnt again changes too
    def test_every_row_that_changed_is_handed_out(self, student: Student, walk, example, replay_share: float) -> None:
        student.learn(walk(24))
        student.replay.share = 1.0
        student.learn(walk(8, 24))
        student.replay.share = replay_share
        student.release_moved()
        student.take_rows()
        before, features = student.network.ranker.items.weight.detach().clone(), student.memory.item_features.copy()
        slate = {"slate": ["i3", "i4"], "outcomes": [1, 0]}
        student.learn([example(60, "u1", "i3", history=["i1"], source_item_id="i2", **slate)])
        rows = grouped(student.take_rows())
        assert set(rows[VECTORS]) == {"i3", "i4"}, "what an event was about goes out at once"
        student.release_moved()
        moved = student.take_rows()
        assert {row.table for row in moved} == {VECTORS} and {row.oldest_ms for row in moved} == {0}
        changed = (student.network.ranker.items.weight != before).any(1).nonzero().flatten().tolist()
        told = {row.item_id for row in moved} | set(rows[VECTORS])
        assert {student.memory.catalog.id_of(row) for row in changed if row > 1} <= told
        assert "i2" in told, "the source item has learnt too"
        new = np.flatnonzero((student.memory.item_features != features).any(1))
        assert {student.memory.catalog.id_of(row) for row in new} == set(rows[FEATURES]) == {"i3", "i4"}
        assert set(rows["item_knn"]) == set(rows["cooccurrence"]) == {"i1", "i3"}
        assert set(rows["transitions"]) == {"i1"} and set(rows["popularity"]) == {"*"}

    def test_what_moved_is_released_once(self, student: Student, walk) -> None:
        student.learn(walk(24))
        student.release_moved()
        student.take_rows()
        student.release_moved()
        assert student.take_rows() == []

    def test_each_is_handed_out_once_and_in_portions(self, student: Student, walk) -> None:
        student.learn(walk(24))
        first = student.take_rows(most=3)
        assert max(len(rows) for rows in grouped(first).values()) == 3
        rest = student.take_rows()
        assert not {row.key for row in first} & {row.key for row in rest} and student.take_rows() == []

    def test_freshness_counts_from_the_oldest_event_not_shown(self, student: Student, example) -> None:
        student.learn([example(7, "u", "a"), example(8, "v", "a")])
        student.learn([example(9, "w", "a")])
        assert {row.oldest_ms for row in student.take_rows()} == {example(7).published_time_ms}
        student.learn([example(10, "x", "a")])
        assert {row.oldest_ms for row in student.take_rows()} == {example(10).published_time_ms}

    def test_a_version_has_the_tables_that_the_rows_have_built(self, student: Student, walk) -> None:
        student.learn(walk(40))
        rows = grouped(student.take_rows())
        tables, ids = student.tables(), student.item_ids()
        assert ids[:2] == [None, None] and set(ids[2:]) == {f"i{number}" for number in range(12)}
        for name in ("item_knn", "cooccurrence", "transitions"):
            assert len(tables[f"{name}.items"]) == len(ids)
            for row in rows[name].values():
                items, weights = row.neighbour_arrays()
                assert tables[f"{name}.items"][row.row][: len(items)].tolist() == items.tolist()
                assert tables[f"{name}.weights"][row.row][: len(items)].tolist() == weights.tolist()
        assert len(tables["popularity.items"]) == 1
        tables[VECTORS][:] = 9
        assert student.network.ranker.items.weight.max() < 9, "a version is a copy"

    def test_meta_names_the_columns(self, student: Student, walk) -> None:
        student.learn(walk(4))
        meta = student.meta()
        batch = student.memory.builder.build(walk(2, 10))
        assert len(meta["sources"]) == batch.candidates.source_scores.shape[-1]
        assert len(meta["features"]) == batch.context.features.shape[-1]
        assert len(meta["item_features"]) == batch.candidates.features.shape[-1]
        assert meta["dimension"] == student.tables()[VECTORS].shape[1]

    def test_the_gates_examples_are_those_before_the_step(self, student: Student, walk) -> None:
        student.learn(walk(16))
        recent = student.recent()
        assert recent is not None and recent.labels.shape == recent.mask.shape and len(recent.labels) == 16
        assert all(len(value) == 16 for value in recent.feeds.values())
        assert set(recent.feeds) == set(student.network.ranker.graphs()["rank"].inputs)


class TestCategories:
    def test_they_reach_the_intent_head_when_the_item_gets_its_row(self, student: Student, example) -> None:
        student.describe(ItemInfo(item_id="a", categories=["Drama", "War"]))
        student.learn([example(1, "u", "a"), example(2, "v", "b")])
        of_a, of_b = student.network.ranker.item_categories[
            [student.memory.catalog.row("a"), student.memory.catalog.row("b")]
        ]
        assert of_a.nonzero().flatten().tolist() == category_buckets(["Drama", "War"]) and of_b.sum() == 0

    def test_a_description_that_changes_is_followed(self, student: Student, example) -> None:
        student.learn([example(1, "u", "a")])
        for categories in (["Drama"], ["War"], []):
            student.describe(ItemInfo(item_id="a", title="A", categories=categories))
            if categories:
                labels = student.network.ranker.item_categories[student.memory.catalog.row("a")]
                assert labels.nonzero().flatten().tolist() == category_buckets(categories)
        assert student.memory.items.take_changed()[0].title == "A"


class TestDates:
    """The age intent is labelled by the catalogue's date, else by the first event."""

    def test_the_catalogue_dates_an_item_that_has_a_row(self, student: Student, example) -> None:
        student.learn([example(1, "u", "a")])
        student.describe(ItemInfo(item_id="a", published_time_ms=5_000))
        assert student.network.ranker.item_published_seconds[student.memory.catalog.row("a")] == 5.0

    def test_a_date_that_was_told_before_the_first_event_is_kept(self, student: Student, example) -> None:
        student.describe(ItemInfo(item_id="a", published_time_ms=5_000))
        student.learn([example(1, "u", "a")])
        assert student.network.ranker.item_published_seconds[student.memory.catalog.row("a")] == 5.0

    def test_without_one_the_first_event_counts(self, student: Student, example) -> None:
        one = example(1, "u", "a")
        student.learn([one])
        student.learn([example(9, "v", "a")])
        assert student.network.ranker.item_published_seconds[student.memory.catalog.row("a")] == one.event_time_ms / 1e3


def test_a_source_item_is_asked_for_by_its_title(student: Student, example) -> None:
    student.describe(ItemInfo(item_id="a", title="Red shoes"))
    words = student.memory.builder.context([example(1, source_item_id="a")]).query[0]
    assert words.tolist() == query_tokens("Red shoes").tolist()


class TestResume:
    def test_learning_goes_on_bit_for_bit(self, small_settings: Settings, walk, example) -> None:
        settings = smaller(small_settings, replay_share=0.5)
        student, again = Student(settings), Student(settings)
        student.soft.clock_ms = again.soft.clock_ms = lambda: 1_000  # both note when a batch began to wait
        slate = {"slate": ["i1", "i2"], "outcomes": [1, 0]}
        for first in range(0, 64, 16):
            student.learn(walk(16, first))
        student.learn([example(64, "u1", "i1", history=["i2"], query="red", **slate)])
        student.describe(ItemInfo(item_id="i3", categories=["Drama"]))
        store = SnapshotStore(settings.stores.snapshots_dir)
        store.save(student.state_dict(), {})
        again.learn(walk(16, 70, seed=99))  # what it held before must not shine through
        snapshot = store.latest()
        assert snapshot is not None
        again.load_state_dict(snapshot.state)
        for first in range(70, 166, 16):
            one, other = student.learn(walk(16, first)), again.learn(walk(16, first))
            assert one == other
        first_state, second_state = plain(student), plain(again)
        for key in first_state:
            assert state_tree.equal(first_state[key], second_state[key]), key
        batch = student.memory.builder.build(walk(4, 200))
        scores = [one.network.learner.score(batch.context, batch.candidates) for one in (student, again)]
        assert torch.equal(*scores)

    def test_duplicates_are_known_after_a_restart(self, small_settings: Settings, walk) -> None:
        student, again = Student(small_settings), Student(small_settings)
        student.learn(walk(16))
        again.load_state_dict(student.state_dict())
        assert again.learn(walk(16)) == {"learned": 0.0}
        assert (again.learned, again.memory.duplicates) == (16, 16)

    def test_everything_in_use_is_published_again(self, small_settings: Settings, walk) -> None:
        student, again = Student(small_settings), Student(small_settings)
        student.learn(walk(40))
        student.take_rows()
        again.load_state_dict(student.state_dict())
        tables, before = again.tables(), student.tables()
        assert tables.keys() == before.keys()
        for name in ("transitions.items", "transitions.weights", "popularity.items", VECTORS, FEATURES):
            assert np.array_equal(tables[name], before[name]), f"{name} of a version that is published at once"
        rows = grouped(again.take_rows())
        everything = {f"i{number}" for number in range(12)}
        assert set(rows) == TABLES and all(set(rows[name]) == everything for name in TABLES - {"popularity"})

    def test_another_size_is_refused(self, small_settings: Settings, walk) -> None:
        student = Student(small_settings)
        student.learn(walk(4))
        with pytest.raises(ValueError, match="the state holds a catalogue of 32 rows, this one has 40"):
            Student(smaller(small_settings, catalog_rows=40)).load_state_dict(student.state_dict())


def plain(student: Student) -> dict[str, Any]:
    """State with the items' records read, so that a difference has a name."""
    state = student.state_dict()
    items = msgspec.msgpack.decode(state["memory"]["items"].tobytes())
    return state | {"memory": state["memory"] | {"items": items}}


class TestExpiry:
    @pytest.fixture
    def full(self, small_settings: Settings, example: Callable[..., Any]) -> Student:
        """Fourteen items in the fourteen rows that there are; the longest unseen is i0, a partner of i1."""
        student = Student(smaller(small_settings, catalog_rows=16, replay_share=1.0))
        for number in range(14):
            past = [f"i{number - 1}"] if number else []
            student.learn([example(number, f"u{number}", f"i{number}", history=past)])
        student.describe(ItemInfo(item_id="i0", categories=["Drama"]))
        student.take_rows()
        return student

    def test_the_newcomer_starts_afresh_in_the_freed_row(self, full: Student, example) -> None:
        row = full.memory.catalog.row("i0")
        full.learn([example(50, "ada", "new", history=["i5"])])
        assert full.memory.catalog.row("new") == row and full.memory.catalog.row("i0") == 1
        assert full.network.ranker.item_categories[row].sum() == 0
        neighbours = {
            name: full.memory.counting[name].best(row, 10)[0].tolist() for name in ("item_knn", "cooccurrence")
        }
        assert neighbours == {"item_knn": [full.memory.catalog.row("i5")], "cooccurrence": []}
        assert full.memory.counting["item_knn"].best(full.memory.catalog.row("i1"), 10)[0].tolist() == [
            full.memory.catalog.row("i2")
        ]

    def test_what_the_newcomer_teaches_at_once_is_kept(self, full: Student, example) -> None:
        full.learn([example(50, "ada", "new", history=["i5"])])
        row, before = full.memory.catalog.row("new"), full.memory.catalog.row("i5")
        assert full.memory.counting["item_knn"].item_counts[row] == 1
        assert full.memory.counting["transitions"].best(before, 10)[0].tolist()[-1] == row
        assert full.memory.counting["popularity"].counts[row] > 0

    def test_versions_and_rows_name_the_newcomer_only(self, full: Student, example) -> None:
        row = full.memory.catalog.row("i0")
        assert row in full.tables()["item_knn.items"][full.memory.catalog.row("i1")]
        full.learn([example(50, "ada", "new", history=["i5"])])
        assert full.item_ids()[row] == "new" and "i0" not in full.item_ids()
        published = full.tables()["item_knn.items"]
        assert published[full.memory.catalog.row("i1")].any()
        assert not published[full.memory.catalog.row("i1")].tolist().count(row), (
            "a list of before points at the newcomer"
        )
        rows = grouped(full.take_rows())
        assert rows.pop("catalog")["i0"].row == -1, "servers are told that it has left"
        assert all("i0" not in table for table in rows.values()) and "new" in rows[VECTORS]

    def test_old_batches_do_not_teach_the_newcomer(self, full: Student, example) -> None:
        row = full.memory.catalog.row("i0")
        full.learn([example(50, "ada", "new", history=["i5"])])
        latest = full.replay.state_dict()["batches"][-1]["candidates.items"]
        for batch in full.replay.state_dict()["batches"][:-1]:
            assert not (batch["candidates.items"] == row).any() and not (batch["context.history_items"] == row).any()
        assert (latest == row).any()

    def test_an_item_pushed_out_within_its_own_batch_is_unknown(self, full: Student, example) -> None:
        newcomers = [example(50 + number, f"w{number}", f"new{number}") for number in range(20)]
        assert full.learn(newcomers)["learned"] == 20
        assert len(full.memory.catalog) == 14 and full.memory.counting["item_knn"].item_counts.sum() == 14

    def test_memory_is_bounded_while_items_come_and_go(self, full: Student, example) -> None:
        shapes = {name: value.shape for name, value in full.tables().items()}
        for number in range(40):
            full.learn([example(50 + number, f"w{number}", f"new{number}", history=[f"new{number - 1}"])])
        assert {name: value.shape for name, value in full.tables().items()} == shapes
        assert len(full.memory.items.states()) <= 16
        assert full.network.learner.skipped_steps == 0
