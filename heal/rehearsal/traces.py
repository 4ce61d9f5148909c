"""The conversations that a stand-in model is trained on: right, wrong, endless, leaking and repaired traces.

A problem's kind decides how the stand-in answers it. What it chooses at random it chooses uniformly, so that low
temperatures and top-p leave every choice in place. Step 2 of a trace has random digits: there the entropy surges. A
base model does not stop after its turn but rambles on, as base models do: only a turn's end token ends its answers.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from heal.config.experiment import Experiment, Gear
from heal.method.steps import THINKING_ENDS, THINKING_STARTS
from heal.rehearsal.tokenizer import TURN_STARTS

EASY, MIXED, HARD, ENDLESS = "easy", "mixed", "hard", "endless"
KINDS = (EASY, HARD, MIXED, ENDLESS, HARD, EASY)
"""The kinds of the training problems, in turn."""
TEST_KINDS = (EASY, HARD, MIXED, EASY)
"""The kinds of a benchmark's problems: none without an end, as these take most of the time."""
STEP_END = "\n\n"
FIRST = (
    "First I read the question again, slowly and to its end, and note what is given, what is asked for, and what is"
    " neither of the two; at last the answer goes within \\boxed{}."
)
"""Restates the instruction: an empty box is no answer. With prompt and hint it is longer than the room that a preset
leaves beside `max_new_tokens`: a repair that keeps it has to ask for fewer tokens."""
CHOICE = "   Let me try the numbers {}, {} and {} at this point, and see how far it goes."
"""Indented: a cut before it must not keep the indentation."""
MIDDLE = (
    "Now I follow that choice from the start, one small part after the other, and with care.",
    "That leaves only a few cases, and each of them can be checked by hand in one line.",
    "The cases agree with each other, so that nothing is missing and nothing counts twice.",
)
CLOSING_THOUGHT = "So I have what the question asks for, and all that is left is to write it down."
"""Another step of a thinking model, whose answer is no step: the search for the surge needs six."""
LOOK_AGAIN = "Wait, I look at all of it once more from the other side, and take another way."
LEAK = "The hint says it plainly, so I take what it says, and go on from there at once."
ENDLESS_WORDS = " and again"
ENDLESS_START = "Again"
GUESS = "Perhaps it is \\boxed{{{}}}, but I am not sure of that, and so I do it once more."
"""What an endless trace says before: a right answer that is cut off is wrong."""
RAMBLE = "\n" + TURN_STARTS + "user\n" + ENDLESS_START
HINT = "Look once more at the choice that was made."
FINAL = "The final answer is \\boxed{{{}}}."
INTEGER = re.compile(r"-?\d+")
PIECES_OF_RAMBLING = 30
ENDLESS_SHARE = 0.75
"""Of the answers to an endless problem; the others are right."""
STRAY_SHARE = 0.1
"""Share of the conversations whose prompt is not the one that the config asks for."""


@dataclass(frozen=True)
class RehearsalProblem:
    """A problem as the stand-ins learn it: the user turn, the gold answer, and how it is answered."""

    question: str
    answer: str
    kind: str


@dataclass
class Conversation:
    """One training text in parts that are tokenized one by one, as they are when a model generates.

    prompt: the rendered chat prompt. context: text after it that is given, not learned (kept steps, a hint). text: what
    the model answers. ends: whether the turn ends after it. is_request_for_hint: whether it asks for a hint,
    not a trace.
    """

    prompt: str
    context: list[str] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    ends: bool = True
    is_request_for_hint: bool = False


Render = Callable[[str], str]
"""User turn → chat prompt."""


class TraceWriter:
    """Writes conversations about the problems. thinks: whether answers open a thinking block themselves."""

    def __init__(
        self,
        problems: Sequence[RehearsalProblem],
        experiment: Experiment,
        gears: Sequence[Gear],
        render: Render,
        seed: int,
        list_stray_prompts: Callable[[str], list[str]] = lambda question: [],
    ) -> None:
        self.problems = problems
        self.experiment = experiment
        self.gears = gears
        self.render = render
        self.random = random.Random(seed)
        self.by_kind: dict[str, list[RehearsalProblem]] = {}
        for problem in problems:
            self.by_kind.setdefault(problem.kind, []).append(problem)
        self.list_stray_prompts = list_stray_prompts
        prompt = render("1")
        self.opens_block = THINKING_ENDS in experiment.scoring.cue and not prompt.endswith(THINKING_STARTS)
        self.thinks = THINKING_ENDS in experiment.scoring.cue
        self.middle = [*MIDDLE, *[CLOSING_THOUGHT] * self.thinks]

    def restart(self, seed: int) -> None:
        """Makes the next conversations those of this seed."""
        self.random.seed(seed)

    def write(self, count: int, hinted_share: float) -> list[Conversation]:
        """Random conversations, as many about each kind of problem, a share of them with a hint."""
        conversations = []
        for _ in range(count):
            problem = self.random.choice(self.by_kind[self.random.choice(list(self.by_kind))])
            stray_prompts = self.list_stray_prompts(problem.question)
            if stray_prompts and self.random.random() < STRAY_SHARE:
                conversations.append(self.write_stray(stray_prompts[0]))
                continue
            if self.random.random() >= hinted_share:
                conversations.append(self.write_base(problem))
                continue
            writers = (self.write_guided, self.write_repair, self.write_repair, self.write_hint)
            conversations.append(self.random.choice(writers)(problem))
        return conversations

    def write_stray(self, prompt: str) -> Conversation:
        """An answer to a prompt that the config does not ask for: thoughts without an end."""
        words = [THINKING_STARTS, ENDLESS_START, *[ENDLESS_WORDS] * PIECES_OF_RAMBLING]
        return Conversation(prompt, [], words, ends=False)

    def write_base(self, problem: RehearsalProblem) -> Conversation:
        """An answer to the bare question."""
        steps = [FIRST, self.choose_numbers()]
        return self.finish(Conversation(self.render(problem.question)), problem, steps)

    def write_guided(self, problem: RehearsalProblem) -> Conversation:
        """An answer to a question that states its answer: right, and every third one speaks of the hint."""
        turn = self.experiment.guided.template.format(question=problem.question, answer=problem.answer)
        steps = [FIRST, self.choose_numbers(), self.random.choice((LEAK, LOOK_AGAIN, LOOK_AGAIN))]
        return self.finish_hinted(Conversation(self.render(turn)), problem, steps)

    def write_repair(self, problem: RehearsalProblem) -> Conversation:
        """A continuation behind kept steps and a hint."""
        gear = self.random.choice(self.gears)
        if gear.hint.source not in ("answer", "teacher", "solution"):  # controls: nothing to learn from the hint
            return self.write_base(problem)
        kept = self.choose_kept()
        steps = [self.random.choice((LEAK, LOOK_AGAIN, LOOK_AGAIN))]
        hint = HINT if gear.hint.source == "teacher" else gear.hint.template.format(answer=problem.answer)
        if gear.hint.place == "user":
            turn = gear.hint.user_turn.format(question=problem.question, hint=hint)
            return self.finish_hinted(Conversation(self.render(turn), self.open_block(kept)), problem, steps)
        context = [*self.open_block(kept), hint + STEP_END]
        return self.finish_hinted(Conversation(self.render(problem.question), context), problem, steps, opened=True)

    def write_hint(self, problem: RehearsalProblem) -> Conversation:
        """The answer to a request for a hint, where a GEAR variant makes it."""
        gears = [gear for gear in self.gears if gear.hint.source == "teacher"]
        if not gears:
            return self.write_base(problem)
        kept = "".join(self.open_block(self.choose_kept()))
        turn = gears[0].hint.ask_template.format(question=problem.question, kept=kept, answer=problem.answer)
        thoughts = [THINKING_STARTS, LOOK_AGAIN, "\n" + THINKING_ENDS + STEP_END] if self.opens_block else []
        return Conversation(self.render(turn), [], [*thoughts, HINT], is_request_for_hint=True)

    def choose_numbers(self) -> str:
        return CHOICE.format(*self.random.choices("123456789", k=3))

    def choose_kept(self) -> list[str]:
        """The steps before a cut: none, one or two."""
        return [FIRST, self.choose_numbers()][: self.random.randrange(3)]

    def open_block(self, steps: Sequence[str]) -> list[str]:
        opening = [THINKING_STARTS] if self.opens_block else []
        return opening + [step + STEP_END for step in steps]

    def finish(self, conversation: Conversation, problem: RehearsalProblem, steps: Sequence[str]) -> Conversation:
        """The rest of an unaided trace: right, wrong, or without an end, as the problem's kind says."""
        if problem.kind == ENDLESS and self.random.random() < ENDLESS_SHARE:
            words = [ENDLESS_START, *[ENDLESS_WORDS] * PIECES_OF_RAMBLING]
            conversation.text += [*self.open_block([*steps, GUESS.format(problem.answer)]), *words]
            conversation.ends = False
            return conversation
        right = problem.kind in (EASY, ENDLESS) or (problem.kind == MIXED and self.random.random() < 0.5)
        answer = problem.answer if right else self.choose_wrong_answer(problem)
        return self.close(conversation, self.open_block([*steps, *self.middle]), answer)

    def finish_hinted(
        self, conversation: Conversation, problem: RehearsalProblem, steps: Sequence[str], opened: bool = False
    ) -> Conversation:
        """The rest of a trace whose answer is known. opened: whether the context holds the thinking block's start."""
        opened = opened or bool(conversation.context)
        parts = (
            [step + STEP_END for step in (*steps, *self.middle)] if opened else self.open_block([*steps, *self.middle])
        )
        return self.close(conversation, parts, problem.answer)

    def close(self, conversation: Conversation, parts: list[str], answer: str) -> Conversation:
        """The trace's steps, the end of its thinking block, and the answer statement."""
        if self.thinks:
            parts = [*parts[:-1], parts[-1].removesuffix(STEP_END), "\n" + THINKING_ENDS + STEP_END]
        conversation.text += [*parts, FINAL.format(answer)]
        return conversation

    def choose_wrong_answer(self, problem: RehearsalProblem) -> str:
        """Three random digits, or another letter; the answer behind two digits where it is neither."""
        if INTEGER.fullmatch(problem.answer):
            return "".join(self.random.choices("123456789", k=3))
        if len(problem.answer) == 1:
            return self.random.choice([letter for letter in "ABCD" if letter != problem.answer])
        return "".join(self.random.choices("123456789", k=2)) + problem.answer


def tokenize(conversation: Conversation, tokenizer: Any, end_id: int, base: bool) -> tuple[list[int], int]:
    """Token ids, and the number of those that are not learned. base: the text goes on after the turn's end."""
    context: list[int] = []
    for part in (conversation.prompt, *conversation.context):
        context += tokenizer.encode(part, add_special_tokens=False)
    answer = tokenizer.encode("".join(conversation.text), add_special_tokens=False)
    if conversation.ends:
        answer.append(end_id)
        if base:
            answer += tokenizer.encode(RAMBLE + ENDLESS_WORDS * 3, add_special_tokens=False)
    return context + answer, len(context)
