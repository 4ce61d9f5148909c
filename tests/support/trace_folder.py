"""Hand-made traces of a dozen mini problems, with every file that any method found needs."""

from heal import records, registry
from heal.config import experiment as config
from heal.config.layers import read_layers
from heal.config.options import validate
from heal.method.base import Traces
from heal.method.steps import split_text
from heal.pipeline.curriculum import is_valid
from heal.worlds.mini import puzzles
from tests.support.paths import ROOT


def load_preset(name):
    """A preset in which a method may take several traces of a problem."""
    layers = read_layers(config.Experiment, [ROOT / "config" / name], {"pace": {"max_per_problem": 4}})
    return validate(config.Experiment, layers, where=name)


EXPERIMENT = load_preset("config.yaml")
FURTHER = load_preset("mini_baselines.yaml")
CONFIGURED = registry.resolve_methods(EXPERIMENT) | registry.resolve_methods(FURTHER)
# Every method that is found is tried, whether a config has it or not.
METHODS = dict(CONFIGURED)
for name in registry.discover_methods().keys() - {method.name for method in CONFIGURED.values()}:
    METHODS[name] = registry.resolve_method(FURTHER, {"method": name}, where="test", field=name)
N = 12
STUDENT = "tiny"


def make_problems():
    return [
        {
            "problem_id": f"p{i}",
            "question": puzzle.question,
            "answer": puzzle.answer,
            "solution": puzzles.build_solution(puzzle),
            "source": "mini",
            "difficulty": puzzle.difficulty,
        }
        for i, puzzle in enumerate(puzzles.generate("train", N, 0))
    ]


def make_trace(problem, name, text):
    empty = {"token_ids": [1], "logprobs": [-0.1], "entropies": [0.1], "finish_reason": "stop"}
    return {"trace_id": name, "problem_id": problem["problem_id"], "index": 0, "text": text, **empty}


def make_grade(row, correct=True):
    return {
        "trace_id": row["trace_id"],
        "problem_id": row["problem_id"],
        "extracted": "1",
        "correct": correct,
        "reason": "",
    }


def make_repair(row):
    story = {
        "source_id": "s",
        "detector": "d",
        "step_entropies": [0.1],
        "surges": [0.1],
        "breakpoint": 2,
        "kept_steps": 1,
    }
    story |= {"kept": "", "hint": "h", "continuation": row["text"]}
    return row | story | {"extracted": "1", "accepted": True, "reason": ""}


def make_score(row, origin="repair"):
    lists = {key: [0.1, 0.2] for key in ("nll_mean", "nll_top20", "nll_max", "uncertainty_product", "uncertainty_mean")}
    about = {"origin": origin, "steps": ["a", "b"], "statement": 2, "statement_nll": 0.1}
    return {"trace_id": row["trace_id"], "problem_id": row["problem_id"], **about, **lists}


def make_ranks(row, logprobs, ranks):
    return {"trace_id": row["trace_id"], "problem_id": row["problem_id"], "logprobs": logprobs, "ranks": ranks}


def write_trace_folder(folder):
    """Traces in which the teacher solves the first third of the problems, and repairs and guided samples do the rest.

    The last problem, which is repaired, was solved once.
    """
    problems = make_problems()
    records.write(folder / "train.parquet", "problems", problems)
    samples = [make_trace(p, f"s{i}{p['problem_id']}", p["solution"] + " " * i) for p in problems for i in range(2)]
    lucky = samples[-1]["trace_id"]
    grades = [make_grade(row, int(row["problem_id"][1:]) < N // 3 or row["trace_id"] == lucky) for row in samples]
    rest = problems[N // 3 :]
    guided = [make_trace(p, f"g{i}{p['problem_id']}", f"{p['solution']} {i}") for p in rest for i in range(6)]
    repairs = [make_repair(make_trace(p, f"r{p['problem_id']}", p["solution"])) for p in rest]
    records.write(folder / "samples.parquet", "samples", samples)
    records.write(folder / "grades.parquet", "grades", grades)
    accepted = {"extracted": "1", "accepted": True, "reason": ""}
    records.write(folder / "guided.parquet", "guided", [row | accepted for row in guided])
    rows_by_rule = {"repair_traces": repairs, "score_traces": [make_score(row) for row in repairs]}
    rows_by_rule["score_guided"] = [make_score(row, "guided") for row in guided]
    rows_by_rule |= dict.fromkeys(("sample_extra", "sample_low_temperature"), samples)
    for file in {file for method in METHODS.values() for file in method.needs()}:
        if file.rule in rows_by_rule:
            records.write(folder / file.path, file.schema, rows_by_rule[file.rule])
        elif file.schema == "grades" and not file.path.startswith("students/"):
            records.write(folder / file.path, file.schema, grades)
    own = folder / f"students/{STUDENT}"
    attempts = [make_trace(p, f"o{i}{p['problem_id']}", f"x = \\boxed{{{i}}}") for p in problems for i in range(4)]
    records.write(own / "samples.parquet", "samples", attempts)
    # The student solves problem i in i of its 4 attempts, and never answers the same twice otherwise.
    verdicts = [make_grade(row, n % 4 < n // 4) | {"extracted": str(n % 4 + 1)} for n, row in enumerate(attempts)]
    records.write(own / "grades.parquet", "grades", verdicts)
    right = [row for row, grade in zip(samples, grades, strict=True) if grade["correct"]]
    ranks = [make_ranks(row, [-0.5, -1.0], [1, 90 - i]) for i, row in enumerate(right)]
    records.write(own / "ranks.parquet", "ranks", ranks)
    records.write(own / "repair_ranks/default.parquet", "ranks", [make_ranks(row, [-0.5], [1]) for row in repairs])
    continuations = [row for source in right[::2] for row in make_continuations(source)]
    records.write(own / "continuations.parquet", "continuations", continuations)
    return folder


def make_continuations(source, first=2):
    """Continuations of a correct sample, two from each of three cuts; right from cut `first` on, half of them there."""
    steps = [step + "\n\n" for step in split_text(source["text"])]
    rows = []
    for cut in range(3):
        for index in range(2):
            prefix, new = "".join(steps[:cut]), f"{index} " + "".join(steps[cut:]).rstrip()
            right = cut > first or (cut == first and index == 0)
            story = {"source_id": source["trace_id"], "index": index, "kept_steps": cut, "steps": len(steps)}
            story |= {"trace_id": f"{source['trace_id']}-{cut}-{index}", "problem_id": source["problem_id"]}
            story |= {"kept": prefix, "continuation": new, "text": prefix + new, "finish_reason": "stop"}
            rows.append(story | {"extracted": "1", "accepted": right, "reason": "" if right else "wrong"})
    return rows


def make_examples(name, folder):
    method = METHODS[name]
    return list(method.build_curriculum(Traces(folder, folder / "train.parquet", method.needs(), 0, STUDENT, is_valid)))
