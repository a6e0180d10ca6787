"""Hatchling's build hook: compiles ``kernels.c`` with the system's C compiler, and builds without it where none is.

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

SUFFIX = {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")
# No fused multiply-add: the same source gives the same bits on every processor.
FLAGS = ("-std=c99", "-O3", "-ffp-contract=off", "-fvisibility=hidden", "-shared", "-fPIC")


class KernelBuildHook(BuildHookInterface):
    """Adds the compiled kernels to a wheel, which then fits one platform and every Python 3."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and set the wheel's tag; called by hatchling before a build."""
        if self.target_name != "wheel":
            return
        data = Path(self.root, "monai_cxraug", "data")
        library, reason = build(data / "kernels.c", data / f"_kernels{SUFFIX}")
        if library is None:
            self.app.display_warning(f"monai-cxraug is built without compiled kernels ({reason}): the same, slower")
            return
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform_tag()}"
        build_data["artifacts"].append(f"/monai_cxraug/data/{library.name}")


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
