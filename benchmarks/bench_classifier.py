"""DenseNet-121 at 224 px: our training and inference against MONAI's stock loop.

    make bench-classifier

Stock is MONAI's own ``DenseNet121`` in ``SupervisedTrainer`` and ``SupervisedEvaluator`` with their defaults; ours is
the same network as the bundle builds it: channels last, bfloat16 autocast. Images are in memory on both sides.
``export`` is it once more, through OpenVINO. Both sides run in this process in turn; a row holds medians.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from harness import Row, faster, finish, race
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.inferers import Inferer, SimpleInferer
from monai.networks.nets import DenseNet121
from torch import Tensor, nn

from monai_cxraug.engines.inferers import AutocastInferer
from monai_cxraug.losses.imbalance import MaskedBCE
from monai_cxraug.networks.classifiers import Classifier
from monai_cxraug.networks.export import export_onnx

FINDINGS, TRAINED, JUDGED = 14, 16, 32
_STOCK = "monai"


def main() -> None:
    """Run every row and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="timed runs of each side (%(default)s)")
    parser.add_argument("--size", type=int, default=224, help="side of the images (%(default)s)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    topic = "classifier" if args.device == "cpu" else f"classifier-{args.device}"
    finish(topic, list(_rows(args.size, args.rounds, args.device)))


def _rows(size: int, rounds: int, device: str) -> Iterator[Row]:
    stock, peer = DenseNet121(spatial_dims=2, in_channels=1, out_channels=FINDINGS), f"{_STOCK} {version(_STOCK)}"
    ours = Classifier(FINDINGS)
    train = [_training(net, size, device, inferer) for net, inferer in _sides(ours, stock)]
    seconds = race(*train, rounds)
    yield faster(f"train {size} (images/s)", TRAINED, seconds, peer, 2.0)
    judge = [_judging(net, size, device, inferer) for net, inferer in _sides(ours, stock)]
    yield faster(f"inference {size} (images/s)", JUDGED, race(*judge, rounds), peer, 1.8)
    if device == "cpu":
        for precision in ("bf16", "f32"):
            exported = _exported(ours, size, precision)
            case = f"export {size}{'' if precision == 'bf16' else ', float32'} (images/s)"
            bound = 3.5 if precision == "bf16" else None
            yield faster(case, JUDGED, race(exported, judge[1], rounds), peer, bound)


def _sides(ours: nn.Module, stock: nn.Module) -> list[tuple[nn.Module, Inferer]]:
    return [(ours, AutocastInferer()), (stock, SimpleInferer())]


def _batch(size: int, n: int) -> dict[str, Tensor]:
    draws = torch.Generator().manual_seed(0)
    labels = (torch.rand(n, FINDINGS, generator=draws) < 0.2).float()
    return {"image": torch.rand(n, 1, size, size, generator=draws), "label": labels}


def _training(network: nn.Module, size: int, device: str, inferer: Inferer) -> Callable[[], object]:
    """One step of training, with all that the engine does around it."""
    network.to(device)
    trainer = SupervisedTrainer(
        device=torch.device(device),
        max_epochs=1,
        train_data_loader=[_batch(size, TRAINED)],
        network=network,
        optimizer=torch.optim.AdamW(network.parameters(), 1e-3),
        loss_function=MaskedBCE(),
        inferer=inferer,
        decollate=False,
    )
    return lambda: _run(trainer, device)


def _judging(network: nn.Module, size: int, device: str, inferer: Inferer) -> Callable[[], object]:
    network.to(device)
    evaluator = SupervisedEvaluator(
        device=torch.device(device),
        val_data_loader=[_batch(size, JUDGED)],
        network=network,
        inferer=inferer,
        decollate=False,
    )
    return lambda: _run(evaluator, device)


def _run(engine: Any, device: str) -> None:
    engine.state.max_epochs = None
    engine.state.epoch = engine.state.iteration = 0
    engine.state.max_epochs = 1
    engine.run()
    if device == "cuda":
        torch.cuda.synchronize()


def _exported(network: Classifier, size: int, precision: str) -> Callable[[], object]:
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        path = export_onnx(network.eval(), Path(folder) / "classifier.onnx", size)
        core = openvino.Core()
        settings = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
        settings["INFERENCE_NUM_THREADS"] = torch.get_num_threads()
        model = core.compile_model(core.read_model(path), "CPU", settings)
    images = _batch(size, JUDGED)["image"].numpy()
    return lambda: model(images)


if __name__ == "__main__":
    main()
