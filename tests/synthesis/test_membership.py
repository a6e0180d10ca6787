"""Membership inference: a planted memoriser is found out, fresh images are not; figures by brute force and sklearn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial.distance import cdist
from sklearn.metrics import roc_auc_score, roc_curve

from monai_cxraug.data.manifest import Manifest, make_columns, read_manifest
from monai_cxraug.data.pack import quantise, to_unit, write_pack
from monai_cxraug.errors import InputError, LeakageError, StateError
from monai_cxraug.networks.pggan import ProgressiveDiscriminator
from monai_cxraug.synthesis.critic import Critic
from monai_cxraug.synthesis.membership import MembershipAudit, choose_sides, find_at

SIDE = 16


def draw(n: int, seed: int, side: int = SIDE) -> np.ndarray:
    """Smooth random pictures, float32 ``[n, side, side]``."""
    waves = np.random.default_rng(seed).normal(size=(n, 4, 4)).repeat(side // 4, 1).repeat(side // 4, 2)
    return to_unit(quantise((0.5 + 0.15 * waves).astype(np.float32), 8))


def make_audit(members: int = 60, strangers: int = 60, per_patient: int = 2, **given: object) -> MembershipAudit:
    """Patients of two pictures each, members first."""
    n = members + strangers
    patients = [f"P{k // per_patient}" for k in range(n)]
    return MembershipAudit(draw(n, 1), patients, np.arange(n) < members, **given)  # type: ignore[arg-type]


# --- the attacks ---


def test_the_scores_are_those_of_the_whole_table() -> None:
    audit, made = make_audit(), draw(40, 7)
    real, fake = (images.reshape(len(images), -1).astype(np.float64) for images in (audit.images, made))
    mirrored = audit.images[:, :, ::-1].reshape(len(real), -1).astype(np.float64)
    to_fake = np.minimum(cdist(real, fake), cdist(mirrored, fake)).min(axis=1) / SIDE
    table = np.minimum(cdist(real, real), cdist(mirrored, real)) / SIDE
    owners = np.arange(120) // 2
    table[owners[:, None] == owners[None]] = np.inf
    scores = audit.attack(made)
    assert_allclose(scores["distance"], -to_fake, rtol=1e-9)
    assert_allclose(scores["blind"], -table.min(axis=1), rtol=1e-9)
    assert_allclose(scores["calibrated"], table.min(axis=1) - to_fake, rtol=1e-9)
    assert_allclose(scores["average"], -np.sqrt(((real - real.mean(axis=0)) ** 2).mean(axis=1)), rtol=1e-5)
    assert "discriminator" not in scores


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_memoriser_is_found_out(mirrored: bool) -> None:
    audit = make_audit(judged=np.arange(120, dtype=np.float64)[::-1].copy())
    noise = np.random.default_rng(1).normal(scale=0.01, size=(60, SIDE, SIDE))
    copies = np.clip(audit.images[:60] + noise, 0, 1).astype(np.float32)
    report = audit.report(np.concatenate([copies[:, :, ::-1] if mirrored else copies, draw(50, 3)]))
    for name in ("distance", "calibrated", "discriminator"):
        one = report["attacks"][name]
        assert one["auroc"] > 0.99
        assert one["found"] > 0.95
        assert one["interval"][0] > 0.9
    assert report["blind"]["interval"][0] < 0.5 < report["blind"]["interval"][1]
    assert report["verdict"] == "training images can be told from others: distance, calibrated, discriminator"


def test_of_fresh_images_nothing_is_learnt() -> None:
    covered = 0
    for seed in range(20):
        report = make_audit().report(draw(80, 100 + seed))
        low, high = report["attacks"]["distance"]["interval"]
        covered += low <= 0.5 <= high
    assert covered >= 17  # of 20 intervals at 95 %
    assert report["verdict"].startswith("no attack made here does better than chance; that proves nothing")


def test_a_shift_between_the_sides_is_said() -> None:
    audit = make_audit()
    audit.images[60:] = 0.5 + 3 * (audit.images[60:] - 0.5)  # strangers of another contrast, far from each other
    report = audit.report(draw(80, 5))
    assert report["attacks"]["distance"]["auroc"] > 0.9
    assert report["blind"]["auroc"] > 0.9
    assert report["average"]["auroc"] > 0.9
    assert "differ from strangers even without the generator" in report["verdict"]


def test_the_interval_knows_of_patients() -> None:
    """Pictures of a patient that are nearly equal count as one: the interval widens as if there were half as many."""
    audit = make_audit(200, 200)
    audit.images[1::2] = audit.images[::2]
    wide = audit.report(draw(60, 2))["attacks"]["distance"]["interval"]
    apart = MembershipAudit(audit.images, [str(k) for k in range(400)], audit.member)
    narrow = apart.report(draw(60, 2))["attacks"]["distance"]["interval"]
    assert (wide[1] - wide[0]) / (narrow[1] - narrow[0]) == pytest.approx(np.sqrt(2), rel=0.05)


@given(st.integers(0, 10_000), st.integers(2, 40), st.sampled_from([0.0, 0.01, 0.1, 0.5]))
def test_what_is_found_at_few_alarms_is_sklearns(seed: int, levels: int, alarms: float) -> None:
    rng = np.random.default_rng(seed)
    truth = np.concatenate([[0.0, 1.0], rng.integers(0, 2, 60)])
    scores = rng.integers(0, levels, 62).astype(np.float64)  # with ties
    false, true, _ = roc_curve(truth, scores, drop_intermediate=False)
    expected = true[false <= alarms + 1e-12].max()
    assert find_at(scores, truth, np.ones((1, 62)), alarms)[0] == pytest.approx(expected)


def test_the_area_is_sklearns() -> None:
    audit, made = make_audit(), draw(30, 9)
    found = audit.report(made)["attacks"]["calibrated"]["auroc"]
    assert found == pytest.approx(roc_auc_score(audit.member, audit.attack(made)["calibrated"]))


def test_larger_synthetic_images_are_averaged() -> None:
    audit, made = make_audit(), draw(30, 9)
    large = made.repeat(2, 1).repeat(2, 2)
    assert_allclose(audit.attack(large)["distance"], audit.attack(made)["distance"], atol=1e-6)


# --- who is asked about ---


@pytest.mark.parametrize(("members", "strangers", "words"), [(2, 60, "was trained on"), (60, 4, "was not trained on")])
def test_too_few_patients(members: int, strangers: int, words: str) -> None:
    with pytest.raises(InputError, match=f"membership needs 3 patients that the generator {words}") as caught:
        make_audit(members, strangers)
    assert "\n" not in str(caught.value)


def test_nobody_is_on_both_sides() -> None:
    with pytest.raises(LeakageError, match="member and stranger; found 1, for example 'P2'"):
        make_audit(5, 20)


def test_no_synthetic_image() -> None:
    with pytest.raises(InputError, match="needs synthetic images; found none"):
        make_audit().attack(draw(0, 0))


@pytest.fixture
def real(tmp_path: Path) -> Path:
    """30 patients, an image each; every third one has no Edema; one is a filtered copy, one has no patient."""
    sources = ["real"] * 28 + ["filtered", "real"]
    rows = [
        {
            "image": f"{k}.png",
            "patient_id": "" if k == 29 else f"P{k}",
            "split": "train",
            "source": source,
            "view": "AP",
        }
        for k, source in enumerate(sources)
    ]
    rows[0]["view"] = "PA"
    labels = np.array([[k % 3 != 0, 1] for k in range(30)], dtype=np.float32)
    write_pack(tmp_path / "real", quantise(draw(30, 0), 8), [row["image"] for row in rows])
    return Manifest(make_columns(rows), ("Edema", "Mass"), labels).write(tmp_path / "real")


SEEN = [f"P{k}" for k in range(12)]


def test_members_and_strangers_show_the_finding_and_are_real(real: Path) -> None:
    inside, outside = choose_sides(read_manifest(real), {"patients_seen": [*SEEN, "P28"], "finding": "Edema"})
    assert inside.tolist() == [k for k in range(12) if k % 3]
    assert outside.tolist() == [k for k in range(12, 28) if k % 3]
    inside, outside = choose_sides(read_manifest(real), {"patients_seen": SEEN, "finding": None})
    assert (inside.tolist(), outside.tolist()) == (list(range(12)), list(range(12, 28)))
    audit = MembershipAudit.of({"patients_seen": SEEN, "finding": None}, real, SIDE, where={"view": "AP"})
    assert isinstance(audit, MembershipAudit)
    assert int(audit.member.sum()) == 11
    assert_array_equal(audit.images[0], draw(30, 0)[1])


@pytest.mark.parametrize(
    ("seen", "finding", "words"),
    [
        (SEEN, "Hernia", "does not know the generator's finding 'Hernia'"),
        (["P1"], "Edema", "has not 3 patients that the generator saw with real images"),
        ([f"P{k}" for k in range(28)], "Edema", "has not 3 patients that the generator did not see"),
    ],
)
def test_it_says_why_there_is_none(real: Path, seen: list[str], finding: str, words: str) -> None:
    found = MembershipAudit.of({"patients_seen": seen, "finding": finding}, real, SIDE)
    assert isinstance(found, str)
    assert words in found


# --- the discriminator ---


@pytest.fixture
def network() -> ProgressiveDiscriminator:
    torch.manual_seed(0)
    return ProgressiveDiscriminator(resolution=SIDE, fmap_base=32, fmap_max=8)


def save(path: Path, network: ProgressiveDiscriminator, **changed: object) -> Path:
    clock = {"schema": "cxraug.checkpoint/1", "settings": {"discriminator": {**network.settings, **changed}}}
    torch.save({"resume": clock, "discriminator": network.state_dict()}, path)
    return path


def test_each_image_is_judged_by_itself(network: ProgressiveDiscriminator, tmp_path: Path) -> None:
    images = draw(70, 4)
    scores = Critic(save(tmp_path / "checkpoint.pt", network))(images)
    with torch.no_grad():
        alone = [float(network(torch.from_numpy(image)[None, None])) for image in images]
    assert_allclose(scores, alone, rtol=1e-5, atol=1e-6)


def test_the_discriminator_attacks(network: ProgressiveDiscriminator, real: Path, tmp_path: Path) -> None:
    critic = Critic(save(tmp_path / "checkpoint.pt", network))
    audit = MembershipAudit.of({"patients_seen": SEEN, "finding": None}, real, SIDE, critic=critic)
    assert isinstance(audit, MembershipAudit)
    assert_allclose(audit.attack(draw(4, 1))["discriminator"], critic(draw(30, 0)[:28]), rtol=1e-6)
    assert audit.report(draw(4, 1))["checkpoint"] == critic.sha256


def test_a_checkpoint_that_cannot_judge(network: ProgressiveDiscriminator, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(InputError, match="nothing there"):
        Critic(path)
    path.write_bytes(b"no checkpoint")
    with pytest.raises(InputError, match="checkpoint of plain tensors"):
        Critic(path)
    torch.save({"resume": {"settings": {}}}, path)
    with pytest.raises(StateError, match="hold a discriminator"):
        Critic(path)
    for changed, words in (({"fmap_max": 4}, "discriminator of a progressive GAN"), ({"layers": 3}, "progressive GAN")):
        with pytest.raises(StateError, match=words) as caught:
            Critic(save(path, network, **changed))
        assert "\n" not in str(caught.value)
    with pytest.raises(StateError, match="without labels"):
        Critic(save(path, network, condition="projection", findings=2))
    with pytest.raises(InputError, match=r"must be \[16, 16\]"):
        Critic(save(path, network))(draw(2, 0, 32))
