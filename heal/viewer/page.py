"""One html out of the data and the files beside it. It runs from file://, and its policy forbids any network.

Reads page.html, page.css, trace.js and page.js; writes nothing. Trace texts are data: they stand in a JSON block, which
nothing in it can end, and the scripts put them on the page as text only.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

HERE = Path(__file__).parent
FILES = ("page.html", "page.css", "trace.js", "page.js")
# `<` could end the block or open a comment in it; the two separators end a line for some readers of JavaScript.
ESCAPES = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


def embedded(data: Any) -> str:
    """JSON that can stand inside a <script> block: json.loads gives the same data back."""
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).translate(ESCAPES)


def policy_hash(content: str) -> str:
    """As a content security policy names an inline block."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def render(data: Mapping[str, Any]) -> str:
    """The page. Equal data give equal bytes."""
    html, style, *scripts = ((HERE / name).read_text(encoding="utf-8") for name in FILES)
    script = "".join(scripts)
    return Template(html).substitute(
        style=style,
        script=script,
        style_hash=policy_hash(style),
        script_hash=policy_hash(script),
        data=embedded(data),
    )
