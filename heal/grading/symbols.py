"""Write Unicode signs as LaTeX, so that math-verify and the other steps meet one spelling of every sign."""

from __future__ import annotations

import re
import unicodedata

INVISIBLE = dict.fromkeys(
    map(ord, "\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\u2061\u2062\u2063\u2064\ufe0e\ufe0f\ufeff")
)
FULL_WIDTH = {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}  # ！ to ～ are ASCII's ! to ~
SPACES = dict.fromkeys(
    map(ord, "\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f"), " "
)
DASHES = dict.fromkeys(map(ord, "‐‑‒–—―−﹣➖"), "-")
CHECK_MARKS = dict.fromkeys(map(ord, "✓✔✅☑■□∎▪★☆🎉"))
SIGNS = {
    **{"×": r"\times ", "✕": r"\times ", "÷": r"\div ", "·": r"\cdot ", "⋅": r"\cdot ", "∙": r"\cdot ", "•": r"\cdot "},
    **{"±": r"\pm ", "∓": r"\mp ", "∞": r"\infty ", "≤": r"\le ", "≥": r"\ge ", "⩽": r"\le ", "⩾": r"\ge "},
    **{
        "≦": r"\le ",
        "≧": r"\ge ",
        "≠": r"\neq ",
        "≈": r"\approx ",
        "≡": r"\equiv ",
        "→": r"\to ",
        "⇒": r"\Rightarrow ",
    },
    **{"∴": r"\therefore ", "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "∉": r"\notin ", "∅": r"\emptyset "},
    **{"Ø": r"\emptyset ", "⊂": r"\subset ", "⊆": r"\subseteq ", "∖": r"\setminus ", "∣": r"\mid ", "∠": r"\angle "},
    **{"ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}", "ℕ": r"\mathbb{N}", "ℚ": r"\mathbb{Q}", "ℂ": r"\mathbb{C}"},
    **{"⟨": r"\langle ", "⟩": r"\rangle ", "〈": r"\langle ", "〉": r"\rangle ", "⌊": r"\lfloor ", "⌋": r"\rfloor "},
    **{"⌈": r"\lceil ", "⌉": r"\rceil ", "°": r"^\circ ", "º": r"^\circ ", "℃": r"^\circ C", "℉": r"^\circ F"},
    **{"…": r"\ldots ", "⋯": r"\cdots ", "′": "'", "″": "''", "‘": "'", "’": "'", "“": '"', "”": '"'},
    **{
        "⁄": "/",
        "∕": "/",
        "∶": ":",
        "、": ", ",
        "。": ".",
        "｡": ".",
        "【": "[",
        "】": "]",
        "「": "",
        "」": "",
        "\u3000": " ",
    },
}
GREEK = {
    **{"α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "ζ": "zeta", "η": "eta", "θ": "theta"},
    **{"ι": "iota", "κ": "kappa", "λ": "lambda", "μ": "mu", "µ": "mu", "ν": "nu", "ξ": "xi", "π": "pi", "ρ": "rho"},
    **{"σ": "sigma", "τ": "tau", "φ": "phi", "ϕ": "phi", "χ": "chi", "ψ": "psi", "ω": "omega", "Γ": "Gamma"},
    **{"Δ": "Delta", "Θ": "Theta", "Λ": "Lambda", "Π": "Pi", "Σ": "Sigma", "Φ": "Phi", "Ψ": "Psi", "Ω": "Omega"},
    "\u2126": "Omega",  # the ohm sign
}
ONE_SIGN = str.maketrans(
    {**SIGNS, **{sign: f"\\{name} " for sign, name in GREEK.items()}}
    | {chr(code): new for part in (INVISIBLE, FULL_WIDTH, SPACES, DASHES, CHECK_MARKS) for code, new in part.items()}
)
FRACTIONS = re.compile("[¼-¾⅐-⅞↉]")
SUPERSCRIPTS = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿⁱ]+")
SUBSCRIPTS = re.compile("[₀₁₂₃₄₅₆₇₈₉₊₋]+")
SQUARED_UNITS = re.compile("[㎀-㏟]")
STYLED_LETTERS = re.compile("[\U0001d400-\U0001d7ff]")
ROOT = re.compile(r"([√∛∜])\s*(?:\{|(\d+(?:\.\d+)?|\\?[A-Za-z]+)|(?=\())")
DEGREES = {"√": r"\sqrt", "∛": r"\sqrt[3]", "∜": r"\sqrt[4]"}


def write_as_latex(text: str) -> str:
    """Replaces Unicode signs by LaTeX and ASCII; drops invisible characters and check marks.

    >>> write_as_latex("x² ≤ 5√3")
    'x^{2} \\\\le  5\\\\sqrt{3}'
    """
    if text.isascii():
        return text
    text = FRACTIONS.sub(expand_fraction, text)
    text = SUPERSCRIPTS.sub(lambda match: f"^{{{to_ascii(match[0])}}}", text)
    text = SUBSCRIPTS.sub(lambda match: f"_{{{to_ascii(match[0])}}}", text)
    text = SQUARED_UNITS.sub(lambda match: f" {unicodedata.normalize('NFKC', match[0])}", text)
    text = STYLED_LETTERS.sub(lambda match: unicodedata.normalize("NFKC", match[0]), text)
    return ROOT.sub(expand_root, text.translate(ONE_SIGN))


def to_ascii(signs: str) -> str:
    return unicodedata.normalize("NFKC", signs).replace("−", "-")


def expand_fraction(match: re.Match[str]) -> str:
    """ "½" → "\\frac{1}{2}" """
    above, _, below = to_ascii(match[0]).partition("⁄")
    return f"\\frac{{{above}}}{{{below}}}"


def expand_root(match: re.Match[str]) -> str:
    """ "√3" → "\\sqrt{3}", "√{3}" → "\\sqrt{3}", "√(3)" → "\\sqrt(3)", which `fix_roots` closes."""
    command = DEGREES[match[1]]
    if match[0].endswith("{"):
        return command + "{"
    return f"{command}{{{match[2]}}}" if match[2] else command
