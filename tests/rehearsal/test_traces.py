"""Laws of the conversations that stand-ins learn, on a template without tokens."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from heal.config.experiment import Gear, Hint, load
from heal.method.gear import has_leak
from heal.rehearsal import traces
from heal.rehearsal.architectures import shrink_heads
from heal.rehearsal.data import DataWriter
from heal.rehearsal.scale import Needs, choose_factor
from heal.rehearsal.traces import RehearsalProblem, TraceWriter

SINGLE, PAPER = "config/single_gpu.yaml", "config/paper.yaml"


def make_writer(preset: str, kind: str, gear: Gear | None = None) -> TraceWriter:
    experiment = load(preset)
    problems = [RehearsalProblem("Which?", "123", kind)]
    return TraceWriter(problems, experiment, [gear or experiment.gear], "<user>{}<assistant>".format, 0)


def collect_answers(kind: str) -> Counter[str]:
    writer = make_writer(SINGLE, kind)
    kinds: Counter[str] = Counter()
    for conversation in writer.write(200, 0.0):
        right = conversation.text[-1] == traces.FINAL.format("123")
        kinds["endless" if not conversation.ends else "right" if right else "wrong"] += 1
    return kinds


@pytest.mark.parametrize(
    ("kind", "seen"),
    [
        (traces.EASY, {"right"}),
        (traces.HARD, {"wrong"}),
        (traces.MIXED, {"right", "wrong"}),
        (traces.ENDLESS, {"right", "endless"}),
    ],
)
def test_a_problems_kind_decides_how_it_is_answered(kind: str, seen: set[str]) -> None:
    assert set(collect_answers(kind)) == seen


@pytest.mark.parametrize("preset", [SINGLE, PAPER])
def test_hinted_traces_are_right_and_some_leak(preset: str) -> None:
    writer = make_writer(preset, traces.HARD)
    patterns = writer.experiment.gear.leak_patterns
    for write in (writer.write_guided, writer.write_repair):
        texts = ["".join(write(writer.problems[0]).text) for _ in range(50)]
        assert all(text.endswith(traces.FINAL.format("123")) for text in texts)
        assert 0 < sum(has_leak(text, patterns) for text in texts) < 50


def test_a_hint_in_the_users_turn_is_no_part_of_the_answer() -> None:
    gear = Gear(hint=Hint(place="user", template="The answer is {answer}."))
    conversation = make_writer(SINGLE, traces.HARD, gear).write_repair(RehearsalProblem("Which?", "123", traces.HARD))
    assert "The answer is 123." in conversation.prompt
    assert "The answer is 123." not in "".join(conversation.context)


def test_a_thinking_preset_thinks_once_and_answers_behind_its_thoughts() -> None:
    writer = make_writer(PAPER, traces.EASY)
    text = "".join(writer.write_base(writer.problems[0]).text)
    thoughts, _, answer = text.partition("</think>\n\n")
    assert thoughts.startswith("<think>\n") and "123" in answer and "<think>" not in answer


@pytest.mark.parametrize(
    ("heads", "small"), [((64, 8), (8, 1)), ((40, 8), (5, 1)), ((9, 3), (3, 1)), ((12, 8), (3, 2))]
)
def test_heads_keep_their_ratio(heads: tuple[int, int], small: tuple[int, int]) -> None:
    assert shrink_heads(*heads) == small


@pytest.mark.parametrize(("preset", "shortest_answer"), [(SINGLE, 2048), (PAPER, 30720)])
def test_prompt_and_trace_fit_with_the_factor_and_no_longer_with_less(preset: str, shortest_answer: int) -> None:
    experiment = load(preset)
    positions, needs = {"a": 32768}, Needs(90, 180)
    factor = choose_factor(experiment, positions, needs)

    def fits(factor: float) -> bool:
        room = (experiment.engine.max_length - experiment.sampling.max_new_tokens) * factor
        return needs.prompt <= room + 0.5 and needs.trace <= shortest_answer * factor

    assert fits(factor) and not fits(factor * 0.8)


@pytest.mark.parametrize("preset", [SINGLE, PAPER])
def test_rows_have_the_columns_of_the_config(preset: str, tmp_path: Path) -> None:
    from heal.config.data import Problems
    from heal.config.experiment import Experiment
    from heal.config.layers import read_layers
    from heal.data.load_problems import collect

    problems = read_layers(Experiment, [preset])["problems"]
    writer = DataWriter(tmp_path, 0)
    writer.replace(problems)
    assert all(file.path.is_file() for file in writer.files.values())
    checked = Problems.model_validate(problems)
    for dataset in (checked.train, checked.dev, *checked.test.values()):
        rows, _ = collect(dataset, 0)
        assert len(rows) == (dataset.n or sum(part.n for part in dataset.parts.values()))
