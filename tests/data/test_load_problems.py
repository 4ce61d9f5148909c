"""Problems from files, the hub and mixtures: what is taken, how answers are read, what is said of the others."""

import csv
import json
import os
import subprocess
import sys

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from heal import cli, records
from heal.config.data import Dataset
from heal.config.options import validate
from heal.data import load_problems as problems
from heal.data.read_rows import read_rows
from heal.errors import HealError
from tests.support.paths import FILES

COMMIT = "740312add88f781978c0658806c59bc2815b9866"
# Rows as the hub has them, and what a data set's options say of them.
GSM8K = [
    {"question": "Two and two?", "answer": "It is 2 + 2 = <<2+2=4>>4.\nSo 4.\n#### 4"},
    {"question": "A thousand and one?", "answer": "Just add.\n#### 1,001"},
]
MATH = [
    {
        "problem": "$x$ of $2x=1$?",
        "level": "Level 5",
        "type": "Algebra",
        "solution": "So\n\n$x=\\boxed{\\frac{1}{2}}$.",
    },
    {
        "problem": "Count them.",
        "level": "Level 4",
        "type": "Counting",
        "solution": "\\boxed{1} is off by one: \\boxed{2}",
    },
    {"problem": "Easy.", "level": "Level 1", "type": "Algebra", "solution": "$\\boxed{7}$"},
]
AIME = [
    {"ID": "1983-1", "Year": 1983, "Problem Number": 1, "Question": "Find it.", "Answer": "025", "Part": None},
    {"ID": "2023-II-3", "Year": 2023, "Problem Number": 3, "Question": "Find more.", "Answer": "608", "Part": "II"},
    {"ID": "2024-II-1", "Year": 2024, "Problem Number": 1, "Question": "Held out.", "Answer": "73", "Part": "II"},
]
GPQA = [
    {
        "Question": f"Which is {n}?",
        "Correct Answer": f"{n}\n",
        **{f"Incorrect Answer {i}": f"{n + i} m" for i in (1, 2, 3)},
    }
    for n in range(40)
]
GPQA_COLUMNS = {
    "question": "Question",
    "answer": "Correct Answer",
    "wrong_choices": ["Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3"],
}
SOURCES = {
    "gsm8k": (GSM8K, {"columns": {"question": "question", "answer": "answer"}, "answer": "gsm8k"}),
    "math": (
        MATH,
        {
            "columns": {"question": "problem", "answer": "solution", "solution": "solution", "difficulty": "level"},
            "answer": "boxed",
            "keep": {"level": ["Level 4", "Level 5"]},
        },
    ),
    "aime": (
        AIME,
        {
            "columns": {"question": "Question", "answer": "Answer", "difficulty": "Problem Number"},
            "answer": "integer",
            "drop": {"Year": [2024]},
        },
    ),
    "gpqa": (GPQA, {"columns": GPQA_COLUMNS}),
}


def make_dataset(**options):
    return Dataset.model_validate(options)


def write_file(folder, rows, suffix=".jsonl"):
    path = folder / f"rows{suffix}"
    if suffix == ".jsonl":
        records.write_jsonl(path, rows)
    elif suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        with open(path, "w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return str(path)


def load_file(folder, rows, suffix=".jsonl", seed=0, **options):
    return problems.load(make_dataset(source="file", path=write_file(folder, rows, suffix), **options), seed)


def list_questions(rows):
    return [row["question"] for row in rows]


def make_numbered_rows(count):
    return [{"question": f"What is {n}?", "answer": str(n), "kind": "odd" if n % 2 else "even"} for n in range(count)]


@pytest.fixture
def hub(monkeypatch):
    """The hub, replaced by rows; the calls that it got."""
    calls = []

    def serve(rows):
        def load_dataset(*arguments, **named):
            calls.append((arguments, named))
            return datasets.Dataset.from_list(rows)

        monkeypatch.setattr(datasets, "load_dataset", load_dataset)
        return calls

    return serve


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet", ".csv"])
@pytest.mark.parametrize("name", SOURCES)
def test_a_local_file_gives_the_same_problems_as_the_hub(hub, tmp_path, name, suffix):
    rows, options = SOURCES[name]
    hub(rows)
    served = problems.load(make_dataset(source="hub", path="a/b", revision=COMMIT, split="train", **options), 3)
    local = load_file(tmp_path, rows, suffix, seed=3, **options)
    assert {row.pop("source") for row in served} == {"a/b"} and {row.pop("source") for row in local} == {"rows"}
    assert local == served and local


def test_the_hub_is_asked_for_one_commit_and_runs_no_code(hub):
    calls = hub(GSM8K)
    problems.load(make_dataset(source="hub", path="openai/gsm8k", name="main", revision=COMMIT, split="test"), 0)
    assert calls == [(("openai/gsm8k", "main"), {"split": "test", "revision": COMMIT})]


def test_answers_are_read_as_each_source_writes_them(tmp_path):
    gsm8k, math, aime = (
        load_file(tmp_path, *SOURCES[name][:1], **SOURCES[name][1]) for name in ("gsm8k", "math", "aime")
    )
    assert [row["answer"] for row in gsm8k] == ["4", "1001"]
    assert gsm8k[0]["solution"] == "It is 2 + 2 = 4.\n\nSo 4."
    assert [(row["answer"], row["difficulty"]) for row in math] == [("\\frac{1}{2}", "Level 5"), ("2", "Level 4")]
    assert math[0]["solution"] == MATH[0]["solution"]
    assert [(row["answer"], row["difficulty"], row["solution"]) for row in aime] == [
        ("25", "1", None),
        ("608", "3", None),
    ]


def test_real_rows_of_gsm8k_and_math_are_usable():
    for name, options in (
        ("gsm8k_train", SOURCES["gsm8k"][1]),
        ("gsm8k_test", {}),
        ("math500_test", {}),
        ("math500_test", SOURCES["math"][1] | {"keep": {"level": [3, 5]}}),
    ):
        rows = problems.load(make_dataset(source="file", path=str(FILES / f"{name}.jsonl"), **options), 0)
        assert all(row["answer"] and "#" not in row["answer"] and "<<" not in row["solution"] for row in rows)
    plain = [json.loads(line) for line in (FILES / "math500_test.jsonl").read_text().splitlines()]
    assert [row["answer"] for row in rows] == [row["answer"] for row in plain if row["level"] != 1]


def test_the_letter_is_that_of_the_right_choice_and_all_letters_occur(tmp_path):
    rows = load_file(tmp_path, GPQA, columns=GPQA_COLUMNS)
    for row, source in zip(rows, GPQA, strict=True):
        choices = dict(line[1:].split(") ") for line in row["question"].splitlines() if line.startswith("("))
        assert choices[row["answer"]] == source["Correct Answer"].strip() and list(choices) == list("ABCD")
    assert {row["answer"] for row in rows} == set("ABCD")


def test_the_order_of_choices_depends_on_the_seed_and_the_question_alone(tmp_path):
    rows = load_file(tmp_path, GPQA, columns=GPQA_COLUMNS)
    assert load_file(tmp_path, GPQA[7:9], columns=GPQA_COLUMNS) == rows[7:9]
    turned = GPQA_COLUMNS | {"wrong_choices": GPQA_COLUMNS["wrong_choices"][::-1]}
    assert load_file(tmp_path, GPQA, columns=turned) == rows
    assert list_questions(load_file(tmp_path, GPQA, seed=1, columns=GPQA_COLUMNS)) != list_questions(rows)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Incorrect Answer 2": "0"}, "choices, of which some are equal"),
        ({"Incorrect Answer 2": " "}, "no Incorrect Answer 2"),
        ({"Correct Answer": None}, "no answer"),
    ],
)
def test_broken_choices_are_refused(tmp_path, change, message):
    with pytest.raises(HealError, match=message) as refused:
        load_file(tmp_path, [GPQA[0] | change], columns=GPQA_COLUMNS)
    assert "row 1" in str(refused.value)


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([{"question": "q", "answer": "no number"}], {"answer": "gsm8k"}, "no final answer after '####'"),
        ([{"question": "q", "answer": "no box"}], {"answer": "boxed"}, "no .boxed"),
        ([{"question": "q", "answer": "1.5"}], {"answer": "integer"}, "'1.5' is no whole number"),
        ([{"question": "q", "answer": "1"}], {"columns": {"question": "q", "answer": "answer"}}, "non-empty 'q'"),
        ([{"question": "q", "answer": "1"}], {"keep": {"level": [1]}}, "no column 'level'.*\n.*question, answer"),
        (
            [{"question": "q", "answer": "1", "y": 3}],
            {"drop": {"y": [4]}},
            "no row has 4 in column 'y'.*\n.*values are 3",
        ),
        ([{"question": "q", "answer": "1", "y": 3}], {"drop": {"y": [3]}}, "no problem is left of 0 rows"),
        ([{"question": "q", "answer": "1"}], {"skip": 1}, "no problem is left of 1 rows"),
    ],
)
def test_other_fields_answers_and_filters_are_told_with_file_and_row(tmp_path, rows, options, message):
    with pytest.raises(HealError, match=message) as refused:
        load_file(tmp_path, rows, **options)
    assert "rows.jsonl" in str(refused.value) and "Fix" in str(refused.value)


@pytest.mark.parametrize(
    ("name", "message"), [("a.txt", "unknown file type"), ("a.csv", "no such file"), ("b.csv", "readable")]
)
def test_files_that_cannot_be_read_are_told(tmp_path, name, message):
    (tmp_path / "b.csv").write_bytes(b'question,answer\n"\xff')
    with pytest.raises(HealError, match=message):
        read_rows(str(tmp_path / name))


@pytest.mark.parametrize(("answer", "kind"), [(["1", "2"], "list"), ({"value": 1}, "dict"), (True, "bool")])
def test_an_answer_is_a_text_or_a_number_or_one_of_them_in_a_list(tmp_path, answer, kind):
    with pytest.raises(HealError, match=f"row 1, field answer: expected a text or a number, found a {kind}"):
        load_file(tmp_path, [{"question": "q", "answer": answer}])
    assert load_file(tmp_path, [{"question": "q", "answer": ["2"]}])[0]["answer"] == "2"


def test_a_number_is_filtered_by_its_value(tmp_path):
    rows = [row | {"level": float(n)} for n, row in enumerate(make_numbered_rows(6))]
    assert list_questions(load_file(tmp_path, rows, keep={"level": [5, "3"]})) == ["What is 3?", "What is 5?"]


def test_a_question_in_other_blanks_or_another_normal_form_is_the_same(tmp_path):
    for first, second in (("What is 1?", "What  is\u00a01?"), ("Poincar\u00e9?", "Poincare\u0301?")):
        with pytest.raises(HealError, match="same question as in row 1"):
            load_file(tmp_path, [{"question": first, "answer": "1"}, {"question": second, "answer": "1"}])


def test_choices_are_shown_as_they_are_written(tmp_path):
    row = {"question": "q", "right": "$5$.", "wrong": "$6$."}
    (problem,) = load_file(
        tmp_path, [row], columns={"question": "question", "answer": "right", "wrong_choices": ["wrong"]}
    )
    assert "$5$." in problem["question"] and "$6$." in problem["question"]


def test_filters_keep_and_drop_by_value(tmp_path):
    rows = make_numbered_rows(6)
    assert list_questions(load_file(tmp_path, rows, keep={"kind": ["odd"]})) == [f"What is {n}?" for n in (1, 3, 5)]
    assert list_questions(load_file(tmp_path, rows, drop={"kind": ["odd"]})) == [f"What is {n}?" for n in (0, 2, 4)]


def test_a_shuffled_order_does_not_depend_on_the_files_order(tmp_path):
    rows = make_numbered_rows(30)
    shuffled = list_questions(load_file(tmp_path, rows, order="shuffled", n=10))
    assert list_questions(load_file(tmp_path, rows[::-1], order="shuffled", n=10)) == shuffled
    assert (
        shuffled != list_questions(rows)[:10]
        and list_questions(load_file(tmp_path, rows, seed=1, order="shuffled", n=10)) != shuffled
    )


@pytest.mark.parametrize("order", ["given", "shuffled"])
def test_two_sets_of_one_source_share_nothing_when_the_second_skips_the_first(tmp_path, order):
    rows = [*make_numbered_rows(20), {"question": "faulty", "answer": ""}]
    options = {"order": order, "unusable": "leave_out"}
    dev = list_questions(load_file(tmp_path, rows, n=5, **options))
    train = list_questions(load_file(tmp_path, rows, skip=5, **options))
    assert (
        len(dev) == 5
        and set(dev) | set(train) == set(list_questions(make_numbered_rows(20)))
        and not set(dev) & set(train)
    )


def test_unusable_rows_are_refused_or_left_out_and_told(tmp_path):
    rows = [
        *make_numbered_rows(2),
        {"question": "What is 1?", "answer": "1"},
        {"question": "?", "answer": "see the figure, dear reader"},
    ]
    with pytest.raises(HealError, match="same question as in row 2"):
        load_file(tmp_path, rows)
    chosen = make_dataset(source="file", path=write_file(tmp_path, rows), unusable="leave_out")
    taken, left_out = problems.collect(chosen, 0)
    assert list_questions(taken) == list_questions(make_numbered_rows(2))
    assert [row["where"].rpartition(", ")[2] for row in left_out] == ["row 3", "row 4"]
    assert "same question" in left_out[0]["reason"] and "not mathematics" in left_out[1]["reason"]


def test_a_mixture_joins_its_parts_and_takes_every_question_once(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir(), second.mkdir()
    parts = {
        "small": {"source": "file", "path": write_file(first, make_numbered_rows(10)), "n": 4},
        "large": {"source": "file", "path": write_file(second, make_numbered_rows(12)), "skip": 2},
    }
    with pytest.raises(HealError, match=r"the same question as in .*first.*row 3"):
        problems.load(make_dataset(source="mixture", parts=parts), 0)
    joined = make_dataset(source="mixture", parts=parts, unusable="leave_out")
    rows, left_out = problems.collect(joined, 0)
    assert list_questions(rows) == list_questions(make_numbered_rows(12)) and len(left_out) == 2
    shuffled = problems.load(joined.model_copy(update={"order": "shuffled", "n": 6}), 0)
    assert len(shuffled) == 6 and list_questions(shuffled) != list_questions(rows)[:6]


def test_the_instruction_stands_behind_every_question_and_is_part_of_its_id(tmp_path):
    chosen = make_dataset(source="file", path=write_file(tmp_path, make_numbered_rows(3)))
    bare, instructed = problems.load(chosen, 0), problems.collect(chosen, 0, "Box it.")[0]
    assert list_questions(instructed) == [f"{question}\n\nBox it." for question in list_questions(bare)]
    assert not {row["problem_id"] for row in bare} & {row["problem_id"] for row in instructed}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"source": "hub", "path": "openai/gsm8k", "split": "test"},
            "40 hex digits of a commit listed at https://huggi",
        ),
        ({"source": "hub", "path": "a/b", "split": "test", "revision": "main"}, "a/b/commits/main"),
        ({"source": "hub", "path": "a/b", "split": "test", "revision": COMMIT[:7]}, "40 hex digits"),
        ({"source": "hub", "path": "a/b", "revision": COMMIT}, "`path` and `split`"),
        ({"source": "file", "path": "a.csv", "revision": COMMIT}, "source `file` has no `revision`"),
        ({"source": "file", "path": "a.csv", "wrong_gold_share": 0.1}, "renamed to 'options.wrong_gold_share'"),
        ({"source": "file", "path": "a.csv", "options": {"a": 1}}, "source `file` has no `options`"),
        ({"source": "mini", "n": 3}, "source `mini` needs `split` and `n`"),
        ({"source": "hbu", "path": "a/b", "split": "test"}, "set source to one of `file`, `hub`, `mixture`"),
        ({"source": "mini", "split": "hard", "n": 3, "order": "shuffled"}, "source `mini` has no `order`"),
        ({"source": "mixture"}, "needs `parts`"),
        (
            {"source": "mixture", "parts": {"a": {"source": "mini", "split": "hard", "n": 3}}},
            "parts.a: a part of a mix",
        ),
        ({"source": "file", "path": "a.csv", "keep": {"level": 3}}, "keep.level"),
        ({"source": "file", "path": "a.csv", "columns": {"question": "q"}}, "columns.answer: missing"),
        ({"source": "file", "path": "a.csv", "colums": {}}, "did you mean 'columns'"),
    ],
)
def test_options_that_do_not_fit_their_source_are_refused(options, message):

    with pytest.raises(HealError) as refused:
        validate(Dataset, options, where="my.yaml")
    assert message in str(refused.value), str(refused.value)


def test_without_a_network_it_is_said_which_file_does_instead(tmp_path):
    options = {"source": "hub", "path": "openai/gsm8k", "name": "main", "revision": COMMIT, "split": "test"}
    command = [sys.executable, "-m", "heal", "load-problems", "--out", str(tmp_path / "p.parquet")]
    for name, value in options.items():
        command += [f"--dataset.{name}", value]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert run.returncode == 2 and "Traceback" not in run.stderr and not (tmp_path / "p.parquet").exists()
    for part in (
        f"openai/gsm8k/main/test at {COMMIT[:8]}",
        "hf download openai/gsm8k",
        COMMIT,
        "source: file",
        "'test'",
    ):
        assert part in run.stderr, run.stderr


def test_rows_that_were_left_out_are_listed_in_the_provenance(tmp_path):
    path = write_file(tmp_path, [*make_numbered_rows(2), {"question": "q", "answer": ""}])
    out = tmp_path / "problems.parquet"
    flags = ["--dataset.source", "file", "--dataset.path", path, "--dataset.unusable", "leave_out"]
    cli.main(["load-problems", *flags, "--instruction", "Box it.", "--out", str(out)])
    assert len(records.read(out, "problems")) == 2
    provenance = json.loads((tmp_path / "problems.parquet.provenance.json").read_text())
    assert provenance["options"]["instruction"] == "Box it."
    assert [row["reason"] for row in provenance["left_out"]] == ["no answer"]
