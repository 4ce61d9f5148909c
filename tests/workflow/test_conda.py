"""`snakemake --sdm conda`: every job runs in the environment that the repository names, on the code of the repository.

conda itself is a stand-in that notes how it is called and makes an environment whose `python` notes that it ran.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support.paths import ROOT, SMOKE
from tests.support.snakemake import LEFT_OUT, plan_jobs, run_snakemake

pytestmark = pytest.mark.workflow
STAND_IN = """#!{python}
import json, os, pathlib, sys
home, arguments = pathlib.Path(__file__).parent.parent, sys.argv[1:]
if arguments[:1] == ["info"]:
    print(json.dumps({{"conda_prefix": str(home), "platform": "linux-64"}}))
elif arguments == ["--version"]:
    print("conda 25.1.1")
elif arguments[:1] == ["config"]:
    print(json.dumps({{"get": {{"channel_priority": "strict"}}}}))
elif arguments[:2] == ["env", "create"]:
    with open(home / "calls", "a") as calls:
        calls.write(json.dumps(arguments) + "\\n")
    bin = pathlib.Path(arguments[arguments.index("--prefix") + 1], "bin")
    bin.mkdir(parents=True)
    (bin / "python").write_text(f"#!/bin/sh\\necho $3 >> {{home}}/ran\\nexec {{sys.executable}} \\"$@\\"\\n")
    (bin / "python").chmod(0o755)
"""


@pytest.fixture
def conda(tmp_path, monkeypatch):
    """The stand-in's home, first on the path: `calls` has what it was asked, `ran` the commands its python ran."""
    home = tmp_path / "conda"
    (home / "bin").mkdir(parents=True)
    (home / "bin/conda").write_text(STAND_IN.format(python=sys.executable))
    (home / "bin/conda").chmod(0o755)
    (home / "bin/activate").write_text('PATH="$1/bin:$PATH"\n')
    monkeypatch.setitem(os.environ, "PATH", f"{home}/bin{os.pathsep}{os.environ['PATH']}")
    return home


def test_every_rule_with_a_command_names_the_environment():
    for path in ROOT.glob("workflow/rules/*.smk"):
        rules = re.split(r"^ *rule \w+:$", path.read_text(), flags=re.MULTILINE)[1:]
        assert all(re.search(r" conda:\n +CONDA\n", rule) for rule in rules if " shell:\n" in rule), path.name


@pytest.mark.parametrize(
    ("config", "file"),
    [("config/config.yaml", "environment.yml"), ("config/paper.yaml", "environment-gpu.yml")],
)
def test_the_environment_is_the_repositorys_for_the_configured_engine(config, file, conda, tmp_path):
    folder = shutil.copytree(ROOT, tmp_path / "copy", ignore=LEFT_OUT)
    arguments = ["--sdm", "conda", "--conda-create-envs-only", "--configfile", config]
    status, output = run_snakemake(folder, *arguments, PATH=os.environ["PATH"])
    assert status == 0, output
    (call,) = map(json.loads, (conda / "calls").read_text().splitlines())
    content = Path(call[call.index("--file") + 1]).read_text()
    assert content == (ROOT / file).read_text() and yaml.safe_load(content)["dependencies"]


def test_jobs_run_in_the_environment_and_only_another_environment_reruns_them(conda, tmp_path):
    folder = shutil.copytree(ROOT, tmp_path / "copy", ignore=LEFT_OUT)
    arguments = ["--configfile", SMOKE, "--sdm", "conda"]
    status, output = run_snakemake(folder, "problems", *arguments, PATH=os.environ["PATH"])
    assert status == 0, output
    assert set((conda / "ran").read_text().split()) == {"load-problems"}
    plain = ["problems", "--configfile", SMOKE]
    assert "load_problems" in plan_jobs(folder, *plain)
    assert plan_jobs(folder, *plain, "--rerun-triggers", "code", "input", "mtime", "params") == {}


def test_another_working_directory_is_refused_with_what_to_do(tmp_path):
    for place in ({"cwd": tmp_path}, {"cwd": ROOT}):
        command = [sys.executable, "-m", "snakemake", "-n", "--snakefile", str(ROOT / "Snakefile"), "--configfile"]
        command += [str(ROOT / SMOKE), "--directory", str(tmp_path)]
        run = subprocess.run(command, **place, capture_output=True, text=True, timeout=300)
        assert run.returncode and "is not the repository" in run.stdout + run.stderr
