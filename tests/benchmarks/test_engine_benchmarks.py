"""Rounds are paired, prefixes are counted once, and tokens behind an end token do not count."""

from __future__ import annotations

from benchmarks import engines, plan, repairs
from benchmarks.paired_rounds import Measurement, Table, Way
from heal.config.run_config import read_run_config
from heal.planning.assumptions import count_problems

LOAD = repairs.Load(3, 2, 4, question=12, kept=9, hint=3, continuation=5, new_tokens=5, batch_size=64)


def test_ratios_are_taken_within_rounds(tmp_path):
    table = Table("Speed", {"rounds": 2})
    for number, (ours_s, theirs_s) in enumerate([(1.0, 2.0), (10.0, 30.0)]):  # the second round on a busy machine
        table.measurements.append(Measurement("case", "ours", "theirs", number, 100, ours_s, ours_s))
        table.measurements.append(Measurement("case", "theirs", "theirs", number, 100, theirs_s, theirs_s))
    ours, theirs = table.summarize()
    assert (ours.ratio.low, ours.ratio.median, ours.ratio.high) == (2.0, 2.5, 3.0)
    assert (theirs.ratio.low, theirs.ratio.high) == (1.0, 1.0)
    table.write(tmp_path / "speed.csv")
    assert len((tmp_path / "speed.csv").read_text().splitlines()) == 5
    page = (tmp_path / "speed.md").read_text()
    assert "| case | ours | 100 |" in page and "2.50 (2.00–3.00)" in page and "Versions: python" in page


def test_ways_run_in_turn_and_the_next_round_in_the_reverse_order():
    order = []

    def make_way(name):
        return Way(name, "a", lambda: order.append(name) or 1)

    table = Table("Order", {})
    table.measure("case", [make_way("a"), make_way("b")], rounds=2)
    assert order == [*"ab", *"ab", *"ba"]  # the first two are not measured
    assert [(item.way, item.round) for item in table.measurements] == [("a", 0), ("b", 0), ("b", 1), ("a", 1)]


def test_distinct_prefix_tokens_are_the_nodes_of_the_prefix_tree():
    prompts = [(1, 2, 3), (1, 2, 4), (1, 2, 3), (5,), (1, 2)]
    nodes = {prompt[: length + 1] for prompt in prompts for length in range(len(prompt))}
    assert repairs.count_distinct_prefix_tokens(prompts) == len(nodes) == 5


def test_full_blocks_of_earlier_prompts_are_computed_once():
    first, second = tuple(range(10)), (*range(8), 20, 21)
    assert repairs.calculate_block_cache([first], 4) == 10
    assert repairs.calculate_block_cache([first, first], 4) == 10 + 2
    assert repairs.calculate_block_cache([first, second, second], 4) == 10 + 2 + 2
    assert repairs.calculate_block_cache([first[:8], first[:8]], 4) == 8 + 4  # the last token is always computed
    assert repairs.calculate_block_cache([first, first[1:]], 4) == 10 + 9  # the same tokens at other places


def test_the_repairs_of_one_cut_share_their_prompt_on_the_transformers_engine(tmp_path):
    model = repairs.save_ending_model(tmp_path)
    one, two = repairs.count_load("test", LOAD, "transformers", model)
    prompts = [request.prompt_ids for request in LOAD.make_requests()[0]]
    assert one.computed == len(prompts) * max(map(len, prompts))  # each once, padded to the longest
    assert one.needed == repairs.count_distinct_prefix_tokens(prompts)
    assert one.prompt_tokens == 4 * sum(map(len, prompts)) and two.repairs == 2 * one.repairs
    assert two.needed == one.needed + 3 * len(prompts)  # the second hint of each cut


def test_tokens_behind_the_first_end_token_do_not_count():
    import torch

    rows = torch.tensor([[5, 0, 5, 0], [5, 5, 5, 5], [0, 0, 0, 0]])
    assert engines.count_until_end(rows, [0]) == 2 + 4 + 1


def test_both_transformers_ways_sample_the_teacher():
    load = engines.Load(prompts=4, prompt_tokens=0, samples=2, new_tokens=6, batch_size=4)
    engine = engines.open_transformers(str(engines.TEACHER), load.batch_size, 1)
    requests = engines.make_teacher_requests(engine, load)
    assert [way.run() for way in engines.list_transformers_ways(engine, requests, load)] == [8 * 6, 8 * 6]


def test_planning_is_timed_with_a_thousand_jobs_and_all_problems(tmp_path, monkeypatch):
    experiment = read_run_config(plan.write_dag_config(tmp_path)).experiment
    students = experiment.teacher_seeds * experiment.training_seeds * len(experiment.methods)
    assert experiment.seeds_per_job == 1 and 900 <= 2 * students + 30 * experiment.teacher_seeds <= 1200
    monkeypatch.setattr(plan, "PROBLEMS", 50)
    planned = read_run_config(plan.write_plan_config(tmp_path))
    assert count_problems(planned.get_split("train"), "train") == 50
