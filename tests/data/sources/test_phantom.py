"""The phantom: repeatable, each finding where its cause says, and files that other readers show alike."""

from __future__ import annotations

import csv
import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.testing import assert_array_equal
from PIL import Image
from pydicom.pixels import apply_modality_lut, apply_voi_lut

from monai_cxraug.data.sources.phantom import (
    Study,
    make_cause,
    render,
    sample_population,
    with_cause,
    write_native,
    write_nih_layout,
    writers,
)
from monai_cxraug.data.sources.phantom.anatomy import draw_body, draw_pose, frame_of, stand
from monai_cxraug.data.sources.phantom.canvas import Frame, stream
from monai_cxraug.data.sources.phantom.exposure import compose, expose
from monai_cxraug.data.sources.phantom.population import PREVALENCE
from monai_cxraug.errors import ConfigError, InputError, LabelError
from monai_cxraug.labels import NIH_FINDINGS

SEED = 11


def healthy(view: str = "PA", count: int = 6) -> list[Study]:
    studies = [study for study in sample_population(200, SEED) if study.view == view and study.index == 0]
    return [dataclasses.replace(study, findings=frozenset(), causes=()) for study in studies[:count]]


def pictured(study: Study, size: int = 64) -> tuple[np.ndarray, Frame]:
    """Render a study, and give the frame in which its centimetres are known."""
    return render(study, size, SEED), frame_of(draw_pose(study, SEED), size)


def change(study: Study, finding: str, severity: float = 0.9, side: str | None = "right") -> np.ndarray:
    """Difference that a finding makes to the Beer-Lambert exponent, whatever exposure and display do."""
    sick = with_cause(study, make_cause(finding, np.random.default_rng(3), severity, side))  # type: ignore[arg-type]
    pose = draw_pose(study, SEED)
    return compose(sick, pose, SEED, 64).attenuation() - compose(study, pose, SEED, 64).attenuation()


# --- pictures


@pytest.mark.parametrize("size", [16, 33, 64])
@pytest.mark.parametrize("view", ["PA", "AP"])
def test_render_is_a_bounded_float_picture(view: str, size: int) -> None:
    picture = render(healthy(view)[0], size, SEED)
    assert picture.shape == (size, size)
    assert picture.dtype == np.float32
    assert 0 <= picture.min() < 0.1 < 0.6 < picture.max() <= 1


def test_render_is_pure_and_seeded() -> None:
    study = sample_population(3, SEED)[2]
    first = render(study, 32, SEED)
    render(sample_population(1, SEED)[0], 32, SEED)
    assert_array_equal(first, render(study, 32, SEED))
    assert np.abs(first - render(study, 32, SEED + 1)).max() > 0.05
    other = dataclasses.replace(study, study_id="P000002-S09")
    assert np.abs(first - render(other, 32, SEED)).max() > 0.02


@pytest.mark.parametrize("view", ["PA", "AP"])
def test_every_field_stays_single_precision(view: str) -> None:
    study = healthy(view)[0]
    for finding in NIH_FINDINGS:
        study = with_cause(study, make_cause(finding, np.random.default_rng(1)))
    scene = compose(study, draw_pose(study, SEED), SEED, 32)
    fields = {name: value.dtype for name, value in vars(scene).items() if isinstance(value, np.ndarray)}
    assert set(fields.values()) == {np.dtype(np.float32)}
    assert expose(scene, draw_pose(study, SEED), stream(0)).dtype == np.float32


def test_the_same_picture_at_two_sizes() -> None:
    for study in sample_population(6, SEED):
        large = render(study, 128, SEED).reshape(32, 4, 32, 4).mean((1, 3))
        # noise and the width of collimated borders differ, the anatomy does not
        assert np.median(np.abs(large - render(study, 32, SEED))) < 0.012


def test_studies_of_one_patient_look_alike() -> None:
    studies = [study for study in sample_population(400, SEED, ["Nodule"]) if study.view == "PA"]
    patients = {study.patient_id: [s for s in studies if s.patient_id == study.patient_id] for study in studies}
    several = [members[:2] for members in patients.values() if len(members) > 1][:25]
    # registered by the known frame: patients differ by anatomy, not by where they stand
    upright = [[_stood(study) for study in pair] for pair in several]
    own = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in upright]
    foreign = [np.corrcoef(upright[k][0].ravel(), upright[k - 1][1].ravel())[0, 1] for k in range(len(upright))]
    assert np.mean(own) > np.mean(foreign) + 0.01
    assert np.mean(np.array(own) > np.array(foreign)) > 0.7


def _stood(study: Study) -> np.ndarray:
    pose = dataclasses.replace(draw_pose(study, SEED), zoom=1.0, tilt=0.0, shift=(0.0, 0.0))
    return compose(study, pose, SEED, 48).attenuation()


@pytest.mark.parametrize("view", ["PA", "AP"])
def test_the_right_way_up(view: str) -> None:
    for study in healthy(view):
        picture, frame = pictured(study)
        chest = stand(draw_body(study, SEED), draw_pose(study, SEED), view == "AP")
        lungs = (np.abs(np.abs(frame.x) - 7) < 2) & (np.abs(frame.y - chest.apex - 8) < 3)
        belly = (np.abs(frame.x + 5) < 3) & (frame.y > chest.base + 0.5) & (frame.y < chest.base + 2)
        spine = (np.abs(frame.x) < 1) & (np.abs(frame.y - chest.apex - 8) < 3)
        heart = (np.abs(frame.x - 3.5) < 1) & (np.abs(frame.y - chest.domes[0] + 3) < 1)
        mirrored = (np.abs(frame.x + 6) < 1) & (np.abs(frame.y - chest.domes[0] + 3) < 1)
        dark = picture[lungs].mean()
        assert dark + 0.1 < picture[belly].mean()
        assert dark + 0.15 < picture[spine].mean()
        assert picture[heart].mean() > picture[mirrored].mean() + 0.05


def test_noise_falls_with_exposure() -> None:
    study = healthy()[0]
    pose = draw_pose(study, SEED)
    scene = compose(study, pose, SEED, 64)
    spread = []
    for dose in (1e4, 1e6):
        exposed = dataclasses.replace(pose, dose=dose, leads=False)
        quiet = expose(scene, dataclasses.replace(exposed, dose=1e12), np.random.default_rng(1))
        spread.append(float(np.std(expose(scene, exposed, np.random.default_rng(1)) - quiet)))
    # Poisson: a hundred times the photons, a tenth of the relative noise
    assert spread[0] / spread[1] == pytest.approx(10, rel=0.15)


# --- drawing


@pytest.mark.parametrize("width", [0.08, 0.3])
def test_strokes_keep_their_content_at_every_size(width: float) -> None:
    # a tube of width w adds w * w (width times path) per cm of its length, whatever the pixel
    for size in (16, 64, 256, 512):
        frame = Frame(size)
        ink = frame.strokes([[(-5.0, 1.0), (5.0, 1.0)]], [width]).sum() * frame.pitch**2
        assert ink == pytest.approx(10 * width**2, rel=0.06)


def test_frame_positions_and_pixels_agree() -> None:
    frame = Frame(40, zoom=0.9, tilt=0.2, shift=(1.0, -2.0))
    points = np.stack([frame.x[7, 31], frame.y[7, 31]])
    np.testing.assert_allclose(frame.to_pixels(points, 40), [31, 7], atol=1e-4)


def test_ball_is_the_relative_chord_of_a_sphere() -> None:
    frame = Frame(256)
    volume = float(frame.ball(1.0, -2.0, 4.0).sum()) * frame.pitch**2 * 2 * 4.0
    assert volume == pytest.approx(4 / 3 * np.pi * 4.0**3, rel=0.01)


# --- findings


@pytest.mark.parametrize("finding", NIH_FINDINGS)
def test_severity_grades_every_finding(finding: str) -> None:
    grades = [
        np.mean([np.abs(change(study, finding, severity, None)).mean() for study in healthy(count=3)])
        for severity in (0.1, 0.5, 0.95)
    ]
    assert 0.0002 < grades[0] < grades[1] < grades[2]


@pytest.mark.parametrize(
    "finding", ["Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Consolidation", "Pleural_Thickening"]
)
@pytest.mark.parametrize("side", ["left", "right"])
def test_opacities_brighten_their_side_alone(finding: str, side: str) -> None:
    study = healthy()[1]
    frame = frame_of(draw_pose(study, SEED), 64)
    # at half severity an effusion pushes nothing across the midline yet
    brighter = change(study, finding, 0.4, side)
    here = frame.x > 2.5 if side == "left" else frame.x < -2.5
    there = frame.x < -2.5 if side == "left" else frame.x > 2.5
    assert brighter[here].sum() > 20 * np.abs(brighter[there]).sum()
    assert brighter[here].max() > 0.1


def cardiothoracic_ratio(study: Study) -> float:
    """Measure the ratio on the picture, as a reader does: heart over widest inner chest, by the steepest edges."""
    pose = dataclasses.replace(draw_pose(study, SEED), leads=False, dose=1e9)
    picture = expose(compose(study, pose, SEED, 256), pose, np.random.default_rng(0))
    frame, chest = frame_of(pose, 256), stand(draw_body(study, SEED), pose, study.view == "AP")
    row = int(np.abs(frame.y[:, 128] - (chest.domes[0] - 2.2)).argmin())
    x, line = frame.x[row], np.convolve(picture[row], np.ones(7) / 7, mode="same")
    slope = np.gradient(line)
    right, left = (x < -2.6) & (x > -9), (x > 2.6) & (x < 11.5)
    heart = x[left][slope[left].argmin()] - x[right][slope[right].argmax()]
    return float(heart / sum(chest.half))


def test_cardiomegaly_is_wider_than_half_the_chest() -> None:
    for study in healthy(count=5):
        usual = cardiothoracic_ratio(study)
        large = cardiothoracic_ratio(with_cause(study, make_cause("Cardiomegaly", np.random.default_rng(0), 0.7)))
        assert usual < 0.52
        assert large > 0.54
        assert large > usual + 0.06


def test_effusion_hides_the_costophrenic_angle() -> None:
    for study in healthy():
        picture, frame = pictured(study)
        chest = stand(draw_body(study, SEED), draw_pose(study, SEED), ap=False)
        cause = make_cause("Effusion", np.random.default_rng(0), 0.4, "right")
        wet = pictured(with_cause(study, cause))[0]
        angle = (np.abs(frame.x + chest.half[0] - 1.2) < 0.8) & (np.abs(frame.y - chest.domes[0] + 0.2) < 1.0)
        mirror = (np.abs(frame.x - chest.half[1] + 1.2) < 0.8) & (np.abs(frame.y - chest.domes[1] + 0.2) < 1.0)
        assert wet[angle].mean() > picture[angle].mean() + 0.06
        assert abs(wet[mirror].mean() - picture[mirror].mean()) < 0.04


def test_emphysema_darkens_and_lengthens_the_lungs() -> None:
    for study in healthy():
        picture, frame = pictured(study)
        chest = stand(draw_body(study, SEED), draw_pose(study, SEED), ap=False)
        airy = pictured(with_cause(study, make_cause("Emphysema", np.random.default_rng(0), 0.8)))[0]
        lungs = (np.abs(np.abs(frame.x) - 8) < 2) & (np.abs(frame.y - chest.apex - 9) < 4)
        below = (np.abs(frame.x + 6) < 2) & (frame.y > chest.domes[0] + 0.4) & (frame.y < chest.domes[0] + 1.6)
        assert airy[lungs].mean() < picture[lungs].mean() - 0.02
        assert airy[below].mean() < picture[below].mean() - 0.1


def test_pneumothorax_has_no_vessels_beyond_its_line() -> None:
    study = healthy()[0]
    pose = draw_pose(study, SEED)
    sick = with_cause(study, make_cause("Pneumothorax", np.random.default_rng(0), 0.7, "right"))
    scene, before = compose(sick, pose, SEED, 64), compose(study, pose, SEED, 64)
    chest = scene.chest
    rim = (scene.frame.x < 0) & (scene.lung > 0.9) & (scene.frame.y < chest.apex + 2.0)
    assert scene.thin[rim].max() < 0.1
    assert scene.attenuation()[rim].mean() < before.attenuation()[rim].mean() - 0.1
    assert scene.thin[(scene.frame.x > 0) & (scene.lung > 0.9)].min() == 1


@pytest.mark.parametrize(("finding", "least", "most"), [("Nodule", 0.9, 3.0), ("Mass", 3.0, 7.5)])
def test_nodules_are_smaller_than_3_cm_and_masses_larger(finding: str, least: float, most: float) -> None:
    study = healthy()[0]
    pose = dataclasses.replace(draw_pose(study, SEED), zoom=1.0, tilt=0.0)
    for severity in (0.0, 1.0):
        cause = make_cause(finding, np.random.default_rng(8), severity, "right")
        scene = compose(with_cause(study, cause), pose, SEED, 256)
        runs = [len(list(run)) for row in scene.air < 0.97 for dark, run in itertools.groupby(row.tolist()) if dark]
        assert least <= max(runs) * scene.frame.pitch <= most


def test_hernia_holds_gas_above_fluid() -> None:
    study = healthy()[0]
    pose = draw_pose(study, SEED)
    difference = change(study, "Hernia", 0.9, "both")
    frame, chest = frame_of(pose, 64), stand(draw_body(study, SEED), pose, ap=False)
    middle = (np.abs(frame.x - chest.pull - 1.3) < 1.0) & (frame.y < max(chest.domes) + 1)
    gas, fluid = frame.y[middle & (difference < -0.2)], frame.y[middle & (difference > 0.2)]
    assert gas.size > 5
    assert np.median(gas) < np.median(fluid)


def test_edema_clouds_both_hila() -> None:
    study = healthy("AP")[0]
    frame, chest = (
        frame_of(draw_pose(study, SEED), 64),
        stand(draw_body(study, SEED), draw_pose(study, SEED), ap=True),
    )
    brighter = change(study, "Edema", 0.8, "both")
    for side in (-1, 1):
        x, y = chest.hilum(side)
        near = np.hypot(frame.x - x - 2 * side, frame.y - y) < 2
        rim = (np.abs(frame.x - side * 10.5) < 1) & (np.abs(frame.y - y + 3) < 2)
        assert brighter[near].mean() > 2 * brighter[rim].mean() > 0


def test_atelectasis_pulls_and_pneumothorax_pushes_the_mediastinum() -> None:
    study = healthy()[0]
    pose = draw_pose(study, SEED)
    usual = compose(study, pose, SEED, 16).chest
    pulled, pushed = (
        compose(with_cause(study, make_cause(name, np.random.default_rng(0), 0.9, "right")), pose, SEED, 16).chest
        for name in ("Atelectasis", "Pneumothorax")
    )
    assert pulled.pull < usual.pull - 0.3
    assert pushed.pull > usual.pull + 0.1
    assert pulled.domes[0] < usual.domes[0] - 1
    assert pulled.domes[1] == usual.domes[1]


def test_fibrosis_shrinks_the_lungs_and_roughens_their_bases() -> None:
    study = healthy()[0]
    frame = frame_of(draw_pose(study, SEED), 64)
    chest = stand(draw_body(study, SEED), draw_pose(study, SEED), ap=False)
    scarred = change(study, "Fibrosis", 0.9, "both")
    zone = np.abs(np.abs(frame.x) - 9) < 2
    bases = zone & (frame.y > chest.domes[0] - 7) & (frame.y < chest.domes[0] - 3)
    tops = zone & (frame.y > chest.apex + 2) & (frame.y < chest.apex + 6)
    assert scarred[bases].mean() > 0.05
    assert scarred[bases].std() > 1.3 * scarred[tops].std()


# --- population


@pytest.fixture(scope="module")
def many() -> list[Study]:
    return sample_population(6000, SEED)


def test_population_is_exact_repeatable_and_whole() -> None:
    studies = sample_population(137, SEED)
    assert len(studies) == 137
    assert studies == sample_population(137, SEED)
    assert studies[:50] == sample_population(50, SEED)
    assert len({study.study_id for study in studies}) == 137
    for study, after in itertools.pairwise(studies):
        same = study.patient_id == after.patient_id
        assert after.index == (study.index + 1 if same else 0)
        assert not same or (study.sex == after.sex and 0 <= after.age - study.age <= 1)
        assert {cause.finding for cause in study.causes} == study.findings


def test_prevalence_within_bounds(many: list[Study]) -> None:
    images, studies = len(many), many
    patients = len({study.patient_id for study in studies})
    for finding, rate in PREVALENCE.items():
        share = sum(finding in study.findings for study in studies) / images
        # studies of a patient repeat each other: count patients, and allow four standard errors
        assert abs(share - rate) < 4 * np.sqrt(rate * (1 - rate) / patients), finding
    assert 0.42 < sum(not study.findings for study in studies) / images < 0.58


def test_findings_come_together_and_persist(many: list[Study]) -> None:
    studies = many
    failing = [study for study in studies if "Edema" in study.findings]
    for other in ("Cardiomegaly", "Effusion"):
        assert np.mean([other in study.findings for study in failing]) > 2 * PREVALENCE[other]
    assert np.mean([study.view == "AP" for study in failing]) > 0.75
    pairs = [(a, b) for a, b in itertools.pairwise(studies) if a.patient_id == b.patient_id]
    kept = [[cause for cause in b.causes if cause.finding == "Mass"] for a, b in pairs if "Mass" in a.findings]
    assert np.mean([len(causes) for causes in kept]) > 0.65
    a, b = next((a, b) for a, b in pairs if "Mass" in a.findings & b.findings)
    keys = [next(cause.key for cause in study.causes if cause.finding == "Mass") for study in (a, b)]
    assert keys[0] == keys[1]


def test_chosen_findings_and_prevalence() -> None:
    studies = sample_population(1500, SEED, ["Hernia", "Edema"], {"Hernia": 0.3})
    assert set().union(*(study.findings for study in studies)) == {"Hernia", "Edema"}
    assert np.mean(["Hernia" in study.findings for study in studies]) == pytest.approx(0.3, abs=0.06)


def test_label_noise_changes_labels_not_pictures(many: list[Study]) -> None:
    exact, noisy = many[:4000], sample_population(4000, SEED, label_noise=0.2)
    assert [study.causes for study in exact] == [study.causes for study in noisy]
    drawn = [(study, cause.finding) for study in noisy for cause in study.causes]
    assert np.mean([finding not in study.findings for study, finding in drawn]) == pytest.approx(0.2, abs=0.03)
    totals = [sum(len(study.findings) for study in studies) for studies in (exact, noisy)]
    assert totals[1] == pytest.approx(totals[0], rel=0.08)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"images": 0}, ConfigError),
        ({"seed": -1}, ConfigError),
        ({"label_noise": 1.0}, ConfigError),
        ({"prevalence": {"Mass": 0.0}}, ConfigError),
        ({"findings": ["Oedema"]}, LabelError),
        ({"findings": ["Mass"], "prevalence": {"Edema": 0.1}}, LabelError),
    ],
)
def test_population_refuses(arguments: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error):
        sample_population(**{"images": 5, "seed": 0, **arguments})  # type: ignore[arg-type]


@pytest.mark.parametrize(("size", "seed"), [(8, 0), (4096, 0), (32, -1)])
def test_render_refuses(size: int, seed: int) -> None:
    with pytest.raises(ConfigError):
        render(healthy()[0], size, seed)


# --- files


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream_:
        return list(csv.DictReader(stream_))


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom") / "native"
    write_native(folder, 40, 48, SEED, dicom_share=0.6)
    return folder


def test_native_labels(native: Path) -> None:
    rows, studies = read_rows(native / "labels.csv"), sample_population(40, SEED)
    assert list(rows[0]) == ["image", "patient_id", "study_id", "view", "sex", "age", *NIH_FINDINGS]
    for row, study in zip(rows, studies, strict=True):
        assert {name for name in NIH_FINDINGS if row[name] == "1"} == study.findings
        assert (row["patient_id"], row["view"], row["age"]) == (study.patient_id, study.view, str(study.age))
    assert sorted(row["image"] for row in rows) == sorted(f"images/{path.name}" for path in native.glob("images/*"))


def shown(path: Path) -> np.ndarray:
    """Show a file as pydicom and Pillow themselves do, in [0, 1]."""
    if path.suffix == ".png":
        return np.asarray(Image.open(path), dtype=np.float64) / 255
    dataset = pydicom.dcmread(path)
    values = apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset)
    # pydicom's window spans the range of the stored type after rescaling
    ends = [value * dataset.RescaleSlope + dataset.RescaleIntercept for value in (0, 2**dataset.BitsStored - 1)]
    values = (values - ends[0]) / (ends[1] - ends[0])
    return np.asarray(1 - values if dataset.PhotometricInterpretation == "MONOCHROME1" else values)


def test_png_and_dicom_show_the_rendered_picture(native: Path) -> None:
    studies = {study.study_id: study for study in sample_population(40, SEED)}
    for path in native.glob("images/*"):
        expected = render(studies[path.stem], 48, SEED)
        tolerance = 1 / 255 if path.suffix == ".png" else 1 / 2000
        np.testing.assert_allclose(shown(path), expected, atol=tolerance)


def test_dicom_files_are_valid_and_varied(native: Path) -> None:
    kinds = set()
    for path in native.glob("images/*.dcm"):
        assert path.read_bytes()[128:132] == b"DICM"
        dataset = pydicom.dcmread(path)
        assert dataset.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
        assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
        assert pydicom.uid.UID(dataset.SOPInstanceUID).is_valid
        assert (dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit) == (16, 12, 11)
        assert int(dataset.pixel_array.max()) < 4096
        assert dataset.ViewPosition in {"PA", "AP"}
        assert dataset.PatientSex in {"M", "F"}
        assert 18 <= int(dataset.PatientAge[:3]) < 110
        kinds.add((dataset.Modality, dataset.PhotometricInterpretation))
    assert len(kinds) == 4
    instances = {pydicom.dcmread(path).SOPInstanceUID for path in native.glob("images/*.dcm")}
    assert len(instances) == len(list(native.glob("images/*.dcm")))


def test_writing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_native(tmp_path / name, 8, 16, SEED)
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.*"))
    assert len(files) == 9
    assert all((tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes() for file in files)


def test_progress_counts_images_and_the_folder_is_readable(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    write_native(tmp_path / "set", 5, 16, SEED, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(k, 5) for k in range(1, 6)]
    (tmp_path / "plain").mkdir()
    assert (tmp_path / "set").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "write_csv", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_native(tmp_path / "set", 3, 16, SEED)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="new or empty"):
        write_nih_layout(tmp_path, 3, 16, SEED)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(ConfigError, match="dicom_share"):
        write_native(tmp_path / "set", 3, 16, SEED, dicom_share=1.5)


@pytest.fixture(scope="module")
def nih(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom") / "nih"
    folder.mkdir()
    write_nih_layout(folder, 120, 16, SEED)
    return folder


def test_nih_lists_share_no_patient_and_cover_everything(nih: Path) -> None:
    lists = {name: (nih / f"{name}_list.txt").read_text().split() for name in ("train", "val", "test")}
    patients = [{image[:8] for image in images} for images in lists.values()]
    assert sum(map(len, patients)) == len(set.union(*patients))
    assert sorted(itertools.chain(*lists.values())) == sorted(path.name for path in nih.glob("images/*.png"))
    for name, share in (("train", 0.7), ("val", 0.15), ("test", 0.15)):
        assert len(lists[name]) == pytest.approx(120 * share, abs=6)


def test_nih_table_has_its_own_columns_and_every_finding(nih: Path) -> None:
    header = (nih / "Data_Entry_2017_v2020.csv").read_text().splitlines()[0]
    assert header == (
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
        "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
    )
    rows = read_rows(nih / "Data_Entry_2017_v2020.csv")
    for row in rows:
        assert row["Image Index"] == f"{int(row['Patient ID']):08d}_{int(row['Follow-up #']):03d}.png"
        assert row["Finding Labels"] == "No Finding" or set(row["Finding Labels"].split("|")) <= set(NIH_FINDINGS)
    labels = {row["Image Index"]: row["Finding Labels"].split("|") for row in rows}
    for name, least in (("train", 2), ("val", 1), ("test", 1)):
        images = (nih / f"{name}_list.txt").read_text().split()
        for finding in NIH_FINDINGS:
            assert sum(finding in labels[image] for image in images) >= least, (name, finding)


def test_nih_resample_table_names_the_official_lists(nih: Path) -> None:
    rows = read_rows(nih / "resample.csv")
    tested = set((nih / "test_list.txt").read_text().split())
    assert {row["file"] for row in rows if row["split_nih"] == "test"} == tested
    assert {(row["resample"], row["split_nih"]) for row in rows} == {("area", "train_val"), ("area", "test")}
    assert len(rows) == 120
