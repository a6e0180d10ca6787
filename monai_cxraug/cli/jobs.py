"""From parsed arguments to what is to be done: a stage of a configuration, or a call."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from monai_cxraug.console import announce, deliver, shown
from monai_cxraug.errors import ConfigError

#: what the parser keeps for itself beside the options.
_OWN: Final = frozenset({"command", "action", "call", "parser", "dry_run", "quiet", "json"})
#: settings of a request; what a source takes beside them is one of its own options.
_SHARED: Final = ("images", "labels", "lists", "count")
#: what the names of the classifier's remedies and recipes begin with.
_OVERLAYS: Final = ("augment", "batch", "contrast", "loss", "recipe", "sampling", "schedule")


@dataclass(frozen=True)
class Stage:
    """A configuration to run.

    Args:
        files: a base and its overlays.
        settings: that differ from it.
        made: file to name in the end, where the stage itself does not.
        tell: what to say of that file, beside its name.
    """

    files: Sequence[Path]
    settings: Mapping[str, Any]
    made: Path | None = None
    tell: Callable[[Path], str] | None = None

    def run(self) -> list[Any]:
        """Run it; returns what it made."""
        from monai_cxraug.bundle_config import run_stage

        results = run_stage(self.files, self.settings)
        if self.made is None:
            return results
        if self.tell is not None and self.made.is_file():
            announce(self.tell(self.made))
        deliver(self.made)
        return [self.made]

    def check(self) -> list[Any]:
        """Check all that can be checked without doing it; returns the command by which MONAI would run it."""
        from monai_cxraug.bundle_config import check_stage

        check_stage(self.files, self.settings)
        files = [str(file) for file in self.files]
        words = ["python", "-m", "monai.bundle", "run", "--config_file", files[0] if len(files) == 1 else repr(files)]
        for name, value in self.settings.items():
            words += [f"--{name}", value if isinstance(value, str) else repr(value)]
        deliver(shlex.join(words))
        return [words]


@dataclass(frozen=True)
class Call:
    """Something that is no stage.

    Args:
        run: does it; returns what it made.
        intent: what would be done, in words.
    """

    run: Callable[[], list[Any]]
    intent: str

    def check(self) -> list[Any]:
        """Say what would be done."""
        deliver(self.intent)
        return [self.intent]


def prepare(args: argparse.Namespace) -> Stage:
    from monai_cxraug.data.request import SOURCES
    from monai_cxraug.data.sources.options import options_of

    settings = _options(args)
    own = [name for name in options_of(SOURCES[args.source]) if name in settings and name not in _SHARED]
    options = {name: settings.pop(name) for name in own}
    return _config("prepare", {**settings, "options": options} if options else settings)


def filter_images(args: argparse.Namespace) -> Stage:
    return _config("filter", _options(args))


def histogram(args: argparse.Namespace) -> Stage:
    return _config("histogram", _options(args))


def phantom(args: argparse.Namespace) -> Call:
    def write() -> list[Any]:
        from monai_cxraug.data.sources.phantom.layouts import write_layout

        folder = write_layout(args.layout, args.out, args.count, args.size, args.seed)
        deliver(folder)
        return [folder]

    return Call(write, f"write {args.count} images of {args.size} px in the layout {args.layout} into {args.out}")


def run(args: argparse.Namespace) -> Stage:
    return _config("run_experiment", {**_options(args), **_files(args)})


def plan(args: argparse.Namespace) -> Stage:
    assumed = _pairs("--assume", args.assume, "auroc=0.75")
    return _config("plan_experiment", {**_options(args), **_files(args), "assume": assumed})


def evaluate(args: argparse.Namespace) -> Stage:
    return _config("evaluate", {**_options(args), "where": _where(args)})


def report(args: argparse.Namespace) -> Stage:
    return _config("report", _options(args))


def sample(args: argparse.Namespace) -> Stage:
    settings = _options(args)
    settings |= {"checkpoint": settings.pop("generator"), "output_dir": settings.pop("out")}
    return _bundle("chest_xray_pggan", settings, made=Path(args.out) / "manifest.csv")


def audit(args: argparse.Namespace) -> Stage:
    return _config("audit", {**_options(args), "where": _where(args)})


def reidentifier(args: argparse.Namespace) -> Stage:
    settings = {**_options(args), "where": _where(args), "output_dir": args.out}
    settings.pop("out")
    return _config("reidentifier", settings, made=Path(args.out) / "model.pt", tell=_tell_verification)


def enlarge(args: argparse.Namespace) -> Stage:
    settings = _options(args)
    settings |= {"checkpoint": settings.pop("model"), "output_dir": settings.pop("out")}
    made = Path(args.out) / ("manifest.csv" if args.images is None else "enlarged")
    return _bundle("image_superresolution", settings, made=made)


def train(args: argparse.Namespace) -> Stage:
    from monai_cxraug.data.pack import stored_size

    kept = ("split", "architecture", "size", "steps", "batch_size", "allow_synthetic_majority", "allow_copies")
    given = {key: value for key, value in _options(args).items() if key in kept}
    given.setdefault("size", stored_size(args.manifest))
    chosen: dict[str, Any] = {
        "findings": args.finding,
        "where": _where(args),
        "limit": _counts("--limit", args.limit),
        "synthetic": args.synthetic,
        "top_up": _counts("--top-up", args.top_up),
        "held_out": [{"manifest": path} for path in args.held_out],
    }
    named = {"manifest": args.manifest, "output_dir": args.out, "seed": args.seed, "fraction_seed": args.seed}
    settings = {**named, **{key: value for key, value in given.items() if value is not None}}
    settings |= {key: value for key, value in chosen.items() if value}
    stages = ("train", *args.overlay)
    return _bundle("chest_xray_classification", settings, *stages, made=Path(args.out) / "model.pt", tell=_tell_model)


def overlays() -> list[str]:
    """Remedies and recipes of the classifier bundle."""
    from monai_cxraug.resources import resource_root

    folder = resource_root() / "bundles" / "chest_xray_classification" / "configs"
    return sorted(path.stem for path in folder.glob("*_*.json") if path.stem.partition("_")[0] in _OVERLAYS)


def predict(args: argparse.Namespace) -> Stage:
    settings = {"checkpoint": args.model, "images": args.images, "output_dir": args.out, "maps": args.maps}
    return _bundle("chest_xray_classification", settings, made=Path(args.out) / "predictions.csv")


def calibrate(args: argparse.Namespace) -> Stage:
    images = {"manifest": args.manifest, "split": args.split, "where": _where(args)}
    settings = {"checkpoint": args.model, "summary#rule": args.rule, "summary#say": True}
    return _bundle("chest_xray_classification", {**settings, **images}, "evaluate", "calibrate")


def copy_bundles(args: argparse.Namespace) -> Call:
    def copy() -> list[Any]:
        from monai_cxraug.resources import copy_bundles

        folders = copy_bundles(args.dir)
        for folder in folders:
            deliver(folder)
        return list(folders)

    return Call(copy, f"copy every bundle into {args.dir}")


def inspect_bundle(args: argparse.Namespace) -> Call:
    def look() -> list[Any]:
        from monai_cxraug.config_audit import audit

        found = audit(args.config)
        deliver(found.describe())
        return [found.as_values()]

    return Call(look, f"list what {', '.join(args.config)} would run")


def run_bundle(args: argparse.Namespace) -> Stage:
    from monai_cxraug.config_audit import audit, require_trust
    from monai_cxraug.plain_yaml import parse_yaml

    files, found = [Path(file) for file in args.config], audit(args.config)
    if foreign := require_trust(found, args.trust):
        print(f"trusted: {shown(', '.join(map(str, foreign)))}; this runs:\n{found.describe()}", file=sys.stderr)
    if "run" not in found.keys:
        raise ConfigError(args.config[0], "needs a key 'run'", "none", "give the configuration of a stage first")
    texts = _pairs("--set", args.set, "steps=100")
    settings = {name: parse_yaml(text, f"--set {name}") for name, text in texts.items()}
    if "bundle_root" in found.keys and files[0].parent.name == "configs":
        settings.setdefault("bundle_root", str(files[0].parent.parent))
    return Stage(files, settings)


def doctor(args: argparse.Namespace) -> Call:
    def look() -> list[Any]:
        from monai_cxraug.doctor import as_values, describe, examine

        found = examine()
        deliver(describe(found))
        return [as_values(found)]

    return Call(look, "look at versions, devices, decoders and optional parts")


def completion(args: argparse.Namespace) -> Call:
    def write() -> list[Any]:
        try:
            import shtab
        except ImportError:
            mend = "pip install 'monai-cxraug[completion]'"
            raise ConfigError("completion", "needs the package shtab", "none", mend) from None
        from monai_cxraug.cli.parser import build_parser

        script = shtab.complete(build_parser("prepare"), shell=args.shell)  # nosec B604: its name; none is started
        deliver(script)
        return [script]

    return Call(write, f"print the completion script of {args.shell}")


def pull_studies(args: argparse.Namespace) -> Stage:
    return _config("pacs_pull", _options(args))


def classify_studies(args: argparse.Namespace) -> Stage:
    return _config("pacs_classify", _options(args))


def export_synthetic(args: argparse.Namespace) -> Stage:
    return _config("pacs_export", _options(args))


def study_networks(args: argparse.Namespace) -> Stage:
    return _config("study_networks", {**_options(args), "where": _where(args)})


def study_build(args: argparse.Namespace) -> Stage:
    return _config("study_build", {**_options(args), "where": _where(args)})


def study_serve(args: argparse.Namespace) -> Call:
    def serve() -> list[Any]:  # not by the configuration: a laptop that serves need not load torch
        from monai_cxraug.study.serving import ServeStudy

        return [ServeStudy(**_options(args)).run()]

    return Call(serve, f"serve {args.study} and keep the answers in {args.answers}")


def study_export(args: argparse.Namespace) -> Call:
    def export() -> list[Any]:
        from monai_cxraug.study.serving import ExportAnswers

        return [ExportAnswers(**_options(args)).run()]

    return Call(export, f"write the answers in {args.answers} as tables into {args.out}")


def study_report(args: argparse.Namespace) -> Stage:
    return _config("study_report", _options(args))


def _config(
    name: str,
    settings: Mapping[str, Any],
    made: Path | None = None,
    tell: Callable[[Path], str] | None = None,
) -> Stage:
    from monai_cxraug.resources import resource_root

    return Stage([resource_root() / "configs" / f"{name}.json"], settings, made, tell)


def _bundle(
    name: str,
    settings: Mapping[str, Any],
    *stages: str,
    made: Path | None = None,
    tell: Callable[[Path], str] | None = None,
) -> Stage:
    from monai_cxraug.bundle_config import bundle_file

    files = [bundle_file(name, stage) for stage in stages or ("inference",)]
    return Stage(files, {"bundle_root": str(files[0].parents[1]), **settings}, made, tell)


def _tell_model(path: Path) -> str:
    from monai_cxraug.data.additions import describe_composition
    from monai_cxraug.networks.weights import load_model

    return describe_composition(load_model(path).about["composition"])


def _tell_verification(path: Path) -> str:
    from monai_cxraug.networks.weights import load_model
    from monai_cxraug.synthesis.recognition import describe

    return describe(load_model(path, "reidentifier").about["verification"])


def _options(args: argparse.Namespace) -> dict[str, Any]:
    return {key: value for key, value in vars(args).items() if key not in _OWN and value is not None}


def _files(args: argparse.Namespace) -> dict[str, Any]:
    """The experiment, alone as a text, with overlays as a list."""
    return {"experiment": args.experiment if len(args.experiment) > 1 else args.experiment[0]}


def _where(args: argparse.Namespace) -> dict[str, str]:
    return _pairs("--where", args.where, "resample=area")


def _pairs(option: str, texts: Sequence[str], example: str) -> dict[str, str]:
    for text in texts:
        if "=" not in text:
            raise ConfigError(f"{option} {text}", "must read NAME=VALUE", repr(text), f"for example {example}")
    return dict(text.split("=", 1) for text in texts)


def _counts(option: str, texts: Sequence[str]) -> dict[str, int]:
    pairs = _pairs(option, texts, "Fibrosis=50")
    for name, text in pairs.items():
        if not text.isdecimal():
            raise ConfigError(f"{option} {name}", "must be a whole number", repr(text), "for example Fibrosis=50")
    return {name: int(text) for name, text in pairs.items()}
