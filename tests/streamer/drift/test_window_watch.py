from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from streamer.drift.psi import OTHER, compare_features, compare_names, psi
from streamer.drift.window_watch import WindowSizes, WindowWatch

SIZES = WindowSizes(reference=1_000, window=250)


def mix(draw: np.random.Generator, number: int, shares: Sequence[float]) -> list[tuple[str, ...]]:
    return [(f"c{place}",) for place in draw.choice(len(shares), number, p=shares)]


EVEN, TURNED = (0.4, 0.3, 0.2, 0.1), (0.1, 0.2, 0.3, 0.4)


class TestMix:
    @pytest.mark.parametrize("seed", range(3))
    def test_a_steady_mix_alarms_nobody(self, seed: int) -> None:
        watch = WindowWatch(compare_names("category"), SIZES)
        rows = mix(np.random.default_rng(seed), 20_000, EVEN)
        assert not any(watch.update(row) for row in rows)

    def test_a_turned_mix_is_found_with_what_moved(self) -> None:
        draw, watch = np.random.default_rng(1), WindowWatch(compare_names("category"), SIZES)
        assert not any(watch.update(row) for row in mix(draw, 5_000, EVEN))
        found = [
            (place, shift) for place, row in enumerate(mix(draw, 3_000, TURNED), 1) if (shift := watch.update(row))
        ]
        place, shift = found[0]
        assert len(found) == 1 and place <= 3 * SIZES.window and shift.statistic > 0.25
        assert {one.name for one in watch.moved[:2]} == {"c0", "c3"}
        largest = next(one for one in watch.moved if one.name == "c3")
        assert largest.before == pytest.approx(0.1, abs=0.05) and largest.after == pytest.approx(0.4, abs=0.1)

    def test_one_odd_window_is_dismissed(self) -> None:
        draw, watch = np.random.default_rng(2), WindowWatch(compare_names("category"), SIZES)
        rows = mix(draw, 5_000, EVEN) + mix(draw, 250, TURNED) + mix(draw, 3_000, EVEN)
        assert not any(watch.update(row) for row in rows) and watch.dismissed == 1

    def test_a_stream_that_always_jumps_is_not_alarmed_by_a_jump(self) -> None:
        draw, watch = np.random.default_rng(3), WindowWatch(compare_names("category"), SIZES)
        visits = [mix(draw, 125, shares) for _ in range(120) for shares in [draw.dirichlet(np.ones(4))]]
        assert not any(watch.update(row) for visit in visits for row in visit)


class TestFeatures:
    compare: Callable[..., tuple[float, list[object]]] = staticmethod(compare_features(["age", "pace", "zero"]))

    def rows(self, seed: int, number: int, pace: float = 0.0) -> list[list[float]]:
        draw = np.random.default_rng(seed)
        return np.column_stack([draw.normal(size=number), draw.normal(pace, 1, number), np.zeros(number)]).tolist()

    def test_the_feature_that_moved_is_named_first(self) -> None:
        statistic, moved = compare_features(["age", "pace", "zero"])(self.rows(1, 1_000), self.rows(2, 250, pace=1.0))
        assert statistic > 0.5 and moved[0].name == "pace" and moved[0].after == pytest.approx(1, abs=0.2)

    def test_chance_is_refuted(self) -> None:
        assert compare_features(["age", "pace", "zero"])(self.rows(1, 1_000), self.rows(2, 250))[0] == 0.0

    def test_a_watch_finds_it(self) -> None:
        watch = WindowWatch(compare_features(["age", "pace", "zero"]), SIZES)
        assert not any(watch.update(row) for row in self.rows(3, 6_000))
        assert any(watch.update(row) for row in self.rows(4, 1_000, pace=1.5))


def test_psi_is_nothing_for_equal_shares_and_symmetric() -> None:
    one, other = np.array([10.0, 30.0]), np.array([30.0, 10.0])
    assert psi(one, one) == 0 and psi(one, other) == pytest.approx(psi(other, one)) and psi(one, other) > 0.5


def test_rare_names_share_a_bin() -> None:
    names = [(f"n{number}",) for number in range(100)]
    statistic, moved = compare_names("category")(names * 10, names)
    assert statistic < 0.05 and all(one.name != OTHER or one.before == pytest.approx(0.8) for one in moved)
