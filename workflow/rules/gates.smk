# Whether the run's world can answer the question at all: controls only, HEAL as it is used is not among them.


rule evaluate_teacher_repeatedly:
    """The teacher's answers to the hard questions many times, for its majority."""
    input:
        model=list_model_files("teachers"),
        problems=list_benchmark_problems,
        tasks=list_task_files(),
    output:
        f"{REPEATED_EVALS}/mini_hard_repeated/answers.parquet",
    log:
        f"{LOGS}/{{teacher}}.repeated.log",
    benchmark:
        f"{TIMES}/{{teacher}}.repeated.tsv"
    conda:
        CONDA
    resources:
        gpu=count_gpus_of_evaluation("teachers"),
        mem_mb=estimate_resource("mem_mb", "evaluate_teacher", "teachers"),
        runtime=estimate_resource("runtime", "evaluate_teacher", "teachers"),
    params:
        version=get_version("evaluate"),
        options=track_options("evaluate"),
        problems=f"{RUN}/problems",
        out=REPEATED_EVALS,
    message:
        "Asking the teacher {wildcards.teacher} the hard questions repeatedly"
    shell:
        "HEAL_LOG={log:q} heal evaluate --teacher {wildcards.teacher} --problems {params.problems:q} --gpus {resources.gpu}"
        " --benchmarks mini_hard_repeated --out {params.out:q}"


rule tabulate_gates:
    """Every gate with its measured value."""
    input:
        answers=lambda wildcards: list_answers(MAIN),
        audits=[f"{TABLES}/main_audits/audits_{teacher}.csv" for teacher in AXES["teacher"]],
        repeated=expand(f"{REPEATED_EVALS}/mini_hard_repeated/answers.parquet", teacher=AXES["teacher"]),
    output:
        csv=f"{TABLES}/gates.csv",
        md=f"{TABLES}/gates.md",
    log:
        f"{LOGS}/gates.log",
    benchmark:
        f"{TIMES}/gates.tsv"
    conda:
        CONDA
    params:
        version=get_version("gates"),
        options=track_options("gates"),
        audits=lambda wildcards, input: repeat_flag("--audits", input.audits),
        repeated=repeat_flag("--repeated", expand(REPEATED_EVALS, teacher=AXES["teacher"])),
    message:
        "Gates of the world"
    shell:
        "HEAL_LOG={log:q} heal gates --comparison main {params.audits:q} {params.repeated:q} --out {output.csv:q}"


rule gates:
    """The table of gates."""
    input:
        f"{TABLES}/gates.md",
