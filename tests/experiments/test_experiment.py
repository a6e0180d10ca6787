from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from monai_cxraug.errors import ConfigError, CxrAugError, InputError
from monai_cxraug.experiments.arms import missing_controls
from monai_cxraug.experiments.declaration import load_experiment
from monai_cxraug.experiments.experiment import make_experiment
from tests.experiments.conftest import document


def _write(folder: Path, **changes: Any) -> Path:
    path = folder / "experiment.yaml"
    path.write_text(yaml.safe_dump(document(**changes)))
    return path


def _published(**changes: Any) -> dict[str, Any]:
    return {"arm": "plain", "auroc": {"Edema": 0.8}, **changes}


def test_defaults_and_settings(tmp_path: Path) -> None:
    found = load_experiment(_write(tmp_path), ["seeds=[3]", "budget.classifier.steps=7", "data.train.size=64"])
    assert found.seeds == [3]
    assert found.budget.classifier == {"steps": 7}
    assert found.budget.threads == 1
    assert (found.data.train.size, found.data.validation.size if found.data.validation else 0) == (64, 32)
    assert found.ratios == (1.0,)
    assert found.data.judged[0] == "validation"


def test_a_document_survives_the_round_trip() -> None:
    found = make_experiment(document(ratios=[0.5, 2.0], published=[_published(fraction=0.1)]), "x")
    assert make_experiment(found.document(), "x") == found


def test_cells_are_judged_on_test_images_when_there_are_any() -> None:
    data = document()["data"]
    found = make_experiment(document(data={**data, "test": {**data["validation"], "split": "test"}}), "x")
    assert found.data.judged[0] == "test"


def test_a_text_in_place_of_a_role_is_a_manifest(tmp_path: Path) -> None:
    data = document()["data"]
    test = {**data["validation"], "split": "test", "where": {"view": "PA"}}
    path = _write(tmp_path, data={**data, "test": test})
    found = load_experiment(path, ["data.test=unseen/manifest.csv"]).data.test
    assert found is not None
    assert (found.manifest, found.source, found.split, found.where) == ("unseen/manifest.csv", None, None, {})
    assert load_experiment(_write(tmp_path), ["data.test=here"]).data.judged[0] == "test"  # there was none before


@pytest.mark.parametrize(
    ("changes", "setting", "words"),
    [
        ({}, "data.test=7", ["data", "'test'", "must be a mapping"]),
        ({}, "data.test=$x", ["may not begin with"]),
        ({"sedes": [0]}, None, ["sedes", "did you mean 'seeds'"]),
        ({}, "budget.clasifier.steps=3", ["clasifier", "did you mean 'classifier'"]),
        ({}, "data.train.wehre={}", ["data", "wehre", "did you mean 'where'"]),
        ({}, "data.valdation.size=3", ["valdation", "unknown key", "did you mean 'validation'"]),
        ({"arms": ["plain", "gann"]}, None, ["gann", "did you mean 'gan'"]),
        ({"endpoint": {"arm": "gan", "reference": "gan"}}, None, ["endpoint.reference", "another arm"]),
        ({"arms": ["plain", "gan"]}, None, ["endpoint.reference", "duplicate_real"]),
        (
            {"endpoint": {"arm": "gan", "reference": "plain", "finding": "Effusoin"}},
            None,
            ["Effusoin", "did you mean 'Effusion'"],
        ),
        ({"endpoint": {"arm": "gan", "reference": "plain", "metric": "f1"}}, None, ["endpoint.metric", "auroc"]),
        ({"fractions": [0]}, None, ["fractions", "above 0"]),
        ({"seeds": [1, 1]}, None, ["seeds", "different"]),
        ({"seeds": []}, None, ["seeds"]),
        ({"published": {"arm": "plain"}}, None, ["'published'", "must be a list of entries"]),
        ({"published": [{"arm": "plain"}]}, None, ["entry 1 key 'auroc'", "a value is required"]),
        ({"published": [_published(), _published(arm="gna")]}, None, ["entry 2", "did you mean 'gan'"]),
        ({"published": [_published(auroc={"Edema": 84.8})]}, None, ["'auroc' of 'Edema'", "from 0 to 1", "84.8"]),
        ({"published": [_published(auroc={"Edema": True})]}, None, ["from 0 to 1", "True"]),
        ({"published": [_published(auroc=[0.8])]}, None, ["'auroc'", "must be a mapping"]),
        ({"published": [_published(fraction=10)]}, None, ["'fraction'", "at most 1"]),
        ({"published": [_published(auprc=0.1)]}, None, ["auprc", "unknown key"]),
        ({"findings": "Effusion"}, None, ["findings", "list"]),
        ({"data": {"train": {"source": "phantom"}}}, None, ["validation", "neither"]),
        ({"data": {"train": {"source": "nih", "manifest": "m"}, "validation": {"source": "nih"}}}, None, ["both"]),
        ({"data": {"train": {"source": "nhi"}, "validation": {"source": "phantom"}}}, None, ["'nhi'", "'nih'?"]),
        (
            {"data": {"train": {"source": "phantom"}, "validation": {"source": "phantom", "options": {"cuont": 9}}}},
            None,
            ["--cuont", "did you mean '--count'?"],
        ),
        ({"name": None}, None, ["'name'", "required"]),
        ({}, "seeds", ["--set seeds", "KEY=VALUE"]),
        ({}, "budget.replicates=5", ["replicates", "100"]),
        ({}, "name=$__import__('os').getcwd()", ["name", "may not begin with"]),
        ({}, "budget.classifier.steps='@network'", ["may not begin with", "@network"]),
        ({}, "budget.classifier={_target_: os.system}", ["components are not allowed"]),
    ],
)
def test_refusals_name_key_rule_and_mend(
    tmp_path: Path, changes: dict[str, Any], setting: str | None, words: list[str]
) -> None:
    with pytest.raises(CxrAugError) as caught:
        load_experiment(_write(tmp_path, **changes), [setting] if setting else [])
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_only_the_data_variable_is_substituted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = document()["data"]
    for role in data.values():
        role.pop("count")
        role |= {"source": "nih", "images": "${CXRAUG_DATA}/nih.zip"}
    path = _write(tmp_path, data=data)
    monkeypatch.setenv("CXRAUG_DATA", "/somewhere")
    assert load_experiment(path).data.train.images == "/somewhere/nih.zip"
    monkeypatch.delenv("CXRAUG_DATA")
    with pytest.raises(ConfigError, match="CXRAUG_DATA"):
        load_experiment(path)
    assert load_experiment(path, substitute=False).data.train.source == "nih"
    with pytest.raises(ConfigError, match=r"\$\{HOME\}"):
        load_experiment(_write(tmp_path, title="${HOME}"))


@pytest.mark.parametrize("content", ["- a list", "a: [", "just text"])
def test_what_is_no_mapping_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(content)
    with pytest.raises(CxrAugError, match=r"x\.yaml"):
        load_experiment(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.yaml"):
        load_experiment(tmp_path / "nothing.yaml")


@pytest.mark.parametrize("path", sorted(Path("configs/experiments").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_experiments_are_valid(path: Path) -> None:
    from monai_cxraug.experiments.work import check_budget

    check_budget(load_experiment(path, substitute=False))


def test_overlays_merge_replace_add_and_take_back(tmp_path: Path) -> None:
    base = _write(tmp_path, screening={"reject": ["Mass"]})
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text(
        "{+arms: [focal_loss, plain], seeds: [5], screening: null, data: {train: {size: 64, split: null}},"
        " budget: {classifier: {steps: 9}}}"
    )
    found = load_experiment([base, overlay], ["budget.replicates=300"])
    assert found.arms == ["plain", "duplicate_real", "gan", "focal_loss"]
    assert (found.seeds, found.screening) == ([5], None)
    assert (found.data.train.size, found.data.train.split, found.data.train.source) == (64, None, "phantom")
    assert found.data.validation is not None
    assert found.data.validation.size == 32
    assert (found.budget.classifier, found.budget.replicates, found.budget.threads) == ({"steps": 9}, 300, 1)


@pytest.mark.parametrize(
    ("overlay", "words"),
    [
        ("{+arms: focal_loss}", r"overlay\.yaml key '\+arms': a plus adds a list to a list"),
        ("{+title: [a]}", "a plus adds a list to a list"),
        ("{amrs: [plain]}", "did you mean 'arms'"),
        ("[plain]", "must be a mapping"),
    ],
)
def test_overlays_that_fit_nowhere_are_refused(tmp_path: Path, overlay: str, words: str) -> None:
    (tmp_path / "overlay.yaml").write_text(overlay)
    with pytest.raises(ConfigError, match=words):
        load_experiment([_write(tmp_path), tmp_path / "overlay.yaml"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"arms": ["plain", "duplicate_real", "gan", "screened"]}, "is needed by arms that are screened"),
        ({"arms": ["plain", "duplicate_real", "gan", "external"]}, "a folder for each studied finding"),
        ({"filters": ["gausian"]}, "did you mean 'gaussian'"),
        ({"arms": ["plain", "duplicate_real", "gan", "screened"], "screening": {}}, "rejected or accepted"),
        ({"arms": ["plain", "gan", "duplicate_real", "screened"], "screening": {"accept_share": 0.5}}, "folds: 3"),
        ({"arms": ["plain", "gan", "duplicate_real", "screened"], "screening": {"acept_share": 0.5}}, "'accept_share'"),
        (
            {"arms": ["plain", "gan", "duplicate_real", "screened"], "screening": {"reject": ["Mass"], "threshold": 2}},
            "between 0 and 1",
        ),
    ],
)
def test_what_makes_synthetic_images_must_be_declared(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_experiment(_write(tmp_path, **changes))


def test_every_shipped_experiment_and_overlay_fits() -> None:
    folder = Path(__file__).resolve().parents[2] / "configs" / "experiments"
    for path in folder.glob("*.yaml"):
        load_experiment(path, substitute=False)
    a, b, overlays = folder / "system_a_nih_pggan.yaml", folder / "system_b_chexpert_filters.yaml", folder / "overlays"
    for files in ([a, overlays / "system_a_nih.yaml"], [b, overlays / "system_b_nih.yaml"]):
        controls = "controls_screened" if files[0] == a else "controls_filtered"
        for more in ([], [overlays / f"{controls}.yaml"]):
            found = load_experiment([*files, *more], substitute=False)
            assert found.data.train.source == "nih"
            assert bool(missing_controls(found.arms, [found.endpoint.arm])) == (not more)
            assert found.endpoint.reference == ("duplicate_real" if more else "plain")
