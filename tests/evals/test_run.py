"""Evaluation: lm-eval's own command gives the same score, every answer is kept, and regrading needs no model."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from evals import run as evals_run
from heal import cli, records, registry
from heal.config.data import Dataset
from heal.config.experiment import Engine
from heal.config.models import Model
from heal.data.load_problems import load
from heal.errors import HealError
from tests.support.paths import ROOT

MODEL = str(ROOT / "heal/worlds/mini/models/student")
ENGINE = Engine(max_num_seqs=64)


@pytest.fixture(scope="module")
def problems(tmp_path_factory):
    folder = tmp_path_factory.mktemp("problems")
    for split, n in (("easy", 12), ("hard", 10)):
        records.write(folder / f"{split}.parquet", "problems", load(Dataset(source="mini", split=split, n=n), 0))
    return str(folder)


@pytest.fixture(scope="module")
def evaluated(problems):
    return evals_run.evaluate(Model(path=MODEL), problems, ["mini_easy", "mini_hard_sampled"], ENGINE, 0)


@pytest.mark.parametrize("name", registry.read_tasks())
def test_every_task_found_is_versioned_and_keeps_its_repeats(name):
    task = registry.read_tasks()[name]
    assert task["metadata"]["version"] and task["generation_kwargs"]["until"] == []
    assert name in registry.list_benchmarks()
    if (repeats := task.get("repeats", 1)) > 1:
        assert [step for chain in task["filter_list"] for step in chain["filter"]] == [
            {"function": "take_first_k", "k": repeats}
        ]
        assert task["generation_kwargs"]["do_sample"]


def test_every_answer_is_kept_and_the_scores_are_lm_evals(evaluated):
    for benchmark, (rows, results) in evaluated.items():
        repeats = 4 if benchmark == "mini_hard_sampled" else 1
        assert len(rows) == results["n_answers"] == repeats * results["n_questions"]
        assert results["strict"] == pytest.approx(results["lm_eval"]["strict"])
        assert results["flexible"] == pytest.approx(results["lm_eval"]["flexible"])
        assert results["settings"]["repeats"] == repeats
    assert evaluated["mini_easy"][1]["strict"] > 0.8


def test_repeats_differ(evaluated):
    rows, _ = evaluated["mini_hard_sampled"]
    by_question = {}
    for row in rows:
        by_question.setdefault(row["problem_id"], set()).add(row["text"])
    assert all(len(texts) > 1 for texts in by_question.values())


@pytest.mark.workflow
def test_two_evaluations_are_equal_and_batches_do_not_matter_for_greedy_ones(evaluated, problems):
    again = evals_run.evaluate(Model(path=MODEL), problems, ["mini_easy", "mini_hard_sampled"], ENGINE, 0)
    assert again == evaluated
    other = evals_run.evaluate(Model(path=MODEL), problems, ["mini_easy"], Engine(max_num_seqs=5), 0)
    texts = lambda rows: [row["text"] for row in rows]  # noqa: E731
    assert texts(other["mini_easy"][0]) == texts(evaluated["mini_easy"][0])


def test_the_prompt_is_what_the_chat_template_renders(problems):
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoTokenizer

    turn = [{"role": "user", "content": records.read(f"{problems}/easy.parquet", "problems")[0]["question"]}]
    model = HFLM(pretrained=MODEL, device="cpu", batch_size=1)
    rendered = model.apply_chat_template(turn)
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    expected = tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_dict=False)
    assert model.tok_batch_encode([rendered])[0][0].tolist() == expected


@pytest.mark.workflow
def test_lm_evals_own_command_gives_the_same_score(evaluated, problems, tmp_path):
    command = [sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--apply_chat_template", "--seed", "0"]
    command += ["--model_args", f"pretrained={MODEL},dtype=float32", "--device", "cpu", "--batch_size", "64"]
    command += ["--include_path", "evals/tasks", "--tasks", "mini_easy", "--output_path", str(tmp_path)]
    command += ["--metadata", json.dumps({"problems": problems})]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr[-3000:]
    written = json.loads(next(tmp_path.rglob("results*.json")).read_text())
    assert written["results"]["mini_easy"]["strict,none"] == pytest.approx(evaluated["mini_easy"][1]["strict"])


@pytest.mark.workflow
def test_students_evaluated_in_one_process_give_the_bytes_of_each_alone(problems, tmp_path):
    """Sampled answers included: no student's random numbers depend on the one before."""
    folders = [MODEL, str(ROOT / "heal/worlds/mini/models/teacher")]
    arguments = ["evaluate", "--model.path", MODEL, "--problems", problems, "--benchmarks", "mini_hard_sampled"]
    arguments += ["--engine.max-num-seqs", "64", "--engine.device", "cpu"]
    pairs = [["--trained", folder, "--out", str(tmp_path / f"together/{i}")] for i, folder in enumerate(folders)]
    cli.main([*arguments, *pairs[0], *pairs[1]])
    cli.main([*arguments, "--trained", folders[1], "--out", str(tmp_path / "alone/1")])
    for name in ("answers.parquet", "results.json"):
        contents = [
            (tmp_path / f"{place}/mini_hard_sampled/{name}").read_bytes() for place in ("together/1", "alone/1")
        ]
        assert contents[0] == contents[1], name
    assert read_answers(tmp_path / "together/0") != read_answers(tmp_path / "together/1")
    facts = [json.loads((tmp_path / f"together/{i}/evaluation.provenance.json").read_text()) for i in range(2)]
    assert [fact["options"]["trained"] for fact in facts] == [[folder] for folder in folders]


def read_answers(folder):
    return records.read(folder / "mini_hard_sampled/answers.parquet", "answers")


@pytest.mark.parametrize("flags", [["--trained", "a", "--trained", "b", "--out", "x"], ["--out", "x", "--out", "y"]])
def test_every_student_needs_a_folder_of_its_own(flags, problems):
    with pytest.raises(HealError, match="one --out for every --trained"):
        cli.main(["evaluate", "--model.path", MODEL, "--problems", problems, "--benchmarks", "mini_easy", *flags])


def test_regrading_changes_no_verdict_and_needs_no_model(evaluated, tmp_path, capsys):
    rows, _ = evaluated["mini_hard_sampled"]
    path = tmp_path / "mini_hard_sampled/answers.parquet"
    records.write(path, "answers", [row | {"strict": not row["strict"], "reason": "x"} for row in rows])
    evals_run.regrade(tmp_path)
    assert records.read(path, "answers") == rows
    with pytest.raises(HealError, match="no answers"):
        evals_run.regrade(tmp_path / "nothing")


def test_missing_answers_are_an_error():
    sample = {"doc_id": 6, "doc": {"problem_id": "p", "answer": "1"}, "resps": [["\\boxed{1}"]]}
    with pytest.raises(HealError, match="1 of 4 answers to question 7"):
        evals_run.collect_answers([sample], 4, None, "mini_hard_sampled")


def test_bad_inputs_are_told(problems, tmp_path):
    with pytest.raises(HealError, match="did you mean 'mini_easy'"):
        registry.check_benchmarks(["mini_eazy"], where="--benchmarks")
    with pytest.raises(HealError, match="no such file"):
        evals_run.evaluate(Model(path=MODEL), str(tmp_path), ["mini_easy"], ENGINE, 0)
    bare = shutil.copytree(MODEL, tmp_path / "bare")
    (bare / "chat_template.jinja").unlink()
    config = json.loads((bare / "tokenizer_config.json").read_text())
    (bare / "tokenizer_config.json").write_text(json.dumps({k: v for k, v in config.items() if k != "chat_template"}))
    with pytest.raises(HealError, match="chat template"):
        evals_run.evaluate(Model(path=str(bare)), problems, ["mini_easy"], ENGINE, 0)


def test_the_command_for_lm_eval_in_the_docs_names_what_exists():
    text = (ROOT / "docs/one-gpu.md").read_text()
    command = re.search(r"lm_eval run .*?\n```", text, re.DOTALL)[0]
    assert all(task in registry.list_benchmarks() for task in re.findall(r"--tasks (\w+)", command))
    assert "--include_path evals/tasks" in command
