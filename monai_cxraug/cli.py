"""The command ``cxraug``: parse, call, print. Every command runs the configuration that MONAI would run."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from monai_cxraug import __version__
from monai_cxraug.console import deliver, quiet
from monai_cxraug.errors import ConfigError, CxrAugError, nearest

_INTERRUPTED = 130
#: what the parser keeps for itself beside the options.
_OWN = frozenset({"command", "action", "call", "parser", "dry_run", "quiet", "json"})
#: settings of a request; what a source takes beside them is one of its own options.
_SHARED = ("images", "labels", "lists", "count")
_CLOSING = "A wrong input ends with one line that says how to mend it, and exit status 2."
#: examples of each command; the program's own help shows them all.
_EXAMPLES = {
    "prepare": """\
  cxraug prepare nih --images nih_64.zip --size 64 --out data/nih64
  cxraug prepare phantom --count 600 --out data/phantom""",
    "filter": """\
  cxraug filter data/nih64 --out data/nih64_filtered
  cxraug filter data/nih64/manifest.csv --filters unsharp minimum --out data/nih64_sharp""",
    "histogram": """\
  cxraug histogram data/nih64 --contrast equalise --out equalised.svg""",
    "phantom": """\
  cxraug phantom chexpert --count 600 --out phantoms/chexpert
  cxraug phantom skin --count 200 --size 224 --out phantoms/skin""",
    "plan": """\
  cxraug plan configs/experiments/demo.yaml
  cxraug plan configs/experiments/system_e_imbalance.yaml --assume auroc=0.75 --assume correlation=0.6""",
    "run": """\
  cxraug run configs/experiments/demo.yaml
  cxraug run configs/experiments/nih_first_light.yaml --smoke --out runs/smoke
  cxraug run configs/experiments/nih_first_light.yaml --set seeds=[0] --set budget.threads=1 --out runs/one_seed
  cxraug run configs/experiments/nih_first_light.yaml --scheduler local[2]""",
    "evaluate": """\
  cxraug evaluate runs/demo --manifest data/other/manifest.csv --split test --out runs/demo_other""",
    "report": """\
  cxraug report runs/demo
  cxraug report runs/demo --language ko""",
    "sample": """\
  cxraug sample runs/demo/generators/Edema-f1-s0 --finding Edema --n 100 --seed 1 --out synthetic/edema
  cxraug sample model.pt --finding Edema --n 500 --start 100 --png --crop 56 64 --out synthetic/more
  cxraug sample model.pt --finding Edema --n 100 --truncation 0.7 --depth 16 --out synthetic/typical""",
    "predict": """\
  cxraug predict runs/demo/cells/plain-f1-s0 --images radiographs/ --out predictions
  cxraug predict model.pt --images export.zip --out predictions --maps 5""",
    "calibrate": """\
  cxraug calibrate runs/demo/cells/plain-f1-s0 --manifest data/ours/manifest.csv
  cxraug calibrate model.pt --manifest data/ours/manifest.csv --rule sensitivity=0.95""",
    "bundles copy": """\
  cxraug bundles copy my_bundles""",
    "pacs pull": """\
  cxraug pacs pull --url https://pacs/dicom-web --query Modality=DX --query StudyDate=20260101-20261231 --out pulled
  cxraug pacs pull --url dicom://pacs:104/ARCHIVE --query AccessionNumber=A17 --out pulled""",
    "pacs classify": """\
  cxraug pacs classify runs/demo/cells/plain-f1-s0 --url https://pacs/dicom-web --query Modality=DX --out reports
  cxraug pacs classify model.pt --url https://pacs/dicom-web --query StudyDate=20260105- --out out --maps 3 --store""",
    "pacs export": """\
  cxraug pacs export synthetic/edema --out synthetic_dicom
  cxraug pacs export synthetic/edema --out synthetic_dicom --url https://pacs/dicom-web""",
    "doctor": """\
  cxraug doctor
  cxraug doctor --json > machine.json""",
    "completion": """\
  cxraug completion bash > ~/.local/share/bash-completion/completions/cxraug
  cxraug completion zsh > ~/.zfunc/_cxraug""",
}


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line; options are never abbreviated, so that new ones break no script."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **settings)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            hint = nearest(str(value), map(str, action.choices))
            raise argparse.ArgumentError(action, f"invalid choice: {value!r}; {hint}")

    def error(self, message: str) -> NoReturn:
        self.exit(CxrAugError.exit_status, f"{self.prog}: error: {message}; see {self.prog} --help\n")


def build_parser(command: str = "") -> argparse.ArgumentParser:
    """Return the parser of every command.

    Args:
        command: the command at hand. What only it needs, such as the sources of ``prepare``, is loaded for it alone.
    """
    examples = "\n".join(_EXAMPLES.values())
    parser = _Parser(
        prog="cxraug",
        description="Does synthetic data help my rare classes? Evidence on your own radiographs.",
        epilog=f"examples:\n{examples}\n\nEach command says more: cxraug COMMAND --help.\n{_CLOSING}",
    )
    parser.add_argument("--version", action="version", version=f"cxraug {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_prepare(commands, with_sources=command == "prepare")
    _add_filter(commands)
    _add_histogram(commands)
    _add_phantom(commands)
    _add_plan(commands)
    _add_run(commands)
    _add_evaluate(commands)
    _add_report(commands)
    _add_sample(commands)
    _add_predict(commands)
    _add_calibrate(commands)
    _add_bundles(commands)
    _add_pacs(commands)
    _add_machine(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: default ``sys.argv``.

    Returns:
        Exit status: 0 done, 2 for input that the user can mend, 130 after Ctrl-C.
    """
    arguments = spread_settings(sys.argv[1:] if arguments is None else arguments)
    args, rest = build_parser(next(iter(arguments), "")).parse_known_args(arguments)
    if rest:
        _refuse_unknown(args.parser, rest[0])
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorBoard brings TensorFlow's remarks where that is there
    try:
        _perform(args)
    except CxrAugError as error:
        print(f"cxraug: error: {error}", file=sys.stderr)
        if args.json:
            parts = {"where": error.where, "rule": error.rule, "found": error.found, "mend": error.mend}
            _print_json(args, error=parts)
        return error.exit_status
    except KeyboardInterrupt:
        print("cxraug: interrupted; the same command continues", file=sys.stderr)
        return _INTERRUPTED
    return 0


def _perform(args: argparse.Namespace) -> None:
    """Do the command, or check it; with ``--json`` standard output holds one JSON object and nothing else."""
    with quiet(args.quiet):
        if not args.json:
            _act(args)
            return
        with redirect_stdout(sys.stderr):
            made = _act(args)
    _print_json(args, products=made)


def _act(args: argparse.Namespace) -> list[Any]:
    job = args.call(args)
    return [one for one in (job.check() if args.dry_run else job.run()) if one is not None]


def _print_json(args: argparse.Namespace, **content: Any) -> None:
    document = {"command": args.parser.prog.partition(" ")[2], "dry_run": args.dry_run, **content}
    print(json.dumps(document, indent=2, default=str), flush=True)


def spread_settings(arguments: Sequence[str]) -> list[str]:
    """Let one ``--set`` take several settings wherever the experiment file stands: ``--set a=1 b=2`` is two."""
    spread: list[str] = []
    for argument in arguments:
        if "=" in argument and not argument.startswith("-") and spread[-2:-1] == ["--set"]:
            spread.append("--set")
        spread.append(argument)
    return spread


# --- commands ---


def _add_prepare(commands: Any, with_sources: bool) -> None:
    summary = "make a manifest and a pack from a folder or archive of images"
    if not with_sources:
        _add(commands, "prepare", summary, _prepare)
        return
    from monai_cxraug.data.request import SOURCES

    examples = "\n".join(f"  cxraug prepare {name} {text}" for name, one in SOURCES.items() for text in one.examples)
    prepare = _add(commands, "prepare", summary, _prepare, examples)
    sources = prepare.add_subparsers(dest="source", required=True, metavar="SOURCE", title="sources")
    for name, source in SOURCES.items():
        lines = [f"  cxraug prepare {name} {text}" for text in source.examples]
        says = " ".join(str(source.__doc__).split("\n\n")[0].split())
        parser = _add(sources, name, says, _prepare, "\n".join(lines))
        _add_source_options(parser.add_argument_group(f"options of {name}"), source)
        _add_common_options(parser.add_argument_group("options of every source"))


def _add_source_options(group: Any, source: type) -> None:
    from monai_cxraug.data.sources.options import options_of

    for one in options_of(source).values():
        default = "" if one.default in (None, "", False) else f" ({one.default})"
        form: dict[str, Any] = {"metavar": one.metavar or None, "type": one.kind if one.kind in (int, float) else str}
        if one.choices:
            form = {"choices": one.choices}
        elif one.kind is bool:
            form = {"action": "store_true", "default": None}
        group.add_argument(one.flag, help=(one.help + default).replace("%", "%%"), required=one.required, **form)


def _add_common_options(group: Any) -> None:
    group.add_argument("--out", metavar="DIR", required=True, help="folder for manifest, pack, summary and pictures")
    group.add_argument("--size", type=int, default=64, metavar="N", help="side of the images in pixels (%(default)s)")
    group.add_argument(
        "--fit",
        choices=("pad", "squash", "crop"),
        default="pad",
        help="keep the aspect ratio on black, fill the square, or keep the middle square (%(default)s)",
    )
    group.add_argument("--seed", type=int, default=0, metavar="S", help="of what is drawn: splits, folds (%(default)s)")
    group.add_argument(
        "--validation", type=float, metavar="X", help="share of train and val that becomes val (the source's, or 0.1)"
    )
    group.add_argument("--folds", type=int, default=0, metavar="K", help="patient-wise folds over train and val (none)")
    group.add_argument("--salt", metavar="FILE", help="key to hash patient, study and image names; made when missing")


def _add_filter(commands: Any) -> None:
    summary = "add filtered copies of the training images to a prepared set, for a generator to train on"
    filtering = _add(commands, "filter", summary, _filter)
    filtering.add_argument("manifest", metavar="DATA", help="folder or manifest.csv, made by cxraug prepare")
    filtering.add_argument("--out", metavar="DIR", required=True, help="new folder for manifest and pack")
    filtering.add_argument(
        "--filters",
        nargs="+",
        metavar="NAME",
        help="of gaussian, unsharp, minimum, maximum, median and bilateral, one copy each (the first three)",
    )


def _add_histogram(commands: Any) -> None:
    summary = "draw how bright the images of each class are, before and after a change of contrast"
    drawing = _add(commands, "histogram", summary, _histogram)
    drawing.add_argument("manifest", metavar="DATA", help="folder or manifest.csv, made by cxraug prepare")
    drawing.add_argument("--out", metavar="FILE.svg", required=True, help="figure; its counts go beside it, as .json")
    drawing.add_argument("--contrast", metavar="NAME", help="stretch, equalise or clahe (none)")
    drawing.add_argument("--split", metavar="NAME", help="split to look at (train)")


def _add_phantom(commands: Any) -> None:
    phantom = _add(commands, "phantom", "write generated images in the layout of a real data set", _phantom)
    phantom.add_argument("layout", metavar="LAYOUT", help="native, nih, chexpert, kermany, skin or dicom (a hospital)")
    phantom.add_argument("--out", metavar="DIR", required=True, help="new folder")
    phantom.add_argument("--count", type=int, default=600, metavar="N", help="number of images (%(default)s)")
    phantom.add_argument("--size", type=int, default=256, metavar="N", help="pixels a side (%(default)s)")
    phantom.add_argument("--seed", type=int, default=0, metavar="S", help="same seed, same images (%(default)s)")


def _add_run(commands: Any) -> None:
    run = _add(commands, "run", "run an experiment; what is done already is not done again", _run)
    run.add_argument(
        "experiment",
        nargs="+",
        metavar="EXPERIMENT.yaml",
        help="what to compare, and overlays that change it; see configs/experiments",
    )
    run.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override, for example seeds=[0,1]; several allowed",
    )
    run.add_argument("--out", metavar="RUN", help="folder of the run (runs/<name>)")
    run.add_argument("--smoke", action="store_true", help="tiny budget on generated phantoms, to see that all runs")
    run.add_argument(
        "--scheduler",
        metavar="WHERE",
        help="local[N] for N processes, or the address of a dask scheduler (this process)",
    )
    _add_language(run)


def _add_plan(commands: Any) -> None:
    summary = "what an experiment will cost and what it will be able to find; nothing is trained"
    plan = _add(commands, "plan", summary, _plan)
    plan.add_argument("experiment", nargs="+", metavar="EXPERIMENT.yaml", help="what to compare, and overlays")
    plan.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override, as of run")
    plan.add_argument("--out", metavar="RUN", help="folder of the run (runs/<name>)")
    plan.add_argument(
        "--assume",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="auroc of the reference, correlation of the arms, resemblance of a patient's images, seed_sd",
    )


def _add_evaluate(commands: Any) -> None:
    evaluate = _add(commands, "evaluate", "ask every cell of a run about images never seen before", _evaluate)
    evaluate.add_argument("run_folder", metavar="RUN", help="folder of a finished run")
    evaluate.add_argument("--manifest", metavar="MANIFEST.csv", required=True, help="images, made by cxraug prepare")
    evaluate.add_argument("--out", metavar="DIR", required=True, help="folder for results, predictions and report")
    evaluate.add_argument("--split", metavar="NAME", help="train, val or test (every image)")
    _add_where(evaluate)
    _add_language(evaluate)


def _add_where(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--where", action="append", default=[], metavar="COLUMN=VALUE", help="keep images whose column has this value"
    )


def _add_report(commands: Any) -> None:
    report = _add(commands, "report", "write the report of a run again, from its files alone", _report)
    report.add_argument("run_folder", metavar="RUN", help="folder of a run or of an evaluation")
    _add_language(report)


def _add_language(command: argparse.ArgumentParser) -> None:
    command.add_argument("--language", choices=("en", "ko"), help="of the report's page: English or Korean (en)")


def _add_sample(commands: Any) -> None:
    sample = _add(commands, "sample", "write a synthetic set", _sample)
    sample.add_argument("generator", metavar="GENERATOR", help="generator of a run, model file or bundle folder")
    sample.add_argument("--finding", required=True, metavar="NAME", help="the finding that the generator makes")
    sample.add_argument("--n", type=int, required=True, metavar="N", help="number of images")
    sample.add_argument("--seed", type=int, default=0, metavar="S", help="same seed, same images (%(default)s)")
    sample.add_argument("--out", required=True, metavar="DIR", help="folder for the synthetic set")
    sample.add_argument("--start", type=int, metavar="K", help="number of the first image, to add to a set (0)")
    sample.add_argument(
        "--truncation", type=float, metavar="X", help="less variety, more typical images: 0 all equal to 1 none (1)"
    )
    sample.add_argument("--depth", type=int, choices=(8, 16), help="bits of the stored pictures (8)")
    sample.add_argument("--crop", type=int, nargs=2, metavar=("H", "W"), help="keep the centred part (everything)")
    sample.add_argument("--png", action="store_true", default=None, help="write 8-bit PNG files too, into png/")


def _add_predict(commands: Any) -> None:
    predict = _add(commands, "predict", "probabilities of every finding on radiographs", _predict)
    predict.add_argument("model", metavar="MODEL", help="cell of a run, model file or bundle folder")
    predict.add_argument("--images", required=True, metavar="PATH", help="folder, archive or file; DICOM, PNG or JPEG")
    predict.add_argument("--out", required=True, metavar="DIR", help="folder for predictions.csv")
    predict.add_argument(
        "--maps",
        type=int,
        default=0,
        metavar="N",
        help="class activation maps of the N likeliest images of each finding",
    )


def _add_calibrate(commands: Any) -> None:
    summary = "fit a temperature and a threshold for each finding on real validation images"
    calibrate = _add(commands, "calibrate", summary, _calibrate)
    calibrate.add_argument("model", metavar="MODEL", help="cell of a run, model file or bundle folder")
    calibrate.add_argument("--manifest", metavar="MANIFEST.csv", required=True, help="images, made by cxraug prepare")
    calibrate.add_argument("--split", metavar="NAME", default="val", help="split to fit on (%(default)s)")
    _add_where(calibrate)
    rules = "youden, sensitivity=0.95, specificity=0.9 or threshold=0.5 (%(default)s)"
    calibrate.add_argument("--rule", metavar="RULE", default="youden", help=rules)


def _add_bundles(commands: Any) -> None:
    bundles = commands.add_parser("bundles", help="take the MONAI bundles out of the package")
    actions = bundles.add_subparsers(dest="action", required=True, metavar="ACTION")
    copy = _add(actions, "copy", "copy every bundle into a folder", _copy_bundles, _EXAMPLES["bundles copy"])
    copy.add_argument("dir", metavar="DIR", help="folder that holds none of them yet")


def _add_pacs(commands: Any) -> None:
    pacs = commands.add_parser("pacs", help="radiographs from an archive, reports and synthetic images to it")
    actions = pacs.add_subparsers(dest="action", required=True, metavar="ACTION")
    pull = _add(actions, "pull", "copy radiographs for cxraug prepare dicom", _pull_studies, _EXAMPLES["pacs pull"])
    _add_archive(pull)
    pull.add_argument("--out", required=True, metavar="DIR", help="folder for the files, one an image")
    summary = "report on radiographs that this model has not reported on yet"
    classify = _add(actions, "classify", summary, _classify_studies, _EXAMPLES["pacs classify"])
    classify.add_argument("checkpoint", metavar="MODEL", help="cell of a run, model file or bundle folder")
    _add_archive(classify)
    classify.add_argument("--out", required=True, metavar="DIR", help="folder for images, reports and maps")
    classify.add_argument("--maps", type=int, metavar="N", help="activation maps of an image, at most (1)")
    classify.add_argument("--store", action="store_true", help="store reports and maps in the archive")
    summary = "write a synthetic set as DICOM that says so, of no patient"
    export = _add(actions, "export", summary, _export_synthetic, _EXAMPLES["pacs export"])
    export.add_argument("synthetic", metavar="SET", help="synthetic set: its folder or manifest.csv")
    export.add_argument("--out", required=True, metavar="DIR", help="folder for the files")
    _add_archive(export, required=False)


def _add_archive(command: argparse.ArgumentParser, required: bool = True) -> None:
    where = "https://HOST/dicom-web or dicom://HOST:PORT/AET; who asks: CXRAUG_PACS_USER and _PASSWORD, or ~/.netrc"
    command.add_argument("--url", required=required, metavar="URL", help=where)
    if required:
        says = "for example StudyDate=20260101-20260131; several of one keyword mean any of them"
        command.add_argument("--query", action="append", required=True, metavar="KEYWORD=VALUE", help=says)
    command.add_argument(
        "--patience", type=float, metavar="S", help="seconds to wait for an archive that goes away (60)"
    )


def _add_machine(commands: Any) -> None:
    _add(commands, "doctor", "what this machine can do, what is missing, and how to get it", _doctor)
    completion = _add(commands, "completion", "print a script that completes commands in a shell", _completion)
    completion.add_argument("shell", choices=("bash", "zsh", "tcsh"), help="which shell")


def _add(
    commands: Any, name: str, summary: str, call: Callable[[argparse.Namespace], _Stage | _Call], examples: str = ""
) -> argparse.ArgumentParser:
    lines = examples or _EXAMPLES[name]
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=summary, epilog=f"examples:\n{lines}\n\n{_CLOSING}"
    )
    parser.set_defaults(call=call, parser=parser)
    every = parser.add_argument_group("options of every command")
    every.add_argument("--dry-run", action="store_true", help="check everything, say what MONAI would run, do nothing")
    every.add_argument("--quiet", action="store_true", help="say nothing but errors and warnings")
    every.add_argument("--json", action="store_true", help="standard output is one JSON object: products, or the error")
    return parser


# --- calls ---


@dataclass(frozen=True)
class _Stage:
    """A configuration to run.

    Args:
        files: a base and its overlays.
        settings: that differ from it.
        made: file to name in the end, where the stage itself does not.
    """

    files: Sequence[Path]
    settings: Mapping[str, Any]
    made: Path | None = None

    def run(self) -> list[Any]:
        """Run it; returns what it made."""
        from monai_cxraug.bundle_config import run_stage

        results = run_stage(self.files, self.settings)
        if self.made is None:
            return results
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
class _Call:
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


def _prepare(args: argparse.Namespace) -> _Stage:
    from monai_cxraug.data.request import SOURCES
    from monai_cxraug.data.sources.options import options_of

    settings = _options(args)
    own = [name for name in options_of(SOURCES[args.source]) if name in settings and name not in _SHARED]
    options = {name: settings.pop(name) for name in own}
    return _config("prepare", {**settings, "options": options} if options else settings)


def _filter(args: argparse.Namespace) -> _Stage:
    return _config("filter", _options(args))


def _histogram(args: argparse.Namespace) -> _Stage:
    return _config("histogram", _options(args))


def _phantom(args: argparse.Namespace) -> _Call:
    def write() -> list[Any]:
        from monai_cxraug.data.sources.phantom.layouts import write_layout

        folder = write_layout(args.layout, args.out, args.count, args.size, args.seed)
        deliver(folder)
        return [folder]

    return _Call(write, f"write {args.count} images of {args.size} px in the layout {args.layout} into {args.out}")


def _run(args: argparse.Namespace) -> _Stage:
    return _config("run_experiment", {**_options(args), **_files(args)})


def _plan(args: argparse.Namespace) -> _Stage:
    assumed = _pairs("--assume", args.assume, "auroc=0.75")
    return _config("plan_experiment", {**_options(args), **_files(args), "assume": assumed})


def _evaluate(args: argparse.Namespace) -> _Stage:
    return _config("evaluate", {**_options(args), "where": _where(args)})


def _report(args: argparse.Namespace) -> _Stage:
    return _config("report", _options(args))


def _sample(args: argparse.Namespace) -> _Stage:
    settings = _options(args)
    settings |= {"checkpoint": settings.pop("generator"), "output_dir": settings.pop("out")}
    return _bundle("chest_xray_pggan", settings, made=Path(args.out) / "manifest.csv")


def _predict(args: argparse.Namespace) -> _Stage:
    settings = {"checkpoint": args.model, "images": args.images, "output_dir": args.out, "maps": args.maps}
    return _bundle("chest_xray_classification", settings, made=Path(args.out) / "predictions.csv")


def _calibrate(args: argparse.Namespace) -> _Stage:
    images = {"manifest": args.manifest, "split": args.split, "where": _where(args)}
    settings = {"checkpoint": args.model, "summary#rule": args.rule, "summary#say": True}
    return _bundle("chest_xray_classification", {**settings, **images}, "evaluate", "calibrate")


def _copy_bundles(args: argparse.Namespace) -> _Call:
    def copy() -> list[Any]:
        from monai_cxraug.resources import copy_bundles

        folders = copy_bundles(args.dir)
        for folder in folders:
            deliver(folder)
        return list(folders)

    return _Call(copy, f"copy every bundle into {args.dir}")


def _doctor(args: argparse.Namespace) -> _Call:
    def look() -> list[Any]:
        from monai_cxraug.doctor import as_values, describe, examine

        found = examine()
        deliver(describe(found))
        return [as_values(found)]

    return _Call(look, "look at versions, devices, decoders and optional parts")


def _completion(args: argparse.Namespace) -> _Call:
    def write() -> list[Any]:
        try:
            import shtab
        except ImportError:
            mend = "pip install 'monai-cxraug[completion]'"
            raise ConfigError("completion", "needs the package shtab", "none", mend) from None
        script = shtab.complete(build_parser("prepare"), shell=args.shell)
        deliver(script)
        return [script]

    return _Call(write, f"print the completion script of {args.shell}")


def _pull_studies(args: argparse.Namespace) -> _Stage:
    return _config("pacs_pull", _options(args))


def _classify_studies(args: argparse.Namespace) -> _Stage:
    return _config("pacs_classify", _options(args))


def _export_synthetic(args: argparse.Namespace) -> _Stage:
    return _config("pacs_export", _options(args))


def _config(name: str, settings: Mapping[str, Any]) -> _Stage:
    from monai_cxraug.resources import resource_root

    return _Stage([resource_root() / "configs" / f"{name}.json"], settings)


def _bundle(name: str, settings: Mapping[str, Any], *stages: str, made: Path | None = None) -> _Stage:
    from monai_cxraug.bundle_config import bundle_file

    files = [bundle_file(name, stage) for stage in stages or ("inference",)]
    return _Stage(files, {"bundle_root": str(files[0].parents[1]), **settings}, made)


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


def _refuse_unknown(parser: argparse.ArgumentParser, argument: str) -> NoReturn:
    """Name the nearest option of the command at hand."""
    name = argument.split("=", 1)[0]
    if not name.startswith("--"):
        parser.error(f"unexpected argument {argument!r}")
    options = [option for action in parser._actions for option in action.option_strings if option.startswith("--")]
    parser.error(f"unknown option {name!r}; {nearest(name, options)}")


if __name__ == "__main__":
    sys.exit(main())
