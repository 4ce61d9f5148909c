"""Render the trace viewer: repairs of a run as one static html page that needs no server and no network.

Reads problems, samples, grades, every repairs file of a teacher and teacher sampling seed, their scores where they
exist, and the teacher's tokenizer; writes --out. Equal files give equal bytes.

    heal view --config config/config.yaml
    heal view --run-folder results/mini --teacher default --teacher-seed 0 --max-repairs 200 --pure.drop-share 0.2 \\
        --out results/mini/viewer/default_teacher_seed0.html
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from heal.command import Command, Section
from heal.config.experiment import Pure
from heal.errors import HealError
from heal.provenance import read_git_state, record_run
from heal.records import Row, write_text
from heal.viewer.page import embed_json, render_page
from heal.viewer.page_rows import RowBuilder, Tables
from heal.viewer.read_run import ViewedRepair, ViewedRun, find_only_teacher, label_variants, read_run
from heal.viewer.select_repairs import get_reading_order, spread_repairs

VERSION = 2
"""Raise it when the bytes of the output change for the same input."""


class RenderViewer(Command):
    run_folder: Annotated[Path, Section("comparisons.main.run")]
    """Folder of the run, results/<run>."""
    teacher: str | None = None
    """Name of the teacher; needed where the run has several."""
    teacher_seed: int = 0
    """Index of the teacher sampling seed, from 0."""
    max_repairs: int = 200
    """Repairs on the page at most."""
    max_mb: float = 2.0
    """Size of the page in MB at most; fewer repairs where they are long."""
    pure: Annotated[Pure, Section("pure")] = Pure()
    """PURE's options."""
    seed: Annotated[int, Section("seed")] = 0
    """Base seed of the run, for PURE's rule `random`."""
    tokenizer: str | None = None
    """The teacher's folder or hub id, where the run's own is no longer there."""
    out: Path | None = None
    """The html to write; viewer/<teacher>_teacher_seed<n>.html in the run's folder by default."""

    def run(self) -> None:
        teacher = self.teacher or find_only_teacher(self.run_folder)
        out = self.out or self.run_folder / f"viewer/{teacher}_teacher_seed{self.teacher_seed}.html"
        with record_run(out, "view", VERSION, {"options": self.describe_options()}):
            run = read_run(self.run_folder, teacher, self.teacher_seed, self.pure, self.seed)
            builder = RowBuilder(run, self.load_tokenizer(run), self.pure)
            about = self.describe_page(teacher, run, builder.checkable)
            selected = spread_repairs(run.repairs)[: self.max_repairs]
            data = build_data(selected, builder.build_tables, about)
            html = render_page(data)
            write_text(out, html)
        shown = len(data["repairs"])
        limit = f" (the others do not fit into --max-mb {self.max_mb:g})" if shown < about["requested"] else ""
        print(f"{out}: {shown} of {about['total']} repairs{limit}, {count_bytes(html) / 1e6:.2f} MB", file=sys.stderr)

    def load_tokenizer(self, run: ViewedRun) -> Any:
        """The teacher's tokenizer. Raises HealError where it cannot be loaded."""
        from heal.engines.base import load_tokenizer

        if self.tokenizer:
            return load_tokenizer(self.tokenizer)
        return load_tokenizer(run.engine["model"], run.engine["revision"])

    def describe_page(self, teacher: str, run: ViewedRun, checkable: bool) -> dict[str, Any]:
        """What the page says of itself."""
        return {
            "run": self.run_folder.resolve().name,
            "teacher": teacher,
            "teacher_seed": self.teacher_seed,
            "model": str(run.engine["model"]),
            "engine": run.engine["engine"],
            "checked": checkable,
            "pure": self.pure.model_dump(),
            "variants": label_variants(run.gears),
            "total": len(run.repairs),
            "requested": min(self.max_repairs, len(run.repairs)),
            "size_limit_mb": self.max_mb,
            "command": shlex.join(["heal", *sys.argv[1:]]),
            "git": read_git_state(),
        }


def make_empty_tables() -> Tables:
    return {"problems": {}, "texts": {}, "cuts": {}, "repairs": {}}


def count_bytes(text: str) -> int:
    return len(text.encode())


def collect_tables(
    repairs: Iterable[ViewedRepair], build_tables: Callable[[ViewedRepair], Tables], max_bytes: float
) -> Tables:
    """The rows of the first repairs that fit into `max_bytes`; what several of them share is in the tables once."""
    tables = make_empty_tables()
    for repair in repairs:
        new_rows = []
        for name, rows in build_tables(repair).items():
            for key, row in rows.items():
                if key not in tables[name]:
                    new_rows.append((name, key, row))
                    max_bytes -= count_bytes(embed_json({key: row}))
        if max_bytes < 0:
            break
        for name, key, row in new_rows:
            tables[name][key] = row
    return tables


def build_data(
    selected: Sequence[ViewedRepair], build_tables: Callable[[ViewedRepair], Tables], about: Mapping[str, Any]
) -> Row:
    """The page's data: as many of the first selected repairs as fit. Raises HealError where not even one fits."""
    empty_page = render_page({"about": about} | make_empty_tables())
    tables = collect_tables(selected, build_tables, 1e6 * about["size_limit_mb"] - count_bytes(empty_page))
    shown = tables["repairs"]
    if selected and not shown:
        problem = f"not one repair fits into {about['size_limit_mb']:g} MB"
        raise HealError(problem, where="--max-mb", fix="give a larger --max-mb")
    repairs = {}
    for repair in sorted(selected, key=get_reading_order):
        if repair.id in shown:
            repairs[repair.id] = shown[repair.id]
    return {"about": about} | tables | {"repairs": repairs}
