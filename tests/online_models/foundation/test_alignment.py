from __future__ import annotations

import pytest
import torch

from online_models.foundation.alignment import Alignment, procrustes


@pytest.fixture
def turn() -> torch.Tensor:
    """A rotation that we know. [D, D]."""
    return torch.linalg.qr(torch.randn(16, 16, generator=torch.Generator().manual_seed(1))).Q


@pytest.fixture
def vectors() -> torch.Tensor:
    return torch.randn(200, 16, generator=torch.Generator().manual_seed(2))  # [N, D]


def test_a_known_rotation_is_recovered(vectors: torch.Tensor, turn: torch.Tensor) -> None:
    found = procrustes(vectors @ turn, vectors)
    assert torch.allclose(found.rotation, turn.T, atol=1e-5)
    assert found.residual < 1e-5


def test_scores_do_not_change(vectors: torch.Tensor, turn: torch.Tensor) -> None:
    users, noise = vectors[:20] * 3, 0.3 * torch.randn(200, 16, generator=torch.Generator().manual_seed(3))
    found = procrustes(vectors, (vectors + noise) @ turn)
    assert torch.allclose(found(users) @ found(vectors).T, users @ vectors.T, atol=1e-4)
    assert torch.allclose(found.rotation @ found.rotation.T, torch.eye(16), atol=1e-6)


def test_a_drifted_space_comes_nearer_and_the_residual_says_how_near(vectors: torch.Tensor, turn: torch.Tensor) -> None:
    noise = 0.1 * torch.randn(200, 16, generator=torch.Generator().manual_seed(3))
    moved = (vectors + noise) @ turn
    found = procrustes(moved, vectors)
    assert (moved - vectors).norm() > 5 * (found(moved) - vectors).norm()
    assert found.residual == pytest.approx(0.1, abs=0.02)


def test_weights_say_whose_place_matters(turn: torch.Tensor) -> None:
    vectors, other = torch.eye(16), torch.linalg.qr(torch.randn(16, 16, generator=torch.Generator().manual_seed(9))).Q
    both = torch.cat([vectors @ turn, vectors @ other])
    weights = torch.cat([torch.ones(16), torch.zeros(16)])
    assert torch.allclose(procrustes(both, torch.cat([vectors, vectors]), weights).rotation, turn.T, atol=1e-5)


def test_identity_turns_nothing(vectors: torch.Tensor) -> None:
    assert torch.equal(Alignment.identity(16)(vectors), vectors)


def test_bad_input_is_named(vectors: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"\[200, 16\], the earlier ones \[100, 16\]"):
        procrustes(vectors, vectors[:100])
    with pytest.raises(ValueError, match="not finite"):
        procrustes(vectors * torch.nan, vectors)
