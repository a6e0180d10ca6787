"""A notebook as a page: what was written, run, printed and shown, in that order."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from scripts.site_notebooks import notebook_files

PICTURE = b"\x89PNG pixels"


def test_a_page_has_text_code_and_what_came_of_it(tmp_path: Path) -> None:
    outputs = [
        {"output_type": "stream", "name": "stderr", "text": ["90 %\n", "100 %\n"]},
        {"output_type": "stream", "name": "stdout", "text": ["3\n", "4\n"]},
        {"output_type": "execute_result", "data": {"text/plain": ["<a picture>"], "image/png": _text(PICTURE)}},
        {"output_type": "execute_result", "data": {"text/plain": ["[5,\n", " 6]"]}},
    ]
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "words"]},
        {"cell_type": "code", "source": ["print(3)\n", "print(4)"], "outputs": outputs},
        {"cell_type": "code", "source": ["pass"], "outputs": []},
    ]
    (tmp_path / "book.ipynb").write_text(json.dumps({"cells": cells}), encoding="utf-8")
    assert notebook_files(tmp_path / "book.ipynb") == {
        "book.md": "# Title\nwords\n\n```python\nprint(3)\nprint(4)\n```\n\n```text\n3\n4\n```\n\n"
        "![What the cell shows](book_1.png)\n\n```text\n[5,\n 6]\n```\n\n```python\npass\n```\n\n"
        "*The notebook: [book.ipynb](book.ipynb).*\n",
        "book_1.png": PICTURE,
    }


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
