"""The section with pictures: forced choices in which readers and the distance took different sides."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from monai_cxraug.data.files import inside
from monai_cxraug.errors import InputError
from monai_cxraug.reporting.language import Language
from monai_cxraug.reporting.markup import Markup, element
from monai_cxraug.reporting.parts import section
from monai_cxraug.study.files import IMAGES

#: side in pixels to which pictures are brought, and the space between them.
_SIDE, _SPACE = 128, 4
_QUALITY = 85


def disagreements_part(results: Mapping[str, Any], study: Path, say: Language) -> Markup:
    """Show the trials: first image, reference, second image in one picture.

    Args:
        results: of the study.
        study: folder of the study, for its images.
        say: language.

    Raises:
        InputError: an image is unreadable.
    """
    rows = results["disagreements"]
    if not results["forced_choice"]:
        return Markup("")
    if not rows:
        return section("disagreements", say, element("p", say("disagreement.none"), class_="soft"))
    return section(
        "disagreements",
        say,
        element("p", say("disagreement.lead", distance=rows[0]["distance"])),
        element("div", *(_figure(row, study, say) for row in rows), class_="maps triplets"),
    )


def _figure(row: Mapping[str, Any], study: Path, say: Language) -> Markup:
    second = row["share_second"] > 0.5
    votes = round(row["readers"] * max(row["share_second"], 1 - row["share_second"]))
    caption = say(
        "disagreement.caption",
        readers=f"{votes} / {row['readers']}",
        side=say("disagreement.second" if second else "disagreement.first"),
        first=f"{row['first']:.3g}",
        second=f"{row['second']:.3g}",
    )
    first, other = (text.replace("_", " ") or say("disagreement.reference") for text in row["distortions"])
    made = element("span", say("disagreement.made", first=first, second=other), class_="soft")
    alt = f"{row['trial']}: {caption}"
    picture = element("img", src=_address(row["shown"], study), alt=alt, loading="lazy")
    return element("figure", picture, element("figcaption", caption, element("br"), made))


def _address(shown: list[str], study: Path) -> str:
    """The three images side by side as a JPEG inside of the page."""
    reference, first, second = (_read(inside(study / IMAGES, f"{name}.png")) for name in shown)
    size = (3 * _SIDE + 2 * _SPACE, _SIDE)
    sheet = Image.new("L", size, 255)
    for place, image in enumerate((first, reference, second)):
        sheet.paste(image, (place * (_SIDE + _SPACE), 0))
    stream = io.BytesIO()
    sheet.save(stream, format="JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"


def _read(path: Path) -> Image.Image:
    try:
        with Image.open(path) as picture:
            grey = picture.convert("L")
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        raise InputError(path, "must be a readable picture", error, "restore the folder as it was built") from None
    if max(grey.size) <= _SIDE // 2:  # small patches by a whole factor, so that no pixel changes
        factor = _SIDE // max(grey.size)
        grey = Image.fromarray(np.asarray(grey).repeat(factor, axis=0).repeat(factor, axis=1))
    return grey.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS) if grey.size != (_SIDE, _SIDE) else grey
