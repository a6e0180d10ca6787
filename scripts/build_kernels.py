"""Hatchling's build hook: compiles the C files with the system's compiler, and builds without where there is none.

``pyproject.toml`` names this file under ``[tool.hatch.build.hooks.custom]``. An editable install compiles too, into
the source tree, and only when the source has changed since.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

#: each is compiled to ``_<its name>`` beside it.
SOURCES = (
    "monai_cxraug/data/kernels.c",
    "monai_cxraug/transforms/functional/levels.c",
    "monai_cxraug/transforms/functional/neighbourhood.c",
)
SUFFIX = {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")
# No fused multiply-add: the same source gives the same bits on every processor. Nobody looks at floating-point flags,
# which would forbid comparing several numbers at once.
FLAGS = ("-std=c99", "-O3", "-ffp-contract=off", "-fno-trapping-math", "-fvisibility=hidden", "-shared", "-fPIC")


class KernelBuildHook(BuildHookInterface):
    """Adds the compiled kernels to a wheel, which then fits one platform and every Python 3."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and set the wheel's tag; called by hatchling before a build."""
        if self.target_name != "wheel":
            return
        libraries = []
        for source in (Path(self.root, name) for name in SOURCES):
            library, reason = build(source, source.with_name(f"_{source.stem}{SUFFIX}"))
            if library is None:
                self.app.display_warning(f"monai-cxraug is built without compiled kernels ({reason}): the same, slower")
                return
            libraries.append(f"/{library.relative_to(self.root).as_posix()}")
        build_data["artifacts"] += libraries
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform_tag()}"


def build(source: Path, library: Path) -> tuple[Path | None, str]:
    """Compile ``source`` where ``library`` is not of it already; a library of another source does not survive.

    Returns:
        The library; or None and the reason.
    """
    stamp = hashlib.sha256(source.read_bytes()).hexdigest()
    if library.is_file() and stamp.encode() in library.read_bytes():
        return library, ""
    library.unlink(missing_ok=True)
    compiler = find_compiler()
    if compiler is None:
        return None, "no C compiler was found"
    fresh = library.with_name(f"{library.name}.{os.getpid()}")
    command = [*compiler, *FLAGS, f'-DCXRAUG_SOURCE="{stamp}"', "-o", str(fresh), str(source)]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        if result.returncode == 0:
            os.replace(fresh, library)
            return library, ""
        lines = result.stderr.split("\n")
        return None, f"{compiler[0]}: " + next(
            (line for line in lines if "error" in line.lower()), f"exit {result.returncode}"
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, " ".join(str(error).split())
    finally:
        fresh.unlink(missing_ok=True)


def find_compiler() -> list[str] | None:
    """The command in ``CC``, else the first C compiler found; an empty ``CC`` means none."""
    if "CC" in os.environ:
        return shlex.split(os.environ["CC"]) or None
    return next(([name] for name in ("cc", "gcc", "clang") if shutil.which(name)), None)


def platform_tag() -> str:
    """The platform in a wheel's name; a macOS Python of two processors still compiles for the one it runs on."""
    name = sysconfig.get_platform().replace("universal2", platform.machine())
    return name.replace("-", "_").replace(".", "_")
