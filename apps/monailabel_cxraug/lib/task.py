"""The classifier as a task of MONAI Label."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType
from PIL import Image

from monai_cxraug.errors import ConfigError, InputError, nearest

from .classifier import ChestClassifier, likeliest
from .images import Chosen, read_image
from .overlay import PICTURES, Picture, draw

#: instead of a finding: the one with the highest score.
LIKELIEST: Final = "likeliest"
NOTICE: Final = "Research software, not a medical device. A map shows where evidence came from, not where a finding is."


class FindingsTask(InferTask):  # type: ignore[misc]
    """Probabilities of every finding on one radiograph, and a map of one of them as a picture.

    Args:
        classifier: that answers.
    """

    def __init__(self, classifier: ChestClassifier) -> None:
        super().__init__(
            type=InferType.CLASSIFICATION,
            labels=list(classifier.findings),
            dimension=2,
            description=f"Findings on chest radiographs ({classifier.model.settings['architecture']})",
            config={"finding": [LIKELIEST, *classifier.findings], "picture": list(PICTURES)},
        )
        self.classifier = classifier
        # a folder of its own: MONAI Label's client writes what it gets into the system's, under the same name, and on
        # the server's machine that would be the file that the server removes after it was sent
        self._folder = tempfile.TemporaryDirectory(prefix="cxraug-")

    def info(self) -> dict[str, Any]:
        """Return what ``/info/`` says of the task: MONAI Label's own, and which model answers."""
        return {**super().info(), "model": self.classifier.describe()}

    def is_valid(self) -> bool:
        """Tell that the task can be used; without a model there is no server."""
        return True

    def __call__(self, request: Mapping[str, Any]) -> tuple[str | None, dict[str, Any]]:
        """Answer a request.

        Args:
            request: ``image``, a file or the folder of a series; of the parameters ``finding``, ``picture``,
                ``instance`` and MONAI Label's own ``result_write_to_file``.

        Returns:
            Path of a temporary PNG, or None, and what is said in JSON.

        Raises:
            CxrAugError: the image cannot be answered, or a parameter is unknown.
        """
        started = time.perf_counter()
        picture = _choose_picture(request)
        if not request["image"]:
            raise InputError("image", "must be in the datastore", "no such id", "/datastore/?output=all lists them")
        chosen = read_image(Path(request["image"]), request.get("instance"))
        image = self.classifier.prepare(chosen.radiograph)
        said = self.classifier.answer(image)
        finding = _first(request.get("finding")) or LIKELIEST
        finding = likeliest(said) if finding == LIKELIEST else finding
        heat = self.classifier.map(image, finding)
        file = None if picture == "none" else self._save(draw(chosen.radiograph, heat, picture))
        return file, {
            "prediction": [asdict(one) for one in said],
            "map": {"finding": finding, "picture": picture, "empty": not heat.any()},
            "image": _describe(chosen),
            "model": self.classifier.describe(),
            "latencies": {"total": round(time.perf_counter() - started, 3)},
            "notice": NOTICE,
        }

    def _save(self, picture: Image.Image) -> str:
        with tempfile.NamedTemporaryFile(dir=self._folder.name, suffix=".png", delete=False) as stream:
            picture.save(stream, format="PNG", compress_level=1)  # four times as fast as the default
        return stream.name


def _choose_picture(request: Mapping[str, Any]) -> Picture:
    """Read ``picture``; MONAI Label's own way to want no file wins."""
    wanted = _first(request.get("picture")) or PICTURES[0]
    if wanted not in PICTURES:
        raise ConfigError("picture", "unknown kind of picture", repr(wanted), nearest(str(wanted), PICTURES))
    return wanted if request.get("result_write_to_file", True) else "none"


def _first(value: str | Sequence[str] | None) -> str | None:
    """Some clients send the choices of ``/info/`` back as they are: the first is the default."""
    return value if value is None or isinstance(value, str) else value[0]


def _describe(chosen: Chosen) -> dict[str, Any]:
    rows, columns = chosen.radiograph.stored.shape
    about = {"file": chosen.name, "sha256": chosen.sha256, "rows": rows, "columns": columns}
    return {**about, "view": chosen.radiograph.tags.get("view"), "greyscale": chosen.radiograph.greyscale}
