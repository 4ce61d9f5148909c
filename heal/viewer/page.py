"""Renders the html page from its data and the files of this package. It runs from file:// without any network.

Reads page.html, page.css, trace.js and page.js; writes nothing. Trace texts are data: they are stored in a JSON block,
which no text can end, and the scripts put them on the page as text only.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

FOLDER = Path(__file__).parent
FILES = ("page.html", "page.css", "trace.js", "page.js")
# `<` could end the block or open a comment in it; the two separators end a line for some readers of JavaScript.
ESCAPES = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


def embed_json(data: Any) -> str:
    """JSON for the inside of a <script> block: json.loads gives the same data back."""
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).translate(ESCAPES)


def hash_for_policy(content: str) -> str:
    """The source expression of an inline block in a content security policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def read_file(name: str) -> str:
    """A file of this package."""
    return (FOLDER / name).read_text(encoding="utf-8")


def render_page(data: Mapping[str, Any]) -> str:
    """The html. Equal data give equal bytes."""
    html, style, *scripts = map(read_file, FILES)
    script = "".join(scripts)
    return Template(html).substitute(
        style=style,
        script=script,
        style_hash=hash_for_policy(style),
        script_hash=hash_for_policy(script),
        data=embed_json(data),
    )
