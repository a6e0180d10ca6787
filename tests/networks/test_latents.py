from __future__ import annotations

import torch

from monai_cxraug.networks.latents import normalise_latent, sample_latent


def test_same_seed_same_latents_and_unit_mean_square() -> None:
    first, second = (sample_latent(5, 16, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, sample_latent(5, 16, torch.Generator().manual_seed(4)))
    torch.testing.assert_close(first.norm(dim=1), torch.full((5,), 4.0))


def test_the_global_random_state_is_left_alone() -> None:
    before = torch.get_rng_state()
    sample_latent(4, 8, torch.Generator().manual_seed(0))
    assert torch.equal(before, torch.get_rng_state())


def test_normalising_twice_changes_nothing_and_keeps_the_direction() -> None:
    z = torch.randn(6, 32, generator=torch.Generator().manual_seed(0)) * 7
    once = normalise_latent(z)
    torch.testing.assert_close(normalise_latent(once), once)
    torch.testing.assert_close(torch.cosine_similarity(z, once), torch.ones(6))
