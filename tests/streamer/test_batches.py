from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from feature_store.vectors import ITEM_NAMES
from online_models.catalog import Catalog
from online_models.counting import Transitions
from online_models.sources import CandidateSources
from online_models.vocabulary import action_row, query_tokens, surface_row
from streamer.batches import USER_BUCKETS, BatchBuilder, BatchShape, user_row


@pytest.fixture
def builder() -> BatchBuilder:
    """Six items a … f in the rows 2 … 7; the only source says a → b, c."""
    catalog, transitions = Catalog(rows=32), Transitions(rows=32, width=8)
    for time_s, item_id in enumerate("abcdef"):
        catalog.admit(item_id, float(time_s))
    for target in (3, 3, 4):
        transitions.observe(np.array([2]), target)
    features = np.arange(32 * len(ITEM_NAMES), dtype=np.float32).reshape(32, -1)
    shape = BatchShape(history=4, candidates=10, negatives=40, from_model=0)
    return BatchBuilder(catalog, CandidateSources({"transitions": transitions}), features, shape)


def rows_of(builder: BatchBuilder, *examples: Any) -> list[set[str | None]]:
    items = builder.build(list(examples)).candidates.items.tolist()
    return [{builder.catalog.id_of(row) for row in rows if row} for rows in items]


class TestContext:
    def test_histories_are_right_aligned_and_cut_to_the_newest(self, builder, example) -> None:
        context = builder.context([example(9, history=["a", "b"]), example(9, history=list("abcdef")), example(9)])
        assert context.history_items.tolist() == [[0, 0, 2, 3], [4, 5, 6, 7], [0, 0, 0, 0]]
        assert context.history_actions[0].tolist() == [0, 0, 1, 1]
        assert context.history_ages_seconds[0].tolist() == [0, 0, 120, 60]

    def test_an_event_that_came_late_is_not_of_negative_age(self, builder, example) -> None:
        one = example(9, history=["a"])
        one.history.event_times_ms[0] = one.event_time_ms + 5_000
        assert builder.context([one]).history_ages_seconds.min() == 0

    def test_what_is_unknown_is_row_1_and_what_is_absent_row_0(self, builder, example) -> None:
        fields = {"surface": "search", "query": "red shoes", "source_item_id": "b"}
        context = builder.context([example(1, history=["zzz"]), example(1, source_item_id="zzz"), example(1, **fields)])
        assert context.history_items[0].tolist() == [0, 0, 0, 1]
        assert context.source_item.tolist() == [0, 1, 3]
        assert context.surface.tolist() == [0, 0, surface_row("search")]
        assert context.query[2].tolist() == query_tokens("red shoes").tolist()
        assert context.query[:2].sum() == 0

    def test_similar_is_asked_for_in_the_words_of_its_source(self, builder, example) -> None:
        builder.title_of = {"b": "Red shoes"}.get
        asked = [example(1, source_item_id="b"), example(1, source_item_id="b", query="blue"), example(1)]
        words = builder.context(asked).query
        assert words[0].tolist() == query_tokens("Red shoes").tolist()
        assert words[1].tolist() == query_tokens("blue").tolist() and not words[2].any()

    def test_users_and_times(self, builder, example) -> None:
        context = builder.context([example(3, "ada"), example(4, "bob")])
        assert context.user.tolist() == [user_row("ada"), user_row("bob")]
        assert 0 < context.user.min() and context.user.max() < USER_BUCKETS
        assert context.time_seconds.dtype == torch.float64 and context.time_seconds.diff().item() == 60


class TestSampled:
    def test_retrieved_items_the_target_and_drawn_ones(self, builder, example) -> None:
        batch = builder.build([example(9, item_id="d", history=["a"])])
        rows = batch.candidates.items[0].tolist()
        assert rows[:3] == [3, 4, 5], "b and c as the source ranks them, then the target"
        assert batch.labels[0].tolist() == [float(row == 5) for row in rows]
        assert batch.candidates.source_scores[0, :2, 0].tolist() == pytest.approx([2 / 4, 1 / 4])
        assert batch.candidates.source_scores[0, 2:].sum() == 0
        assert len(set(rows)) == len(rows) and 2 not in rows, "no repeats, nothing that the user has just seen"
        assert set(rows) == {3, 4, 5, 6, 7}

    def test_a_target_that_was_retrieved_is_there_once(self, builder, example) -> None:
        batch = builder.build([example(9, item_id="b", history=["a"])])
        rows = batch.candidates.items[0].tolist()
        assert rows.count(3) == 1 and batch.labels[0].sum() == 1 and rows[0] == 3

    def test_only_drawn_items_have_a_chance_below_one(self, builder, example) -> None:
        for number in range(20):
            builder.catalog.admit(f"more{number}", 10.0)
        builder.shape = BatchShape(history=4, candidates=10, negatives=13, from_model=0)
        batch = builder.build([example(9, item_id="d", history=["a"])])
        log_q, rows = batch.log_q[0], batch.candidates.items[0]
        assert log_q[:3].tolist() == [0, 0, 0]
        assert len(rows) > 3 and log_q[3:].tolist() == pytest.approx([np.log(13 / 26)] * (len(rows) - 3))

    def test_what_a_user_has_taken_is_no_negative_later(self, builder, example) -> None:
        assert "e" in rows_of(builder, example(1, "ada", "d", history=["a"]))[0]
        rows_of(builder, example(2, "ada", "e"))
        later, other = rows_of(builder, example(3, "ada", "b"), example(3, "bob", "b"))
        assert not {"d", "e"} & later and {"d", "e"} <= other
        assert "d" in rows_of(builder, example(4, "ada", "d"))[0], "but an item taken again is the target again"

    def test_what_serving_would_not_have_offered_is_marked(self, builder, example) -> None:
        missed = builder.build([example(9, "u", "d", history=["a"])])
        found = builder.build([example(9, "v", "b", history=["a"])])
        assert missed.offered[0].tolist() == [True, True, False, False, False], "b, c; then d and what was drawn"
        assert found.offered[0, :2].all() and (found.offered & (found.labels == 1)).any()
        assert not found.offered[0, 2:].any()

    def test_an_unknown_target_leaves_no_positive(self, builder, example) -> None:
        batch = builder.build([example(9, item_id="never admitted", history=["a"])])
        assert batch.labels.sum() == 0 and 1 not in batch.candidates.items

    def test_the_models_own_candidates_take_part(self, builder, example) -> None:
        builder.shape = BatchShape(history=4, candidates=10, negatives=0, from_model=1)
        builder.retrieve = lambda context: np.full((len(context.surface), 1), 7)
        assert rows_of(builder, example(9, item_id="d", history=["a"]), example(9, "v", "f")) == [set("bcdf"), {"f"}]

    def test_features_belong_to_the_rows(self, builder, example) -> None:
        candidates = builder.build([example(9, item_id="d"), example(9, "v", "b", history=["a"])]).candidates
        assert torch.equal(candidates.features, torch.from_numpy(builder.item_features)[candidates.items])

    def test_an_empty_catalogue_and_no_target_still_make_a_batch(self, example) -> None:
        sources = CandidateSources({"transitions": Transitions(rows=8, width=2)})
        empty = BatchBuilder(Catalog(rows=8), sources, np.zeros((8, len(ITEM_NAMES)), np.float32), BatchShape())
        batch = empty.build([example(0, item_id=None)])
        assert batch.candidates.items.tolist() == [[0]] and batch.labels.sum() == 0


class TestSlate:
    def test_a_slate_joins_what_serving_would_have_retrieved(self, builder, example) -> None:
        slate = {"slate": ["c", "zzz", "d", "f"], "outcomes": [0, 0, 1, 0]}
        batch = builder.build([example(9, item_id="d", history=["a"], **slate)])
        assert batch.candidates.items.tolist() == [[3, 4, 5, 7, 6]], (
            "b, c; then d and f as they were shown; e was drawn"
        )
        assert batch.offered.tolist() == [[True, True, False, False, False]]
        assert batch.labels.tolist() == [[0, 0, 1, 0, 0]]
        assert batch.log_q[0, :4].tolist() == [0, 0, 0, 0]

    def test_a_slate_changes_nothing_of_what_is_offered(self, builder, example) -> None:
        plain = builder.build([example(9, "u", "b", history=["a"])])
        shown = builder.build([example(9, "v", "b", history=["a"], slate=["f", "b"], outcomes=[0, 1])])
        assert (
            shown.candidates.items[shown.offered].tolist() == plain.candidates.items[plain.offered].tolist() == [3, 4]
        )
        assert set(shown.candidates.items[0].tolist()) == set(plain.candidates.items[0].tolist()), "f was drawn there"

    @pytest.mark.parametrize("served", [None, [[7.0], [8.0]], [[0.5]]])
    def test_all_scores_come_from_one_reading(self, builder, example, served) -> None:
        fields = {"slate": ["b", "f"], "outcomes": [1, 0], "source_scores": served}
        batch = builder.build([example(9, item_id="b", history=["a"], **fields)])
        scores = dict(
            zip(batch.candidates.items[0].tolist(), batch.candidates.source_scores[0, :, 0].tolist(), strict=True)
        )
        assert {row: scores[row] for row in (3, 4, 7)} == pytest.approx({3: 2 / 4, 4: 1 / 4, 7: 0})

    def test_what_was_taken_from_the_slate_before_is_no_negative_and_counts_once(self, builder, example) -> None:
        slate = {"slate": ["b", "e", "d"], "outcomes": [1, 0, 1]}
        batch = builder.build([example(9, item_id="d", history=["b", "a"], **slate)])
        rows = batch.candidates.items[0]
        assert 3 not in rows and batch.labels.sum() == 1 and rows[batch.labels[0] == 1].item() == 5
        assert rows[0] == 4 and rows[1:3].tolist() == [5, 6], "c was retrieved; then d and the slate, without b"

    def test_an_item_that_has_just_come_is_told_by_nothing(self, builder, example) -> None:
        builder.retrieve = lambda context: np.full((len(context.surface), 1), 8)
        builder.shape = BatchShape(history=4, candidates=10, negatives=0, from_model=1)
        first = [example(9, item_id="new", history=["a"], slate=["new", "f"], outcomes=[1, 0])]
        builder.admit(first)
        batch = builder.build(first)
        place = batch.labels[0].argmax()
        assert batch.candidates.items[0, place] == 8
        assert not batch.offered[0, place], "its row has no past, the others have one"
        assert builder.build([example(10, "v", "new")]).offered[0, 0], "from then on it can be retrieved"

    def test_an_item_taken_again_is_not_offered(self, builder, example) -> None:
        again = builder.build([example(9, item_id="b", history=["a", "b"], slate=["b", "c"], outcomes=[1, 0])])
        place = again.labels[0].argmax()
        assert again.candidates.items[0, place] == 3 and not again.offered[0, place]

    def test_a_rejected_item_is_not_taken_but_known(self, builder, example) -> None:
        skipped = example(9, "ada", "b", history=["a"], action="skip", slate=["b", "c"], outcomes=[0, 0])
        batch = builder.build([skipped, example(9, "bob", "b", action="skip")])
        assert batch.labels.sum() == 0 and builder.seen.of("ada").tolist() == builder.seen.of("bob").tolist() == [3]

    def test_a_slate_that_nobody_took_from_has_no_positive(self, builder, example) -> None:
        fields: dict[str, Any] = {"kind": "impression", "item_id": None, "action": None}
        batch = builder.build([example(9, slate=["b", "c"], outcomes=[0, 0], **fields)])
        assert batch.labels.sum() == 0 and batch.actions.tolist() == [0]
        assert not batch.offered.any() and batch.candidates.items[0, :2].tolist() == [3, 4]

    def test_short_ones_are_padded_to_the_longest(self, builder, example) -> None:
        builder.shape = BatchShape(history=4, candidates=10, negatives=0, from_model=0)
        batch = builder.build([example(9, item_id="f", slate=["f"], outcomes=[1]), example(9, "v", "d", history=["a"])])
        assert batch.candidates.mask.sum(1).tolist() == [1, 3]
        assert batch.candidates.source_scores[0, 1:].sum() == batch.labels[0, 1:].sum() == 0
        assert batch.actions.tolist() == [action_row("view")] * 2


def test_admission_gives_rows_to_what_was_taken_only(builder, example) -> None:
    examples = [example(9, item_id="new", slate=["new", "shown"], outcomes=[1, 0]), example(9, item_id=None)]
    builder.admit([*examples, example(9, kind="impression", item_id="odd")])
    assert "new" in builder.catalog and "shown" not in builder.catalog and "odd" not in builder.catalog


def test_building_is_repeatable_and_resumes(builder, example) -> None:
    builder.build([example(1, "ada", "d")])
    state = builder.state_dict()
    first = builder.build([example(2, "ada", "b")])
    builder.build([example(3, "bob", "c")])
    builder.load_state_dict(state)
    assert builder.seen.of("ada").tolist() == [5] and builder.seen.of("bob").tolist() == []
    again = builder.build([example(2, "ada", "b")])
    assert torch.equal(first.candidates.items, again.candidates.items)
