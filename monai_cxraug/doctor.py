"""``cxraug doctor``: what this machine can do, what is missing, and how to get it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

from monai_cxraug import __version__

#: distributions that always come with the package.
_CORE: Final = (
    *("torch", "monai", "pytorch-ignite", "numpy", "scipy", "scikit-learn"),
    *("pydicom", "nibabel", "pillow", "tensorboard", "pyyaml"),
)
#: optional distributions: what each is for, and the extra that brings it.
_OPTIONAL: Final = {
    "itk": ("more DICOM decoders", "itk"),
    "imagecodecs": ("compressed DICOM", "codecs"),
    "python-gdcm": ("compressed DICOM", "codecs"),
    "isal": ("PNG read faster", "codecs"),
    "distributed": ("cxraug run --scheduler", "cluster"),
    "highdicom": ("cxraug pacs", "pacs"),
    "dicomweb-client": ("cxraug pacs", "pacs"),
    "pynetdicom": ("cxraug pacs", "pacs"),
    "pyarrow": ("tables in Parquet", "parquet"),
    "safetensors": ("weights in .safetensors", "safetensors"),
    "onnx": ("export to ONNX", "onnx"),
    "onnxscript": ("export to ONNX", "onnx"),
    "starlette": ("cxraug study serve", "study"),
    "uvicorn": ("cxraug study serve", "study"),
    "mlflow": ("python -m monai.bundle run --tracking mlflow", "tracking"),
    "shtab": ("cxraug completion", "completion"),
}
#: module of each family of decoders, named by how our functions begin.
_DECODERS: Final = {
    "pillow": "PIL",
    "imagecodecs": "imagecodecs",
    "gdcm": "gdcm",
    "itk": "itk",
    "pyjpegls": "jpeg_ls",
    "openjpeg": "openjpeg",
}


@dataclass(frozen=True)
class Part:
    """One thing that is here or not.

    Attributes:
        name: of it.
        found: version or state; empty where it is missing.
        use: what it is for.
        mend: how to get it; empty where there is nothing to do.
    """

    name: str
    found: str
    use: str = ""
    mend: str = ""


def examine() -> dict[str, list[Part]]:
    """Look at versions, devices, decoders and optional parts.

    Returns:
        Parts by the heading that they stand under.
    """
    return {
        "versions": [Part("monai-cxraug", __version__), Part("python", platform.python_version()), *_versions()],
        "devices": list(_devices()),
        "compressed DICOM": list(_codecs()),
        "optional parts": list(_optional()),
    }


def as_values(parts: dict[str, list[Part]]) -> dict[str, Any]:
    """The same as plain values, for ``--json``."""
    return {heading: [asdict(part) for part in found] for heading, found in parts.items()}


def describe(parts: dict[str, list[Part]]) -> str:
    """The same as lines for people."""
    width = max(len(part.name) for found in parts.values() for part in found)
    lines = []
    for heading, found in parts.items():
        lines += ["", heading]
        for part in found:
            said = [part.found or "missing", f"({part.use})" * bool(part.use), part.mend and f"-> {part.mend}"]
            lines.append(f"  {part.name:<{width}}  {' '.join(word for word in said if word)}")
    return "\n".join(lines[1:])


def _version_of(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _install(what: str) -> str:
    return f"pip install {what}"


def _versions() -> Iterator[Part]:
    for name in _CORE:
        found = _version_of(name)
        yield Part(name, found, mend="" if found else _install("monai-cxraug"))


def _optional() -> Iterator[Part]:
    for name, (use, extra) in _OPTIONAL.items():
        found = _version_of(name)
        yield Part(name, found, use, "" if found else _install(f"'monai-cxraug[{extra}]'"))


def _devices() -> Iterator[Part]:
    import torch

    memory = _memory()
    yield Part("cpu", f"{os.cpu_count()} threads{memory and f', {memory}'}, torch uses {torch.get_num_threads()}")
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        yield Part(f"cuda:{index}", f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB")
    if not torch.cuda.device_count():
        built = torch.version.cuda
        yield Part("cuda", "none", "" if built else "this torch was built without CUDA")
    yield from _loops()


def _loops() -> Iterator[Part]:
    from monai_cxraug.data.kernels import KERNELS
    from monai_cxraug.transforms.functional.levels import LOOPS as LEVELS
    from monai_cxraug.transforms.functional.neighbourhood import LOOPS as NEIGHBOURHOOD

    for name, loops in {"reading": KERNELS, "contrast": LEVELS, "filters": NEIGHBOURHOOD}.items():
        yield Part(f"compiled loops, {name}", "here" if loops.loaded else "", "speed only", loops.absence)


def _memory() -> str:
    try:
        return f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB"
    except (AttributeError, ValueError, OSError):  # not everywhere
        return ""


def _codecs() -> Iterator[Part]:
    from monai_cxraug.data.readers.codecs import CODECS

    yield Part("uncompressed, deflated, RLE", "pydicom, our own")
    for syntax, codec in CODECS.items():
        names = dict.fromkeys(decoder.__name__.lstrip("_").split("_")[0] for decoder in codec.decoders)
        here = [name for name in names if importlib.util.find_spec(_DECODERS[name]) is not None]
        mend = "" if here else _install("'monai-cxraug[codecs]'")
        yield Part(f"{codec.title} ({syntax.rpartition('1.2.4.')[2]})", ", ".join(here), mend=mend)
