"""HTML and SVG elements whose text is escaped unless it is markup already."""

from __future__ import annotations

import html
import re
from typing import Final

#: characters that XML 1.0 does not allow even when escaped.
_ILLEGAL: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_VOID: Final = frozenset({"meta", "img", "br"})


class Markup(str):
    """Text that is markup already and must not be escaped again."""

    __slots__ = ()


def escape(text: object) -> Markup:
    """Escape text for an element's content or a quoted attribute; markup passes as it is."""
    return text if isinstance(text, Markup) else Markup(html.escape(_ILLEGAL.sub("\ufffd", str(text))))


def element(name: str, /, *children: object, **attributes: object) -> Markup:
    """Write an element; children and attribute values are escaped.

    Args:
        name: tag.
        children: text, numbers or markup.
        attributes: an underscore stands for a hyphen and a trailing one is dropped (``class_``, ``text_anchor``);
            None leaves the attribute out.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{written}>" if name in _VOID else f"<{name}{written}>{join(*children)}</{name}>")


def join(*children: object) -> Markup:
    """Put escaped children one after another."""
    return Markup("".join(escape(child) for child in children))
