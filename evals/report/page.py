"""Render one page of a run: question and summary, tables, figures, what each shows and how it was made. No script.

Reads tables/, figures/, the notes of the main table, premise.json (or settings.json of a reference folder) and the
provenance of results/<run>; no model, no raw data. Names missing files at the end, with the command that makes them;
what says nothing but "cannot say" is folded. Captions: workflow/report/. Writes --out (html, self-contained) and the
summary as text next to it. Equal inputs, equal bytes.

    heal report results/mini --out report.html
    heal report results/reference/mini --out report.html      # in a clone that ran nothing
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape, unescape
from itertools import groupby
from pathlib import Path

import pandas as pd
from docutils.core import publish_parts
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from pydantic_settings import CliPositionalArg

from evals.report import summary
from evals.report.items import MAIN, Item, list_sections
from evals.report.origins import (
    Origin,
    get_provenance_path,
    read_environment,
    read_experiment,
    read_heal_methods,
    read_origin,
)
from evals.settings import read_premises
from evals.tables.comparison_rows import CANNOT_SAY
from evals.tables.notes import Topic, get_notes_path, read_notes, select_notes
from evals.tables.render import format_markdown_table
from heal.command import Command
from heal.errors import HealError
from heal.records import write_text
from heal.stages import describe_stages, list_stages

VERSION = 6
"""Raise it when the bytes of the output change for the same input."""

ROOT = Path(__file__).parents[2]
CAPTIONS = ROOT / "workflow" / "report"
TEMPLATE = "report.html.jinja"
MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")
WORLD_TOPICS = (Topic.WORLD, Topic.GATES, Topic.MIXED_HARDWARE)
SVG_TITLE = re.compile(r"<dc:title>(.*?)</dc:title>", re.DOTALL)
"""Of a figure that shows nothing: why (evals.figures.style.plot_message)."""
FORMATS = (".csv", ".md", ".tex", ".svg", ".png")


class RenderReport(Command):
    run_folder: CliPositionalArg[Path]
    """results/<run>, or results/reference/<run>."""
    out: Path
    """The html to write; the summary is written next to it as txt."""

    def run(self) -> None:
        if not self.run_folder.is_dir():
            fix = "give results/<run>, or results/reference/mini"
            raise HealError("no such folder", where=str(self.run_folder), fix=fix)
        html, text = render_page(self.run_folder, self.out.parent)
        write_text(self.out, html)
        write_text(self.out.with_suffix(".txt"), text)


@dataclass(frozen=True)
class Summary:
    """What the page says first."""

    question: str
    absent: list[str]
    """Where the comparison is not a test of HEAL."""
    sentences: list[str]
    present: list[str]
    """Where HEAL's premises hold."""
    world: list[str]
    """What the world of the problems says of results on it, its gates, and warnings of mixed hardware."""
    best_methods: str
    """The table of the best method per benchmark, as HTML."""
    method: str | None
    """The HEAL method that the summary is about."""

    def render_text(self) -> str:
        """For a terminal and for Snakemake's report (reStructuredText): paragraphs without markup."""
        lines = [self.question, *self.absent, *self.sentences, *self.present, *self.world]
        return "\n\n".join(lines) + "\n"


@dataclass(frozen=True)
class Block:
    """One table or figure on the page."""

    id: str
    title: str
    item: Item
    caption: str = ""
    """As HTML."""
    body: str = ""
    """As HTML; empty where the file is missing."""
    unsaid: str = ""
    """Why it says nothing, as text; empty where it says something."""
    origin: Origin | None = None
    provenance: str = ""
    """Link to the provenance."""
    links: tuple[tuple[str, str], ...] = ()
    """(format, link) of each file that has the same content."""

    @property
    def is_figure(self) -> bool:
        return self.item.pattern.endswith(".svg")


def render_page(run: Path, folder: Path) -> tuple[str, str]:
    """(html, summary as text) of a run. folder: where the page will be; links are relative to it. Raises HealError."""
    page_summary = build_summary(run)
    sections: dict[str, list[Block]] = {}
    missing: list[Block] = []
    for title, items in list_sections(run).items():
        for item in items:
            for block in build_blocks(item, run, folder):
                if block.body:
                    sections.setdefault(title, []).append(block)
                else:
                    missing.append(block)
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = templates.get_template(TEMPLATE).render(
        run=run.name,
        summary=page_summary,
        sections=sections,
        stages=describe_stages(list_stages(run)),
        missing=missing,
        environment=read_environment(run),
        experiment=read_experiment(run),
        make_slug=lambda title: title.lower().replace(" ", "-"),
    )
    return html, page_summary.render_text()


def build_summary(run: Path) -> Summary:
    """Raises HealError without a main table."""
    table = run / "tables" / "main.csv"
    if not table.exists():
        raise HealError("no main table", where=str(table), fix=f"run: {MAIN}; or give results/reference/mini")
    rows = summary.read_comparison(table)
    method = summary.choose_method(read_heal_methods(table), rows)
    absent, present = summary.describe_premises(read_premises(run))
    notes = read_notes(get_notes_path(table))
    best = format_markdown_table(
        summary.BEST_HEADER, summary.list_best_methods(rows, method), summary.BEST_TEXT_COLUMNS.__contains__
    )
    return Summary(
        question=summary.build_question(summary.get_reference(rows), method),
        absent=absent,
        sentences=summary.build_sentences(rows, method),
        present=present,
        world=[capitalize(note.text) for note in select_notes(notes, *WORLD_TOPICS)],
        best_methods=render_markdown(best),
        method=method,
    )


def capitalize(text: str) -> str:
    """The text with its first letter as a capital."""
    return text[:1].upper() + text[1:]


def build_blocks(item: Item, run: Path, folder: Path) -> Iterator[Block]:
    """A block per file of the item, or one that names the command that makes it. folder: where the page will be."""
    paths = sorted(run.glob(item.pattern))
    if not paths and item.command:
        name = Path(item.pattern).with_suffix("").as_posix().replace("*", "all")
        yield Block(name.replace("/", "-"), item.title, item)
    for path in paths:
        title = f"{item.title} ({describe_owner(path)})" if item.per_teacher else item.title
        output = find_output(item, path, run)
        links = []
        for suffix in FORMATS:
            file = path.with_suffix(suffix)
            if file.exists():
                links.append((suffix[1:], make_link(file, folder)))
        yield Block(
            id="-".join(path.relative_to(run).with_suffix("").parts),
            title=title,
            item=item,
            caption=render_caption(item.caption),
            body=render_picture(path, title) if path.suffix == ".svg" else render_table(path, item),
            unsaid=find_unsaid(path, item),
            origin=read_origin(output),
            provenance=make_link(get_provenance_path(output), folder),
            links=tuple(links),
        )


def find_output(item: Item, path: Path, run: Path) -> Path:
    """The output whose provenance tells how a file was made."""
    if item.made_with:
        return run / item.made_with.replace("*", get_teacher(path))
    return path.with_suffix(".csv") if path.suffix == ".md" else path


def get_teacher(path: Path) -> str:
    """The teacher in a file's name: audits_default.md."""
    return path.stem.partition("_")[2]


def describe_owner(path: Path) -> str:
    """Teacher, and teacher seed where the file belongs to one, from its path."""
    owner = f"teacher {get_teacher(path)}"
    for part in path.parts:
        if part.startswith("teacher_seed"):
            owner += f", teacher seed {part.removeprefix('teacher_seed')}"
    return owner


def make_link(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()


def render_caption(name: str) -> str:
    """A caption as HTML. Raises HealError where workflow/report/ lacks it."""
    path = CAPTIONS / f"{name}.rst"
    if not path.exists():
        raise HealError("no such caption", where=str(path), fix="write it: what to look for, in a few sentences")
    return publish_parts(path.read_text(encoding="utf-8"), writer="html5")["fragment"]


def render_picture(path: Path, title: str) -> str:
    """An svg as an image of its own, so that ids of several svg do not collide."""
    content = base64.b64encode(path.read_bytes()).decode()
    return f'<img alt="{escape(title)}" src="data:image/svg+xml;base64,{content}">'


def read_markdown(path: Path) -> str:
    """A markdown file without its title, or a csv as a table."""
    if path.suffix == ".csv":
        return format_csv_as_markdown(path)
    text = path.read_text(encoding="utf-8")
    return text.partition("\n")[2] if text.startswith("# ") else text


def split_tables(text: str) -> Iterator[tuple[bool, list[str]]]:
    """Whether the lines are a table, and the lines, for each table and each part between two."""
    for is_table, lines in groupby(text.split("\n"), key=lambda line: line.startswith("|")):
        yield is_table, list(lines)


def is_unsaid(row: str) -> bool:
    """Whether a row of a table has nothing but "cannot say" for a result: no cell with an interval."""
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    return any(cell.startswith(CANNOT_SAY) for cell in cells) and not any("[" in cell for cell in cells)


def find_unsaid(path: Path, item: Item) -> str:
    """Why a table or figure says nothing; empty where it says something."""
    if path.suffix == ".svg":
        title = SVG_TITLE.search(path.read_text(encoding="utf-8"))
        return unescape(title[1]) if title else ""
    rows = [row for is_table, lines in split_tables(read_markdown(path)) if is_table for row in lines[2:]]
    return CANNOT_SAY if rows and all(map(is_unsaid, rows)) and not item.shows_settings else ""


def render_table(path: Path, item: Item) -> str:
    """A table file as HTML. Rows that cannot say anything are folded, but not a comparison's: they have means."""
    parts = []
    for is_table, lines in split_tables(read_markdown(path)):
        folded = [row for row in lines[2:] if is_unsaid(row)] if is_table and not item.shows_settings else []
        kept = [line for line in lines if line not in folded]
        if not folded or len(kept) > 2:
            parts.append(render_markdown("\n".join(kept)))
        if folded:
            count = f"{len(folded)} row{'s' if len(folded) > 1 else ''}: {CANNOT_SAY}"
            table = render_markdown("\n".join([*lines[:2], *folded]))
            parts.append(f"<details><summary>{count}</summary>{table}</details>")
    return "".join(parts)


def format_csv_as_markdown(path: Path) -> str:
    """A csv as a Markdown table; columns of numbers are aligned right."""
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    is_text = [pd.to_numeric(frame[column], errors="coerce").isna().any() for column in frame]
    return format_markdown_table(list(frame.columns), frame.to_numpy().tolist(), is_text.__getitem__)


def render_markdown(text: str) -> str:
    """HTML in which a wide table scrolls by itself."""
    html = MARKDOWN.render(text)
    return html.replace("<table>", '<div class="wide"><table>').replace("</table>", "</table></div>")
