"""Remove what surrounds an answer inside its box without changing it: colors, sizes, markdown, "The answer is"."""

from __future__ import annotations

import re

MAX_LAYERS = 10

NO_LETTER = r"(?![A-Za-z])"
SIGN = r"[^{}\\]|\\."
GROUP = rf"\{{((?:{SIGN}|\{{(?:{SIGN}|\{{(?:{SIGN})*\}})*\}})*)\}}"  # balanced up to two levels inside

THIN_SPACE = re.compile(r"\\(?:thin|med|thick|en)space" + NO_LETTER + r"\s*")
NO_DELIMITER = re.compile(r"\\(?:left|right)\s*\.")
BRACED_LETTER = re.compile(r"(?<![\w^}\]])\{([A-Za-z])\}")
BRACES = re.compile(GROUP.replace("(", "(?P<inner>", 1))
SIZE = re.compile(
    r"\\(?:(?:display|text|script|scriptscript)style|normalsize|large|Large|LARGE|huge|Huge|small|footnotesize|tiny|bfseries"
    r"|itshape|mdseries|upshape|bf|rm|it|sf|tt|boldmath|centering|limits|nolimits|[bB]igg?[lrm]?|strut|mathstrut)"
    + NO_LETTER
)
COLOR = re.compile(r"\\(?:(?:text)?color|colorbox|fcolorbox\s*\{[^{}]*\})\s*(?:\[[^\[\]]*\]\s*)?\{[^{}]*\}")
INVISIBLE = re.compile(
    r"\\(?:[hv]space\*?|[hv]?phantom|label|tag\*?|rule\{[^{}]*\})\s*\{[^{}]*\}|\\text\s*\{[\s~]*\}|\\(?:null|hfill|newline)"
    + NO_LETTER
)
WRAPPER = re.compile(
    r"\\(?:underline|underbrace|overbrace|boxed|fbox|framebox|mathbf|mathit|mathsf|mathtt|mathnormal|bm|boldsymbol|pmb"
    r"|ensuremath|uline|uuline|smash|displaylines|centerline|mathop)\s*" + GROUP
)
TEXT_COMMAND = re.compile(r"\\(?:text(?:bf|it|rm|sf|tt|normal|up|md|sl|sc)|emph|mbox|hbox|mathrm|operatorname\*?)\s*\{")
FORMULA_AS_TEXT = re.compile(r"\\text\s*\{\s*([-+.,/%$ ~]*\d[-+\d.,/%$ ~]*|\([A-Za-z]\))\s*\}")
CONSTANT = re.compile(r"\\text\s*\{\s*([ei]|d(?=\s*\}\s*[a-z]))\s*\}")
INFINITY = re.compile(
    r"\\text\s*\{\s*(?:(-|negative |minus )|\+|positive |plus )?infinity\s*\}|(?<![A-Za-z])(-?)infinity" + NO_LETTER,
    re.I,
)
EMPTY_SET = re.compile(r"\\(?:varnothing|O)" + NO_LETTER)
ROWS = re.compile(r"\\begin\s*\{((?:align|gather|equation|split|multline)(?:ed)?\*?)\}(.*?)\\end\s*\{\1\}", re.DOTALL)
REASON = re.compile(r",?\s*\\text\s*\{[\s(,]*(?:since|because|as|by|using|due to)\b.*", re.DOTALL)
MARKED = re.compile(r"(?<![\w)}])(\*\*|__)([^*_]+)\1(?![\w(])")
MARKDOWN = [(mark, mark) for mark in ("***", "**", "__", "```", "`", "*", "_", '"', "''", "'", "$$", "$")]
ENCLOSING = [*MARKDOWN, ("\\(", "\\)"), ("\\[", "\\]"), ("``", "''"), ("\\text{", "}")]
TAGS = re.compile(r"<([a-z]{1,8})(?: [^<>]*)?>(?P<inner>.*)</\1>", re.DOTALL)
LEADING = re.compile(
    r"(?:\\(?:therefore|implies|Rightarrow|Longrightarrow|rightarrow|longrightarrow|to|because|iff|approx|simeq)"
    + NO_LETTER
    + r"|=>|->|[=:&~]|\\?#"
    r"|\\[,;:!]|\\ |\\q?quad" + NO_LETTER + r"|\\text\s*\{\s*\}|\{\}|\s)+"
)
TRAILING = re.compile(
    r"(?:\\text\s*\{\s*[.,;:]?\s*\}|(?<![.])\.|(?<=\.\.\.)\.|[,;:~]|\\\\|\\[,;:!]|\\q?quad|\\(?=$)|\{\}|\s"
    r"|\\(?:checkmark|blacksquare|square|Box|qed|qedsymbol|qedhere|bigstar|star|surd)" + NO_LETTER + r")+$"
)
SUBJECT = (
    r"(?:(?:so|hence|thus|therefore|then|finally|and)\b,?\s*)?"
    r"(?:we (?:get|have|find|obtain)\s+)?(?:(?:the|our|my)\s+)?"
    r"(?:(?:final|correct|required|desired|exact|numerical)\s+)*"
    r"(?:(?:answer|result|solution|value|ans)\b\.?\s*|(?:number|total|sum|probability|area|volume)\s*(?=is\b|[:=]))?"
    r"(?:(?:is|equals)\b)?\s*[:=]?"
)
INTRODUCTION = re.compile(SUBJECT + r"\s*(?=[-+\d\\($A-Z\[])", re.IGNORECASE)
INTRODUCTION_AS_TEXT = re.compile(r"\\text\s*\{\s*" + SUBJECT + r"\s*\}\s*[:=]?\s*", re.IGNORECASE)


def strip_dressing(answer: str) -> str:
    """The answer without what surrounds it.

    >>> strip_dressing("\\\\text{The answer is } \\\\color{blue}{**42**}.")
    '42'
    """
    answer = TEXT_COMMAND.sub(r"\\text{", answer.replace("\\&", ","))
    answer = NO_DELIMITER.sub("", THIN_SPACE.sub(r"\\,", answer))
    answer = ROWS.sub(join_rows, EMPTY_SET.sub(r"\\emptyset", answer))
    answer = INFINITY.sub(lambda match: ("-" if match[1] or match[2] else "") + "\\infty ", answer)
    answer = INVISIBLE.sub(" ", COLOR.sub("", SIZE.sub("", answer)))
    for _ in range(MAX_LAYERS):
        before = answer
        answer = MARKED.sub(r"\2", BRACED_LETTER.sub(r"\1", WRAPPER.sub(r"{\1}", answer)))
        answer = FORMULA_AS_TEXT.sub(r" \1 ", answer)
        answer = strip_ends(strip_introduction(strip_enclosing(strip_ends(answer))))
        answer = REASON.sub("", answer) or answer
        if answer == before:
            break
    return CONSTANT.sub(r" \1", answer).strip()


def join_rows(match: re.Match[str]) -> str:
    """ "\\begin{aligned} x &= 2 \\\\ y &= 5 \\end{aligned}" → "x = 2, y = 5" """
    rows = [row.replace("&", "").strip() for row in match[2].split("\\\\")]
    return ", ".join(row for row in rows if row)


def strip_ends(answer: str) -> str:
    """Without leading arrows and final punctuation: "\\implies 42." → "42". Three dots and "!" stay."""
    answer = LEADING.sub("", answer, count=1) if LEADING.match(answer) else answer
    return TRAILING.sub("", answer)


def strip_enclosing(answer: str) -> str:
    """Without markdown, quotes, dollars and HTML tags around the whole answer: "**42**" → "42"."""
    for start, end in ENCLOSING:
        inner = answer[len(start) : -len(end)]
        if not (answer.startswith(start) and answer.endswith(end) and inner.strip()):
            continue
        is_whole = all(mark not in inner.replace("\\$", "") for mark in (start, end))
        if is_whole and (start != "\\text{" or re.search(r"[\d\\$]", inner)):
            return inner
    match = TAGS.fullmatch(answer) or ("\\choose" not in answer and BRACES.fullmatch(answer))
    return match["inner"] if match else answer


def strip_introduction(answer: str) -> str:
    """Without words that only announce the answer: "The answer is 42" → "42". "At least 42" stays."""
    match = INTRODUCTION_AS_TEXT.match(answer) or INTRODUCTION.match(answer)
    return answer[match.end() :] if match and re.search("[A-Za-z:=]", match[0]) else answer
