"""The options of ``cxraug study``: networks, build, serve, export, report."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from monai_cxraug.cli import jobs
from monai_cxraug.cli.examples import EXAMPLES

#: (commands, name, summary, job, examples) to the parser of a command.
Add = Callable[..., argparse.ArgumentParser]


def add_study(commands: Any, add: Add, add_where: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add the commands of a reader study.

    Args:
        commands: where they go.
        add: makes one command.
        add_where: adds ``--where``.
    """
    study = commands.add_parser("study", help="ask readers what distortions look like, and which distance agrees")
    actions = study.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(name: str, summary: str, job: Callable[[argparse.Namespace], Any]) -> argparse.ArgumentParser:
        return add(actions, name, summary, job, EXAMPLES[f"study {name}"])

    networks = action("networks", "train networks that distort, drawn from a space of settings", jobs.study_networks)
    _add_networks(networks)
    add_where(networks)
    build = action("build", "distort images and lock the trials that readers will be asked", jobs.study_build)
    _add_build(build)
    add_where(build)
    _add_serve(action("serve", "ask readers, in a browser, and keep their answers", jobs.study_serve))
    _add_export(action("export", "the answers as tables, while readers answer or afterwards", jobs.study_export))
    _add_report(action("report", "what the readers saw, and which distance sees it too", jobs.study_report))


def _add_networks(command: argparse.ArgumentParser) -> None:
    command.add_argument("manifest", metavar="DATA", help="folder or manifest.csv, made by cxraug prepare")
    command.add_argument(
        "--out", required=True, metavar="DIR", help="folder for the networks; the same command goes on"
    )
    command.add_argument("--count", type=int, metavar="N", help="networks (24)")
    command.add_argument("--steps", type=int, metavar="N", help="updates of each (400)")
    command.add_argument("--size", type=int, metavar="N", help="side of the images in pixels (64)")
    command.add_argument("--batch-size", type=int, metavar="N", help="images in an update (16)")
    command.add_argument(
        "--feature-network", metavar="MODEL", help="classifier or weights whose features the losses compare (pixels)"
    )
    command.add_argument("--feature-source", metavar="NAME", help="package that made the weights, such as torchvision")
    command.add_argument("--device", metavar="NAME", help="cpu or cuda (cpu)")
    command.add_argument("--threads", type=int, metavar="N", help="of the processor (1)")
    command.add_argument("--seed", type=int, metavar="S", help="of the draws (0)")


def _add_build(command: argparse.ArgumentParser) -> None:
    command.add_argument("manifest", metavar="DATA", help="folder or manifest.csv, made by cxraug prepare")
    command.add_argument("--out", required=True, metavar="STUDY", help="folder of the study")
    command.add_argument("--title", metavar="TEXT", help="that readers see (Perceptual study)")
    command.add_argument("--split", metavar="NAME", help="train, val or test (every image)")
    command.add_argument("--size", type=int, metavar="N", help="side of the pictures in pixels (64)")
    command.add_argument("--whole", action="store_true", default=None, help="whole images, averaged to the size")
    command.add_argument("--choices", type=int, metavar="N", help="forced choices: which of two looks closer (120)")
    command.add_argument("--pairs", type=int, metavar="N", help="pairs: do two images look the same? (80)")
    command.add_argument("--pictures", type=int, metavar="N", help="pictures: real or synthetic? needs --synthetic (0)")
    command.add_argument("--synthetic", metavar="SET", help="synthetic set: its folder or manifest.csv")
    command.add_argument("--networks", metavar="DIR", help="made by cxraug study networks (traditional ones alone)")
    command.add_argument("--repeats", type=float, metavar="X", help="share asked again the other way round (0.1)")
    command.add_argument("--sentinels", type=float, metavar="X", help="share of trials with a known answer (0.1)")
    command.add_argument("--training", type=int, metavar="N", help="trials of each task to learn from (4)")
    command.add_argument("--per-reader", type=int, metavar="N", help="trials that count of one reader, at most (all)")
    command.add_argument("--display-ms", type=int, metavar="MS", help="time that each image of a pair is shown (1000)")
    command.add_argument("--gap-ms", type=int, metavar="MS", help="time between the two (250)")
    command.add_argument("--seed", type=int, metavar="S", help="same seed, same study (0)")


def _add_serve(command: argparse.ArgumentParser) -> None:
    command.add_argument("study", metavar="STUDY", help="folder that cxraug study build wrote; it is not changed")
    command.add_argument("--answers", required=True, metavar="DIR", help="folder for the database of answers")
    command.add_argument("--host", metavar="ADDRESS", help="to listen at (127.0.0.1: this machine alone)")
    command.add_argument("--port", type=int, metavar="N", help="to listen at; 0 takes a free one (8000)")
    command.add_argument("--hosts", action="append", metavar="NAME", help="further name that browsers call; several")
    command.add_argument(
        "--access", metavar="SECRET", help="for readers, where others reach the page; or CXRAUG_STUDY_ACCESS"
    )
    command.add_argument(
        "--token", metavar="SECRET", help="the administrator's (drawn and printed); or CXRAUG_STUDY_TOKEN"
    )
    command.add_argument("--certificate", metavar="FILE", help="TLS certificate, PEM")
    command.add_argument("--key", metavar="FILE", help="its private key, PEM")
    proxied, open_to_all = "a proxy on this machine speaks TLS with browsers", "readers may enrol themselves"
    command.add_argument("--behind-tls-proxy", action="store_true", default=None, help=proxied)
    command.add_argument("--open-enrolment", action="store_true", default=None, help=open_to_all)


def _add_export(command: argparse.ArgumentParser) -> None:
    command.add_argument("answers", metavar="ANSWERS", help="folder of cxraug study serve, or its answers.sqlite")
    command.add_argument("--out", required=True, metavar="DIR", help="folder for answers.csv and readers.csv")


def _add_report(command: argparse.ArgumentParser) -> None:
    command.add_argument("study", metavar="STUDY", help="folder that cxraug study build wrote")
    command.add_argument("--answers", nargs="+", required=True, metavar="DIR", help="exported tables, of every site")
    command.add_argument("--out", required=True, metavar="DIR", help="folder for index.html and results.json")
    command.add_argument(
        "--models", nargs="+", metavar="NAME=MODEL", help="classifiers; the first is compared with SSIM"
    )
    command.add_argument("--lpips", metavar="NET=FILE", help="LPIPS with a local file: alex, vgg or squeeze")
    command.add_argument(
        "--no-learn", dest="learn", action="store_false", default=None, help="learn no channel weights from the answers"
    )
    command.add_argument("--tuned-epochs", type=int, metavar="N", help="passes in which a classifier learns (0: none)")
    command.add_argument("--replicates", type=int, metavar="N", help="bootstrap samples (2000)")
    command.add_argument("--seed", type=int, metavar="S", help="of the bootstrap and of learning (0)")
    command.add_argument("--language", choices=("en", "ko"), help="of the page: English or Korean (en)")
