"""The pages of the documentation that are made from the code: every command, and what is known of the paper.

Reads the commands' parsers, evals/paper.yaml and the config's classes; writes docs/reference/commands.md, and the
tables of docs/fidelity.md between its markers.

    python -m tools.docs.commands
"""

from __future__ import annotations

import argparse
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

from evals.tables.paper_numbers import FILE, Paper
from heal.command import command_parser
from heal.config.experiment import Experiment
from heal.config.options import read_yaml, validate
from heal.errors import exit_with_errors
from heal.records import write_text
from tools.docs.config import option_groups, shown_default
from tools.docs.readme import between

ROOT = Path(__file__).parents[2]
COMMANDS, FIDELITY = ROOT / "docs/reference/commands.md", ROOT / "docs/fidelity.md"
NOT_FOR_PEOPLE = ("heal.grading.worker",)  # speaks JSON lines with heal.grading.grader alone
STATUS = re.compile(r"\((reported|ours)\b[^)]*\)")


class Parsing(Exception):
    """A command has got as far as parsing its arguments."""


def modules() -> list[str]:
    """Every module that is a command, as `python -m` takes it."""
    paths = [path for folder in ("heal", "evals", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths if is_command(path)]
    return [name for name in names if name not in NOT_FOR_PEOPLE]


def is_command(path: Path) -> bool:
    return 'if __name__ == "__main__":' in path.read_text(encoding="utf-8")


def parser_of(module: str) -> argparse.ArgumentParser:
    """The parser that a command makes: it is run up to the point where it would parse."""
    found: list[argparse.ArgumentParser] = []

    def parse_args(self: argparse.ArgumentParser, *_: object) -> None:
        found.append(self)
        raise Parsing

    main = importlib.import_module(module).main
    with patch.object(argparse.ArgumentParser, "parse_args", parse_args):
        try:
            main()
        except Parsing:
            return found[0]
    raise ValueError(f"{module}: its main parses no arguments")


def called(module: str) -> str:
    if module == "heal.cli":
        return "heal"
    if module.startswith("benchmarks"):
        return f"python {module.replace('.', '/')}.py"
    return f"python -m {module.removesuffix('.__main__')}"


def with_parts(name: str, parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """A command and its sub-commands, by name."""
    yield name, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for part, inner in action.choices.items():
                yield from with_parts(f"{name} {part}", inner)


def options(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """What a command takes, without --help and sub-commands."""
    left_out = (argparse._HelpAction, argparse._SubParsersAction)
    return [action for action in parser._actions if not isinstance(action, left_out)]


def shown(default: object) -> str:
    return shown_default(str(default) if isinstance(default, Path) else default)


def cell(text: str) -> str:
    """A text in a table: what would be a tag or a border is not."""
    return re.sub(r"`[^`]*`|<", lambda found: found[0] if found[0] != "<" else "&lt;", text).replace("|", "\\|")


def row(action: argparse.Action) -> str:
    name = ", ".join(f"`{flag}`" for flag in action.option_strings) or f"`{action.metavar or action.dest}`"
    if action.required:
        default = "required"
    else:
        default = "" if isinstance(action.default, bool) or action.default in (None, "", []) else shown(action.default)
    chosen = f" ({', '.join(f'`{choice}`' for choice in action.choices)})" if action.choices else ""
    said = (action.help or "").replace("%(default)s", str(action.default))
    return f"| {name} | {default} | {cell(said + chosen)} |"


def commands() -> str:
    """docs/reference/commands.md."""
    lines = ["# Every command", "", "Written from the commands' own parsers by `python -m tools.docs.commands`."]
    for module in modules():
        for name, parser in with_parts(called(module), parser_of(module)):
            lines += ["", f"{'##' if name == called(module) else '###'} {name}", "", (parser.description or "").strip()]
            if taken := options(parser):
                lines += ["", "| argument | default | |", "|---|---|---|", *map(row, taken)]
    return "\n".join(lines) + "\n"


def published() -> str:
    """Every number in evals/paper.yaml."""
    paper = validate(Paper, read_yaml(FILE), where=str(FILE))
    rows = ["| item | the paper | unit | from | confidence | compared with |", "|---|---|---|---|---|---|"]
    for number in paper.numbers:
        ours = number.ours
        if ours is None:
            compared = f"nothing: {number.why}"
        elif ours.option:
            compared = f"option `{ours.option}`"
        else:
            compared = f"`{ours.difference}` less `{ours.to}`" if ours.difference else "questions unsolved in the run"
        fields = (number.item, number.paper, number.unit, number.status, number.confidence, compared)
        rows.append(f"| {' | '.join(cell(f'{f:g}' if isinstance(f, float) else str(f)) for f in fields)} |")
    return "\n".join(rows)


def defaults() -> str:
    """Every option whose sentence says that its default is reported, or ours."""
    rows = ["| option | default | status | |", "|---|---|---|---|"]
    for group in option_groups(Experiment):
        for name, field in group.model_fields.items():
            sentence = " ".join((field.description or "").split())
            if status := STATUS.search(sentence):
                said = (group.__name__, name, shown_default(field.default), status[1], cell(sentence))
                rows.append("| `{}.{}` | {} | {} | {} |".format(*said))
    return "\n".join(rows)


def main() -> None:
    command_parser(__doc__).parse_args()
    write_text(COMMANDS, commands())
    write_text(FIDELITY, fidelity(FIDELITY.read_text(encoding="utf-8")))


def fidelity(page: str) -> str:
    """docs/fidelity.md with its tables."""
    return between(between(page, "published", published()), "defaults", defaults())


if __name__ == "__main__":
    exit_with_errors(main)
