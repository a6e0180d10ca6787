"""NaN in a training that nothing rolls back: it ends in one line, and no checkpoint holds it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events

from monai_cxraug.errors import StateError
from monai_cxraug.handlers.finite import StayFinite
from monai_cxraug.handlers.resume import read_checkpoint
from tests.handlers.test_resume import assert_equal_states, make_classifier


class Plant:
    """Changes something at an iteration."""

    def __init__(self, at: int, place: str, value: float = torch.nan) -> None:
        self.at, self.place, self.value = at, place, value

    def attach(self, engine: Any) -> None:
        self.engine = engine
        engine.add_event_handler(Events.ITERATION_COMPLETED(once=self.at), self.act)

    def act(self) -> None:
        held = self.engine.held
        if self.place == "optimizer":
            next(iter(held["optimizer"].state.values()))["momentum_buffer"].flatten()[0] = self.value
        elif self.place == "ema":
            next(held["ema"].module.parameters()).data.flatten()[-1] = self.value
        else:  # of batch normalisation
            held["network"][1].running_var[0] = self.value


def guarded(path: Path, *handlers: Any) -> Any:
    trainer = make_classifier(path, *handlers)
    StayFinite({name: trainer.held[name] for name in ("network", "optimizer", "ema")}).attach(trainer)
    return trainer


@pytest.mark.parametrize("place", ["network", "ema", "optimizer"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_is_no_number_ends_the_training_and_is_not_kept(tmp_path: Path, place: str, value: float) -> None:
    with pytest.raises(StateError, match=f"at step 15.*must stay finite numbers; found others in .*{place}") as caught:
        guarded(tmp_path / "ill.pt", Plant(12, place, value)).run()
    assert "\n" not in str(caught.value)
    kept = read_checkpoint(tmp_path / "ill.pt")
    assert kept["resume"]["iteration"] == 10
    assert all(bool(weight.isfinite().all()) for weight in kept["network"].values())


def test_who_goes_on_without_the_cause_ends_as_if_nothing_had_been(tmp_path: Path) -> None:
    with pytest.raises(StateError):
        guarded(tmp_path / "ill.pt", Plant(12, "network")).run()
    guarded(tmp_path / "ill.pt").run()
    make_classifier(tmp_path / "straight.pt").run()
    assert_equal_states(read_checkpoint(tmp_path / "straight.pt"), read_checkpoint(tmp_path / "ill.pt"))
