"""What a shell offers after `heal`, and what `heal --version` says."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from heal import cli
from heal.cli import COMMANDS
from heal.command import list_flags
from heal.completion import build_parser
from heal.provenance import describe_commit

ASK = """
source {script}
COMP_WORDS=({words} "{begun}") COMP_CWORD={position} COMP_LINE="{words} {begun}"
_shtab_heal
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def complete(script, words, begun=""):
    """What bash offers for a word that was begun after these words."""
    ask = ASK.format(script=script, words=words, begun=begun, position=len(words.split()))
    run = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, timeout=60, check=True)
    return set(run.stdout.split())


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    """The script that `heal completion bash` prints."""
    import shtab

    path = tmp_path_factory.mktemp("completion") / "heal"
    path.write_text(shtab.complete(build_parser(), shell="bash"))
    return path


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_offers_every_command_and_its_flags(script):
    assert {name.split()[0] for name in COMMANDS} <= complete(script, "heal")
    assert complete(script, "heal", "tabulate-d") == {"tabulate-details"}
    assert {"base", "guided", "extra", "low-temperature"} <= complete(script, "heal sample")
    for name in ("check", "sample base", "push"):
        assert set(list_flags(COMMANDS[name].load())) <= complete(script, f"heal {name}", "--"), name


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_it_is_printed_for_every_shell(shell, capsys):
    cli.main(["completion", shell])
    printed = capsys.readouterr().out
    assert "heal" in printed and "tabulate-comparison" in printed


def test_the_version_names_commit_and_packages(capsys, monkeypatch):
    monkeypatch.setattr("heal.provenance.read_git_state", lambda: {"commit": "0123456789", "dirty": True})
    cli.main(["--version"])
    first, *packages = capsys.readouterr().out.splitlines()
    assert first.startswith("heal-suite ") and first.endswith(", 0123456 with uncommitted changes")
    assert {"python", "torch", "transformers"} <= {line.split()[0] for line in packages}


def test_a_state_without_a_checkout_is_told():
    assert describe_commit({"commit": None, "dirty": None}) == "no git checkout"
    assert describe_commit({"commit": "abc", "dirty": False}) == "abc"
