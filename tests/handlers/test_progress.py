from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ignite.engine import Engine
from monai.handlers import TensorBoardStatsHandler

from monai_cxraug.handlers.progress import Progress, describe, scalars, write_scalars


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def make_engine(images: bool = True, total: int = 50) -> Any:
    def step(engine: Any, _: Any) -> dict[str, Any]:
        if images:
            engine.state.images_seen += 16
        return {"loss": 0.25, "image": torch.zeros(2, 3)}

    engine: Any = Engine(step)
    engine.schedule = SimpleNamespace(total_images=total)
    if images:
        engine.state.images_seen = 0
    return engine


def test_plain_lines_when_the_output_is_no_terminal() -> None:
    stream, engine = io.StringIO(), make_engine()
    Progress("gan", interval=0, stream=stream).attach(engine)
    engine.run([0] * 4)
    lines = stream.getvalue().splitlines()
    assert lines[0].startswith("gan: 16/50 images, ")
    assert lines[-1].startswith("gan: 64/50 images, ")
    assert all(line.endswith("loss 0.25") for line in lines)
    assert "\r" not in stream.getvalue()


def test_few_lines_and_always_a_last_one() -> None:
    stream, engine = io.StringIO(), make_engine()
    Progress(interval=3600, stream=stream).attach(engine)
    engine.run([0] * 4, max_epochs=5)
    assert len(stream.getvalue().splitlines()) == 1


def test_a_bar_on_a_terminal_reaches_its_end() -> None:
    stream, engine = Terminal(), make_engine()
    Progress("gan", stream=stream).attach(engine)
    engine.run([0] * 4)
    assert "gan: 100%" in stream.getvalue()
    assert "50/50" in stream.getvalue()
    assert "loss 0.25" in stream.getvalue()


def test_steps_where_images_are_not_counted() -> None:
    stream, engine = io.StringIO(), make_engine(images=False)
    Progress(interval=3600, stream=stream).attach(engine)
    engine.run([0] * 4, max_epochs=2)
    assert stream.getvalue().startswith("training: 8/8 steps")


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ({"loss": torch.tensor(0.5), "image": torch.zeros(3), "n": 2}, {"loss": 0.5, "n": 2.0}),
        ([{"loss": 0.5}, {"loss": 0.7}], {"loss": 0.5}),
        (None, {}),
        ([], {}),
    ],
)
def test_scalars_of_any_engine(output: Any, expected: dict[str, float]) -> None:
    assert scalars(output) == expected


def test_description() -> None:
    assert describe({"loss": 0.123456, "alpha": 1.0}) == "loss 0.123, alpha 1"


def test_monai_s_tensorboard_handler_writes_over_images_seen() -> None:
    written: list[tuple[str, float, int]] = []
    writer = SimpleNamespace(add_scalar=lambda *arguments: written.append(arguments), flush=lambda: None)
    engine = make_engine()
    engine.state.metrics = {}
    TensorBoardStatsHandler(writer, iteration_log=2, iteration_event_writer=write_scalars).attach(engine)
    engine.run([0] * 4)
    assert written == [("loss", 0.25, 32), ("loss", 0.25, 64)]
