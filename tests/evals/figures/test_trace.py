"""One repaired trace: which tokens are kept and new, in which step, and whose tokenizer reads them."""

from __future__ import annotations

import pytest

from evals.figures.trace import build_token_table, choose_repair, decode_tokens, load_tokenizer_file, number_steps
from heal.config.models import ModelSource
from heal.errors import HealError
from heal.worlds.mini import puzzles
from tests.support.audit_factory import SAMPLES, make_repairs
from tests.support.paths import ROOT


def test_the_table_separates_kept_and_new_tokens():
    source = SAMPLES[0]
    row = make_repairs(2, "valid")[0]
    texts = [[step + puzzles.BLANK for step in text.split(puzzles.BLANK)] for text in (source["text"], row["text"])]
    numbers = build_token_table(source, row, texts, 1)
    steps = len(texts[0])
    assert numbers["part"].value_counts().to_dict() == {"trace": steps, "kept": 2, "continuation": steps - 2}
    assert numbers["step"].tolist() == [*range(1, steps + 1)] * 2
    kept_entropies = numbers[numbers["part"] == "kept"]["entropy_nats"].tolist()
    assert kept_entropies == source["entropies"][:2]


def test_what_follows_the_last_step_counts_as_part_of_it():
    texts = ["<think>\n", "a", "\n\n", "b", "</think>", "\n\n", "7"]
    assert number_steps(texts, 1) == [1, 1, 1, 2, 2, 2, 2]
    assert number_steps([], 1) == []


def test_the_first_accepted_repair_that_keeps_something_is_chosen():
    rows = [
        {"trace_id": None, "source_id": "a", "accepted": False, "kept_steps": 0},
        {"trace_id": "1", "source_id": "b", "accepted": False, "kept_steps": 2},
        {"trace_id": "2", "source_id": "c", "accepted": True, "kept_steps": 0},
        {"trace_id": "3", "source_id": "d", "accepted": True, "kept_steps": 1},
    ]
    assert choose_repair(rows, None)["trace_id"] == "3"
    assert choose_repair(rows, "b")["trace_id"] == "1"
    assert choose_repair(rows[:1], None) is None
    with pytest.raises(HealError, match="no repair of a"):
        choose_repair(rows, "a")


def test_the_tokenizer_of_a_model_folder_is_read_and_a_missing_one_refused(tmp_path):
    tokenizer = load_tokenizer_file(ModelSource(path=str(ROOT / "heal/worlds/mini/models/teacher")))
    token_ids = tokenizer.encode("7 + 3", add_special_tokens=False).ids
    assert "".join(decode_tokens(tokenizer, token_ids)).replace(" ", "") == "7+3"
    with pytest.raises(HealError, match="no tokenizer could be loaded"):
        load_tokenizer_file(ModelSource(path=str(tmp_path)))
