# The training seeds that one job trains, evaluates, or writes the model cards of.
from heal.run_layout import group_seeds

SEEDS = [str(seed) for seed in AXES["seed"]]
# The seeds of every job that trains or evaluates students; a wildcard where each seed has a job of its own.
SEED_GROUPS = [["{seed}"]] if EXPERIMENT.seeds_per_job == 1 else group_seeds(SEEDS, EXPERIMENT.seeds_per_job)


def name_rule(name, seeds):
    """train_student; train_student_0_1_2 where there are several groups of seeds."""
    return name if len(SEED_GROUPS) == 1 else f"{name}_{'_'.join(seeds)}"


def list_per_seed(pattern, seeds):
    """The files of a group of seeds. pattern: with the wildcard {seed}."""
    return [pattern.replace("{seed}", seed) for seed in seeds]


def join_seeds(pattern, seeds):
    """The one log or benchmark file of a group of seeds: seed0_1_2. pattern: with the wildcard {seed}."""
    return pattern.replace("{seed}", "_".join(seeds))


def describe_seeds(seeds):
    """A group of seeds in a job's message."""
    return "seed {wildcards.seed}" if seeds == ["{seed}"] else f"seeds {', '.join(seeds)}"


def get_first_seed(wildcards):
    """The seed of the first student. Each teacher seed has training seeds of its own: the tables take them as independent."""
    return 1000 * (EXPERIMENT.seed + int(wildcards.teacher_seed))


def read_seed(path):
    """The training seed in the path of a student's file, as text."""
    return Path(path).parent.name.removeprefix("seed")


def pair_seeds_with_students(wildcards, output):
    """--seed, --out of every student that a job trains.

    Snakemake does not compare params that are made from outputs or inputs: another grouping of seeds reruns no training.
    """
    arguments = []
    for path in output.training:
        seed = get_first_seed(wildcards) + int(read_seed(path))
        arguments += ["--seed", str(seed), "--out", str(Path(path).parent)]
    return arguments


def pair_students_with_answers(wildcards, input):
    """--trained, --out of every student that a job evaluates."""
    arguments = []
    for path in input.models:
        folder = STUDENT_EVALS.format(**dict(wildcards.items()) | {"seed": read_seed(path)})
        arguments += ["--trained", path, "--out", folder]
    return arguments


def pair_seeds_with_cards(wildcards, output):
    """--seed, --out of every model card that a job writes."""
    arguments = []
    for path in output.cards:
        arguments += ["--seed", read_seed(path), "--out", path]
    return arguments
