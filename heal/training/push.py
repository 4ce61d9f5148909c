"""A finished student to a hub repository, by `heal push` and never by itself: model, card and training record.

    heal push results/mini/students/default/draw0/tiny/heal/seed0 --repo NAME/REPOSITORY        # what would be sent
    heal push results/mini/students/default/draw0/tiny/heal/seed0 --repo NAME/REPOSITORY --yes  # sends it

The key is taken from the environment (HF_TOKEN) or from the hub's own login. A new repository is private, unless
--public is given.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from heal.errors import HealError

BESIDE = ("README.md", "training.json")  # of the student's folder; all of model/ goes to the repository's root
REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


def contents(student: Path) -> dict[str, Path]:
    """Path in the repository → local file. Raises HealError where the folder is no finished student with a card."""
    absent = [name for name in ("model", *BESIDE) if not (student / name).exists()]
    if absent:
        fix = "give the folder of a finished student (…/seed0); `snakemake cards` makes the cards"
        raise HealError(f"no {absent[0]} in it", where=str(student), fix=fix)
    model = {path.name: path for path in sorted((student / "model").iterdir()) if not path.name.startswith(".")}
    return model | {name: student / name for name in BESIDE}


def push(student: Path, repo: str, *, public: bool = False, yes: bool = False) -> list[str]:
    """Sends the student in one commit, if `yes`; returns what there is to tell, line by line. Raises HealError."""
    if not REPOSITORY.fullmatch(repo):
        raise HealError(f"found {repo!r}", where="--repo", fix="give NAME/REPOSITORY")
    files = contents(student)
    told = [f"{name}  {path.stat().st_size / 1e6:.1f} MB" for name, path in files.items()]
    if not yes:
        return [*told, f"Nothing was sent. With --yes these {len(files)} files go to {repo}."]
    from huggingface_hub import CommitOperationAdd, HfApi

    hub = HfApi()
    operations = [CommitOperationAdd(name, str(path)) for name, path in files.items()]
    try:
        hub.create_repo(repo, private=not public, exist_ok=True)
        commit = hub.create_commit(repo, operations, commit_message=f"{student.parent.name}, {student.name}")
    except Exception as error:  # network, key, permission: the hub's classes differ between versions
        found = f"the hub refused it or could not be reached ({type(error).__name__}: {str(error).splitlines()[0]})"
        raise HealError(found, where=repo, fix="check the network, HF_TOKEN and its right to write there") from None
    return [*told, f"Sent: {commit.commit_url}"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("student", type=Path, help="the folder of a finished student, …/seed0")
    parser.add_argument("--repo", required=True, help="NAME/REPOSITORY on the hub")
    parser.add_argument("--public", action="store_true", help="make a new repository public")
    parser.add_argument("--yes", action="store_true", help="send it; without, only say what would be sent")


def command(given: argparse.Namespace) -> None:
    print("\n".join(push(given.student, given.repo, public=given.public, yes=given.yes)))
