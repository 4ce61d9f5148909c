"""The trace viewer: repairs of a run as one static html that needs no server and no network.

Reads problems, samples, grades, every repairs file of a teacher and draw, the scores where there are some, and the
teacher's tokenizer; writes --out. Equal files give equal bytes.

    python -m heal.viewer results/mini
    python -m heal.viewer results/mini --teacher default --draw 0 --traces 200 --pure '{"drop_share": 0.2}' \\
        --out results/mini/viewer/default_draw0.html
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from heal.command import command_parser
from heal.config.experiment import Pure
from heal.errors import HealError, exit_with_errors
from heal.pipeline.runner import read_options
from heal.provenance import git_state, recorded
from heal.records import Row, write_text
from heal.viewer.choice import reading_order, spread
from heal.viewer.found import Found, Repair, labels, only_teacher, read_run
from heal.viewer.page import embedded, render
from heal.viewer.story import Storyteller
from heal.worlds import registry as worlds

Tables = dict[str, dict[str, Any]]


def empty() -> Tables:
    return {"problems": {}, "texts": {}, "cuts": {}, "repairs": {}}


def size(data: Any) -> int:
    """Bytes on the page."""
    return len(embedded(data).encode())


def gather(repairs: Iterable[Repair], tell: Callable[[Repair], Tables], room: float) -> tuple[list[Repair], Tables]:
    """The first repairs that fit into `room` bytes, and the tables that tell them; nothing stands there twice."""
    shown, tables = [], empty()
    for repair in repairs:
        new = {
            name: {key: row for key, row in rows.items() if key not in tables[name]}
            for name, rows in tell(repair).items()
        }
        room -= sum(size({key: row}) for rows in new.values() for key, row in rows.items())
        if room < 0:
            break
        for name, rows in new.items():
            tables[name] |= rows
        shown.append(repair)
    return shown, tables


def about(given: argparse.Namespace, teacher: str, found: Found, options: Pure) -> dict[str, Any]:
    """What the page says of itself."""
    return {
        "run": Path(given.run).resolve().name,
        "teacher": teacher,
        "draw": given.draw,
        "model": str(found.engine["model"]),
        "engine": found.engine["engine"],
        "checked": worlds.is_checkable(list(found.problems.values())),
        "pure": options.model_dump(),
        "variants": labels(found.gears),
        "found": len(found.repairs),
        "asked": min(given.traces, len(found.repairs)),
        "size_limit_mb": given.max_mb,
        "command": shlex.join(["python", "-m", "heal.viewer", *sys.argv[1:]]),
        "git": git_state(),
    }


def contents(chosen: Sequence[Repair], tell: Callable[[Repair], Tables], facts: Row) -> Row:
    """The page's data: the first of the chosen repairs, as many as fit. Raises HealError where not one does."""
    shown, tables = gather(
        chosen, tell, 1e6 * facts["size_limit_mb"] - len(render({"about": facts} | empty()).encode())
    )
    if chosen and not shown:
        found = f"not one repair fits into {facts['size_limit_mb']:g} MB"
        raise HealError(found, where="--max-mb", fix="give a larger --max-mb")
    ordered = {repair.id: tables["repairs"][repair.id] for repair in sorted(shown, key=reading_order)}
    return {"about": facts} | tables | {"repairs": ordered}


def main() -> None:
    parser = command_parser(__doc__)
    parser.add_argument("run", help="results/<run>")
    parser.add_argument("--teacher", help="where the run has several")
    parser.add_argument("--draw", type=int, default=0, help="which sampling of the teacher")
    parser.add_argument("--traces", type=int, default=200, help="at most so many repairs (default: %(default)s)")
    parser.add_argument("--max-mb", type=float, default=2.0, help="size of the page; fewer repairs where they are long")
    parser.add_argument("--pure", default="{}", help="PURE's options as JSON (config/README.md)")
    parser.add_argument("--seed", type=int, default=0, help="the run's seed, for PURE's rule `random`")
    parser.add_argument("--tokenizer", help="the teacher's folder or hub id, where it is elsewhere now")
    parser.add_argument("--out", help="the html (default: viewer/<teacher>_draw<d>.html in the run)")
    given = parser.parse_args()
    run, options = Path(given.run), read_options(Pure, given.pure, "--pure")
    teacher = given.teacher or only_teacher(run)
    out = given.out or str(run / f"viewer/{teacher}_draw{given.draw}.html")
    with recorded(out, "heal.viewer", options=vars(given)):
        found = read_run(run, teacher, given.draw, options, given.seed)
        from heal.engines.base import load_tokenizer

        own = (found.engine["model"], found.engine["revision"])
        tokenizer = load_tokenizer(*((given.tokenizer,) if given.tokenizer else own))
        tell = Storyteller(found, tokenizer, options).tell
        facts = about(given, teacher, found, options)
        data = contents(spread(found.repairs)[: given.traces], tell, facts)
        html = render(data)
        write_text(out, html)
    shown = len(data["repairs"])
    less = f" (more than {shown} do not fit into --max-mb)" if shown < facts["asked"] else ""
    print(f"{out}: {shown} of {facts['found']} repairs{less}, {len(html.encode()) / 1e6:.2f} MB", file=sys.stderr)


if __name__ == "__main__":
    exit_with_errors(main)
