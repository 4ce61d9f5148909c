"""Laws of the mini world: true solutions check, errors are found, splits are apart, texts survive the tokenizer."""

import json
import random
import re
from dataclasses import fields
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from heal.worlds.mini import build, cards, checker, puzzles, teacher_text
from heal.worlds.mini.tokenizer import UNKNOWN, build_tokenizer, build_vocabulary, split_pieces
from tests.support.paths import ROOT

MODEL_NAMES = (*teacher_text.TEACHERS, "student")
SHIPPED_BYTES = 5_000_000
REFERENCE = ROOT / "results/reference"


@pytest.fixture(scope="module")
def all_splits() -> dict[str, list[puzzles.Puzzle]]:
    return {split: puzzles.generate(split, 60, seed=3) for split in puzzles.SPLITS}


def everything(all_splits):
    return [puzzle for split in all_splits.values() for puzzle in split]


def test_worked_solutions_are_valid_at_every_step(all_splits):
    for puzzle in everything(all_splits):
        steps = checker.split_steps(puzzles.build_solution(puzzle, seed=5))
        assert len(steps) == len(puzzle.ops) + 1
        assert checker.check_steps(puzzle.question, steps) == [True] * len(steps)
        assert checker.find_first_wrong_step(puzzle.question, steps) is None
        assert checker.find_stated_facts(puzzle.question, puzzles.BLANK.join(steps)) == set(puzzle.facts)


def test_a_question_says_all_about_its_puzzle(all_splits):
    for puzzle in everything(all_splits):
        assert puzzles.parse(puzzle.question) == puzzle
        assert puzzles.parse(f"{puzzle.question} {puzzles.HINT.format(answer=7)}") == puzzle
        assert checker.is_hard(puzzle.question) == (puzzle.difficulty == "hard") == bool(puzzle.facts)
        assert len(checker.find_withheld_steps(puzzle.question)) == len(puzzle.facts)
    with pytest.raises(ValueError, match="not a question"):
        puzzles.parse("What is 2 + 2?")


def test_a_changed_number_is_found_at_its_step(all_splits):
    rng = random.Random(0)
    for puzzle in everything(all_splits):
        steps = puzzles.build_worked_steps(puzzle, seed=1)
        at = rng.randrange(len(steps))
        numbers = list(re.finditer(r"\d+", steps[at]))
        hit = rng.choice(numbers)
        wrong = str((int(hit[0]) + rng.randint(1, puzzles.MODULUS - 1)) % puzzles.MODULUS)
        steps[at] = steps[at][: hit.start()] + wrong + steps[at][hit.end() :]
        assert checker.find_first_wrong_step(puzzle.question, steps) == at + 1


def test_a_guess_is_the_only_wrong_step_when_the_rest_is_consistent(all_splits):
    for puzzle in all_splits["hard"]:
        example = teacher_text.write_unaided(puzzle, teacher_text.TEACHERS["teacher_confident"], random.Random(1))
        verdicts = checker.check_steps(puzzle.question, checker.split_steps(example.parts[0][0]))
        assert [k for k, valid in enumerate(verdicts, 1) if not valid] == checker.find_withheld_steps(puzzle.question)


def test_only_true_statements_count_as_facts(all_splits):
    for puzzle in all_splits["hard"]:
        table, out, value = puzzle.facts[0]
        step = puzzles.format_step(("table", table), out, (value + 1) % puzzles.MODULUS)
        assert checker.find_stated_facts(puzzle.question, step) == set()


def test_a_skipped_step_shows_at_the_next_one(all_splits):
    for puzzle in everything(all_splits):
        steps = puzzles.build_worked_steps(puzzle)
        for skipped in range(len(steps) - 1):
            remaining = steps[:skipped] + steps[skipped + 1 :]
            assert checker.find_first_wrong_step(puzzle.question, remaining) == skipped + 1


@pytest.mark.parametrize("jump", teacher_text.JUMPS)
def test_a_jump_to_the_answer_is_not_valid(all_splits, jump):
    for puzzle in all_splits["easy"]:
        jumped = jump.format(answer=puzzle.answer)
        steps = [*puzzles.build_worked_steps(puzzle)[:2], jumped, puzzles.format_answer(puzzle.answer)]
        assert checker.check_steps(puzzle.question, steps) == [True, True, False, False]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.text()
        | st.text("0123456789 -+=.:{}xtableKfromaddUndo\\")
        | st.from_regex(r"Undo (add|subtract) \d{1,6}: \d+ [-+] \d+ = \d+\.")
        | st.from_regex(r"Undo table [A-Z]: \d+ comes from \d+\.|x = \\boxed\{\d+\}")
    )
)
def test_the_checker_takes_any_trace(steps):
    puzzle = puzzles.generate("hard", 1, seed=0)[0]
    assert len(checker.check_steps(puzzle.question, steps)) == len(steps)
    assert checker.find_stated_facts(puzzle.question, puzzles.BLANK.join(steps)) <= puzzles.WITHHELD_FACTS


def test_splits_do_not_overlap_whatever_the_seeds():
    split_by_question = {}
    for split in puzzles.SPLITS:
        for seed in (0, 1):
            for puzzle in puzzles.generate(split, 500, seed):
                assert split_by_question.setdefault(puzzle.question, split) == split


def test_buckets_keep_splits_apart_for_every_question():
    rng = random.Random(0)
    for hard in (False, True):
        for _ in range(500):
            puzzle = puzzles.draw_puzzle(rng, hard)
            splits = ("train", "dev", puzzle.difficulty, "unseen")
            assert sum(puzzles.is_in_split(puzzle, split) for split in splits) == 1


def test_reserved_facts_occur_in_unseen_only():
    assert len(puzzles.RESERVED_FACTS) == len(puzzles.WITHHELD_TABLES) * puzzles.RESERVED_PER_TABLE
    for split in ("train", "dev", "easy", "hard"):
        assert not {fact for p in puzzles.generate(split, 500, seed=1) for fact in p.facts} & puzzles.RESERVED_FACTS
    assert all(set(p.facts) & puzzles.RESERVED_FACTS for p in puzzles.generate("unseen", 200, seed=1))


def test_train_can_teach_every_fact_that_the_hard_test_needs():
    shown = {fact for p in puzzles.generate("train", 1500, seed=0) for fact in p.facts}
    assert len(shown) >= 0.98 * len(puzzles.WITHHELD_FACTS - puzzles.RESERVED_FACTS)


@pytest.mark.parametrize("split", puzzles.SPLITS)
def test_generation_is_repeatable_and_smaller_n_is_a_prefix(split):
    many = puzzles.generate(split, 80, seed=9)
    assert puzzles.generate(split, 30, seed=9) == many[:30]
    assert puzzles.generate(split, 30, seed=8) != many[:30]
    assert len(set(many)) == len(many)


def test_splits_hold_what_they_promise(all_splits):
    assert {p.difficulty for p in all_splits["easy"]} == {"easy"}
    assert {p.difficulty for p in all_splits["hard"] + all_splits["unseen"]} == {"hard"}
    assert {p.difficulty for p in all_splits["train"]} == {"easy", "hard"}
    assert {len(p.facts) for p in all_splits["hard"]} == {1, 2}


def test_the_student_never_reads_a_withheld_fact():
    rng = random.Random(0)
    for puzzle in puzzles.generate("train", 300, seed=1):
        example = teacher_text.write_student_example(puzzle, rng)
        text = "".join(part for part, _ in example.parts)
        assert example.ends == (puzzles.CUE in text) == (puzzle.difficulty == "easy")
        assert not re.search(rf"table [{''.join(puzzles.WITHHELD_TABLES)}]", text)


@pytest.mark.parametrize("name", teacher_text.TEACHERS)
def test_a_hint_after_right_steps_mostly_gives_valid_text_and_after_wrong_steps_never(name):
    rng = random.Random(0)
    premises = teacher_text.TEACHERS[name]
    valid = {place: 0 for place in ("user", "start", "right", "wrong")}
    for puzzle in puzzles.generate("hard", 200, seed=4):
        for place in valid:
            text = "".join(part for part, _ in teacher_text.write_hinted(puzzle, premises, rng, place).parts)
            steps = checker.split_steps(text.replace(puzzles.HINT.format(answer=puzzle.answer), ""))
            assert steps[-1] == puzzles.format_answer(puzzle.answer)
            jumps = [j for j in teacher_text.JUMPS if j.format(answer=puzzle.answer) in steps]
            assert place != "wrong" or jumps
            valid[place] += checker.find_first_wrong_step(puzzle.question, steps) is None
    assert valid["wrong"] == 0
    shares = {"right": premises.jump_later, "user": premises.jump_start, "start": premises.jump_start}
    for place, share in shares.items():
        assert abs(valid[place] - 200 * (1 - share)) <= 20, place


@pytest.mark.parametrize("name", teacher_text.TEACHERS)
def test_an_unaided_text_never_states_a_withheld_fact(name):
    rng, premises = random.Random(0), teacher_text.TEACHERS[name]
    for puzzle in puzzles.generate("hard", 300, seed=4):
        text = teacher_text.write_unaided(puzzle, premises, rng).parts[0][0]
        assert not checker.find_stated_facts(puzzle.question, text)


def test_some_puzzles_have_two_withheld_steps_where_gear_searches_and_a_step_between_them():
    both = 0
    for puzzle in puzzles.generate("hard", 400, seed=4):
        steps = checker.find_withheld_steps(puzzle.question)
        if len(steps) == 2 and steps[1] <= -(-(len(puzzle.ops) + 1) // 3):
            both += steps[1] - steps[0] > 1
    assert 20 <= both <= 100


@pytest.mark.parametrize("name", teacher_text.TEACHERS)
def test_unaided_jumps_are_guesses_on_hard_puzzles_only(all_splits, name):
    rng, premises = random.Random(0), teacher_text.TEACHERS[name]
    patterns = [jump.format(answer=r"(\d+)") for jump in teacher_text.JUMPS]
    jumped = []
    for puzzle in everything(all_splits):
        steps = checker.split_steps(teacher_text.write_unaided(puzzle, premises, rng).parts[0][0])
        match = next((m[1] for p in patterns for step in steps if (m := re.fullmatch(p, step))), None)
        if match is None:
            assert len(steps) == len(puzzle.ops) + 1
            assert puzzle.facts or checker.find_first_wrong_step(puzzle.question, steps) is None
        else:
            assert puzzle.facts and steps[-1] == puzzles.format_answer(match) and len(steps) <= len(puzzle.ops) + 1
            assert checker.find_first_wrong_step(puzzle.question, steps) <= len(steps) - 1
        if puzzle.facts:
            jumped.append(match is not None)
    assert abs(sum(jumped) / len(jumped) - premises.unaided_jumps) <= 0.12


@pytest.mark.parametrize("name", teacher_text.TEACHERS)
def test_phrasing_after_a_hint_is_louder_only_where_the_premises_say_so(name):
    rng, premises = random.Random(0), teacher_text.TEACHERS[name]
    loud: dict[str, list[bool]] = {"before": [], "after": []}
    for puzzle in puzzles.generate("hard", 200, seed=4):
        *parts, (phrase, _) = teacher_text.write_hinted(puzzle, premises, rng, "right").parts
        prefix = "".join(part for part, _ in parts)
        for place, text in (("before", prefix), ("after", phrase)):
            steps = [step for step in checker.split_steps(text) if checker.find_claims(step)]
            loud[place] += [step.startswith(teacher_text.LOUD_OPENERS) for step in steps]
    share = {place: sum(values) / len(values) for place, values in loud.items()}
    assert share["before"] == pytest.approx(premises.loud_share, abs=0.06)
    assert share["after"] == pytest.approx(max(premises.loud_share, premises.loud_hinted), abs=0.06)


@pytest.mark.parametrize("name", [name for name in teacher_text.TEACHERS if name != "teacher"])
def test_each_other_teacher_differs_from_the_default_in_one_premise(name):
    """Fields by premise; `loud_share` and `loud_hinted` are the noise that P1 and P3 need."""
    premise = {"guess": 1, "loud_share": 1, "jump_start": 2, "jump_later": 2, "unaided_jumps": 3, "loud_hinted": 3}
    default, other = teacher_text.Premises(), teacher_text.TEACHERS[name]
    differing = {premise[f.name] for f in fields(other) if getattr(default, f.name) != getattr(other, f.name)}
    assert len(differing) == 1


def test_world_texts_survive_the_tokenizer(all_splits):
    tokenizer, rng = build_tokenizer(), random.Random(2)
    for puzzle in everything(all_splits):
        for premises in teacher_text.TEACHERS.values():
            example = teacher_text.write_teacher_example(premises, rng)
            texts = (
                puzzle.question,
                puzzles.build_solution(puzzle),
                example.user,
                *(part for part, _ in example.parts),
            )
            for text in texts:
                ids = tokenizer(text)["input_ids"]
                assert tokenizer.unk_token_id not in ids
                assert tokenizer.decode(ids) == text
                assert tokenizer.convert_ids_to_tokens(ids) == split_pieces(text)


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_chat_text_survives_the_shipped_tokenizer(name):
    tokenizer = AutoTokenizer.from_pretrained(build.MODELS / name)
    assert tokenizer.get_vocab() == build_vocabulary()
    assert tokenizer.eos_token == "<|end|>" != tokenizer.pad_token
    puzzle = puzzles.generate("dev", 1, seed=0)[0]
    user = {"role": "user", "content": f"{puzzle.question} {puzzles.HINT.format(answer=puzzle.answer)}"}
    messages = [user, {"role": "assistant", "content": puzzles.build_solution(puzzle)}]
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    assert text == f"<|user|>{user['content']}<|assistant|>{puzzles.build_solution(puzzle)}<|end|>"
    prompt = tokenizer.apply_chat_template([user], tokenize=False, add_generation_prompt=True)
    assert text.startswith(prompt) and prompt.endswith("<|assistant|>")
    encoded = tokenizer.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
    ids, mask = encoded["input_ids"], encoded["assistant_masks"]
    assert tokenizer.decode(ids) == text
    assert tokenizer.unk_token_id not in ids
    answer = tokenizer.decode([i for i, own in zip(ids, mask, strict=True) if own])
    assert answer == f"{puzzles.build_solution(puzzle)}<|end|>"
    trained = build.encode(
        teacher_text.Example(user["content"], ((puzzles.build_solution(puzzle), True),)), build_vocabulary()
    )
    assert trained[0] == ids


def test_foreign_text_becomes_unknown_and_does_not_raise():
    tokenizer = build_tokenizer()
    assert UNKNOWN in tokenizer.convert_ids_to_tokens(tokenizer("Quantum\té!")["input_ids"])


def test_only_tokens_after_the_hint_are_trained():
    puzzle = puzzles.generate("hard", 1, seed=6)[0]
    vocab = build_vocabulary()
    example = teacher_text.write_hinted(puzzle, teacher_text.Premises(), random.Random(0), "start")
    ids, labels = build.encode(example, vocab)
    after = len(split_pieces(example.parts[-1][0])) + 1
    assert labels[-after:] == ids[-after:]
    assert set(labels[:-after]) == {build.IGNORED}


def measure_share_right(name: str, split: str, n: int, sampled: bool) -> float:
    """Share of right final answers on `n` puzzles; one answer each, greedy or at temperature 1."""
    tokenizer = AutoTokenizer.from_pretrained(build.MODELS / name)
    model = AutoModelForCausalLM.from_pretrained(build.MODELS / name, dtype=torch.float32)
    sample = puzzles.generate(split, n, seed=12)
    prompts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": p.question}], tokenize=False, add_generation_prompt=True
        )
        for p in sample
    ]
    batch = tokenizer(prompts, return_tensors="pt", padding=True, return_token_type_ids=False)
    torch.manual_seed(0)
    generated = model.generate(**batch, do_sample=sampled, top_k=0, max_new_tokens=140)
    traces = tokenizer.batch_decode(generated[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    return sum(t.endswith(puzzles.format_answer(p.answer)) for t, p in zip(traces, sample, strict=True)) / n


@pytest.mark.workflow
@pytest.mark.parametrize("name", MODEL_NAMES)
def test_models_do_easy_puzzles_and_fail_at_hard_ones(name):
    assert measure_share_right(name, "easy", 50, sampled=False) >= (0.9 if name == "student" else 0.95)
    for sampled in (True, False):
        assert measure_share_right(name, "hard", 40, sampled=sampled) <= 0.1


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_shipped_models_say_how_they_were_built(name):
    record = json.loads((build.MODELS / name / "build.json").read_text())
    assert record["model"] == name
    assert record["tokens"] == build.RECIPES[name].tokens
    assert record["seed"] == build.SEED


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_shipped_models_have_their_card_and_license(name):
    folder = build.MODELS / name
    assert (folder / "README.md").read_text() == cards.render_card(folder), "fix: python -m heal.worlds.mini.cards"
    assert (folder / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    fields = yaml.safe_load((folder / "README.md").read_text().split("---")[1])
    assert (fields["license"], fields["library_name"]) == ("apache-2.0", "transformers")


UNDECIDED = {"blurred"}
"""Flips of which the interval reaches above the threshold (docs/log.md); one that no longer does fails here."""


@pytest.mark.parametrize(
    ("run", "teacher", "broken"),
    [
        ("mini", "default", None),
        ("mini_confident", "confident", "P1"),
        ("mini_guided", "guided", "P2"),
        ("mini_blurred", "blurred", "P3"),
    ],
)
def test_the_reference_audits_name_the_premise_that_each_teacher_breaks(run, teacher, broken):
    """By every teacher seed, and by the whole interval but for UNDECIDED; the broken one lies below the default's."""
    rows = pd.read_csv(REFERENCE / run / f"tables/main_audits/premises_{teacher}.csv").set_index("premise")
    default = pd.read_csv(REFERENCE / "mini/tables/main_audits/premises_default.csv").set_index("premise")
    for name, row in rows.iterrows():
        verdicts = set(str(row["by_teacher_seed"]).split(", "))
        assert {row["holds"]} == verdicts == ({"no"} if name == broken else {"yes"})
        if name == broken:
            assert row["high"] < default.loc[name, "low"]
            assert (row["high"] < row["threshold"]) != (teacher in UNDECIDED)
        else:
            assert row["low"] > row["threshold"]


def test_shipped_files_are_small():
    folder = Path(build.MODELS)
    assert sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) < SHIPPED_BYTES


def test_a_build_is_repeatable(tmp_path):
    for run in ("a", "b"):
        build.build("student", tmp_path / run, tokens=2_000)
    first, second = ((tmp_path / run / "model.safetensors").read_bytes() for run in ("a", "b"))
    assert first == second
    assert json.loads((tmp_path / "a/build.json").read_text())["commit"] in (tmp_path / "a/README.md").read_text()
