# Every model on every benchmark, by lm-eval: one process for each job.


for seeds in SEED_GROUPS:

    rule:
        """All benchmarks of the trained students of one method, one per training seed of a group."""
        name:
            name_rule("evaluate_student", seeds)
        input:
            models=list_per_seed(f"{STUDENT}/model", seeds),
            problems=list_benchmark_problems,
            tasks=list_task_files(),
        output:
            [file for folder in list_per_seed(STUDENT_EVALS, seeds) for file in list_eval_files(folder)],
        log:
            join_seeds(f"{LOGS}/{run_layout.STUDENT_EVALS}.log", seeds),
        benchmark:
            join_seeds(f"{TIMES}/{run_layout.STUDENT_EVALS}.tsv", seeds)
        conda:
            CONDA
        resources:
            gpu=count_gpus_of_evaluation("students"),
            mem_mb=estimate_resource("mem_mb", "evaluate_student", "students"),
            runtime=estimate_resource("runtime", "evaluate_student", "students"),
        params:
            version=get_version("evaluate"),
            options=track_options("evaluate", teacher=None),
            problems=f"{RUN}/problems",
            students=pair_students_with_answers,
        message:
            f"Evaluating {{wildcards.student}}: {{wildcards.method}}, {describe_seeds(seeds)} (teacher {{wildcards.teacher}}, teacher seed {{wildcards.teacher_seed}})"
        shell:
            "HEAL_LOG={log:q} heal evaluate --student {wildcards.student} --method {wildcards.method}"
            " --problems {params.problems:q} --gpus {resources.gpu} {params.students:q}"


rule evaluate_teacher:
    """The teacher on the same benchmarks: the ceiling."""
    input:
        model=list_model_files("teachers"),
        problems=list_benchmark_problems,
        tasks=list_task_files(),
    output:
        list_eval_files(TEACHER_EVALS),
    log:
        f"{LOGS}/{run_layout.TEACHER_EVALS}.log",
    benchmark:
        f"{TIMES}/{run_layout.TEACHER_EVALS}.tsv"
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
        out=TEACHER_EVALS,
    message:
        "Evaluating the teacher {wildcards.teacher}"
    shell:
        "HEAL_LOG={log:q} heal evaluate --teacher {wildcards.teacher} --problems {params.problems:q} --gpus {resources.gpu}"
        " --out {params.out:q}"


rule evaluate_untrained:
    """The student before training: the floor."""
    input:
        model=list_model_files("students"),
        problems=list_benchmark_problems,
        tasks=list_task_files(),
    output:
        list_eval_files(UNTRAINED_EVALS),
    log:
        f"{LOGS}/{run_layout.UNTRAINED_EVALS}.log",
    benchmark:
        f"{TIMES}/{run_layout.UNTRAINED_EVALS}.tsv"
    conda:
        CONDA
    resources:
        gpu=count_gpus_of_evaluation("students"),
        mem_mb=estimate_resource("mem_mb", "evaluate_untrained", "students"),
        runtime=estimate_resource("runtime", "evaluate_untrained", "students"),
    params:
        version=get_version("evaluate"),
        options=track_options("evaluate"),
        problems=f"{RUN}/problems",
        out=UNTRAINED_EVALS,
    message:
        "Evaluating the untrained student {wildcards.student}"
    shell:
        "HEAL_LOG={log:q} heal evaluate --student {wildcards.student} --problems {params.problems:q} --gpus {resources.gpu}"
        " --out {params.out:q}"


rule write_model_cards:
    """What the trained students of a method learned from, their scores, and their license."""
    input:
        training=list_per_seed(f"{STUDENT}/training.json", SEEDS),
        exposures=list_per_seed(f"{STUDENT}/exposures.csv", SEEDS),
        students=[
            f"{folder}/{benchmark}/answers.parquet"
            for folder in list_per_seed(STUDENT_EVALS, SEEDS)
            for benchmark in BENCHMARKS
        ],
        teacher=[f"{TEACHER_EVALS}/{benchmark}/answers.parquet" for benchmark in BENCHMARKS],
        untrained=[f"{UNTRAINED_EVALS}/{benchmark}/answers.parquet" for benchmark in BENCHMARKS],
    output:
        cards=list_per_seed(f"{STUDENT}/README.md", SEEDS),
        hub_results=list_per_seed(f"{STUDENT}/hub_results.yaml", SEEDS),
    log:
        f"{LOGS}/model_cards/{run_layout.CURRICULUM}.log",
    benchmark:
        f"{TIMES}/model_cards/{run_layout.CURRICULUM}.tsv"
    conda:
        CONDA
    params:
        version=get_version("model-card"),
        options=track_options("model-card"),
        cards=pair_seeds_with_cards,
    message:
        "Model cards: {wildcards.student}, {wildcards.method} (teacher {wildcards.teacher}, teacher seed {wildcards.teacher_seed})"
    shell:
        "HEAL_LOG={log:q} heal model-card --teacher {wildcards.teacher} --teacher-seed {wildcards.teacher_seed}"
        " --student {wildcards.student} --method {wildcards.method} {params.cards:q}"
