"""What a plan assumes: model sizes, problem counts, benchmarks; wrong assumptions are refused."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from heal import registry
from heal.config.data import Dataset
from heal.config.models import Model
from heal.errors import HealError
from heal.planning import assumptions, shapes
from tests.support.planning import MINI, run_cli


def test_parameters_come_from_the_command_line_the_folder_or_the_name(tmp_path):
    def get_total(path, assumed=None):
        return get_size(path, assumed).total

    def get_size(path, assumed=None):
        revision = None if Path(path).is_dir() else "0" * 40
        return shapes.find_model_size(Model(path=path, revision=revision), "teachers.big", assumed)

    assert get_total("Qwen/Qwen3-32B") == 32e9 and get_total("Qwen/Qwen3-0.6B-Base") == 0.6e9
    assert get_total("HuggingFaceTB/SmolLM2-135M-Instruct") == 135e6 and get_total("meta-llama/Llama-3.1-8B") == 8e9
    moe = get_size("Qwen/Qwen3-30B-A3B")
    assert (moe.total, moe.active) == (30e9, 3e9)
    assert get_total("Qwen/Qwen3-32B", 7.0) == 7
    folder = tmp_path / "Model-70B"
    folder.mkdir()
    save_file({"w": np.zeros((3, 4)), "b": np.zeros(5)}, folder / "model.safetensors", metadata={"a": "b"})
    assert get_total(str(folder)) == 17
    for damaged in (b"", b"\xff" * 8, struct.pack("<Q", 5) + b"{]"):
        (folder / "model.safetensors").write_bytes(damaged)
        with pytest.raises(HealError, match="no safetensors header"):
            get_total(str(folder))


def test_an_unknown_model_size_is_refused_with_the_cure(capsys, tmp_path):
    path = tmp_path / "config.yaml"
    hub = f"somebody/nameless, revision: {'a' * 40}"
    path.write_text(MINI.read_text().replace("heal/worlds/mini/models/teacher", hub))
    status, output, error = run_cli(capsys, "plan", "--config", path)
    assert status == 2 and output == ""
    for part in (str(path), "teachers.default.path", "somebody/nameless", "--assume params.default="):
        assert part in error
    assert run_cli(capsys, "plan", "--config", path, "--assume", "params.default=8e9")[0] == 0


def test_problems_of_a_file_are_counted_and_an_absent_one_is_refused_with_the_cure(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps({"question": f"q{i}", "answer": "1", "kind": i % 2}) + "\n" for i in range(10)))

    def count(**options):
        return assumptions.count_problems(Dataset(source="file", **{"path": str(path)} | options), "train")

    assert count() == 10 and count(n=4) == 4 and count(n=40) == 10 and count(skip=8) == 2
    assert count(keep={"kind": [1]}) == 5
    absent = str(tmp_path / "absent.jsonl")
    with pytest.raises(HealError, match="--assume problems.train=") as refused:
        count(path=absent)
    assert absent in str(refused.value) and "does not exist" in str(refused.value)
    assert count(path=absent, n=7) == 7
    parts = {"a": Dataset(source="file", path=str(path)), "b": Dataset(source="file", path=absent, n=7)}
    assert assumptions.count_problems(Dataset(source="mixture", parts=parts), "train") == 17
    assert assumptions.count_problems(Dataset(source="mixture", parts=parts, n=12, skip=2), "train") == 12
    assert assumptions.count_problems(Dataset(source="mixture", parts=parts, n=5, skip=6), "train") == 5


def test_benchmarks_are_read_as_lm_eval_reads_them():
    benchmarks = assumptions.read_benchmarks(["mini_hard", "mini_hard_sampled"])
    assert benchmarks["mini_hard"] == assumptions.Benchmark("hard", 1, 160)
    assert benchmarks["mini_hard_sampled"] == assumptions.Benchmark("hard", 4, 160)
    assert assumptions.read_benchmarks(registry.list_benchmarks()).keys() == registry.list_benchmarks().keys()


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("treated_shar=0.3", "did you mean 'treated_share'?"),
        ("problems.trian=3", "did you mean 'problems.train'?"),
        ("params.tinny=3", "did you mean 'params.tiny'?"),
        ("treated_share=1.5", "from 0 to 1"),
        ("use_bandwidth=0", "above 0"),
        ("treated_share", "KEY=VALUE"),
        ("treated_share=much", "should be a valid number"),
        ("treated_share=-1", "a number from 0"),
        ("treated_share=nan", "a number from 0"),
    ],
)
def test_a_wrong_assumption_is_refused(capsys, word, message):
    status, output, error = run_cli(capsys, "plan", "--config", MINI, "--assume", word)
    assert status == 2 and output == "" and "--assume" in error and message in error


def test_an_unknown_gpu_is_refused(capsys):
    status, _, error = run_cli(capsys, "plan", "--config", MINI, "--gpu", "H1000")
    assert status == 2 and "H1000" in error and "H100" in error


def test_the_shape_is_the_folders_else_the_tables_else_an_estimate(tmp_path):
    mini = Model(path="heal/worlds/mini/models/student")
    own = shapes.find_model_shape(mini, shapes.find_model_size(mini, "students.tiny"))
    content = json.loads((Path(mini.path) / "config.json").read_text())
    assert (own.layers, own.width, own.positions) == (
        content["num_hidden_layers"],
        content["hidden_size"],
        content["max_position_embeddings"],
    )
    known = Model(path="Qwen/Qwen3-32B", revision="0" * 40)
    shape = shapes.find_model_shape(known, shapes.find_model_size(known, "teachers.big"))
    assert (shape.layers, shape.attention_width, shape.key_width, shape.positions) == (64, 8192, 1024, 40960)
    other = Model(path="somebody/Model-8B", revision="0" * 40)
    estimate = shapes.find_model_shape(other, shapes.find_model_size(other, "teachers.big"))
    assert estimate.positions is None and 12 * estimate.layers * estimate.width**2 == pytest.approx(8e9)


@pytest.mark.parametrize("name", shapes.KNOWN_SHAPES)
def test_known_shapes_have_about_the_parameters_of_their_names(name):
    """Attention and embeddings by their shape, and the feed-forward part at Qwen3's usual 3 to 5 widths."""
    shape = shapes.KNOWN_SHAPES[name]
    named = shapes.find_model_size(Model(path=name, revision="0" * 40), "teachers.big").total
    attention = shape.layers * shape.width * (2 * shape.attention_width + 2 * shape.key_width)
    embeddings = shape.vocabulary * shape.width
    rest = (named - attention - embeddings) / (3 * shape.layers * shape.width**2)
    assert 2 < rest < 6, rest
