"""Mixed precision: float16 trains by scaled losses, bfloat16 needs none, and the state comes back."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from monai_cxraug.engines import precision as module
from monai_cxraug.engines.gan_batch import GanBatch
from monai_cxraug.engines.gan_updates import GanUpdates
from monai_cxraug.engines.precision import Precision
from monai_cxraug.engines.schedule import Phase
from monai_cxraug.losses.adversarial import WassersteinLoss
from monai_cxraug.networks.pggan import ProgressiveDiscriminator, ProgressiveGenerator

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def units(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the processor compute in 16 bits, whether it has units for them or imitates them."""
    monkeypatch.setattr(module, "pays", lambda device: True)


def make_precision(dtype: torch.dtype | None = torch.float16, mixed: bool = True) -> Precision:
    return Precision(CPU, mixed, dtype)


def make_updates(precision: Precision, **changes: object) -> GanUpdates:
    torch.manual_seed(0)
    generator = ProgressiveGenerator(8, 4, fmap_base=32, fmap_max=8)
    critic = ProgressiveDiscriminator(8, fmap_base=32, fmap_max=8)
    optimizers = [torch.optim.Adam(net.parameters(), 1e-3, (0.0, 0.99)) for net in (generator, critic)]
    loss = changes.pop("loss", WassersteinLoss())
    return GanUpdates(generator, critic, *optimizers, loss, precision, torch.Generator(), **changes)


def make_batch(n: int = 8) -> GanBatch:
    draws = torch.Generator().manual_seed(1)
    real, mix = torch.rand(n, 1, 8, 8, generator=draws), torch.rand(n, generator=draws)
    return GanBatch(real, torch.randn(n, 4, generator=draws), mix)


PHASE = Phase(8, 0.5, 8)


def weights(net: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in net.parameters()]


def equal(first: list[Tensor], second: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(
    ("dtype", "mixed", "scaled"),
    [(torch.float16, True, True), (torch.float16, False, False), (torch.bfloat16, True, False), (None, True, False)],
)
def test_only_float16_is_scaled(dtype: torch.dtype | None, mixed: bool, scaled: bool) -> None:
    precision = make_precision(dtype, mixed)
    assert precision.scaler.is_enabled() == scaled
    assert bool(precision.state_dict()) == scaled


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_networks_compute_in_16_bits_where_it_is_wanted(dtype: torch.dtype) -> None:
    net, x = nn.Linear(2, 2), torch.ones(1, 2)
    for mixed, enabled, expected in ((True, True, dtype), (True, False, torch.float32), (False, True, torch.float32)):
        with make_precision(dtype, mixed).autocast(enabled):
            assert net(x).dtype == expected


@pytest.mark.parametrize("bf16", [True, False])
def test_a_gpu_without_bfloat16_computes_in_float16(monkeypatch: pytest.MonkeyPatch, bf16: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bf16)
    assert module._half(torch.device("cuda")) == (torch.bfloat16 if bf16 else torch.float16)
    assert module._half(CPU) == torch.bfloat16


@pytest.mark.parametrize(("dtype", "share"), [(torch.float16, 0.04), (torch.bfloat16, 0.2)])
def test_gradients_are_those_of_float32_within_the_rounding(dtype: torch.dtype, share: float) -> None:
    found = []
    for precision in (make_precision(mixed=False), make_precision(dtype)):
        scaled = precision.scaler.is_enabled()
        precision.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, enabled=scaled)  # nothing overflows
        first, second = make_updates(precision), make_updates(precision)
        first.critic(make_batch(), PHASE, regularise=True, keep=False)
        second.generate(make_batch(), PHASE)
        pair = first.discriminator, second.generator
        found.append([torch.cat([p.grad.flatten() for p in net.parameters()]) for net in pair])
    for exact, rounded in zip(*found, strict=True):  # the step divides the scale out of the gradients
        assert not torch.equal(exact, rounded)
        assert (exact - rounded).norm() < share * exact.norm()


def test_float16_trains_with_several_critic_steps_for_one_of_the_generator() -> None:
    updates = make_updates(make_precision())
    before = weights(updates.discriminator), weights(updates.generator)
    for _ in range(3):
        updates.critic(make_batch(), PHASE, regularise=True, keep=True)
    updates.generate(make_batch(), PHASE)
    after = weights(updates.discriminator), weights(updates.generator)
    assert not any(equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(torch.isfinite(weight).all() for net in after for weight in net)
    assert all(p.grad.isfinite().all() for p in updates.discriminator.parameters())


def test_a_step_that_overflows_is_left_out_and_the_scale_falls() -> None:
    precision = make_precision()
    updates = make_updates(precision)
    precision.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
    before = weights(updates.discriminator), weights(updates.generator)
    updates.critic(make_batch(), PHASE, regularise=True, keep=True)
    assert precision.scaler.get_scale() == 2.0**39
    updates.generate(make_batch(), PHASE)
    assert precision.scaler.get_scale() == 2.0**38
    assert equal(before[0], weights(updates.discriminator))
    assert equal(before[1], weights(updates.generator))
    assert not updates.d_optimizer.state
    for _ in range(30):
        updates.critic(make_batch(), PHASE, regularise=True, keep=True)
        updates.generate(make_batch(), PHASE)
    assert not equal(before[0], weights(updates.discriminator))
    assert not equal(before[1], weights(updates.generator))


def test_small_gradients_survive_float16() -> None:
    net, precision = nn.Linear(1, 1, bias=False), make_precision()
    with precision.autocast():
        loss = net(torch.ones(1, 1)).float().sum() * 1e-8  # below half of the smallest number of float16
    loss.backward(retain_graph=True)
    assert net.weight.grad.item() == 0
    precision.backward(loss)
    assert net.weight.grad.item() == pytest.approx(1e-8 * precision.scaler.get_scale(), rel=1e-3)


@pytest.mark.parametrize(("dtype", "inside"), [(torch.float16, torch.float32), (torch.bfloat16, torch.bfloat16)])
def test_the_penalty_of_float16_is_computed_in_float32(dtype: torch.dtype, inside: torch.dtype) -> None:
    seen: list[torch.dtype] = []
    updates = make_updates(make_precision(dtype))
    updates.discriminator.score.register_forward_hook(lambda _, inputs, output: seen.append(output.dtype))
    values = updates.critic(make_batch(), PHASE, regularise=True, keep=True)
    assert seen == [dtype, inside]  # real and fake images together, then those between them
    assert values["penalty"].dtype == torch.float32
    exact = make_updates(make_precision(mixed=False)).critic(make_batch(), PHASE, regularise=True, keep=True)
    torch.testing.assert_close(values["penalty"], exact["penalty"], rtol=0.05, atol=0)


def test_the_state_comes_back() -> None:
    precision, other = make_precision(), make_precision()
    updates = make_updates(precision)
    precision.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40, growth_interval=7)
    for _ in range(3):
        updates.critic(make_batch(), PHASE, regularise=False, keep=False)
    state = copy.deepcopy(precision.state_dict())
    other.load_state_dict(state)
    assert other.state_dict() == state
    assert other.scaler.get_scale() == 2.0**37


def test_a_state_without_scale_loads_into_either() -> None:
    scaled, plain = make_precision(), make_precision(torch.bfloat16)
    scaled.load_state_dict(plain.state_dict())
    plain.load_state_dict(scaled.state_dict())
    assert scaled.scaler.get_scale() == 2.0**16


def test_a_processor_that_would_imitate_16_bits_computes_in_32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "pays", lambda device: device != "cpu")
    precision = make_precision(torch.float16)
    assert not precision.mixed
    assert not precision.scaler.is_enabled()
    with precision.autocast():
        assert nn.Linear(4, 2)(torch.rand(1, 4)).dtype == torch.float32


@pytest.mark.parametrize(
    ("machine", "units", "paid"),
    [
        ("x86_64", {"_is_avx512_bf16_supported"}, True),
        ("AMD64", {"_is_amx_tile_supported"}, True),
        ("x86_64", set(), False),
    ],
)
def test_16_bits_pay_on_a_processor_with_units_for_them(
    monkeypatch: pytest.MonkeyPatch, machine: str, units: set[str], paid: bool
) -> None:
    monkeypatch.undo()  # the fixture's
    monkeypatch.setattr(module.platform, "machine", lambda: machine)
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda name=name: name in units)
    module.pays.cache_clear()
    try:
        assert module.pays("cpu") is paid
        assert module.pays("cuda")
    finally:
        module.pays.cache_clear()
