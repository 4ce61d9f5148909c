"""Faults of real presets, each as a few lines that put it back into a copy of the repository.

`benchmarks/rehearsal_faults.py` applies them one by one and shows that the rehearsal fails.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from heal.errors import HealError


@dataclass(frozen=True)
class Fault:
    """name: short. what: what goes wrong. stage: where the rehearsal must see it. file: what is changed.

    old, new: what a regular expression finds, and its replacement; where `old` is empty, `new` is added at the end of
    the file.
    """

    name: str
    what: str
    stage: str
    file: str
    new: str
    old: str = ""

    def apply(self, root: Path) -> None:
        """Puts the fault into a copy of the repository. Raises HealError where the text is not there."""
        path = root / self.file
        text = path.read_text(encoding="utf-8")
        if self.old and not re.search(self.old, text):
            fix = "adapt the fault to the code, in tests/rehearsal/faults"
            raise HealError(f"the fault {self.name!r} does not apply", where=self.file, fix=fix)
        changed = re.sub(self.old, self.new, text) if self.old else f"{text}\n\n{self.new}"
        path.write_text(changed, encoding="utf-8")


FAULTS = (
    Fault(
        "uncapped_requests",
        "a repair asks for all of max_new_tokens behind question, kept steps and hint",
        "repair_traces",
        "heal/pipeline/requests.py",
        "def cap_request(engine, request, max_new_tokens):\n    return request\n",
    ),
    Fault(
        "no_room_at_all",
        "every request is skipped",
        "sample_base",
        "heal/pipeline/requests.py",
        "def cap_request(engine, request, max_new_tokens):\n    return None\n",
    ),
    Fault(
        "long_benchmark",
        "a benchmark's answers are longer than the models' positions",
        "",
        "evals/tasks/_boxed.yaml",
        "max_gen_toks: 65536",
        r"max_gen_toks: \d+",
    ),
    Fault(
        "blank_lines_take_indentation",
        "the indentation of a step belongs to the step before it",
        "repair_traces",
        "heal/method/steps.py",
        'BLANK_LINES = re.compile(r"\\n[ \\t]*\\n\\s*")\n',
    ),
    Fault(
        "empty_box_is_an_answer",
        "an empty box states the answer",
        "score_traces",
        "heal/pipeline/score.py",
        "def find_statement(steps, *_, **__):\n"
        '    return next((number for number, step in enumerate(steps, 1) if "\\\\boxed" in step.text), None)\n',
    ),
    Fault(
        "truncated_counts_as_right",
        "a right answer that is cut off counts",
        "grade_traces",
        "heal/pipeline/grade.py",
        "ended = True",
        re.escape('ended = sample["finish_reason"] == "stop"'),
    ),
    Fault(
        "evaluation_drops_template_options",
        "lm-eval asks another prompt than training did: enable_thinking is dropped",
        "evaluate",
        "evals/capped_model.py",
        "def render_without_options(self, chat_history, add_generation_prompt=True):\n"
        "    return self.tokenizer.apply_chat_template(\n"
        "        chat_history, tokenize=False, add_generation_prompt=add_generation_prompt\n"
        "    )\n\n\n"
        "CappedModel.apply_chat_template = render_without_options\n",
    ),
    Fault(
        "evaluation_misses_end_of_turn",
        "an untrained base model does not stop at <|im_end|> in lm-eval",
        "evaluate",
        "evals/capped_model.py",
        "def stop_at_declared_ends(self, template_options, from_config, where):\n"
        "    self.template_options = dict(template_options)\n"
        "    self.end_ids = [self.tokenizer.eos_token_id]\n\n\n"
        "CappedModel.stop_at_end_of_turn = stop_at_declared_ends\n",
    ),
    Fault(
        "engine_misses_end_of_turn",
        "a base model does not stop at <|im_end|> in its own passes",
        "student_passes",
        "heal/engines/vllm.py",
        "def collect_end_ids(end_token_id, from_config, from_tokenizer):\n    return [from_tokenizer]\n",
    ),
)
"""The faults that a rehearsal can see; others (memory, orphaned processes, a lock that does not install) it cannot."""
