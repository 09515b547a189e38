from __future__ import annotations

import numpy as np
import pytest

from online_models.neighbours import NeighbourTable
from online_models.sources import READINGS, TABLES, CandidateSources


def table(rows: dict[int, dict[int, float]], width: int = 4) -> NeighbourTable:
    made = NeighbourTable(rows=20, width=width)
    for row, neighbours in rows.items():
        made.put(row, np.array(list(neighbours)), np.array(list(neighbours.values())))
    return made


def history(*rows: int) -> np.ndarray:
    return np.array(rows, np.int64)


@pytest.fixture
def sources() -> CandidateSources:
    """One source that reads the last item: 5 → 6, 7; 8 → 9."""
    return CandidateSources({"transitions": table({5: {6: 0.5, 7: 0.25}, 8: {9: 1.0}})})


class TestReadings:
    def test_a_table_that_is_not_there_leaves_its_columns_out(self) -> None:
        one = CandidateSources({"cooccurrence": table({})})
        assert one.names == tuple(name for name, reading in READINGS.items() if reading.table == "cooccurrence")
        assert CandidateSources({"made up": table({})}).names == ()

    def test_columns_stand_in_the_order_of_the_readings_whatever_the_order_of_the_tables(self) -> None:
        tables = {name: table({}) for name in reversed(TABLES)}
        assert CandidateSources(tables).names == tuple(READINGS)
        assert CandidateSources(tables).score(history(5), history(6)).shape == (1, len(READINGS))

    def test_every_table_has_a_column_of_its_own_name_and_popularity_reads_no_history(self) -> None:
        assert set(TABLES) <= set(READINGS) and len(set(TABLES)) == len(TABLES)
        assert READINGS["popularity"].last == 0
        assert all(reading.last > 0 and 0 < reading.decay <= 1 for name, reading in READINGS.items()
                   if name != "popularity")  # fmt: skip

    @pytest.mark.parametrize("name", [name for name, reading in READINGS.items() if reading.last])
    def test_sums_by_hand(self, name: str) -> None:
        reading = READINGS[name]
        # every item of a long history points to row 19, and each to nobody else
        past = [2 + place % 10 for place in range(40)]
        read = CandidateSources({reading.table: table({row: {19: 1.0} for row in range(2, 12)})})
        expected = sum(reading.decay**back for back in range(reading.last))
        column = read.names.index(name)
        assert read.score(history(*past), history(19))[0, column] == pytest.approx(expected, rel=1e-5)

    def test_the_newest_item_weighs_most(self) -> None:
        read = CandidateSources({"item_knn": table({5: {10: 1.0}, 6: {11: 1.0}})})
        scores = read.score(history(5, 6), history(10, 11))
        decays = [READINGS[name].decay for name in read.names]
        assert scores[1].tolist() == [1.0] * len(decays) and scores[0].tolist() == pytest.approx(decays)


class TestScore:
    def test_padding_and_unknown_items_say_nothing_and_take_no_step(self, sources: CandidateSources) -> None:
        wanted = history(6, 7, 9)
        expected = sources.score(history(5), wanted)
        assert expected.tolist() == [[0.5], [0.25], [0.0]]
        assert np.array_equal(sources.score(history(0, 0, 5, 1), wanted), expected)

    def test_nothing_is_known_of_padding_the_unknown_item_or_rows_past_the_end(self) -> None:
        read = CandidateSources({"transitions": table({5: {0: 9.0, 1: 9.0, 6: 1.0}})})
        assert read.score(history(5), history(0, 1, 6, 19, 10_000)).ravel().tolist() == [0, 0, 1, 0, 0]

    def test_without_a_history_only_popularity_speaks(self) -> None:
        read = CandidateSources({"transitions": table({5: {6: 1.0}}), "popularity": table({0: {6: 0.75}})})
        assert read.names == ("transitions", "popularity")
        assert (
            read.score(history(), history(6)).tolist() == read.score(history(0, 0), history(6)).tolist() == [[0, 0.75]]
        )

    def test_reading_changes_nothing(self, sources: CandidateSources) -> None:
        past = history(0, 5)
        first, second = sources.score(past, history(6)), sources.score(past, history(6))
        assert np.array_equal(first, second) and past.tolist() == [0, 5]


class TestGather:
    def test_best_first_with_the_scores_of_every_column(self, sources: CandidateSources) -> None:
        rows, scores = sources.gather(history(5), limit=10)
        assert rows.tolist() == [6, 7] and scores.tolist() == [[0.5], [0.25]]
        assert np.array_equal(scores, sources.score(history(5), rows))

    def test_sources_take_turns_and_nobody_comes_twice(self) -> None:
        read = CandidateSources(
            {
                "transitions": table({5: {10: 0.9, 11: 0.8, 12: 0.1}}),
                "popularity": table({0: {12: 0.5, 10: 0.4, 13: 0.3}}),
            }
        )
        assert read.gather(history(5), limit=10)[0].tolist() == [10, 12, 11, 13]
        assert read.gather(history(5), limit=3)[0].tolist() == [10, 12, 11]

    def test_excluded_rows_free_their_places(self, sources: CandidateSources) -> None:
        assert sources.gather(history(5), limit=1, exclude=[6])[0].tolist() == [7]
        assert sources.gather(history(5), limit=9, exclude=history(6, 7, 99_999))[0].tolist() == []
        assert sources.gather(history(5), limit=9, exclude={7})[0].tolist() == [6]

    def test_extra_rows_share_the_places_and_are_scored_too(self, sources: CandidateSources) -> None:
        rows, scores = sources.gather(history(5), limit=10, exclude=[15], extra=history(14, 15, 7, 1, 0))
        assert rows.tolist() == [6, 14, 7] and scores.ravel().tolist() == [0.5, 0.0, 0.25]
        assert sources.gather(history(5), limit=2, extra=history(14))[0].tolist() == [6, 14]

    def test_equal_scores_stand_in_the_order_of_rows(self) -> None:
        read = CandidateSources({"transitions": table({5: {9: 0.5, 6: 0.5, 7: 0.5}})})
        assert read.gather(history(5), limit=10)[0].tolist() == [6, 7, 9]

    @pytest.mark.parametrize("past", [(), (0, 0), (1,), (19,)])
    def test_nothing_known_is_an_empty_list(self, sources: CandidateSources, past: tuple[int, ...]) -> None:
        rows, scores = sources.gather(history(*past), limit=10)
        assert rows.shape == (0,) and scores.shape == (0, 1)
        assert sources.gather(history(*past), limit=10, extra=history(4))[0].tolist() == [4]

    def test_a_weight_of_zero_is_no_neighbour(self) -> None:
        read = CandidateSources({"transitions": table({5: {9: 0.0, 6: 0.5}})})
        assert read.gather(history(5), limit=10)[0].tolist() == [6]


class TestAgainstTheDefinition:
    @pytest.mark.parametrize("seed", range(25))
    def test_random_tables_and_histories(self, seed: int) -> None:
        """Sums over all rows, whole rankings and plain turns: slower, and obviously right."""
        random = np.random.default_rng(seed)
        count = int(random.integers(20, 800))
        tables = {}
        for name in TABLES:
            tables[name] = NeighbourTable(rows=count, width=int(random.integers(1, 30)))
            tables[name].items[:] = np.minimum(random.pareto(1.0, tables[name].items.shape) * 20, count - 1)
            tables[name].weights[:] = random.random(tables[name].items.shape).round(int(random.integers(1, 5)))
        past, limit = random.integers(0, count, random.integers(0, 40)), int(random.integers(1, 150))
        excluded, extra = random.integers(0, count + 9, random.integers(0, 50)), random.integers(0, count, 15)
        rows, scores = CandidateSources(tables).gather(past, limit, excluded, extra)
        columns = [dense(name, tables, past[past > 1], count) for name in READINGS]
        lists = [best_first(column, set(excluded.tolist())) for column in columns]
        lists.append([row for row in extra.tolist() if row > 1 and row not in excluded])
        turns = [ranked[depth] for depth in range(count) for ranked in lists if depth < len(ranked)]
        assert rows.tolist() == list(dict.fromkeys(turns))[:limit]
        assert np.array_equal(scores, np.stack(columns, 1)[rows])


def dense(name: str, tables: dict[str, NeighbourTable], past: np.ndarray, count: int) -> np.ndarray:
    reading, sums = READINGS[name], np.zeros(count)
    read = past[-reading.last :] if reading.last else [0]
    for place, row in enumerate(read):
        decay = np.float32(reading.decay ** (len(read) - 1 - place))
        for item, weight in zip(tables[reading.table].items[row], tables[reading.table].weights[row], strict=True):
            sums[item] += np.float32(weight * decay)
    sums[:2] = 0
    return sums.astype(np.float32)


def best_first(column: np.ndarray, excluded: set[int]) -> list[int]:
    return sorted((row for row in np.flatnonzero(column).tolist() if row not in excluded), key=lambda row: -column[row])
