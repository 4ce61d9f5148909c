"""Commands: flags over the config's sections, what identifies an output, and mistakes that name flag and fix."""

from pathlib import Path
from typing import Annotated

import pytest

from heal import cli
from heal.command import Command, Section, parse_command
from heal.config.experiment import Engine, Experiment, Gear, Sampling
from heal.config.layers import read_layers
from heal.config.models import ModelSource
from heal.config.run_config import RunConfig, read_run_config
from heal.errors import HealError
from tests.support.paths import ROOT, SMOKE

VERSION = 3


class Count(Command):
    """Counts something."""

    out: Path
    """File to write."""
    teacher: str | None = None
    student: str | None = None
    variant: str = "default"
    model: Annotated[ModelSource, Section("teachers.{teacher}", "students.{student}")] = ModelSource(path="none")
    sampling: Annotated[Sampling, Section("sampling")] = Sampling()
    engine: Annotated[Engine, Section("engine")] = Engine()
    min_step_tokens: Annotated[int, Section("gear_variants.{variant}.min_step_tokens")] = Gear().min_step_tokens

    def run(self) -> None:
        pass


@pytest.fixture
def parse(monkeypatch):
    monkeypatch.delenv("HEAL_CONFIG", raising=False)
    monkeypatch.chdir(ROOT)
    return lambda *flags: parse_command(Count, "count", flags)


def test_a_section_comes_from_the_config_and_a_flag_overrides_one_option(parse):
    plain = parse("--out", "x", "--config", SMOKE, "--teacher", "default")
    assert (plain.sampling.n, plain.engine.max_num_seqs, plain.min_step_tokens) == (4, 256, 1)
    assert plain.model.path.endswith("models/teacher")
    changed = parse("--out", "x", "--config", SMOKE, "--sampling.n", "7")
    assert changed.sampling == plain.sampling.model_copy(update={"n": 7})


def test_flags_alone_are_enough(parse):
    alone = parse("--out", "x", "--model.path", "tests", "--engine.max-num-seqs", "9")
    assert (alone.model.path, alone.engine, alone.sampling) == ("tests", Engine(max_num_seqs=9), Sampling())


def test_the_environment_names_the_config_for_the_workflow(parse, monkeypatch):
    monkeypatch.setenv("HEAL_CONFIG", SMOKE)
    assert parse("--out", "x", "--student", "tiny").model.path.endswith("models/student")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "--out: missing"),
        (("--out", "x", "--engine.max-num-seq", "9"), "did you mean --engine.max-num-seqs?"),
        (("--out", "x", "--sampling.n", "many"), "--sampling.n"),
        (("--out", "x", "--sampling.n", "0"), "--sampling.n"),
        (("--out", "x", "--engine.max-num-seqs", "half_a_batch"), "--engine.max-num-seqs.*half_a_batch"),
        (("--out", "x", "--config", SMOKE, "--teacher", "defualt"), "no 'teachers.defualt'"),
        (("--out", "x", "--config", SMOKE, "--variant", "no_hnt"), "no 'gear_variants.no_hnt"),
        (("--out", "x", "--config", "nowhere.yaml"), "no such file"),
    ],
)
def test_a_mistake_names_the_flag(parse, flags, message):
    with pytest.raises(HealError, match=message.replace("?", r"\?")):
        parse(*flags)


def resolve(changes):
    content = read_layers(Experiment, [ROOT / SMOKE], changes)
    return RunConfig(Experiment.model_validate(content))


def test_only_options_that_differ_from_their_defaults_identify_an_output(monkeypatch):
    monkeypatch.chdir(ROOT)
    plain = resolve({})
    identity = Count.changed_options(plain, teacher="default", variant="default")
    assert identity["sampling"] == {"n": 4, "max_new_tokens": 160}  # shards: 2 is the default
    explicit = resolve({"sampling": {"top_p": 1.0, "temperature": 1.0}})
    assert Count.changed_options(explicit, teacher="default", variant="default") == identity
    other = resolve({"sampling": {"top_p": 0.9}})
    assert Count.changed_options(other, teacher="default", variant="default") != identity


def test_a_section_that_the_command_does_not_read_is_no_part_of_its_identity(monkeypatch):
    monkeypatch.chdir(ROOT)
    identity = Count.changed_options(resolve({}), teacher="default")
    assert Count.changed_options(resolve({"pure": {"drop_share": 0.5}}), teacher="default") == identity


def test_a_new_option_with_a_default_changes_no_identity(monkeypatch):
    monkeypatch.chdir(ROOT)
    identity = Count.changed_options(resolve({}), teacher="default")

    class WiderSampling(Sampling):
        min_p: float = 0.0
        """An option that today's config does not have."""

    experiment = resolve({}).experiment
    wider = experiment.model_copy(update={"sampling": WiderSampling(**experiment.sampling.model_dump())})
    assert Count.changed_options(RunConfig(wider), teacher="default") == identity


def test_the_version_is_the_module_s():
    assert Count.get_version() == VERSION


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_loads_and_explains_itself(name, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as ended:
        parse_command(cli.COMMANDS[name].load(), name, ["--help"])
    shown = capsys.readouterr().out
    assert ended.value.code == 0
    assert f"usage: heal {name}" in shown and f"heal {name}" in shown.replace(f"usage: heal {name}", "", 1)


def test_an_unknown_command_is_told_the_nearest(monkeypatch):
    with pytest.raises(HealError, match="did you mean 'grade'"):
        cli.main(["grad"])
    with pytest.raises(HealError, match="sample base"):
        cli.main(["sample"])


def test_a_written_config_is_the_same_experiment_in_the_same_order(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    run_config = read_run_config("config/config.yaml")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "heal").symlink_to(ROOT / "heal")
    path = run_config.write()
    again = read_run_config(path)
    assert path.is_relative_to("results/mini/config") and again.experiment == run_config.experiment
    assert list(again.experiment.methods) == list(run_config.experiment.methods)
    assert again.look_up("comparisons.ablations") == run_config.look_up("comparisons.ablations")
    assert list(again.look_up("comparisons.main").methods) == list(run_config.look_up("comparisons.main").methods)
