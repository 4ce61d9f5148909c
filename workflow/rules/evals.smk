# Every model on every benchmark, by lm-eval: one process for each model.


rule evaluate_student:
    """All benchmarks of one trained student."""
    input:
        model=rules.train_student.output.model,
        problems=list_benchmark_problems,
        tasks=list_task_files(),
    output:
        list_eval_files(STUDENT_EVALS),
    log:
        f"{LOGS}/{run_layout.STUDENT_EVALS}.log",
    benchmark:
        f"{TIMES}/{run_layout.STUDENT_EVALS}.tsv"
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
        out=STUDENT_EVALS,
    message:
        "Evaluating {wildcards.student}: {wildcards.method}, seed {wildcards.seed} (teacher {wildcards.teacher}, teacher seed {wildcards.teacher_seed})"
    shell:
        "HEAL_LOG={log:q} heal evaluate --student {wildcards.student} --trained {input.model:q} --method {wildcards.method}"
        " --problems {params.problems:q} --gpus {resources.gpu} --out {params.out:q}"


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


rule write_model_card:
    """What a trained student learned from, its scores, and its license."""
    input:
        training=rules.train_student.output.training,
        exposures=rules.train_student.output.exposures,
        student=[f"{STUDENT_EVALS}/{benchmark}/answers.parquet" for benchmark in BENCHMARKS],
        teacher=[f"{TEACHER_EVALS}/{benchmark}/answers.parquet" for benchmark in BENCHMARKS],
        untrained=[f"{UNTRAINED_EVALS}/{benchmark}/answers.parquet" for benchmark in BENCHMARKS],
    output:
        card=f"{STUDENT}/README.md",
    log:
        f"{LOGS}/model_cards/{run_layout.STUDENT}.log",
    benchmark:
        f"{TIMES}/model_cards/{run_layout.STUDENT}.tsv"
    conda:
        CONDA
    params:
        version=get_version("model-card"),
        options=track_options("model-card"),
    message:
        "Model card: {wildcards.student}, {wildcards.method}, seed {wildcards.seed} (teacher {wildcards.teacher}, teacher seed {wildcards.teacher_seed})"
    shell:
        "HEAL_LOG={log:q} heal model-card --teacher {wildcards.teacher} --teacher-seed {wildcards.teacher_seed}"
        " --student {wildcards.student} --method {wildcards.method} --seed {wildcards.seed} --out {output.card:q}"
