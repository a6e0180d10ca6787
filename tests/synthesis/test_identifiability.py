"""Recognising patients: planted copies are found however they are turned, strangers as often as expected."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.ndimage import gaussian_filter
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score
from torch import nn

from monai_cxraug.data.manifest import Manifest, make_columns
from monai_cxraug.data.pack import quantise, to_unit, write_pack
from monai_cxraug.errors import ConfigError, InputError, LeakageError, StateError
from monai_cxraug.losses.contrastive import SamePatientLoss
from monai_cxraug.networks.augmentation import RadiographAugmentation
from monai_cxraug.networks.reidentifier import Reidentifier
from monai_cxraug.networks.weights import save_model
from monai_cxraug.synthesis.identifiability import Identifiability, Known, most_alike
from monai_cxraug.synthesis.recognition import Recogniser, Verification, draw_pairs, embed

SIDE = 16
#: patients that the network is trained on, that are left for verification and thresholds, and that are val.
SEEN, LEFT, VAL = 150, 75, 40
EVERYBODY = SEEN + LEFT + VAL
OWNERS = np.arange(EVERYBODY).repeat(2)


def faces(patients: np.ndarray, seed: int) -> np.ndarray:
    """A picture of each patient: what is the patient's own, and a little that is the visit's, ``[N, 16, 16]``."""
    own = np.random.default_rng(11).normal(size=(1000, 8, 8))[patients]
    visit = np.random.default_rng([12, seed]).normal(size=(len(patients), 8, 8))
    waves = gaussian_filter((own + 0.3 * visit).repeat(2, 1).repeat(2, 2), (0, 1.5, 1.5), mode="nearest")
    return to_unit(quantise((0.5 + 0.4 * waves).astype(np.float32), 8))


IMAGES = faces(OWNERS, 0)


class Pixels(nn.Module):
    """An ideal network for these pictures: the pixels themselves, without brightness and contrast."""

    def __init__(self) -> None:
        super().__init__()
        self.settings = {"features": SIDE**2, "channels": 1}
        self.anything = nn.Parameter(torch.zeros(1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        flat = images.flatten(1)
        return nn.functional.normalize(flat - flat.mean(dim=1, keepdim=True), dim=1)


class PixelRecogniser(Recogniser):
    """Declares the patients that it was trained on; nothing is loaded."""

    def __init__(self, seen: range = range(SEEN)) -> None:
        self.path, self.about, self.size, self.network = Path("pixels"), {}, SIDE, Pixels()
        self.patients_seen = frozenset(f"P{k}" for k in seen)

    def record(self) -> dict:
        return {"size": SIDE}


def blind() -> Reidentifier:
    """A network for which everybody is the same."""
    made = Reidentifier(features=4, width=8)
    with torch.no_grad():
        made.out.weight.zero_()
        made.out.bias.copy_(torch.tensor([1.0, 0, 0, 0]))
    return made


@pytest.fixture
def real(tmp_path: Path) -> Path:
    """Two images of each patient; odd patients have Edema."""
    rows = [
        {
            "image": f"{k}.png",
            "patient_id": f"P{owner}",
            "split": "train" if owner < SEEN + LEFT else "val",
            "source": "real",
        }
        for k, owner in enumerate(OWNERS)
    ]
    labels = np.array([[owner % 2, 1] for owner in OWNERS], dtype=np.float32)
    write_pack(tmp_path / "real", quantise(IMAGES, 8), [row["image"] for row in rows])
    return Manifest(make_columns(rows), ("Edema", "Mass"), labels).write(tmp_path / "real")


#: a generator that was trained on every training patient.
ABOUT = {"patients_seen": [f"P{k}" for k in range(SEEN + LEFT)], "finding": None}


@pytest.fixture
def audit(real: Path) -> Identifiability:
    made = Identifiability.of(ABOUT, real, PixelRecogniser())
    assert isinstance(made, Identifiability)
    return made


def change(images: np.ndarray, how: str) -> np.ndarray:
    if how == "mirrored":
        return images[:, :, ::-1].copy()
    if how == "contrast":
        return np.clip(0.25 + 0.6 * images, 0, 1)
    if how == "shifted":
        return np.roll(images, 1, axis=2)
    return images


# --- the network ---


def test_brightness_and_contrast_say_nothing() -> None:
    images = torch.from_numpy(IMAGES[:6, None])
    with torch.no_grad():
        network = Reidentifier(width=8).eval()
        plain = network(images)
        assert_allclose(plain.norm(dim=1), 1, rtol=1e-5)
        assert_allclose(network(0.3 + 0.5 * images), plain, atol=2e-2)
        assert torch.isfinite(network(torch.zeros(1, 1, SIDE, SIDE))).all()


def test_vectors_know_no_left_or_right_nor_their_neighbours() -> None:
    network = Reidentifier(width=8)
    vectors = embed(network, IMAGES[:150])
    assert_allclose(embed(network, IMAGES[:150, :, ::-1]), vectors, atol=1e-5)
    assert_allclose(embed(network, IMAGES[7:8]), vectors[7:8], atol=1e-5)
    assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    assert embed(network, IMAGES[:0]).shape == (0, 128)


def test_a_bad_setting() -> None:
    with pytest.raises(ConfigError, match=r"Reidentifier\(features\): must be at least 1; found 0"):
        Reidentifier(features=0)
    with pytest.raises(ConfigError, match=r"Reidentifier\(width\): must be a multiple of 8; found 4"):
        Reidentifier(width=4)


# --- verification ---


def test_pairs_are_of_one_patient_and_of_two() -> None:
    owners = np.array(["a", "b", "b", "c", "b", "c"])
    anchors, mates, others = draw_pairs(owners, np.random.default_rng(0))
    assert sorted(anchors) == [1, 2, 3, 4, 5]
    assert_array_equal(owners[anchors], owners[mates])
    assert (anchors != mates).all()
    assert (owners[anchors] != owners[others]).all()
    assert len(draw_pairs(np.array(["a", "a"]), np.random.default_rng(0))[0]) == 0


def test_verification_asks_about_patients_left_out(real: Path) -> None:
    network, seen = Pixels(), [f"P{k}" for k in range(SEEN)]
    report = Verification(real, seen, size=SIDE).report(network)
    assert (report["pairs"], report["patients"]) == (2 * LEFT, LEFT)
    assert report["interval"][0] < report["auroc"] <= report["interval"][1]
    assert report["auroc"] > 0.9
    left = slice(2 * SEEN, 2 * (SEEN + LEFT))
    anchors, mates, others = draw_pairs(np.array([f"P{k}" for k in OWNERS[left]]), np.random.default_rng(0))
    vectors = embed(network, IMAGES[left])
    scores = [(vectors[anchors] * vectors[ends]).sum(axis=1) for ends in (mates, others)]
    expected = roc_auc_score(np.repeat([1, 0], len(anchors)), np.concatenate(scores))
    assert report["auroc"] == pytest.approx(expected, abs=1e-6)
    assert Verification(real, seen, size=SIDE).report(blind())["auroc"] == 0.5
    with pytest.raises(InputError, match="verification needs 3 patients with two images"):
        Verification(real, [f"P{k}" for k in range(SEEN + LEFT - 2)], size=SIDE).report(network)


# --- the audit ---


def test_most_alike_is_the_whole_table() -> None:
    rng = np.random.default_rng(0)
    asked = Known(rng.normal(size=(9, 4)).astype(np.float32), list("aabbccdde"))
    given = Known(rng.normal(size=(7, 4)).astype(np.float32), list("aabbccf"))
    table = asked.vectors.astype(np.float64) @ given.vectors.T.astype(np.float64)
    same = np.array(asked.patients)[:, None] == np.array(given.patients)[None]
    assert_allclose(most_alike(asked, given, None).similarities, table.max(axis=1))
    assert_allclose(most_alike(asked, given, False).similarities, np.where(same, -np.inf, table).max(axis=1))
    assert_allclose(most_alike(asked, given, True).similarities, np.where(same, table, -np.inf).max(axis=1))
    own = most_alike(asked, asked, True)
    assert own.rows[:8].tolist() == [1, 0, 3, 2, 5, 4, 7, 6]  # nobody is found in the image itself
    assert own.similarities[8] == -np.inf


def test_the_threshold_is_a_rank_among_other_patients(audit: Identifiability) -> None:
    left = slice(2 * SEEN, 2 * (SEEN + LEFT))
    vectors = audit.training.vectors.astype(np.float64)
    table = vectors[left] @ vectors.T
    table[OWNERS[left][:, None] == OWNERS[None, : 2 * (SEEN + LEFT)]] = -np.inf
    levels = np.sort(table.max(axis=1))
    assert_allclose(audit.levels, levels)
    assert audit.threshold(0.01) == (pytest.approx(levels[-1]), 1 / 151)
    assert audit.threshold(0.05) == (pytest.approx(levels[-7]), 7 / 151)
    assert "any finding" in audit.about["threshold_from"]


@pytest.mark.parametrize("how", ["copied", "mirrored", "contrast", "shifted"])
def test_a_memoriser_is_recognised(audit: Identifiability, how: str) -> None:
    copies = change(IMAGES[: 2 * SEEN : 6], how)
    made = np.concatenate([copies, faces(np.arange(500, 550), 3)])
    found = audit.find(PixelRecogniser()(made))
    report = audit.report([str(k) for k in range(100)], found)
    rate = report["rates"][1]
    assert (found.similarities[:50] > rate["threshold"]).mean() > 0.6
    assert rate["recognised"] > 30
    assert report["verdict"] == "training patients are recognised more often than by mistake"
    assert_array_equal(OWNERS[found.rows[:50]][found.similarities[:50] > rate["threshold"]] % 3, 0)
    assert report["most_alike"][0]["similarity"] >= report["most_alike"][9]["similarity"]
    assert rate["interval"] == pytest.approx(binomtest(rate["recognised"], 100).proportion_ci(0.95, "exact"))
    if how == "copied":
        assert_allclose(found.similarities[:50], 1, atol=1e-5)


def test_of_strangers_as_many_are_recognised_as_expected(audit: Identifiability) -> None:
    made = faces(np.arange(300, 900), 5)
    report = audit.report([str(k) for k in range(600)], audit.find(PixelRecogniser()(made)))
    for rate in report["rates"]:
        # the threshold is an order statistic of 150 numbers: the true share is Beta distributed about the expected one
        assert rate["share"] < rate["expected_share"] + 0.05
        assert rate["changed_copies"]["share"] > 0.5
        assert rate["other_images"]["images"] == 2 * LEFT
        assert rate["strangers"]["images"] == 2 * VAL
    assert not report["verdict"].startswith("the re-identifier would not")


def test_a_blind_network_says_so(real: Path, tmp_path: Path) -> None:
    save_model(tmp_path / "blind.pt", "reidentifier", blind(), {"size": SIDE, "patients_seen": ["P0"]})
    recogniser = Recogniser(tmp_path / "blind.pt")
    audit = Identifiability.of(ABOUT, real, recogniser)
    assert isinstance(audit, Identifiability)
    report = audit.report(["a", "b"], audit.find(recogniser(IMAGES[:2])))
    assert report["verdict"] == "the re-identifier would not recognise a copy: nothing can be said"


def test_of_one_finding(real: Path) -> None:
    audit = Identifiability.of({**ABOUT, "finding": "Edema"}, real, PixelRecogniser())
    assert isinstance(audit, Identifiability)
    assert set(audit.training.patients) == {f"P{k}" for k in range(1, SEEN + LEFT, 2)}
    assert set(audit.strangers.patients) == {f"P{k}" for k in range(SEEN + LEFT, EVERYBODY) if k % 2}
    assert len(audit.others.patients) == 2 * LEFT  # 76 of the finding would be too few
    assert "any finding" in audit.about["threshold_from"]


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ({"patients_seen": ["P1"], "finding": "Hernia"}, "does not know the generator's finding"),
        ({"patients_seen": ["elsewhere"], "finding": None}, "no training image of the generator"),
    ],
)
def test_it_says_why_there_is_none(real: Path, about: dict, words: str) -> None:
    found = Identifiability.of(about, real, PixelRecogniser())
    assert isinstance(found, str)
    assert words in found


def test_without_patients_left_out_there_is_none(real: Path) -> None:
    found = Identifiability.of(ABOUT, real, PixelRecogniser(range(SEEN + LEFT)))
    assert found == "the manifest has not two training patients that the re-identifier did not see"


def test_who_saw_an_evaluation_patient_is_refused(real: Path) -> None:
    with pytest.raises(LeakageError):
        Identifiability.of(ABOUT, real, PixelRecogniser(range(EVERYBODY - 1, EVERYBODY)))


def test_a_model_file_is_what_was_saved(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Reidentifier(features=8, width=8)
    save_model(tmp_path / "model.pt", "reidentifier", network, {"size": SIDE, "patients_seen": ["P0"]})
    recogniser = Recogniser(tmp_path)
    assert_allclose(recogniser(IMAGES[:4]), embed(network, IMAGES[:4]), atol=1e-6)
    assert_allclose(recogniser(IMAGES[:4].repeat(2, 1).repeat(2, 2)), embed(network, IMAGES[:4]), atol=1e-4)
    assert (recogniser.size, recogniser.patients_seen) == (SIDE, {"P0"})
    with pytest.raises(ConfigError, match="at least its 16 px; found 8 px"):
        recogniser(IMAGES[:2, :8, :8])
    with pytest.raises(ConfigError, match="3 channels"):
        Recogniser(tmp_path, channels=3)
    save_model(tmp_path / "bare.pt", "reidentifier", network, {"size": SIDE})
    with pytest.raises(StateError, match="no patients_seen"):
        Recogniser(tmp_path / "bare.pt")


def test_pairs_teach_it() -> None:
    """A few steps on pairs, and the loss falls far below that of a network that knows nobody, the log of 63."""
    torch.manual_seed(0)
    made, rng, draws = Reidentifier(features=32, width=8), np.random.default_rng(0), torch.Generator().manual_seed(0)
    augment = RadiographAugmentation(translation=0.0625, zoom=0.1, noise=0.0, cutout=0.0, mirror=True)
    optimizer, loss = torch.optim.AdamW(made.parameters(), lr=1e-2), SamePatientLoss(0.1)
    for _ in range(40):
        rows = (2 * rng.choice(SEEN, 32, replace=False)[:, None] + [0, 1]).reshape(-1)
        value = loss(made(augment(torch.from_numpy(IMAGES[rows][:, None]), draws)))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    assert float(value.detach()) < 0.9 * np.log(63)
