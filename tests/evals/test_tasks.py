"""Every lm-eval task that is found: it loads, asks the run's questions as they are, and grades as the suite does."""

import re

import pytest
import yaml

from heal import records, registry
from heal.config.data import Dataset

QUESTION = "What is {}?\n\nPlease reason step by step, and put your final answer within \\boxed{{}}."


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    """Benchmark → its lm-eval task, over two questions whose gold answers are 7 and B."""
    from lm_eval.tasks import TaskManager

    folder = tmp_path_factory.mktemp("problems")
    for split in set(registry.list_benchmarks().values()):
        rows = [
            {"problem_id": gold, "question": QUESTION.format(gold), "answer": gold, "solution": None, "source": split}
            | {"difficulty": "unknown"}
            for gold in ("7", "B")
        ]
        records.write(folder / f"{split}.parquet", "problems", rows)
    manager = TaskManager(include_path=str(registry.TASKS), include_defaults=False, metadata={"problems": str(folder)})
    return manager.load(list(registry.list_benchmarks()))["tasks"]


@pytest.mark.parametrize("name", registry.list_benchmarks())
def test_a_benchmark_asks_the_runs_questions_and_grades_the_box(tasks, name):
    task = tasks[name]
    number, letter = task.test_docs()
    assert task.doc_to_text(number) == QUESTION.format("7")
    repeats = task.config.repeats
    assert task.process_results(number, [["So \\boxed{7}."] * repeats]) == {"strict": 1.0, "flexible": 1.0}
    assert task.process_results(number, [["So 7."] * repeats]) == {"strict": 0.0, "flexible": 1.0}
    assert task.process_results(letter, [["\\boxed{\\text{B}}"] * repeats])["strict"] == 1.0
    assert task.process_results(letter, [["\\boxed{(B) 42 m}"] * repeats])["strict"] == 1.0
    assert task.process_results(letter, [["\\boxed{A}"] * repeats])["strict"] == 0.0
    assert task.config.generation_kwargs["max_gen_toks"] > 0 and task.config.metadata["version"]


def test_the_public_benchmarks_are_there():
    expected = {"gsm8k", "math500", "aime24", "aime25", "aime26", "hmmt", "gpqa_diamond"}
    assert expected <= set(registry.list_benchmarks())
    for name in expected:
        assert registry.list_benchmarks()[name] == name and (registry.TASKS / name / f"{name}.yaml").exists()


def test_the_problem_sets_of_2026_are_a_part_of_a_config():
    blocks = re.findall(r"^```yaml\n(.*?)^```$", (registry.TASKS / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    content = yaml.safe_load(blocks[-1])
    assert set(content["benchmarks"]) == set(content["problems"]["test"]) == {"aime26", "hmmt"}
    for name, fields in content["problems"]["test"].items():
        dataset, hub = Dataset.model_validate(fields), registry.read_tasks()[name]["metadata"]["hub"]
        assert (dataset.path, dataset.n) == (hub["dataset"], hub["questions"])


def test_the_template_is_no_benchmark_and_its_copy_is_one(tmp_path):
    from lm_eval.tasks import TaskManager

    assert not {"NAME", "TEMPLATE"} & set(registry.list_benchmarks())
    assert "NAME" not in TaskManager(include_path=str(registry.TASKS), include_defaults=False).all_tasks
    template = (registry.TASKS / "TEMPLATE/TEMPLATE.yaml").read_text()
    assert "# task: NAME" in template
    records.write_text(tmp_path / "_boxed.yaml", (registry.TASKS / "_boxed.yaml").read_text())
    records.write_text(tmp_path / "NAME/NAME.yaml", template.replace("# task: NAME", "task: NAME"))
    fields = registry.read_tasks(tmp_path)["NAME"]
    assert fields["dataset_kwargs"] == {"split": "NAME"} and fields["metadata"]["version"]
    assert fields["filter_list"][0]["filter"] == [{"function": "take_first_k", "k": fields["repeats"]}]
    assert fields["doc_to_target"] == "answer", "what all benchmarks share is included"
