"""Start MONAI Label with this app: ``serve.py MODEL STUDIES``. Run it with the app's environment (see README.md)."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from monai_cxraug.errors import CxrAugError, InputError

APP = Path(__file__).resolve().parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Check what was given, then serve until stopped.

    Args:
        arguments: default ``sys.argv``.

    Returns:
        Exit status: 2, after one line, for input that the user can mend.
    """
    args, more = _parser().parse_known_args(arguments)
    try:
        check(args.model, args.studies, args.device)
    except CxrAugError as error:
        print(f"serve.py: error: {error}", file=sys.stderr)
        return error.exit_status
    device = ["--conf", "device", args.device] if args.device else []
    sys.argv = ["monailabel", "start_server", "--app", str(APP), "--studies", args.studies, "--host", args.host]
    sys.argv += ["--port", str(args.port), "--conf", "model", str(Path(args.model).resolve()), *device, *more]

    from monailabel.config import settings
    from monailabel.main import Main

    # MONAI Label's default lets every page in the user's browser ask. Texts, not addresses as it reads them from the
    # environment: it cannot print those, and none of them equals what a browser sends.
    settings.MONAI_LABEL_CORS_ORIGINS = args.origin or [f"http://{args.host}:{args.port}"]
    # the server ends in good order when it is told to and then lets the signal kill it; this way, clean-up follows
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    Main().run()
    return 0


def check(model: str, studies: str, device: str | None) -> None:
    """Refuse what MONAI Label would find out late, or not say in one line.

    Raises:
        CxrAugError: the model cannot be served, or the folder is not there (MONAI Label would make an empty one).
    """
    from lib.classifier import ChestClassifier

    if not studies.startswith(("http://", "https://")) and not Path(studies).is_dir():
        raise InputError(studies, "must be a folder, or the address of a DICOMweb server", "neither", "check the path")
    ChestClassifier(model, device)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="serve.py",
        description="Serve a trained classifier in MONAI Label.",
        epilog="Further options go to 'monailabel start_server', for example --ssl_keyfile FILE --ssl_certfile FILE.",
    )
    parser.add_argument("model", metavar="MODEL", help="cell of a run, model file or bundle folder")
    parser.add_argument("studies", metavar="STUDIES", help="folder of DICOM or PNG, or DICOMweb address")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (%(default)s: this machine only)")
    parser.add_argument("--port", type=int, default=8000, help="port to listen at (%(default)s)")
    parser.add_argument(
        "--origin", action="append", metavar="URL", help="web page that may ask, as http://viewer:3000 (own pages only)"
    )
    parser.add_argument("--device", help="cpu, cuda, ... (cuda where there is one)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
