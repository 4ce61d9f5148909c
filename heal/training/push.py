"""Push a finished student, or a teacher's traces, to a hub repository, with a card. Nothing else ever uploads.

    heal push results/mini/students/default/teacher_seed0/tiny/heal/seed0 --repo NAME/REPOSITORY        # list the files
    heal push results/mini/students/default/teacher_seed0/tiny/heal/seed0 --repo NAME/REPOSITORY --yes  # send them
    heal push results/mini/traces/default/teacher_seed0 --traces --repo NAME/REPOSITORY                 # a data set

A student goes with its model card, its training record and its scores on benchmarks that the hub knows
(.eval_results/). The token is taken from the environment (HF_TOKEN) or from the hub's own login. A new repository is
private, unless --public is given.
"""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from pydantic_settings import CliPositionalArg

from heal.command import Command
from heal.engines.base import get_first_line
from heal.errors import HealError
from heal.training.trace_set import CARD, list_trace_set, render_card

DOCUMENTS = ("README.md", "training.json")
"""Files of the student's folder that are sent with all of model/, to the repository's root."""
HUB_RESULTS = "hub_results.yaml"
"""Scores as the hub reads them, in the student's folder; an empty list where it knows none of the benchmarks."""
HUB_RESULTS_ON_HUB = ".eval_results/heal.yaml"
REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")

Content = Path | str
"""What is sent: a local file, or a text."""


class Push(Command):
    folder: CliPositionalArg[Path]
    """The folder of a finished student, …/seed0; with --traces, of a teacher's traces, …/teacher_seed0."""
    repo: str
    """NAME/REPOSITORY on the hub."""
    traces: bool = False
    """Push traces as a data set."""
    public: bool = False
    """Make a new repository public."""
    yes: bool = False
    """Send the files; without it they are only listed."""

    def run(self) -> None:
        lines = push(self.folder, self.repo, traces=self.traces, public=self.public, yes=self.yes)
        print("\n".join(lines))


def push(folder: Path, repo: str, *, traces: bool = False, public: bool = False, yes: bool = False) -> list[str]:
    """Sends the student, or the traces, in one commit, if `yes`; returns the lines to print.

    Raises HealError for an unfinished student, a folder without traces, a malformed name, and where the hub refuses.
    """
    if not REPOSITORY.fullmatch(repo):
        raise HealError(f"found {repo!r}", where="--repo", fix="give NAME/REPOSITORY")
    files = list_trace_files(folder) if traces else list_student_files(folder)
    lines = [f"{name}  {measure_bytes(content) / 1e6:.1f} MB" for name, content in files.items()]
    if not yes:
        return [*lines, f"Nothing was sent. With --yes these {len(files)} files go to {repo}."]
    from huggingface_hub import CommitOperationAdd, HfApi

    hub = HfApi()
    operations = []
    for name, content in files.items():
        operations.append(CommitOperationAdd(name, content.encode() if isinstance(content, str) else str(content)))
    kind = "dataset" if traces else "model"
    message = f"{folder.parent.name}, {folder.name}"
    try:
        hub.create_repo(repo, private=not public, exist_ok=True, repo_type=kind)
        commit = hub.create_commit(repo, operations, commit_message=message, repo_type=kind)
    except Exception as error:  # network, token, permission: the hub's classes differ between versions
        reason = f"{type(error).__name__}: {get_first_line(error)}"
        problem = f"the hub refused the files or could not be reached ({reason})"
        raise HealError(problem, where=repo, fix="check the network, HF_TOKEN and its right to write there") from None
    return [*lines, f"Sent: {commit.commit_url}"]


def measure_bytes(content: Content) -> int:
    return len(content.encode()) if isinstance(content, str) else content.stat().st_size


def list_student_files(student: Path) -> dict[str, Content]:
    """Path in the repository → local file. Raises HealError where model, card or training record is missing."""
    for name in ("model", *DOCUMENTS):
        if not (student / name).exists():
            fix = "give the folder of a finished student (…/seed0); its rule write_model_card writes README.md"
            raise HealError(f"no {name} in it", where=str(student), fix=fix)
    files: dict[str, Content] = {}
    for path in sorted((student / "model").iterdir()):
        if not path.name.startswith("."):
            files[path.name] = path
    for name in DOCUMENTS:
        files[name] = student / name
    results = student / HUB_RESULTS
    if results.exists() and yaml.safe_load(results.read_text(encoding="utf-8")):
        files[HUB_RESULTS_ON_HUB] = results
    return files


def list_trace_files(folder: Path) -> dict[str, Content]:
    """Path in the repository → local file, and the card. Raises HealError for a folder without traces."""
    files = list_trace_set(folder)
    return {CARD: render_card(folder, files), **files}
