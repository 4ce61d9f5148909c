"""Decontamination: what counts as the same problem, what does not, and that the list accounts for every removal."""

import json
import random

import pytest

from heal import cli, records
from heal.config import experiment as config
from heal.config.data import Dataset, Decontamination
from heal.data import decontaminate
from heal.data import load_problems as problems
from heal.data.decontaminate import split_words
from heal.errors import HealError
from tests.support import run_factory
from tests.support.paths import FILES, ROOT
from tests.support.tables import write_comparison

WORDS = [f"word{n}" for n in range(15)]
INSTRUCTION = "Please reason step by step, and put your final answer within \\boxed{}."


def make_problem(question, source="x"):
    problem_id = records.hash_content(question)
    return {"problem_id": problem_id, "question": question, "answer": "1", "solution": None, "source": source} | {
        "difficulty": "unknown"
    }


def list_removed(train, held_out, **options):
    """The training questions that go."""
    rows = [make_problem(question) for question in train]
    instruction = options.pop("instruction", "")
    held = {"test": [make_problem(question) for question in held_out]}
    remaining, report = decontaminate.decontaminate(rows, held, Decontamination(**options), instruction)
    assert report["removed"] == len(rows) - len(remaining)
    return [row["question"] for row in rows if row not in remaining]


def test_words_are_the_same_whatever_case_punctuation_and_spacing():
    assert (
        split_words("Find $x$, if\n\\log_{2}(X) = 1.")
        == split_words("find  x if \\log_2 x=1")
        == ("find", "x", "if", "log", "2", "x", "1")
    )
    assert split_words("Größe 5") == ("größe", "5") and split_words("$$") == ()


def test_n_equal_words_are_an_overlap_and_one_less_is_none():
    held = ["before " + " ".join(WORDS[:13]) + " after"]
    assert list_removed([" ".join(WORDS[:13]).upper() + "?"], held)
    assert not list_removed([" ".join(WORDS[:12])], held)
    assert list_removed([" ".join(WORDS[:12])], held, n=12)


def test_short_questions_are_found_where_they_are_equal():
    assert list_removed(["Compute $1+1$.", "Compute $1+2$."], ["compute 1 + 1"]) == ["Compute $1+1$."]
    assert not list_removed(["Compute $1+1$ and $2$."], ["compute 1 + 1"]) and not list_removed(["$$"], ["?"])


def test_a_stock_phrase_is_no_overlap_but_an_equal_question_with_one_is():
    phrase = " ".join(WORDS)
    train = [f"question {n} {phrase}" for n in range(11)]
    held = [f"another one {phrase}"]
    assert not list_removed(train, held)
    assert len(list_removed(train[:10], held)) == 10
    assert list_removed(train, [train[3].upper()]) == [train[3]]


def test_a_held_out_question_that_is_a_stock_phrase_removes_its_equal_only():
    phrase = " ".join(WORDS[:13])
    train = [f"question {n} {phrase}" for n in range(11)] + [phrase]
    assert list_removed(train, [phrase]) == [phrase]


def test_the_instruction_is_not_compared():
    train, held = [f"How many m + n?\n\n{INSTRUCTION}"], [f"What is n?\n\n{INSTRUCTION}"]
    assert not list_removed(train, held, instruction=INSTRUCTION)
    assert list_removed(train, held)  # its 12 words and the n before it


def test_the_order_of_rows_and_splits_changes_nothing():
    rng = random.Random(0)
    texts = [" ".join(rng.choices(WORDS, k=rng.randint(2, 20))) for _ in range(60)]
    train = [make_problem(text) for text in dict.fromkeys(texts[:40])]
    held = {"a": [make_problem(text) for text in texts[30:50]], "b": [make_problem(text) for text in texts[45:]]}
    options = Decontamination(n=3, common=4)
    remaining, report = decontaminate.decontaminate(train, held, options)
    assert 0 < report["removed"] < len(train) and remaining == [row for row in train if row in remaining]
    for _ in range(3):
        rng.shuffle(train)
        shuffled = {split: rng.sample(rows, len(rows)) for split, rows in reversed(held.items())}
        again, same = decontaminate.decontaminate(train, shuffled, options)
        assert same == report and {row["problem_id"] for row in again} == {row["problem_id"] for row in remaining}


def test_nothing_is_removed_for_nothing_held_out():
    assert list_removed(["a b c"], []) == []


def test_real_questions_that_share_13_words_are_found():
    gsm8k = {
        name: problems.load(Dataset(source="file", path=str(FILES / f"gsm8k_{name}.jsonl")), 0)
        for name in ("train", "test")
    }
    math = problems.load(Dataset(source="file", path=str(FILES / "math500_test.jsonl")), 0)
    remaining, report = decontaminate.decontaminate(
        gsm8k["train"], {"gsm8k": gsm8k["test"], "math500": math}, Decontamination()
    )
    assert report["removed_for"] == {"gsm8k": 4, "math500": 0} and len(remaining) == 12
    hits = [hit["match"] for one in report["problems"] for hit in one["hits"]]
    assert "the first movie is 1 hour and 30 minutes long while the second" in hits
    assert all(len(hit.split()) == 13 for hit in hits)


def write_problems(path, questions):
    records.write(path, "problems", [make_problem(text) for text in questions])
    return path


class Run:
    """The problem files of a run, and the two commands of its decontamination as the workflow calls them."""

    def __init__(self, folder, train):
        self.folder = folder
        self.unfiltered = write_problems(folder / "unfiltered/train.parquet", train)
        self.train = folder / "train.parquet"
        self.report = folder / "decontamination.json"

    def hold_out(self, split, *questions):
        write_problems(self.folder / f"{split}.parquet", questions)

    def call(self, command, splits, *arguments):
        held_out = [part for split in splits for part in ("--held-out", self.folder / f"{split}.parquet")]
        cli.main([command, *map(str, ("--problems", self.unfiltered, *held_out, *arguments))])

    def decontaminate(self, *splits):
        self.call("decontaminate", splits, "--out", self.train)
        return [row["question"] for row in records.read(self.train, "problems")]

    def check(self, *splits):
        self.call("check-decontamination", splits, "--train", self.train, "--out", self.report)
        return json.loads(self.report.read_text())

    def choose(self, *splits, may_change=False):
        return decontaminate.choose_held_out(self.folder, splits, Decontamination(), "", may_change=may_change)


@pytest.fixture
def run(tmp_path):
    """Three training problems, one of which is held out too."""
    run = Run(tmp_path, ["same", "other", "third"])
    run.hold_out("bench", "Same!")
    return run


def test_the_commands_write_what_remains_and_a_report_of_what_does_not(run, capsys):
    assert run.decontaminate("bench") == ["other", "third"]
    assert run.check("bench")["problems"] == [
        {
            "problem_id": make_problem("same")["problem_id"],
            "source": "x",
            "hits": [{"split": "bench", "problem_id": make_problem("Same!")["problem_id"], "match": "question"}],
        }
    ]
    assert "1 of 3 training problems removed" in capsys.readouterr().out
    first = run.report.read_bytes()
    run.check("bench")
    assert run.report.read_bytes() == first


def test_training_problems_that_are_all_held_out_are_an_error(run):
    run.hold_out("every", "same", "other", "third")
    with pytest.raises(HealError, match="every training problem is also held out") as error:
        run.decontaminate("bench", "every")
    assert "bench, every" in error.value.fix and not run.train.exists()


def test_a_file_whose_rows_stay_is_not_written_again(run, capsys):
    run.decontaminate("bench")
    before = run.train.stat()
    run.hold_out("amc", "no training problem")
    run.decontaminate("bench", "amc")
    assert (run.train.stat().st_mtime_ns, run.train.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    assert "unchanged, as no row changes" in capsys.readouterr().out
    run.hold_out("amc", "third")
    assert run.decontaminate("bench", "amc") == ["other"]


def test_a_further_split_joins_only_where_a_row_changes_and_may_change(run):
    assert run.choose("bench") == ["bench"]
    run.decontaminate("bench")
    run.hold_out("disjoint", "no training problem")
    run.hold_out("overlapping", "third")
    assert run.choose("bench", "overlapping") == ["bench"]
    assert run.choose("bench", "disjoint", may_change=True) == ["bench"]
    assert run.choose("bench", "not_loaded_yet", may_change=True) == ["bench"]
    assert run.choose("bench", "overlapping", may_change=True) == ["bench", "overlapping"]


def test_a_split_that_the_config_drops_stays_held_out(run):
    run.hold_out("dev", "other")
    run.decontaminate("bench", "dev")
    assert run.choose("dev", may_change=True) == ["bench", "dev"]


def test_the_check_passes_a_disjoint_split_and_names_one_that_overlaps(run):
    run.decontaminate("bench")
    run.hold_out("disjoint", "no training problem")
    assert run.check("bench", "disjoint")["held_out_problems"] == {"bench": 1, "disjoint": 1}
    run.report.unlink()
    run.hold_out("overlapping", "third")
    with pytest.raises(HealError, match=r"1 of 2 training problems are also held out \(overlapping 1\)") as error:
        run.check("bench", "overlapping")
    assert "leave overlapping out of problems.test" in error.value.fix and "allow_resampling=true" in error.value.fix
    assert not run.report.exists()


def test_the_check_names_training_problems_that_are_not_what_remains(run):
    run.decontaminate("bench")
    write_problems(run.unfiltered, ["same", "other", "third", "fourth"])
    with pytest.raises(HealError, match="2 training problems, where 3 of the unfiltered ones remain"):
        run.check("bench")


def test_it_is_on_unless_a_world_generates_the_training_problems():
    root = ROOT
    mini = config.load(root / "config/config.yaml").problems
    assert not mini.decontaminated
    elsewhere = mini.model_copy(update={"train": Dataset(source="file", path="a.jsonl")})
    assert elsewhere.decontaminated
    for enabled in (True, False):
        chosen = {"decontamination": Decontamination(enabled=enabled)}
        assert (
            mini.model_copy(update=chosen).decontaminated
            is elsewhere.model_copy(update=chosen).decontaminated
            is enabled
        )


def test_the_table_counts_what_was_removed_and_left_out(tmp_path):
    folder = run_factory.write_run(tmp_path / "run", accuracy={"rs": 0.3, "heal": 0.4, "oracle": 0.5})
    write_comparison(folder, tmp_path / "main.csv")
    assert "Decontamination" not in (tmp_path / "main.md").read_text()
    _, report = decontaminate.decontaminate(
        [make_problem("a"), make_problem("b")], {"b": [make_problem("A")]}, Decontamination()
    )
    records.write_json(tmp_path / "report.json", report)
    records.write_json(folder / "problems/b.parquet.provenance.json", {"left_out": [{"where": "row 1", "reason": "x"}]})
    write_comparison(folder, tmp_path / "main.csv", decontamination=tmp_path / "report.json")
    text = (tmp_path / "main.md").read_text()
    assert "1 of 2 training problems removed" in text and "(b 1)" in text and "Problems of b: 1 rows" in text
