"""Write what the documentation takes from the code: reference pages, and the tables inside README and docs pages.

Reads the classes of config, commands and methods, the schemas of trace files, the docstrings of benchmarks/,
evals/paper.yaml, config/*.yaml and results/reference. Writes docs/reference/ (not committed) and the marked tables of
README.md, baselines/README.md, docs/baseline-api.md, docs/fidelity.md and docs/benchmarks.md.

    make generate
"""

from __future__ import annotations

from pathlib import Path

from heal.errors import exit_with_errors
from heal.records import write_text
from tools.docs import baselines, benchmarks, commands, config, paper, readme, rule_graph
from tools.docs.markdown import replace_between

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs/reference"


def render_pages() -> dict[str, str]:
    """Committed page → its text with its marked tables built again."""
    contents = {
        "README.md": {"main table": readme.build_main_table(), "plans": readme.build_plans_table()},
        "docs/benchmarks.md": {"benchmarks": benchmarks.build_benchmarks_table()},
        "baselines/README.md": {"methods": config.build_methods_table()},
        "docs/baseline-api.md": {
            "example": baselines.build_example_table(),
            "traces": baselines.build_traces_table(),
            "helpers": baselines.build_helpers_table(),
            "files": baselines.build_files_table(),
            "rows": baselines.build_rows_tables(),
        },
        "docs/fidelity.md": {
            "published": paper.build_numbers_table(),
            "sources": config.build_sources_table(),
            "defaults": config.build_defaults_table(),
        },
    }
    pages = {}
    for page, tables in contents.items():
        text = (ROOT / page).read_text(encoding="utf-8")
        for name, table in tables.items():
            text = replace_between(text, name, table, where=page)
        pages[page] = text
    return pages


def write_reference(folder: Path = REFERENCE) -> None:
    """Writes the reference pages of config, commands and rules."""
    write_text(folder / "config.md", config.build_options_page())
    write_text(folder / "config.schema.json", config.build_schema())
    write_text(folder / "commands.md", commands.build_commands_page())
    write_text(folder / "rules.md", rule_graph.PAGE)


def main() -> None:
    for page, text in render_pages().items():
        write_text(ROOT / page, text)
    write_reference()


if __name__ == "__main__":
    exit_with_errors(main)
