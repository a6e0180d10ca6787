"""The command ``cxraug``: parse, call, print. Every command runs the configuration that MONAI would run."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_cxraug import __version__
from monai_cxraug.errors import ConfigError, CxrAugError

_EXAMPLES = """examples:
  cxraug prepare nih --images nih_64.zip --size 64 --out data/nih64
  cxraug prepare phantom --out data/phantom
  cxraug run configs/experiments/demo.yaml
  cxraug run configs/experiments/nih_first_light.yaml --set seeds=[0] --out runs/one_seed
  cxraug run configs/experiments/nih_first_light.yaml --smoke --out runs/smoke
  cxraug evaluate runs/demo --manifest data/other/manifest.csv --out runs/demo_other
  cxraug sample runs/demo/generators/Edema-f1-s0 --finding Edema --n 100 --seed 1 --out synthetic/edema
  cxraug predict runs/demo/cells/plain-f1-s0 --images radiographs/ --out predictions
  cxraug bundles copy my_bundles

A wrong input ends with one line that says how to mend it, and exit status 2."""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of every command."""
    parser = argparse.ArgumentParser(
        prog="cxraug",
        description="Does synthetic data help my rare classes? Evidence on your own radiographs.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"cxraug {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_prepare(commands)
    _add_run(commands)
    _add_evaluate(commands)
    _add_models(commands)
    report = commands.add_parser("report", help="write the report of a run again, from its files alone")
    report.add_argument("run", metavar="RUN", help="folder of a run or of an evaluation")
    report.set_defaults(call=lambda args: _config("report", {"run_folder": args.run}))
    bundles = commands.add_parser("bundles", help="take the MONAI bundles out of the package")
    copy = bundles.add_subparsers(required=True, metavar="ACTION").add_parser("copy", help="copy every bundle")
    copy.add_argument("dir", metavar="DIR")
    copy.set_defaults(call=_copy_bundles)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: default ``sys.argv``.

    Returns:
        Exit status: 0 done, 2 for input that the user can mend, 130 after Ctrl-C.
    """
    args = build_parser().parse_args(arguments)
    # set before torch reads it: one line of progress is worth more than its remarks
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        args.call(args)
    except CxrAugError as error:
        print(f"cxraug: error: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("cxraug: interrupted; the same command continues", file=sys.stderr)
        return 130
    return 0


def _add_prepare(commands: Any) -> None:
    prepare = commands.add_parser("prepare", help="make a manifest and a pack from a folder or archive of images")
    prepare.add_argument("source", metavar="SOURCE", help="nih, phantom, or images (no labels)")
    prepare.add_argument("--images", metavar="PATH", help="folder or zip archive; phantom needs none")
    prepare.add_argument("--labels", metavar="CSV", help="table of labels, when it lies elsewhere")
    prepare.add_argument("--lists", metavar="DIR", help="folder of split lists, when they lie elsewhere")
    prepare.add_argument("--out", metavar="DIR", required=True)
    prepare.add_argument("--size", type=int, default=64, metavar="N", help="side of the images in pixels (%(default)s)")
    prepare.add_argument("--count", type=int, default=1200, metavar="N", help="phantoms to generate (%(default)s)")
    prepare.add_argument("--seed", type=int, default=0, metavar="S", help="of phantoms and splits (%(default)s)")
    prepare.set_defaults(call=lambda args: _config("prepare", _options(args)))


def _add_run(commands: Any) -> None:
    run = commands.add_parser("run", help="run an experiment; what is done already is not done again")
    run.add_argument("experiment", metavar="EXPERIMENT.yaml")
    run.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override, for example seeds=[0,1]"
    )
    run.add_argument("--out", metavar="RUN", help="folder of the run (runs/<name>)")
    run.add_argument("--smoke", action="store_true", help="tiny budget on generated phantoms, to see that all runs")
    run.set_defaults(call=lambda args: _config("run_experiment", _options(args)))


def _add_evaluate(commands: Any) -> None:
    evaluate = commands.add_parser("evaluate", help="ask every cell of a run about images never seen before")
    evaluate.add_argument("run_folder", metavar="RUN")
    evaluate.add_argument("--manifest", metavar="MANIFEST.csv", required=True)
    evaluate.add_argument("--out", metavar="DIR", required=True)
    evaluate.add_argument("--split", metavar="NAME", help="train, val or test (every image)")
    evaluate.add_argument(
        "--where", action="append", default=[], metavar="COLUMN=VALUE", help="keep images whose column has this value"
    )
    evaluate.set_defaults(call=lambda args: _config("evaluate", {**_options(args), "where": _pairs(args.where)}))


def _add_models(commands: Any) -> None:
    sample = commands.add_parser("sample", help="write a synthetic set")
    sample.add_argument("generator", metavar="GENERATOR", help="generator of a run, model file or bundle folder")
    sample.add_argument("--finding", required=True, metavar="NAME")
    sample.add_argument("--n", type=int, required=True, metavar="N")
    sample.add_argument("--seed", type=int, default=0, metavar="S")
    sample.add_argument("--out", required=True, metavar="DIR")
    sample.set_defaults(call=_sample)
    predict = commands.add_parser("predict", help="probabilities of every finding on radiographs")
    predict.add_argument("model", metavar="MODEL", help="cell of a run, model file or bundle folder")
    predict.add_argument("--images", required=True, metavar="PATH", help="folder, archive or file; DICOM, PNG or JPEG")
    predict.add_argument("--out", required=True, metavar="DIR")
    predict.set_defaults(call=_predict)


def _sample(args: argparse.Namespace) -> None:
    settings = {"checkpoint": args.generator, "finding": args.finding, "n": args.n, "seed": args.seed}
    _bundle("chest_xray_pggan", {**settings, "output_dir": args.out})
    print(Path(args.out) / "manifest.csv")


def _predict(args: argparse.Namespace) -> None:
    settings = {"checkpoint": args.model, "images": args.images, "output_dir": args.out}
    _bundle("chest_xray_classification", settings)
    print(Path(args.out) / "predictions.csv")


def _copy_bundles(args: argparse.Namespace) -> None:
    from monai_cxraug.resources import copy_bundles

    for folder in copy_bundles(args.dir):
        print(folder)


def _config(name: str, settings: Mapping[str, Any]) -> None:
    from monai_cxraug.bundle_config import run_stage
    from monai_cxraug.resources import resource_root

    run_stage(resource_root() / "configs" / f"{name}.json", settings)


def _bundle(name: str, settings: Mapping[str, Any]) -> None:
    from monai_cxraug.bundle_config import bundle_file, run_stage

    config = bundle_file(name, "inference")
    run_stage(config, {"bundle_root": str(config.parents[1]), **settings})


def _options(args: argparse.Namespace) -> dict[str, Any]:
    return {key: value for key, value in vars(args).items() if key not in ("command", "call") and value is not None}


def _pairs(texts: Sequence[str]) -> dict[str, str]:
    for text in texts:
        if "=" not in text:
            raise ConfigError(f"--where {text}", "must read COLUMN=VALUE", repr(text), "for example resample=area")
    return dict(text.split("=", 1) for text in texts)


if __name__ == "__main__":
    sys.exit(main())
