"""Pictures inside the page: as they are while they are small, else as JPEG of a size that loads."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from PIL import Image, UnidentifiedImageError

from monai_cxraug.errors import InputError

_QUALITIES: Final = (88, 75, 60)


@dataclass(frozen=True)
class Picture:
    """A picture; ``exact`` where no pixel was changed."""

    content: bytes
    kind: str = "png"
    exact: bool = True

    @property
    def address(self) -> str:
        """The picture itself as an address."""
        return f"data:image/{self.kind};base64,{base64.b64encode(self.content).decode()}"


def picture(source: Path | bytes, most: int, width: int) -> Picture:
    """Take a PNG as it is when it is small enough, else as JPEG.

    Args:
        source: file or its content.
        most: bytes that are small enough.
        width: pixels that a large picture is reduced to.

    Raises:
        InputError: no picture can be read.
    """
    try:
        content = source if isinstance(source, bytes) else source.read_bytes()
        if len(content) <= most:
            Image.open(io.BytesIO(content)).verify()
            return Picture(content)
        image = Image.open(io.BytesIO(content)).convert("RGB")
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        name = "picture" if isinstance(source, bytes) else source
        raise InputError(name, "must be a readable picture", str(error), "remake the file") from None
    if image.width > width:
        image = image.resize((width, round(image.height * width / image.width)), Image.Resampling.LANCZOS)
    return Picture(_compress(image, most), "jpeg", exact=False)


def _compress(image: Image.Image, most: int) -> bytes:
    """The best quality that is small enough, else the smallest."""
    content = b""
    for quality in _QUALITIES:
        stream = io.BytesIO()
        image.save(stream, format="JPEG", quality=quality, optimize=True)
        content = stream.getvalue()
        if len(content) <= most:
            break
    return content
