"""What the command line understands: commands in the order of the story, each with its options and examples."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, Final, NoReturn

from monai_cxraug import __version__
from monai_cxraug.cli import jobs
from monai_cxraug.cli.examples import EXAMPLES
from monai_cxraug.cli.studies import add_study
from monai_cxraug.errors import CxrAugError, nearest

#: from parsed arguments to what is to be done.
Job = Callable[[argparse.Namespace], jobs.Stage | jobs.Call]

CLOSING: Final = "A wrong input ends with one line that says how to mend it, and exit status 2."


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
    examples = "\n".join(EXAMPLES.values())
    parser = _Parser(
        prog="cxraug",
        description="Does synthetic data help my rare classes? Evidence on your own radiographs.",
        epilog=f"examples:\n{examples}\n\nEach command says more: cxraug COMMAND --help.\n{CLOSING}",
    )
    parser.add_argument("--version", action="version", version=f"cxraug {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_prepare(commands, with_sources=command == "prepare")
    _add_phantom(commands)
    _add_filter(commands)
    _add_histogram(commands)
    _add_plan(commands)
    _add_run(commands)
    _add_report(commands)
    _add_evaluate(commands)
    _add_calibrate(commands)
    _add_sample(commands)
    _add_audit(commands)
    _add_reidentifier(commands)
    _add_enlarge(commands)
    _add_train(commands, with_overlays=command == "train")
    _add_predict(commands)
    _add_pacs(commands)
    add_study(commands, _add, _add_where)
    _add_bundles(commands)
    _add_machine(commands)
    return parser


def _add_prepare(commands: Any, with_sources: bool) -> None:
    summary = "make a manifest and a pack from a folder or archive of images"
    if not with_sources:
        _add(commands, "prepare", summary, jobs.prepare)
        return
    from monai_cxraug.data.request import SOURCES

    examples = "\n".join(f"  cxraug prepare {name} {text}" for name, one in SOURCES.items() for text in one.examples)
    prepare = _add(commands, "prepare", summary, jobs.prepare, examples)
    sources = prepare.add_subparsers(dest="source", required=True, metavar="SOURCE", title="sources")
    for name, source in SOURCES.items():
        lines = [f"  cxraug prepare {name} {text}" for text in source.examples]
        says = " ".join(str(source.__doc__).split("\n\n")[0].split())
        parser = _add(sources, name, says, jobs.prepare, "\n".join(lines))
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
    filtering = _add(commands, "filter", summary, jobs.filter_images)
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
    drawing = _add(commands, "histogram", summary, jobs.histogram)
    drawing.add_argument("manifest", metavar="DATA", help="folder or manifest.csv, made by cxraug prepare")
    drawing.add_argument("--out", metavar="FILE.svg", required=True, help="figure; its counts go beside it, as .json")
    drawing.add_argument("--contrast", metavar="NAME", help="stretch, equalise or clahe (none)")
    drawing.add_argument("--split", metavar="NAME", help="split to look at (train)")


def _add_phantom(commands: Any) -> None:
    phantom = _add(commands, "phantom", "write generated images in the layout of a real data set", jobs.phantom)
    phantom.add_argument("layout", metavar="LAYOUT", help="native, nih, chexpert, kermany, skin or dicom (a hospital)")
    phantom.add_argument("--out", metavar="DIR", required=True, help="new folder")
    phantom.add_argument("--count", type=int, default=600, metavar="N", help="number of images (%(default)s)")
    phantom.add_argument("--size", type=int, default=256, metavar="N", help="pixels a side (%(default)s)")
    phantom.add_argument("--seed", type=int, default=0, metavar="S", help="same seed, same images (%(default)s)")


def _add_run(commands: Any) -> None:
    run = _add(commands, "run", "run an experiment; what is done already is not done again", jobs.run)
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
    reused = (
        "run the endpoint's cells alone, with the generators that the bundles ship for it (into runs/<name>_reused)"
    )
    run.add_argument("--reuse-generators", action="store_true", help=reused)
    _add_language(run)


def _add_plan(commands: Any) -> None:
    summary = "what an experiment will cost and what it will be able to find; nothing is trained"
    plan = _add(commands, "plan", summary, jobs.plan)
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
    summary = "ask every cell of a run, or every classifier that a bundle ships, about images never seen before"
    evaluate = _add(commands, "evaluate", summary, jobs.evaluate)
    asked = "folder of a finished run, or of a bundle that ships classifiers"
    evaluate.add_argument("run_folder", metavar="RUN", help=asked)
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
    report = _add(commands, "report", "write the report of a run again, from its files alone", jobs.report)
    report.add_argument("run_folder", metavar="RUN", help="folder of a run or of an evaluation")
    _add_language(report)


def _add_language(command: argparse.ArgumentParser) -> None:
    command.add_argument("--language", choices=("en", "ko"), help="of the report's page: English or Korean (en)")


def _add_sample(commands: Any) -> None:
    sample = _add(commands, "sample", "write a synthetic set", jobs.sample)
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
    audited = "of the generator's training images: an audit tells how many are nearly copied (no audit)"
    sample.add_argument("--manifest", metavar="MANIFEST.csv", help=audited)


def _add_audit(commands: Any) -> None:
    summary = "say how many images of a synthetic set are nearly copies of training images, whoever made it"
    audit = _add(commands, "audit", summary, jobs.audit)
    audit.add_argument("synthetic", metavar="SET", help="synthetic set: its folder or manifest.csv")
    known = "real images, those that trained the generator among them"
    audit.add_argument("--manifest", required=True, metavar="MANIFEST.csv", help=known)
    audit.add_argument("--classifier", metavar="MODEL", help="classifier whose features are compared too (none)")
    audit.add_argument("--out", metavar="DIR", help="folder for audit.json, nearest.csv and nearest.png (the set's)")
    attacked = "ask whether the set gives away whose images trained its generator; needs real images of other patients"
    audit.add_argument("--membership", action="store_true", default=None, help=attacked)
    judged = "checkpoint.pt of a progressive GAN's training: its discriminator is asked about membership too (none)"
    audit.add_argument("--checkpoint", metavar="FILE", help=judged)
    known = "network that tells patients apart, made by cxraug reidentifier: are training patients recognised? (none)"
    audit.add_argument("--reidentifier", metavar="MODEL", help=known)
    _add_where(audit)


def _add_reidentifier(commands: Any) -> None:
    summary = "train a network that tells patients apart by their radiographs, for the audit; a second time goes on"
    train = _add(commands, "reidentifier", summary, jobs.reidentifier)
    train.add_argument("manifest", metavar="DATA", help="folder or manifest.csv, made by cxraug prepare")
    train.add_argument("--out", required=True, metavar="DIR", help="folder for the model and all that training writes")
    train.add_argument("--size", type=int, metavar="N", help="side of the images in pixels (64)")
    train.add_argument("--steps", type=int, metavar="N", help="optimiser steps, a multiple of 50 (400)")
    train.add_argument("--batch-size", type=int, metavar="N", help="images a step, two of each patient (128)")
    train.add_argument("--seed", type=int, metavar="S", help="of weights, batches and changes of images (0)")
    _add_where(train)


def _add_enlarge(commands: Any) -> None:
    summary = "enlarge a synthetic set, or pictures, by a network trained on real training images"
    enlarge = _add(commands, "enlarge", summary, jobs.enlarge)
    enlarge.add_argument("synthetic_set", nargs="?", metavar="SET", help="synthetic set: its folder or manifest.csv")
    enlarge.add_argument("--images", metavar="PATH", help="pictures instead: folder, archive or file")
    enlarge.add_argument(
        "--model", required=True, metavar="MODEL", help="super-resolver: model file, bundle folder or public weights"
    )
    enlarge.add_argument("--out", required=True, metavar="DIR", help="folder for the enlarged set or pictures")
    enlarge.add_argument(
        "--manifest", metavar="MANIFEST.csv", help="real images; refuse networks that saw its val or test patients"
    )
    enlarge.add_argument("--depth", type=int, choices=(8, 16), help="bits of the stored pictures (those of the set)")
    enlarge.add_argument("--png", action="store_true", default=None, help="write 8-bit PNG files too, into png/")


def _add_train(commands: Any, with_overlays: bool) -> None:
    summary = "train a classifier on real images, and on synthetic ones beside them; a second time goes on"
    train = _add(commands, "train", summary, jobs.train)
    train.add_argument("manifest", metavar="DATA", help="folder or manifest.csv, made by cxraug prepare")
    train.add_argument("--out", required=True, metavar="DIR", help="folder for the model and all that training writes")
    train.add_argument(
        "--finding", action="append", metavar="NAME", help="finding to learn; several allowed (all of the manifest)"
    )
    train.add_argument("--split", metavar="NAME", help="split to train on (train)")
    _add_where(train)
    count = "FINDING=N"
    train.add_argument(
        "--limit", action="append", default=[], metavar=count, help="keep N of the real images that show it, at most"
    )
    train.add_argument(
        "--synthetic", action="append", default=[], metavar="SET", help="synthetic set to add; several allowed"
    )
    train.add_argument(
        "--top-up",
        action="append",
        default=[],
        metavar=count,
        help="of the synthetic images take as many as make N with the real ones (every image)",
    )
    train.add_argument(
        "--held-out",
        action="append",
        default=[],
        metavar="DATA",
        help="other images that will judge the model: no generator may have seen their patients",
    )
    train.add_argument(
        "--allow-synthetic-majority", action="store_true", default=None, help="permit more synthetic than real images"
    )
    train.add_argument(
        "--allow-copies", action="store_true", default=None, help="permit synthetic sets that copy training images"
    )
    train.add_argument(
        "--architecture", metavar="NAME", help="densenet121, resnet50, vgg16, small_cnn, … (densenet121)"
    )
    train.add_argument(
        "--overlay",
        action="append",
        default=[],
        metavar="NAME",
        help="a remedy or recipe such as loss_alpha, sampling_over or recipe_adam; several allowed",
        choices=jobs.overlays() if with_overlays else None,
    )
    train.add_argument("--size", type=int, metavar="N", help="side of the images in pixels (that of the prepared ones)")
    train.add_argument("--steps", type=int, metavar="N", help="optimiser steps, a multiple of 50 (1000)")
    train.add_argument("--batch-size", type=int, metavar="N", help="images a step, at most as many as there are (64)")
    train.add_argument("--seed", type=int, default=0, metavar="S", help="of all that is drawn (%(default)s)")


def _add_predict(commands: Any) -> None:
    predict = _add(commands, "predict", "probabilities of every finding on radiographs", jobs.predict)
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
    calibrate = _add(commands, "calibrate", summary, jobs.calibrate)
    calibrate.add_argument("model", metavar="MODEL", help="cell of a run, model file or bundle folder")
    calibrate.add_argument("--manifest", metavar="MANIFEST.csv", required=True, help="images, made by cxraug prepare")
    calibrate.add_argument("--split", metavar="NAME", default="val", help="split to fit on (%(default)s)")
    _add_where(calibrate)
    rules = "youden, sensitivity=0.95, specificity=0.9 or threshold=0.5 (%(default)s)"
    calibrate.add_argument("--rule", metavar="RULE", default="youden", help=rules)


def _add_bundles(commands: Any) -> None:
    bundles = commands.add_parser("bundles", help="take the MONAI bundles out of the package, look into them, run them")
    actions = bundles.add_subparsers(dest="action", required=True, metavar="ACTION")
    copy = _add(actions, "copy", "copy every bundle into a folder", jobs.copy_bundles, EXAMPLES["bundles copy"])
    copy.add_argument("dir", metavar="DIR", help="folder that holds none of them yet")
    summary = "list what a configuration imports and calls; nothing of it is run"
    look = _add(actions, "inspect", summary, jobs.inspect_bundle, EXAMPLES["bundles inspect"])
    look.add_argument("config", nargs="+", metavar="CONFIG.json", help="configuration, and overlays that change it")
    summary = "run a configuration; one from outside of the package and the working folder must be trusted"
    run = _add(actions, "run", summary, jobs.run_bundle, EXAMPLES["bundles run"])
    run.add_argument("config", nargs="+", metavar="CONFIG.json", help="configuration, and overlays that change it")
    run.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="setting, such as steps=100; several allowed"
    )
    run.add_argument(
        "--trust", action="store_true", help="run the code of others' configurations, and say first what they call"
    )


def _add_pacs(commands: Any) -> None:
    pacs = commands.add_parser("pacs", help="radiographs from an archive, reports and synthetic images to it")
    actions = pacs.add_subparsers(dest="action", required=True, metavar="ACTION")
    pull = _add(actions, "pull", "copy radiographs for cxraug prepare dicom", jobs.pull_studies, EXAMPLES["pacs pull"])
    _add_archive(pull)
    pull.add_argument("--out", required=True, metavar="DIR", help="folder for the files, one an image")
    summary = "report on radiographs that this model has not reported on yet"
    classify = _add(actions, "classify", summary, jobs.classify_studies, EXAMPLES["pacs classify"])
    classify.add_argument("checkpoint", metavar="MODEL", help="cell of a run, model file or bundle folder")
    _add_archive(classify)
    classify.add_argument("--out", required=True, metavar="DIR", help="folder for images, reports and maps")
    classify.add_argument("--maps", type=int, metavar="N", help="activation maps of an image, at most (1)")
    classify.add_argument("--store", action="store_true", help="store reports and maps in the archive")
    summary = "write a synthetic set as DICOM that says so, of no patient"
    export = _add(actions, "export", summary, jobs.export_synthetic, EXAMPLES["pacs export"])
    export.add_argument("synthetic", metavar="SET", help="synthetic set: its folder or manifest.csv")
    export.add_argument("--out", required=True, metavar="DIR", help="folder for the files")
    allowed = "export a set that copies training images, or was not audited; exported.json records it"
    export.add_argument("--allow-copies", action="store_true", default=None, help=allowed)
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
    _add(commands, "doctor", "what this machine can do, what is missing, and how to get it", jobs.doctor)
    completion = _add(commands, "completion", "print a script that completes commands in a shell", jobs.completion)
    completion.add_argument("shell", choices=("bash", "zsh", "tcsh"), help="which shell")


def _add(commands: Any, name: str, summary: str, call: Job, examples: str = "") -> argparse.ArgumentParser:
    lines = examples or EXAMPLES[name]
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=summary, epilog=f"examples:\n{lines}\n\n{CLOSING}"
    )
    parser.set_defaults(call=call, parser=parser)
    every = parser.add_argument_group("options of every command")
    every.add_argument("--dry-run", action="store_true", help="check everything, say what MONAI would run, do nothing")
    every.add_argument("--quiet", action="store_true", help="say nothing but errors and warnings")
    every.add_argument("--json", action="store_true", help="standard output is one JSON object: products, or the error")
    return parser
