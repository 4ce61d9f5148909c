"""Answer-guided and greedy samples of the shipped mini teacher: graded, apart, and both in the ledger."""

import json

from heal import records
from heal.cli import main
from heal.config.experiment import Guided
from heal.method.gear import select_treated_problems
from heal.pipeline.grade import grade_samples
from heal.pipeline.sample_guided import make_greedy_sampler, make_guided_sampler
from tests.support.mini_teacher import GEAR, SAMPLING, SEED
from tests.support.paths import ROOT

GUIDED = Guided(template="{question} Hint: the answer is {answer}.")


def test_guided_samples_are_graded_and_the_hint_stays_out_of_the_text(engine, problems):
    sample_and_judge = make_guided_sampler(engine, SAMPLING, GUIDED, GEAR.leak_patterns, (*SEED, "guided"))
    rows, used = sample_and_judge(problems)
    assert any(row["accepted"] for row in rows) and used["generated"] == sum(len(row["token_ids"]) for row in rows)
    assert all(row["accepted"] == (row["reason"] == "") for row in rows)
    assert not any("Hint" in row["text"] for row in rows if row["accepted"])


def test_greedy_samples_are_the_question_alone_and_depend_on_no_seed(engine, problems):
    rows, used = make_greedy_sampler(engine, SAMPLING, SEED)(problems)
    others, _ = make_greedy_sampler(engine, SAMPLING, (7, 3))(problems[::-1])
    assert [row["problem_id"] for row in rows] == [problem["problem_id"] for problem in problems]
    assert [row["text"] for row in rows] == [row["text"] for row in others[::-1]]
    assert used["requests"] == len(problems)
    gold = {problem["problem_id"]: problem["answer"] for problem in problems}
    assert all(row["accepted"] == (row["extracted"] == gold[row["problem_id"]]) for row in rows)


def test_the_command_writes_both_tables_and_its_provenance_has_the_tokens_of_both(tmp_path, problems, samples):
    grades = grade_samples(problems, samples)
    records.write(tmp_path / "problems.parquet", "problems", problems)
    records.write(tmp_path / "grades.parquet", "grades", grades)
    out, greedy_out = tmp_path / "guided.parquet", tmp_path / "greedy.parquet"
    flags = ["--model.path", ROOT / "heal/worlds/mini/models/teacher", "--engine.device", "cpu", "--guided.n", 1]
    flags += ["--sampling.max-new-tokens", 160, "--max-wrong-agreement", 1.0]
    for name in ("problems", "grades"):
        flags += [f"--{name}", tmp_path / f"{name}.parquet"]
    main(["sample", "guided", *map(str, flags), "--greedy-out", str(greedy_out), "--out", str(out)])
    treated, _ = select_treated_problems(grades, GEAR.max_pass_rate, 1.0)
    assert sorted(row["problem_id"] for row in records.read(greedy_out, "guided")) == sorted(treated)
    usages = [records.read_usage(path) for path in (out, greedy_out)]
    tokens = json.loads((tmp_path / "guided.parquet.provenance.json").read_text())["tokens"]
    assert min(usage["generated"] for usage in usages) > 0
    assert tokens == {kind: sum(usage[kind] for usage in usages) for kind in tokens}
