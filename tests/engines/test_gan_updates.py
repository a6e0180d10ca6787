"""Both updates against a plain rewriting in float64, whole and in parts, and with memory that runs out."""

from __future__ import annotations

import copy
import gc
import math
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from monai_cxraug.engines.gan_batch import GanBatch
from monai_cxraug.engines.gan_updates import GanUpdates
from monai_cxraug.engines.precision import Precision
from monai_cxraug.engines.schedule import Phase
from monai_cxraug.engines.side_tasks import LabelTask
from monai_cxraug.errors import ConfigError, CxrAugError
from monai_cxraug.losses.adversarial import (
    AdversarialLoss,
    HingeLoss,
    LeastSquaresLoss,
    NonSaturatingLoss,
    WassersteinLoss,
)
from monai_cxraug.networks.augmentation import AdaptiveAugmentation, DiffAugment
from monai_cxraug.networks.pggan import ProgressiveDiscriminator, ProgressiveGenerator

FINDINGS, LATENT, RATE = 3, 4, 0.01
PHASE = Phase(8, 0.3, 8)
NETWORKS = {"resolution": 8, "fmap_base": 16, "fmap_max": 6}
EXACT = {"rtol": 1e-10, "atol": 1e-10}
LOSSES = [WassersteinLoss(drift=0.1), NonSaturatingLoss(interval=3), HingeLoss(r1=2.0), LeastSquaresLoss(r1=1.0)]
losses = pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
CONDITIONS = ["", "auxiliary", "projection"]
conditions = pytest.mark.parametrize("condition", CONDITIONS)
Weights = dict[str, Tensor]


def make_updates(
    loss: AdversarialLoss, condition: str = "", dtype: torch.dtype = torch.float64, **changes: Any
) -> GanUpdates:
    torch.manual_seed(0)
    findings = FINDINGS if condition else 0
    generator = ProgressiveGenerator(latent_size=LATENT, findings=findings, **NETWORKS)
    condition = condition or "auxiliary"
    critic = changes.pop("critic", ProgressiveDiscriminator)(findings=findings, condition=condition, **NETWORKS)
    for parameter in [*generator.parameters(), *critic.parameters()]:
        nn.init.normal_(parameter)  # the biases too
    optimizers = [torch.optim.Adam(net.to(dtype).parameters(), RATE, (0.0, 0.99)) for net in (generator, critic)]
    precision = changes.pop("precision", Precision(torch.device("cpu"), False))
    draws = torch.Generator().manual_seed(5)
    return GanUpdates(generator, critic, *optimizers, loss, precision, draws, **{"side_task": LabelTask(), **changes})


def make_batch(n: int, condition: str = "", dtype: torch.dtype = torch.float64, size: int = 8) -> GanBatch:
    draws = torch.Generator().manual_seed(n)
    labels = torch.randint(0, 2, (n, FINDINGS), generator=draws).to(dtype)
    labels[torch.rand(n, FINDINGS, generator=draws) < 0.4] = torch.nan
    real, mix = (torch.rand(n, *rest, generator=draws).to(dtype) for rest in ((1, size, size), ()))
    return GanBatch(real, torch.randn(n, LATENT, generator=draws).to(dtype), mix, labels if condition else None)


def weights(net: nn.Module) -> Weights:
    return {name: parameter.detach().clone() for name, parameter in net.named_parameters()}


def slopes(net: nn.Module) -> Weights:
    return {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}


def assert_same(found: Weights, expected: Weights, **tolerance: float) -> None:
    assert found.keys() == expected.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], msg=lambda text, name=name: f"{name}: {text}", **tolerance)


# --- the same networks, losses and optimiser written plainly ---


def he(weight: Tensor, gain: float = math.sqrt(2)) -> Tensor:
    return weight * (gain / math.sqrt(weight[0].numel()))


def conv(w: Weights, name: str, x: Tensor, gain: float = math.sqrt(2)) -> Tensor:
    weight = w[f"{name}.weight"]
    return F.conv2d(x, he(weight, gain), w[f"{name}.bias"], padding=weight.shape[-1] // 2)


def dense(w: Weights, name: str, x: Tensor, gain: float) -> Tensor:
    return x @ he(w[f"{name}.weight"], gain).T + w[f"{name}.bias"]


def act(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.2 * x)


def norm(x: Tensor) -> Tensor:
    return x / (x.pow(2).mean(1, keepdim=True) + 1e-8).sqrt()


def up(x: Tensor) -> Tensor:
    return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


def down(x: Tensor) -> Tensor:
    return x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).mean(dim=(3, 5))


def encode(labels: Tensor) -> Tensor:
    return torch.nan_to_num(2 * labels - 1, nan=0.0)


def plain_images(w: Weights, z: Tensor, labels: Tensor | None, alpha: float) -> Tensor:
    """Generator at 8 px."""
    x = norm(z) if labels is None else torch.cat([norm(z), encode(labels)], 1)
    x = norm(act(dense(w, "blocks.0.dense", x, math.sqrt(2) / 4).reshape(len(z), -1, 4, 4)))
    small = norm(act(conv(w, "blocks.0.conv", x)))
    x = norm(act(conv(w, "blocks.1.conv0", up(small))))
    x = norm(act(conv(w, "blocks.1.conv1", x)))
    image = conv(w, "to_image.1", x, 1.0)
    if alpha < 1:
        image = (1 - alpha) * up(conv(w, "to_image.0", small, 1.0)) + alpha * image
    return (image + 1) / 2


def plain_judgement(w: Weights, images: Tensor, labels: Tensor | None, alpha: float) -> tuple[Tensor, Tensor | None]:
    """Discriminator at 8 px with groups of 4."""
    images = 2 * images - 1
    x = act(conv(w, "blocks.1.conv0", act(conv(w, "from_image.1", images))))
    x = act(down(conv(w, "blocks.1.conv1", x)))
    if alpha < 1:
        x = (1 - alpha) * act(conv(w, "from_image.0", down(images))) + alpha * x
    spread = []
    for group in torch.tensor_split(x, max(1, len(x) // 4)):
        deviation = (group.var(0, correction=0) + 1e-8).sqrt().mean()
        spread += [deviation.expand(len(group), 1, 4, 4)]
    x = act(conv(w, "blocks.0.conv", torch.cat([x, torch.cat(spread)], 1)))
    x = act(dense(w, "blocks.0.dense", x.flatten(1), math.sqrt(2)))
    scores = dense(w, "score", x, 1.0)[:, 0]
    if "embed.weight" in w:
        scores = scores + (dense(w, "embed", encode(labels), 1.0) * x).sum(1) / math.sqrt(x.shape[1])
    return scores, dense(w, "classify", x, 1.0) if "classify.weight" in w else None


def plain_slopes(w: Weights, images: Tensor, labels: Tensor | None, alpha: float) -> Tensor:
    """Norm [N] of the scores' slope per unit of [-1, 1]."""
    images = images.detach().requires_grad_()
    scores = plain_judgement(w, images, labels, alpha)[0]
    (slope,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    return slope.flatten(1).norm(dim=1) / 2


def plain_auxiliary(logits: Tensor | None, labels: Tensor | None) -> Tensor | float:
    if logits is None or labels is None:
        return 0.0
    known = ~labels.isnan()
    return F.binary_cross_entropy_with_logits(logits[known], labels[known])


def plain_critic_loss(loss: AdversarialLoss, real: Tensor, fake: Tensor) -> Tensor:
    if isinstance(loss, WassersteinLoss):
        return fake.mean() - real.mean() + loss.drift * (real**2).mean()
    if isinstance(loss, NonSaturatingLoss):
        return -torch.sigmoid(real).log().mean() - (1 - torch.sigmoid(fake)).log().mean()
    if isinstance(loss, HingeLoss):
        return (1 - real).clamp(min=0).mean() + (1 + fake).clamp(min=0).mean()
    return ((real - 1) ** 2).mean() / 2 + ((fake + 1) ** 2).mean() / 2


def plain_generator_loss(loss: AdversarialLoss, fake: Tensor) -> Tensor:
    if isinstance(loss, NonSaturatingLoss):
        return -torch.sigmoid(fake).log().mean()
    return (fake**2).mean() / 2 if isinstance(loss, LeastSquaresLoss) else -fake.mean()


def plain_penalty(loss: AdversarialLoss, w: Weights, batch: GanBatch, fake: Tensor, alpha: float) -> Tensor:
    if isinstance(loss, WassersteinLoss):
        mix = batch.mix[:, None, None, None]
        between = (1 - mix) * batch.real + mix * fake
        return 10 * ((plain_slopes(w, between, batch.labels, alpha) - 1) ** 2).mean()
    return loss.interval * loss.r1 / 2 * (plain_slopes(w, batch.real, batch.labels, alpha) ** 2).mean()


class PlainAdam:
    """Kingma and Ba's algorithm 1 with beta 0 and 0.99; a weight without a gradient rests."""

    def __init__(self) -> None:
        self.steps, self.squares = dict[str, int](), Weights()

    def step(self, w: Weights, loss: Tensor) -> Weights:
        found = torch.autograd.grad(loss, list(w.values()), allow_unused=True)
        grads = {name: grad for name, grad in zip(w, found, strict=True) if grad is not None}
        for name, grad in grads.items():
            t = self.steps[name] = self.steps.get(name, 0) + 1
            self.squares[name] = 0.99 * self.squares.get(name, torch.zeros_like(grad)) + 0.01 * grad**2
            root = (self.squares[name] / (1 - 0.99**t)).sqrt()
            w[name] = (w[name] - RATE * grad / (root + 1e-8)).detach().requires_grad_()
        return grads


@losses
@pytest.mark.parametrize(
    ("condition", "on"), [("", "real"), ("auxiliary", "real"), ("auxiliary", "both"), ("projection", "real")]
)
@pytest.mark.parametrize("alpha", [0.3, 1.0])
def test_updates_equal_plain_ones(loss: AdversarialLoss, condition: str, on: str, alpha: float) -> None:
    updates = make_updates(loss, condition, side_task=LabelTask(0.7, on))
    phase = Phase(8, alpha, 8)
    g, d = ({k: v.requires_grad_() for k, v in weights(n).items()} for n in (updates.generator, updates.discriminator))
    g_adam, d_adam = PlainAdam(), PlainAdam()
    for step, n in enumerate((8, 6, 10)):
        batch, regularise = make_batch(n, condition), step != 1
        fake = plain_images(g, batch.latents, batch.labels, alpha)
        real_scores, real_logits = plain_judgement(d, batch.real, batch.labels, alpha)
        fake_scores, fake_logits = plain_judgement(d, fake.detach(), batch.labels, alpha)
        expected = {"critic_loss": plain_critic_loss(loss, real_scores, fake_scores)}
        auxiliary = plain_auxiliary(real_logits, batch.labels)
        auxiliary = auxiliary + (plain_auxiliary(fake_logits, batch.labels) if on == "both" else 0.0)
        total = expected["critic_loss"] + 0.7 * auxiliary
        if regularise:
            expected["penalty"] = plain_penalty(loss, d, batch, fake.detach(), alpha)
            total = total + expected["penalty"]
        expected["real_score"], expected["fake_score"] = real_scores.mean(), fake_scores.mean()
        expected["wasserstein"] = real_scores.mean() - fake_scores.mean()
        grads = d_adam.step(d, total)
        values = updates.critic(batch, phase, regularise, keep=True)
        assert_same(slopes(updates.discriminator), grads, **EXACT)
        assert_same(weights(updates.discriminator), d, **EXACT)

        scores, logits = plain_judgement(d, fake, batch.labels, alpha)
        expected["generator_loss"] = plain_generator_loss(loss, scores)
        g_auxiliary = plain_auxiliary(logits, batch.labels)
        grads = g_adam.step(g, expected["generator_loss"] + 0.7 * g_auxiliary)
        values |= updates.generate(batch, phase)
        assert_same(slopes(updates.generator), grads, **EXACT)
        assert_same(weights(updates.generator), g, **EXACT)
        if condition == "auxiliary":
            expected |= {"auxiliary": auxiliary, "generator_auxiliary": g_auxiliary}
        assert not any(value.requires_grad for value in values.values())
        assert_same(values, {name: value.detach() for name, value in expected.items()}, **EXACT)


# --- parts ---


def train_twice(updates: GanUpdates, n: int, condition: str) -> list[Any]:
    """All that two rounds of both updates leave behind."""
    trace: list[Any] = []
    for step in range(2):
        batch = make_batch(n + 4 * step, condition)
        values = updates.critic(batch, PHASE, regularise=True, keep=True)
        trace += [slopes(updates.discriminator)]
        values |= updates.generate(batch, PHASE)
        trace += [slopes(updates.generator), weights(updates.discriminator), weights(updates.generator), values]
    if isinstance(updates.augment, nn.Module):
        trace.append(dict(updates.augment.state_dict()))
    return [*trace, {"draws": updates.draws.get_state()}]


def make_augmentation() -> AdaptiveAugmentation:
    augment = AdaptiveAugmentation(interval=1, images=20, target=0.1)
    augment.p.fill_(0.6)
    return augment


AUGMENTATIONS: dict[str, Callable[[], Any]] = {"none": lambda: None, "ada": make_augmentation, "diff": DiffAugment}


@losses
@conditions
@pytest.mark.parametrize("augment", AUGMENTATIONS.values(), ids=AUGMENTATIONS.keys())
@pytest.mark.parametrize("n", [8, 14])
def test_parts_add_up_to_the_whole(loss: AdversarialLoss, condition: str, augment: Callable[[], Any], n: int) -> None:
    whole, parts = (
        train_twice(
            make_updates(loss, condition, side_task=LabelTask(on="both"), augment=augment(), part=part), n, condition
        )
        for part in (None, 4)
    )
    for first, second in zip(whole, parts, strict=True):
        assert_same(first, second, **EXACT)


@pytest.mark.parametrize("group", [1, 3, 4])
@pytest.mark.parametrize("n", [1, 3, 4, 6, 7, 8, 11, 14, 16, 23])
def test_parts_hold_whole_groups(n: int, group: int) -> None:
    batch = make_batch(n)
    groups = [len(part) for part in torch.tensor_split(torch.arange(n), max(1, n // group))]
    for size in range(group, 2 * n, group):
        parts = list(batch.parts(size, group))
        assert torch.equal(torch.cat([part.real for part in parts]), batch.real)
        again: list[int] = []
        for part in parts:
            again += [len(run) for run in torch.tensor_split(torch.arange(len(part)), max(1, len(part) // group))]
            assert len(part) <= max(size, max(groups))
        assert again == groups
    assert next(batch.parts(n, group)) is batch


# --- memory ---


class Narrow(ProgressiveDiscriminator):
    """Runs out of memory at the given calls, and whenever it is shown more images than it has room for."""

    room, calls, fails_at = 1000, 0, frozenset[int]()

    def judge(self, images: Tensor, alpha: float = 1.0, labels: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        self.calls += 1
        if len(images) > self.room or self.calls in self.fails_at:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return super().judge(images, alpha, labels)


@pytest.mark.parametrize("call", [1, 2, 3, 4])  # real, fake, penalty; the generator's update
@conditions
def test_memory_that_runs_out_once_halves_the_part_and_changes_nothing_else(call: int, condition: str) -> None:
    expected = train_twice(make_updates(LOSSES[0], condition, augment=make_augmentation()), 8, condition)
    updates = make_updates(LOSSES[0], condition, augment=make_augmentation(), critic=Narrow)
    updates.discriminator.fails_at = {call}
    found = train_twice(updates, 8, condition)
    assert updates.part == 4
    for first, second in zip(expected, found, strict=True):
        assert_same(first, second, **EXACT)


def test_a_part_is_halved_until_it_fits() -> None:
    updates = make_updates(LOSSES[0], critic=Narrow)
    updates.discriminator.room = 17  # real and fake images are judged together
    updates.critic(make_batch(32), PHASE, regularise=True, keep=True)
    assert updates.part == 8


@pytest.mark.parametrize(("room", "n"), [(3, 16), (5, 6), (0, 8)])
def test_a_group_that_does_not_fit_is_one_clear_line(room: int, n: int) -> None:
    updates = make_updates(LOSSES[0], critic=Narrow)
    updates.discriminator.room = room
    with pytest.raises(CxrAugError, match=r"^memory: .*group.*out of memory at \d+ images; use a smaller") as caught:
        updates.critic(make_batch(n), PHASE, regularise=True, keep=True)
    assert "\n" not in str(caught.value)
    assert slopes(updates.discriminator) == {}


@pytest.mark.parametrize("part", [0, -4, 3, 6])
def test_parts_of_broken_groups_are_refused(part: int) -> None:
    with pytest.raises(ConfigError, match=r"multiple of the discriminator's group \(4\)"):
        make_updates(LOSSES[0], part=part)


# --- fakes and frozen weights ---


def count_calls(net: nn.Module) -> list[Any]:
    calls: list[Any] = []
    net.register_forward_pre_hook(lambda _, inputs: calls.append(inputs))
    return calls


def test_kept_fakes_are_used_once_and_dropped() -> None:
    updates, batch = make_updates(LOSSES[0]), make_batch(8)
    calls = count_calls(updates.generator)
    updates.critic(batch, PHASE, regularise=True, keep=True)
    kept = weakref.ref(updates._made[1])
    updates.generate(batch, PHASE)
    assert len(calls) == 1
    assert updates._made is None
    assert kept() is None
    updates.generate(batch, PHASE)  # without a critic update before it: made anew
    assert len(calls) == 2


@pytest.mark.parametrize("part", [None, 4])
def test_an_update_leaves_nothing_behind_that_only_the_garbage_collector_could_free(part: int | None) -> None:
    updates, batch = make_updates(LOSSES[0], "auxiliary", part=part, augment=make_augmentation()), make_batch(8, "x")
    counts = []
    gc.collect()
    gc.disable()
    try:
        for _ in range(4):
            updates.critic(batch, PHASE, regularise=True, keep=True)
            updates.generate(batch, PHASE)
            counts.append(sum(isinstance(thing, Tensor) for thing in gc.get_objects()))
    finally:
        gc.enable()
    assert len(set(counts[1:])) == 1


def test_fakes_of_another_batch_are_not_used() -> None:
    updates = make_updates(LOSSES[0])
    calls = count_calls(updates.generator)
    updates.critic(make_batch(8), PHASE, regularise=True, keep=True)
    updates.generate(make_batch(8), PHASE)
    assert len(calls) == 2


@pytest.mark.parametrize("part", [None, 4])
def test_fakes_are_kept_with_their_graph_only_where_they_are_used_again(part: int | None) -> None:
    updates = make_updates(LOSSES[0], part=part)
    graphs: list[bool] = []
    updates.generator.register_forward_hook(lambda *_: graphs.append(torch.is_grad_enabled()))
    updates.critic(make_batch(8), PHASE, regularise=True, keep=True)
    assert graphs == ([True] if part is None else [False, False])
    graphs.clear()
    updates.critic(make_batch(8), PHASE, regularise=True, keep=False)
    assert not any(graphs)
    assert updates._made is None


@pytest.mark.parametrize("fails", [False, True])
def test_the_discriminator_gets_no_gradient_from_the_generators_update(fails: bool) -> None:
    updates, batch = make_updates(LOSSES[0], critic=Narrow), make_batch(8)
    updates.discriminator.from_image[0].bias.requires_grad_(False)  # a weight the caller froze stays so
    before = {name: parameter.requires_grad for name, parameter in updates.discriminator.named_parameters()}
    updates.critic(batch, PHASE, regularise=True, keep=True)
    updates.d_optimizer.zero_grad()
    if fails:
        updates.discriminator.score.register_forward_hook(lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            updates.generate(batch, PHASE)
    else:
        updates.generate(batch, PHASE)
    assert slopes(updates.discriminator) == {}
    assert {name: parameter.requires_grad for name, parameter in updates.discriminator.named_parameters()} == before


# --- findings ---


def test_unknown_labels_give_the_classifier_no_gradient() -> None:
    updates = make_updates(LOSSES[0], "auxiliary", side_task=LabelTask(on="both"))
    batch = make_batch(8, "auxiliary")
    batch.labels[:, 1] = torch.nan
    updates.critic(batch, PHASE, regularise=True, keep=True)
    found = slopes(updates.discriminator)["classify.weight"]
    assert torch.equal(found[1], torch.zeros_like(found[1]))
    assert found[0].abs().sum() > 0
    batch.labels[:] = torch.nan
    values = updates.critic(batch, PHASE, regularise=True, keep=True) | updates.generate(batch, PHASE)
    assert values["auxiliary"].item() == values["generator_auxiliary"].item() == 0
    assert slopes(updates.discriminator)["classify.weight"].abs().sum() == 0


@pytest.mark.parametrize("changes", [{"weight": -1.0}, {"on": "fake"}])
def test_bad_auxiliary_settings_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="auxiliary"):
        LabelTask(**changes)


class Witness:
    """Changes nothing and remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[Tensor, Tensor | None]] = []

    def __call__(self, images: Tensor, draws: torch.Generator) -> Tensor:
        return images

    def update(self, real_scores: Tensor, fake_scores: Tensor | None = None) -> None:
        self.told.append((real_scores, fake_scores))


@losses
def test_the_augmentation_learns_from_scores_with_or_without_a_natural_zero(loss: AdversarialLoss) -> None:
    witness = Witness()
    updates = make_updates(loss, augment=witness, part=4)
    twin, batch = copy.deepcopy(updates.discriminator), make_batch(12)
    updates.critic(batch, PHASE, regularise=True, keep=True)
    ((real, fake),) = witness.told
    torch.testing.assert_close(real, twin(batch.real, PHASE.alpha).detach())
    assert (fake is None) == (not isinstance(loss, WassersteinLoss))
    assert fake is None or len(fake) == 12
