"""The memorisation audit: exact against a brute-force table, planted copies found, fresh samples not."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from scipy.spatial.distance import cdist
from scipy.stats import binomtest

from monai_cxraug.data.filtered import FilterAugment
from monai_cxraug.data.manifest import Manifest, make_columns, read_manifest
from monai_cxraug.data.pack import quantise, to_unit, write_pack
from monai_cxraug.errors import ConfigError
from monai_cxraug.synthesis import audit as audit_module
from monai_cxraug.synthesis import nearest
from monai_cxraug.synthesis.audit import MemorisationAudit, binomial_interval, choose_side, choose_training, fit_all
from monai_cxraug.synthesis.nearest import TwinSearch
from monai_cxraug.synthesis.samples import Samples
from monai_cxraug.synthesis.synthetic_set import SyntheticSet

# --- the search ---


def table_of(queries: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Distances ``[N, M, 2]``, of the queries as they are and mirrored."""
    points = references.reshape(len(references), -1).astype(np.float64)
    both = [image.reshape(len(image), -1).astype(np.float64) for image in (queries, queries[:, :, ::-1])]
    return np.stack([cdist(one, points) for one in both], axis=2) / np.sqrt(points.shape[1])


@given(st.integers(0, 999), st.integers(1, 6), st.integers(1, 7), st.tuples(*[st.integers(1, 30)] * 3))
def test_the_search_finds_what_the_whole_table_says(
    seed: int, high: int, wide: int, pieces: tuple[int, int, int]
) -> None:
    rng = np.random.default_rng(seed)
    references = rng.random((rng.integers(1, 40), high, wide), dtype=np.float32)
    queries = rng.random((rng.integers(1, 40), high, wide), dtype=np.float32)
    mine, theirs = rng.integers(0, 3, len(queries)), rng.integers(0, 3, len(references))
    with pytest.MonkeyPatch.context() as patch:
        for name, size in zip(("_QUERIES", "_REFERENCES", "_PAIRS"), pieces, strict=True):
            patch.setattr(nearest, name, size)
        search = TwinSearch(references, theirs)
        for owners in (None, mine):
            table = table_of(queries, references)
            if owners is not None:
                table[owners[:, None] == theirs[None, :]] = np.inf
            found = search(queries, owners)
            assert_allclose(found.distances, table.min(axis=(1, 2)), rtol=1e-12)
            there = np.isfinite(found.distances)
            chosen = table[np.arange(len(queries)), found.rows, found.mirrored.astype(int)]
            assert_allclose(chosen[there], found.distances[there], rtol=1e-12)


def test_the_search_is_exact_where_float32_is_not() -> None:
    """A thousand references so near to each other, far from zero, that float32 products cannot order them."""
    rng = np.random.default_rng(0)
    base = 0.9 + 0.1 * rng.random((16, 16))
    references = (base + 1e-5 * rng.normal(size=(1000, 16, 16))).astype(np.float32)
    queries = np.concatenate([references[:20] + np.float32(1e-6), rng.random((5, 16, 16), dtype=np.float32)])
    found = TwinSearch(references)(queries)
    table = table_of(queries, references)
    assert_allclose(found.distances, table.min(axis=(1, 2)), rtol=1e-9)
    assert_array_equal(found.rows[:20], np.arange(20))


def test_of_equal_ones_the_earlier_and_unmirrored_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(0).random((6, 4, 4), dtype=np.float32)
    references = np.concatenate([images[:, :, ::-1], images, images])
    for pairs in (1, 100):
        monkeypatch.setattr(nearest, "_PAIRS", pairs)
        found = TwinSearch(references)(images)
        assert_array_equal(found.rows, np.arange(6))
        assert found.mirrored.all()
    even = images + images[:, :, ::-1]
    assert not TwinSearch(even)(even).mirrored.any()


@pytest.mark.parametrize(("successes", "trials"), [(0, 7), (3, 7), (7, 7), (12, 900)])
def test_the_interval_is_clopper_and_pearsons(successes: int, trials: int) -> None:
    expected = binomtest(successes, trials).proportion_ci(0.95, "exact")
    assert_allclose(binomial_interval(successes, trials), (expected.low, expected.high), rtol=1e-10)


def test_the_side_of_comparison() -> None:
    assert [choose_side(size, 100) for size in (8, 32, 64, 100, 256)] == [8, 32, 64, 64, 64]
    assert [choose_side(256, n) for n in (10_000, 32_768, 32_769, 10**9)] == [64, 64, 32, 16]


# --- the audit ---


def draw(n: int, seed: int, side: int = 16) -> np.ndarray:
    """Smooth random pictures, uint8 ``[n, side, side]``."""
    waves = np.random.default_rng(seed).normal(size=(n, 4, 4)).repeat(side // 4, 1).repeat(side // 4, 2)
    return quantise((0.5 + 0.15 * waves).astype(np.float32), 8)


def make_audit(n: int = 300, per_patient: int = 3, **settings: float) -> MemorisationAudit:
    names, patients = [f"{k}.png" for k in range(n)], [f"P{k // per_patient}" for k in range(n)]
    return MemorisationAudit(to_unit(draw(n, 0)), names, patients, np.ones(n, dtype=bool), {}, **settings)


def test_the_threshold_leaves_patients_out() -> None:
    audit = make_audit()
    # a second picture of the same patient, almost equal, must not count
    audit.images[1::3] = audit.images[::3] + np.float32(1e-3)
    owner = np.arange(300) // 3
    table = table_of(audit.images, audit.images)
    table[owner[:, None] == owner[None, :]] = np.inf
    expected = np.sort(table.min(axis=(1, 2)))
    assert_allclose(audit.real_distances, expected, rtol=1e-12)
    assert audit.threshold == pytest.approx(expected[2])  # 1 % of 301, rounded down, is the third
    assert audit.thresholds["pixels"].rank == 3
    assert make_audit(quantile=0.25).threshold == pytest.approx(np.sort(make_audit().real_distances)[74])


def test_mirror_images_of_other_patients_set_the_threshold_too() -> None:
    audit = make_audit(30)
    audit.images[29] = audit.images[0, :, ::-1]
    assert audit.real_distances[0] == 0


def test_filtered_copies_are_compared_with_but_set_no_threshold() -> None:
    plain = make_audit(40)
    copies = np.clip(plain.images * 0.9, 0, 1)
    names = [*plain.names, *(f"{name}+blur" for name in plain.names)]
    real = np.arange(80) < 40
    audit = MemorisationAudit(np.concatenate([plain.images, copies]), names, [*plain.patients] * 2, real)
    assert len(audit.real_distances) == 40
    found = audit.find(copies[:3])
    assert [names[row] for row in found.pixels.rows] == ["0.png+blur", "1.png+blur", "2.png+blur"]
    assert audit.report(["a", "b", "c"], found)["filtered_copies"] == 40


def test_many_real_images_are_drawn_from(monkeypatch: pytest.MonkeyPatch) -> None:
    everything = make_audit().real_distances
    monkeypatch.setattr(audit_module, "_MOST_REAL", 50)
    some = make_audit().real_distances
    assert len(some) == 50
    assert set(some) <= set(everything)


def test_fresh_samples_are_as_near_as_the_threshold_says() -> None:
    audit = make_audit(600, quantile=0.05)
    fresh = to_unit(draw(2000, 1))
    names = [str(k) for k in range(2000)]
    report = audit.report(names, audit.find(fresh))
    assert report["interval"][0] <= report["expected_share"] <= report["interval"][1]
    assert report["copies"] == 0
    assert report["verdict"] == "no sign of copies"


@pytest.mark.parametrize("change", ["none", "mirrored", "noise", "both"])
def test_planted_copies_are_found(change: str) -> None:
    audit = make_audit()
    rng = np.random.default_rng(5)
    copies = audit.images[[7, 100, 299]].copy()
    if change in ("mirrored", "both"):
        copies = copies[:, :, ::-1]
    if change in ("noise", "both"):
        copies = np.clip(copies + rng.normal(scale=0.01, size=copies.shape), 0, 1).astype(np.float32)
    samples = np.concatenate([to_unit(draw(5, 9)), copies])
    found = audit.find(samples)
    report = audit.report([f"s{k}" for k in range(8)], found)
    assert report["copies"] == report["near"] == 3
    assert report["verdict"] == "copies of training images"
    assert {pair["image"] for pair in report["nearest"][:3]} == {"s5", "s6", "s7"}
    assert {pair["training_image"] for pair in report["nearest"][:3]} == {"7.png", "100.png", "299.png"}
    assert all(pair["mirrored"] == (change in ("mirrored", "both")) for pair in report["nearest"][:3])
    if change in ("none", "mirrored"):
        assert [pair["distance"] for pair in report["nearest"][:3]] == [0, 0, 0]


def test_too_near_is_said_without_a_copy() -> None:
    audit = make_audit()
    known, rng = audit.images[:200], np.random.default_rng(0)
    towards = known + (0.85 * audit.threshold) * np.sign(rng.normal(size=known.shape)).astype(np.float32)
    found = audit.find(towards)
    report = audit.report([str(k) for k in range(200)], found)
    assert (report["near"], report["measures"]["pixels"]["copies"], report["interval"][1]) == (200, 0, 1)
    assert report["verdict"] == "copies of training images"  # so many cannot be chance
    few = np.concatenate([towards[~audit.copies(found)][:11], to_unit(draw(190, 9))])
    report = audit.report([str(k) for k in range(201)], audit.find(few))
    assert report["copies"] <= 1  # one by chance is not taken for copying
    assert report["verdict"] == "nearer to training images than real images of other patients are"


def test_larger_images_are_averaged() -> None:
    audit = make_audit(30)
    large = audit.images[:4].repeat(2, 1).repeat(2, 2)
    assert_allclose(audit.find(large).pixels.distances, 0, atol=1e-6)
    assert_allclose(fit_all(large, 16, 4), audit.images[:4], atol=1e-6)


def test_a_quantile_out_of_range() -> None:
    for quantile in (0, 1, -0.1):
        with pytest.raises(ConfigError, match="quantile"):
            make_audit(quantile=quantile)


# --- as part of a synthetic set ---

SPLITS = ["train"] * 30 + ["val"] * 4


@pytest.fixture
def real(tmp_path: Path) -> Path:
    """34 patients, an image each; every third one has no Edema."""
    rows = [
        {"image": f"{k}.png", "patient_id": f"P{k}", "split": split, "source": "real"} for k, split in enumerate(SPLITS)
    ]
    labels = np.array([[k % 3 != 0, 1] for k in range(34)], dtype=np.float32)
    write_pack(tmp_path / "real", draw(34, 0), [row["image"] for row in rows])
    return Manifest(make_columns(rows), ("Edema", "Mass"), labels).write(tmp_path / "real")


SEEN = [f"P{k}" for k in range(20)]


def sample(generator: Path, out: Path, n: int = 20, **settings: object) -> dict:
    path = SyntheticSet(Samples(generator, "Edema", n, 3), out, **settings).run()  # type: ignore[arg-type]
    return json.loads((path.parent / "provenance.json").read_text())


def test_training_images_are_those_of_the_patients_seen(real: Path, tmp_path: Path) -> None:
    about = {"patients_seen": SEEN, "finding": "Edema"}
    assert choose_training(read_manifest(real), about).tolist() == [k for k in range(20) if k % 3]
    assert choose_training(read_manifest(real), {**about, "finding": None}).tolist() == list(range(20))
    filtered = FilterAugment(real, tmp_path / "filtered", "gaussian").run()
    table = read_manifest(filtered)
    rows = choose_training(table, about)
    assert len(rows) == 2 * 13
    audit = MemorisationAudit.of(about, filtered, 16)
    assert isinstance(audit, MemorisationAudit)
    assert (int(audit.real.sum()), len(audit.images)) == (13, 26)


def test_a_set_carries_its_audit(make_generator, real: Path, tmp_path: Path) -> None:
    generator = make_generator(SEEN)
    document = sample(generator, tmp_path / "out", manifest=real)
    report = document["memorisation_audit"]
    assert (report["training_images"], report["training_patients"], report["images"]) == (13, 13, 20)
    assert (report["side"], report["same_manifest"], report["real_images"]) == (16, False, 13)
    assert len(report["nearest"]) == 10
    stored = to_unit(np.load(tmp_path / "out" / "pack.npy"))
    rows = [k for k in range(20) if k % 3]
    table = table_of(stored, to_unit(draw(34, 0))[rows])
    with (tmp_path / "out" / "nearest.csv").open() as stream:
        lines = list(csv.DictReader(stream))
    assert [line["training_image"] for line in lines] == [f"{rows[k]}.png" for k in table.min(axis=2).argmin(axis=1)]
    assert_allclose([float(line["distance"]) for line in lines], table.min(axis=(1, 2)), rtol=1e-5)
    assert [line["image"] for line in lines] == [f"Edema-3-{k:06d}" for k in range(20)]
    plain = SyntheticSet(Samples(generator, "Edema", 20, 3), tmp_path / "plain").run().parent
    for name in ("pack.npy", "pack.json", "manifest.csv", "manifest.json", "contact_sheet.png"):
        assert (plain / name).read_bytes() == (tmp_path / "out" / name).read_bytes()
    assert not (plain / "nearest.png").exists()


@pytest.mark.parametrize(
    ("seen", "words"),
    [([], "names no patient"), (["elsewhere"], "has not two patients"), (["P1"], "has not two patients")],
)
def test_it_says_why_it_was_not_run(make_generator, real: Path, tmp_path: Path, seen: list[str], words: str) -> None:
    report = sample(make_generator(seen), tmp_path / "out", manifest=real)["memorisation_audit"]
    assert list(report) == ["not run"]
    assert words in report["not run"]
    assert not (tmp_path / "out" / "nearest.csv").exists()


def plant(real: Path, stored: np.ndarray, rows: list[int]) -> None:
    """Put pictures into the training images: as if the generator repeated them."""
    pack = np.load(real.parent / "pack.npy")
    pack[rows] = stored
    np.save(real.parent / "pack.npy", pack)


def test_copies_in_a_set_are_found_drawn_and_dropped(make_generator, real: Path, tmp_path: Path) -> None:
    generator = make_generator(SEEN)
    stored = np.load(SyntheticSet(Samples(generator, "Edema", 20, 3), tmp_path / "plain").run().parent / "pack.npy")
    plant(real, np.stack([stored[4], stored[11, :, ::-1]]), [1, 7])
    report = sample(generator, tmp_path / "out", manifest=real, n=20)["memorisation_audit"]
    pairs = [(pair["image"], pair["training_image"], pair["mirrored"]) for pair in report["nearest"][:2]]
    assert pairs == [("Edema-3-000004", "1.png", False), ("Edema-3-000011", "7.png", True)]
    assert report["copies"] >= 2
    sheet = np.asarray(Image.open(tmp_path / "out" / "nearest.png"))
    left, beside = sheet[24:120, 20:116], sheet[24:120, 136:232]
    assert_array_equal(left, beside)
    assert_array_equal(left[::6, ::6], stored[4])
    assert_array_equal(sheet[24 + 116 : 24 + 116 + 96, 136:232][::6, ::6], stored[11])  # turned the same way round
    document = sample(generator, tmp_path / "dropped", manifest=real, n=20, drop_memorised=True)
    kept = read_manifest(tmp_path / "dropped")["image"]
    assert not {"Edema-3-000004", "Edema-3-000011"} & set(kept)
    assert len(kept) == document["n"] == document["accepted"] == 20
    assert document["drawn"] == int(kept[-1][-6:]) + 1
    assert document["rejected"] == {"near a training image": document["drawn"] - 20}
    assert document["filters"] == [{"rule": "drop_memorised", "threshold": report["threshold"]}]
    after = document["memorisation_audit"]
    assert (after["near"], after["dropped"]) == (0, document["drawn"] - 20)
    assert "dropped" in after["verdict"]


def test_dropping_needs_the_audit(make_generator, real: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="drop_memorised: needs the memorisation audit; found no manifest was given"):
        sample(make_generator(SEEN), tmp_path / "out", drop_memorised=True)
    with pytest.raises(ConfigError, match="has not two patients"):
        sample(make_generator(["P1"]), tmp_path / "out", drop_memorised=True, manifest=real)
    assert not (tmp_path / "out").exists()


def test_a_crop_does_not_change_the_audit(make_generator, real: Path, tmp_path: Path) -> None:
    generator = make_generator(SEEN)
    whole = sample(generator, tmp_path / "whole", manifest=real)["memorisation_audit"]
    part = sample(generator, tmp_path / "part", manifest=real, crop=[8, 11])["memorisation_audit"]
    assert part == whole
