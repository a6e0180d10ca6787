"""The command ``cxraug``: parse, call, print. Every command runs the configuration that MONAI would run."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Any, Final, NoReturn

from monai_cxraug.cli.parser import build_parser
from monai_cxraug.console import quiet, shown
from monai_cxraug.errors import CxrAugError, InputError, nearest

__all__ = ["build_parser", "main", "spread_settings"]

_INTERRUPTED: Final = 130


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
    os.environ.setdefault("PYTHONSAFEPATH", "1")  # processes that are started run no module of the working folder
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorBoard brings TensorFlow's remarks where that is there
    try:
        _perform(args)
    except CxrAugError as error:
        print(f"cxraug: error: {shown(error)}", file=sys.stderr)
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
    try:
        made = job.check() if args.dry_run else job.run()
    except OSError as error:
        if error.errno is None or isinstance(error, BrokenPipeError):
            raise
        where, mend = error.filename or "file system", "check path, rights and free space"
        raise InputError(where, "must be possible to read or write", error.strerror, mend) from None
    return [one for one in made if one is not None]


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


def _refuse_unknown(parser: argparse.ArgumentParser, argument: str) -> NoReturn:
    """Name the nearest option of the command at hand."""
    name = argument.split("=", 1)[0]
    if not name.startswith("--"):
        parser.error(f"unexpected argument {argument!r}")
    options = [option for action in parser._actions for option in action.option_strings if option.startswith("--")]
    parser.error(f"unknown option {name!r}; {nearest(name, options)}")
