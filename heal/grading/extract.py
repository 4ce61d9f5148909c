"""Find the answer in a text: the contents of its last boxes, a stated choice, or the last formula or number."""

from __future__ import annotations

import re

from heal.grading.symbols import write_as_latex

TAIL_CHARS = 2000
MAX_JOINED = 20
MAX_JOINT_CHARS = 80

BOX = re.compile(r"\\boxed|\\fbox")
BOX_TOKENS = re.compile(r"\\(?:boxed|fbox)\s*\{|\\.|[{}]", re.DOTALL)
GAP = r"[\s$*~&]|\\[()\[\],;:! ]|\\\\"
# What may stand between two boxes that are one answer: a comma or "and", formula delimiters, and "x_2 =".
JOINT = re.compile(
    rf"""
    (?: {GAP} | \\text\s*\{{\s*\}} )*
    (?: [,;] | \\q?quad(?![A-Za-z]) | \\(?:land|lor|cup)(?![A-Za-z])
      | (?:\\text\s*\{{\s*)? ,? \s* \b(?:and|or|as\ well\ as)\b (?:\s*\}})? )
    (?: {GAP} | , | \\q?quad(?![A-Za-z]) | \\text\s*\{{\s*(?:and|or)?\s*\}} | \b(?:and|or)\b
      | [A-Za-z](?:_\{{?\w\}}?)?\s*= )*
    """,
    re.VERBOSE,
)
# Formulas as in pandoc: no blank inside the dollars, no digit after them, so that "$5 and $7" is two prices.
LAST_TOKENS = re.compile(
    r"""
    \$\$ (?P<display>[^$]{1,1000}) \$\$
    | \$ (?P<inline>(?![ ])[^$\n]{1,1000}(?<![ ])) \$ (?!\d)
    | \\\[ (?P<bracket>.{1,1000}?) \\\]
    | \\\( (?P<paren>.{1,1000}?) \\\)
    | (?P<fraction> (?<!\w) -?\d{0,20} (?:\\[dt]?frac\{-?\d{1,20}\}\{-?\d{1,20}\} | \\sqrt\{\d{1,20}\}) )
    | (?P<mixed> (?:(?<!\w)-)? (?<![\w.^_]) \d{1,20}[ ]\d{1,20}/\d{1,20} )
    | (?P<number>
        (?:(?<!\w)-)? (?<![\w.^_]) (?<![\^_]\{) (?<![\^_]\{-)
        (?:\d{1,3}(?:,\d{3})+(?!\d) | \d+ | (?=\.\d)) (?:\.\d+)?
        (?:[eE][-+]?\d{1,3}(?!\w) | \s*\\(?:times|cdot)\s*10\s*\^\s*\{?-?\d{1,3}\}? | /\d+)? %? )
    """,
    re.DOTALL | re.VERBOSE,
)


def cut_thinking(text: str) -> str:
    """The part behind the last closed thinking block, up to a block that is never closed."""
    return text.rpartition("</think>")[2].partition("<think>")[0]


def extract_boxed(text: str) -> str | None:
    """The content of the last \\boxed{} (or \\fbox{}) that balances and is not empty; None if there is none.

    "Last" is the one that opens last; escaped braces do not count. Boxes that only a comma, "and" or "or" separates are
    one answer: "\\boxed{2} and \\boxed{9}" → "2, 9". Linear in the text's length.
    """
    return ", ".join(extract_boxes(text)) or None


def extract_boxes(text: str) -> list[str]:
    """The different contents of the last boxes that are one answer (`extract_boxed`), in order."""
    boxes = find_boxes(text)
    joined = boxes[-1:]
    for box in reversed(boxes[-MAX_JOINED:-1]):
        if not are_joined(text, box[1], joined[0][0]):
            break
        joined.insert(0, box)
    return list(dict.fromkeys(text[start:end].strip() for start, end in joined))


def are_joined(text: str, end: int, following: int) -> bool:
    """Whether two boxes are one answer: the content of one ends at `end`, that of the next starts at `following`."""
    opening = max(text.rfind("\\boxed", end, following), text.rfind("\\fbox", end, following))
    return opening - end <= MAX_JOINT_CHARS and JOINT.fullmatch(text, end + 1, opening) is not None


def find_boxes(text: str) -> list[tuple[int, int]]:
    """(start, end) of the content of every box that balances and is not empty, in order; of nested ones the inner."""
    first = BOX.search(text)
    if first is None:
        return []
    open_braces: list[int | None] = []  # the content's start for a box, None for another brace
    boxes: list[tuple[int, int]] = []
    for token in BOX_TOKENS.finditer(text, first.start()):
        symbol = token.group()
        if symbol[-1] == "{" and symbol != "\\{":
            open_braces.append(token.end() if len(symbol) > 1 else None)
        elif symbol == "}" and open_braces:
            content = open_braces.pop()
            if content is None or (boxes and content <= boxes[-1][0]):
                continue
            if text[content : token.start()].strip():
                boxes.append((content, token.start()))
    return boxes


def extract_last(text: str) -> str | None:
    """The last formula or number in the last TAIL_CHARS characters, or None.

    A formula without digit or command ("the value of $x$") counts only where no other formula or number is found.
    Unicode signs are LaTeX in it: "−5" → "-5".
    """
    last = None
    for match in LAST_TOKENS.finditer(write_as_latex(text[-TAIL_CHARS:])):
        answer = (match.group(match.lastgroup or 0)).strip().rstrip(".,;:")
        if answer and (last is None or re.search(r"[\d\\]", answer)):
            last = answer
    return last
