"""How long a generator will be trained, told from its settings before it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monai_cxraug.engines.schedule import infogan_schedule


def planned_length(settings: Mapping[str, Any], images: int) -> tuple[int, int]:
    """Tell the length of a training and its batch size; what the settings leave open follows from the images.

    Args:
        settings: top-level keys of the training configuration: ``total_images`` and ``batch_size``, and where one of
            them is null, ``resolution`` and ``scale``.
        images: real images that it is trained on.

    Returns:
        Images seen at the end, and images in a batch.
    """
    total, batch = settings["total_images"], settings["batch_size"]
    if total is not None and batch is not None:
        return total, batch
    found = infogan_schedule(settings["resolution"], images, total, batch, settings["scale"])
    return found.total_images, found.at(0).batch_size
