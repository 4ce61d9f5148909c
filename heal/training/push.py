"""Push a finished student to a hub repository: model, model card and training record. Nothing else ever uploads.

    heal push results/mini/students/default/teacher_seed0/tiny/heal/seed0 --repo NAME/REPOSITORY        # list the files
    heal push results/mini/students/default/teacher_seed0/tiny/heal/seed0 --repo NAME/REPOSITORY --yes  # send them

The token is taken from the environment (HF_TOKEN) or from the hub's own login. A new repository is private, unless
--public is given.
"""

from __future__ import annotations

import re
from pathlib import Path

from pydantic_settings import CliPositionalArg

from heal.command import Command
from heal.engines.base import get_first_line
from heal.errors import HealError

DOCUMENTS = ("README.md", "training.json")
"""Files of the student's folder that are sent with all of model/, to the repository's root."""
REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


class Push(Command):
    student: CliPositionalArg[Path]
    """The folder of a finished student, …/seed0."""
    repo: str
    """NAME/REPOSITORY on the hub."""
    public: bool = False
    """Make a new repository public."""
    yes: bool = False
    """Send the files; without it they are only listed."""

    def run(self) -> None:
        print("\n".join(push(self.student, self.repo, public=self.public, yes=self.yes)))


def push(student: Path, repo: str, *, public: bool = False, yes: bool = False) -> list[str]:
    """Sends the student in one commit, if `yes`; returns the lines to print.

    Raises HealError for an unfinished student, a malformed name, and where the hub refuses.
    """
    if not REPOSITORY.fullmatch(repo):
        raise HealError(f"found {repo!r}", where="--repo", fix="give NAME/REPOSITORY")
    files = list_files(student)
    lines = [f"{name}  {path.stat().st_size / 1e6:.1f} MB" for name, path in files.items()]
    if not yes:
        return [*lines, f"Nothing was sent. With --yes these {len(files)} files go to {repo}."]
    from huggingface_hub import CommitOperationAdd, HfApi

    hub = HfApi()
    operations = [CommitOperationAdd(name, str(path)) for name, path in files.items()]
    try:
        hub.create_repo(repo, private=not public, exist_ok=True)
        commit = hub.create_commit(repo, operations, commit_message=f"{student.parent.name}, {student.name}")
    except Exception as error:  # network, token, permission: the hub's classes differ between versions
        reason = f"{type(error).__name__}: {get_first_line(error)}"
        problem = f"the hub refused the files or could not be reached ({reason})"
        raise HealError(problem, where=repo, fix="check the network, HF_TOKEN and its right to write there") from None
    return [*lines, f"Sent: {commit.commit_url}"]


def list_files(student: Path) -> dict[str, Path]:
    """Path in the repository → local file. Raises HealError where model, card or training record is missing."""
    for name in ("model", *DOCUMENTS):
        if not (student / name).exists():
            fix = "give the folder of a finished student (…/seed0); its rule write_model_card writes README.md"
            raise HealError(f"no {name} in it", where=str(student), fix=fix)
    files = {}
    for path in sorted((student / "model").iterdir()):
        if not path.name.startswith("."):
            files[path.name] = path
    for name in DOCUMENTS:
        files[name] = student / name
    return files
