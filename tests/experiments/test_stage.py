from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest

from monai_cxraug.experiments.plan import CellPlan
from monai_cxraug.experiments.stage import Stage, read_record, read_timing
from monai_cxraug.experiments.stages import Hand


def _work(stage: Stage, seconds: int = 1) -> None:
    with stage.work() as record:
        (stage.folder / "model.pt").write_text("weights")
        record |= {"images": 5, "about": seconds}


def _interrupt(stage: Stage) -> None:
    with contextlib.suppress(KeyboardInterrupt), stage.work():
        (stage.folder / "checkpoint.pt").write_text("half way")
        raise KeyboardInterrupt


def test_a_finished_stage_is_done_and_other_work_is_not(tmp_path: Path) -> None:
    stage = Stage(tmp_path / "cell", "three")
    assert not stage.done
    _work(stage)
    assert stage.done
    assert read_record(stage.folder) == {**read_record(stage.folder), "about": 1}
    assert "images" not in read_record(stage.folder)
    assert read_timing(stage.folder)["images"] == 5
    assert not Stage(tmp_path / "cell", "four").done


def test_a_lost_product_is_made_again(tmp_path: Path) -> None:
    stage = Stage(tmp_path / "cell", "one")
    _work(stage)
    (stage.folder / "model.pt").unlink()
    assert not stage.done


def test_an_interrupted_stage_keeps_its_files_and_its_time(tmp_path: Path) -> None:
    stage = Stage(tmp_path / "cell", "one")
    _interrupt(stage)
    assert not stage.done
    before = read_timing(stage.folder)["seconds"]
    with stage.work():
        assert (stage.folder / "checkpoint.pt").read_text() == "half way"
        (stage.folder / "model.pt").write_text("weights")
    assert stage.done
    assert read_timing(stage.folder)["seconds"] >= before


def test_other_work_starts_from_an_empty_folder(tmp_path: Path) -> None:
    _interrupt(Stage(tmp_path / "cell", "one"))
    with Stage(tmp_path / "cell", "two").work():
        assert not (tmp_path / "cell" / "checkpoint.pt").exists()


def test_the_checkpoint_goes_only_when_the_stage_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed before its record is written, a stage that took a day goes on from its last epoch."""

    class Quick(Hand):
        def stage(self, one: Any) -> Stage:
            return Stage(self.run / "cell", "one")

        def _train(self, one: Any, stage: Stage, record: dict[str, Any]) -> None:
            for name in ("model.pt", "checkpoint.pt", "checkpoint.previous.pt", "checkpoint.good.pt"):
                (stage.folder / name).write_text("whole")

    def stop(path: Path, *_: object) -> None:
        if path.name == "run.json":
            raise KeyboardInterrupt

    hand, cell = Quick(None, tmp_path), CellPlan("cell", "plain", 1.0, None, 0, {}, [])  # type: ignore[arg-type]
    with monkeypatch.context() as patch:
        patch.setattr("monai_cxraug.experiments.stage.write_json", stop)
        with pytest.raises(KeyboardInterrupt):
            hand.do(cell)
    assert (tmp_path / "cell" / "checkpoint.pt").exists()
    assert hand.do(cell)
    assert not list((tmp_path / "cell").glob("checkpoint*"))
    (tmp_path / "cell" / "checkpoint.pt").touch()  # of a kill between the record and the removal
    assert not hand.do(cell)
    assert not list((tmp_path / "cell").glob("checkpoint*"))
