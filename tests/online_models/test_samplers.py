from __future__ import annotations

import pytest
import torch

from online_models.samplers import accidental_hits, in_batch, popularity, uniform


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_generator_decides() -> None:
    rows, counts = torch.arange(2, 90), torch.rand(90)
    assert torch.equal(uniform(rows, 4, 8, generator())[0], uniform(rows, 4, 8, generator())[0])
    assert not torch.equal(uniform(rows, 4, 8, generator())[0], uniform(rows, 4, 8, generator(2))[0])
    assert torch.equal(popularity(counts, 4, 8, generator())[0], popularity(counts, 4, 8, generator())[0])


def test_uniform_draws_every_row_as_often_as_it_says() -> None:
    rows = torch.tensor([4, 7, 9])
    items, log_q = uniform(rows, 1, 30_000, generator())
    assert set(items.unique().tolist()) == {4, 7, 9}
    assert abs((items == 7).sum() - log_q[0, 0].exp()) < 400


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_popularity_draws_as_often_as_it_says(alpha: float) -> None:
    counts = torch.tensor([0.0, 0.0, 1.0, 10.0, 0.0, 100.0, 0.0])
    items, log_q = popularity(counts, 1, 60_000, generator(), alpha)
    assert set(items.unique().tolist()) == {2, 3, 5}
    for row in (2, 3, 5):
        found = items == row
        expected = log_q[found][0].exp()
        assert abs(found.sum() - expected) < 5 * expected**0.5


def test_nothing_to_draw_from_is_said() -> None:
    with pytest.raises(ValueError, match="counts has nothing to draw from"):
        popularity(torch.zeros(4), 1, 2, generator())
    with pytest.raises(ValueError, match="rows has nothing to draw from"):
        uniform(torch.zeros(0, dtype=torch.int64), 1, 2, generator())


def test_in_batch_takes_the_others_and_knows_how_popular_they_are() -> None:
    items, log_q = in_batch(torch.tensor([5, 6, 6, 7]))
    assert items.tolist() == [[6, 6, 7], [5, 6, 7], [5, 6, 7], [5, 6, 6]]
    torch.testing.assert_close(log_q.exp()[0], 3 * torch.tensor([0.5, 0.5, 0.25]))
    counts = torch.zeros(10)
    counts[5:8] = torch.tensor([8.0, 1.0, 1.0])
    torch.testing.assert_close(in_batch(torch.tensor([5, 6]), counts)[1].exp(), torch.tensor([[0.1], [0.8]]))


@pytest.mark.parametrize("examples", [0, 1])
def test_in_batch_of_one_has_no_negatives(examples: int) -> None:
    items, log_q = in_batch(torch.arange(examples) + 2)
    assert items.shape == log_q.shape == (examples, 0)


def test_accidental_hits_are_the_positive_and_padding() -> None:
    hits = accidental_hits(torch.tensor([[5, 6, 0], [5, 6, 7]]), torch.tensor([6, 5]))
    assert hits.tolist() == [[False, True, True], [True, False, False]]
