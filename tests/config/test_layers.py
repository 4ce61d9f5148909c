"""Laws of layered configs: a file over the file it extends, overrides over both; named entries are replaced whole."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from heal.config import experiment as config
from heal.config.experiment import Experiment
from heal.config.layers import read_layers
from heal.errors import HealError
from tests.support.paths import ROOT

BASE = {
    "run": "base",
    "teachers": {"default": {"path": "a"}, "other": {"path": "b"}},
    "problems": {"train": {"source": "mini", "split": "train", "n": 5}, "test": {"easy": {"n": 1}, "hard": {"n": 2}}},
    "engine": {"max_num_seqs": 3, "problems_per_batch": 4},
    "train": {"max_steps": 600, "epochs": 2.0},
    "benchmarks": ["mini_easy", "mini_hard"],
    "ablations": {"oracle": {"method": "reference_sft"}},
}


def write_files(folder: Path, **files: dict) -> Path:
    """Writes base.yaml and each further file; the path of the last."""
    for name, content in ({"base": BASE} | files).items():
        path = folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def read(path: Path, overrides: dict | None = None) -> dict:
    return read_layers(Experiment, [path], overrides)


def test_options_of_a_group_are_laid_over_one_by_one(tmp_path):
    changes = {"engine": {"max_num_seqs": 9}, "problems": {"train": {"n": 7}}}
    top = write_files(tmp_path, top={"extends": "base.yaml"} | changes)
    content = read(top)
    assert content["engine"] == {"max_num_seqs": 9, "problems_per_batch": 4}
    assert content["problems"]["train"] == {"source": "mini", "split": "train", "n": 7}
    assert content == BASE | {"engine": content["engine"], "problems": content["problems"]}


def test_named_entries_and_lists_are_replaced_whole(tmp_path):
    changes = {"teachers": {"default": {"gpus": 0}}, "benchmarks": ["gsm8k"], "ablations": {}}
    top = write_files(tmp_path, top={"extends": "base.yaml", "problems": {"test": {"easy": {"n": 3}}}} | changes)
    content = read(top)
    assert {name: content[name] for name in changes} == changes
    assert content["problems"] == BASE["problems"] | {"test": {"easy": {"n": 3}}}


def test_null_is_a_value(tmp_path):
    top = write_files(tmp_path, top={"extends": "base.yaml", "train": {"max_steps": None}})
    assert read(top)["train"] == {"max_steps": None, "epochs": 2.0}


def test_overrides_win_over_the_file_and_the_file_over_what_it_extends(tmp_path):
    middle = {"extends": "base.yaml", "run": "middle", "train": {"max_steps": 5}}
    top = write_files(tmp_path, middle=middle, top={"extends": "middle.yaml", "run": "top"})
    content = read(top, {"train": {"epochs": 1.0}, "limit": 3})
    assert (content["run"], content["train"], content["limit"]) == ("top", {"max_steps": 5, "epochs": 1.0}, 3)
    assert "extends" not in content


def test_a_file_over_its_own_base_is_the_file(tmp_path):
    """snakemake --configfile base.yaml top.yaml"""
    top = write_files(tmp_path, top={"extends": "base.yaml", "teachers": {"one": {"path": "c"}}})
    assert read_layers(Experiment, [tmp_path / "base.yaml", top]) == read(top)


def test_the_base_is_sought_beside_the_file(tmp_path):
    (tmp_path / "inner").mkdir()
    write_files(tmp_path)
    top = write_files(tmp_path / "inner", top={"extends": "../base.yaml", "run": "top"})
    assert read(top) == BASE | {"run": "top"}


@pytest.mark.parametrize(
    ("base", "problem"),
    [("absent.yaml", "no such file"), (["base.yaml"], "expected a file's name"), ("top.yaml", "extends this file")],
)
def test_what_cannot_be_extended_is_an_error_with_the_file(tmp_path, base, problem):
    top = write_files(tmp_path, top={"extends": base, "run": "top"})
    with pytest.raises(HealError, match=problem) as error:
        read(top)
    assert error.value.where == f"{top}, extends" and error.value.fix


def test_files_that_extend_each_other_are_an_error(tmp_path):
    top = write_files(tmp_path, other={"extends": "top.yaml"}, top={"extends": "other.yaml"})
    with pytest.raises(HealError, match="extends this file"):
        read(top)


def test_a_misspelled_option_of_a_layer_is_named(tmp_path):
    top = tmp_path / "top.yaml"
    top.write_text(f"extends: {ROOT / 'config/config.yaml'}\nrun: top\nengine: {{max_num_seq: 3}}\n")
    with pytest.raises(HealError, match="engine.max_num_seq: unknown key") as error:
        config.load(top)
    assert error.value.fix == "did you mean 'max_num_seqs'?"


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_run_has_the_name_of_its_file(path):
    run = config.load(path).run
    assert run == ("mini" if path.stem == "config" else path.stem)


def test_reference_folders_have_the_names_of_runs():
    runs = {config.load(path).run for path in (ROOT / "config").glob("*.yaml")}
    folders = {path.name for path in (ROOT / "results/reference").iterdir() if path.is_dir()}
    assert folders - {"benchmarks"} <= runs
