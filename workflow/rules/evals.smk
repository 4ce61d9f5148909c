# Every model on every benchmark, by lm-eval: one process for each model.


rule evaluate_student:
    """All benchmarks of one trained student, in one process."""
    input:
        model=rules.student.output.model,
        problems=benchmark_problems,
        tasks=task_files(),
        code=code("evals.run"),
    output:
        evaluation(f"{RUN}/evals/{STUDENT}/seed{{seed}}"),
    log:
        f"{LOGS}/evals/{STUDENT}.seed{{seed}}.log",
    benchmark:
        f"{TIMES}/evals/{STUDENT}.seed{{seed}}.tsv"
    conda:
        CONDA
    resources:
        gpu=STUDENT_GPUS,
    params:
        template=lambda wildcards: template_options(EXPERIMENT.students[wildcards.student]),
        problems=f"{RUN}/problems",
        benchmarks=BENCHMARKS,
        engine=options(EXPERIMENT.engine),
        seed=EXPERIMENT.seed,
        trackers=lambda wildcards: ["--report-to", *TRAINING[wildcards.method].report_to],
        out=f"{RUN}/evals/{STUDENT}/seed{{seed}}",
    message:
        "Evaluating {wildcards.student}: {wildcards.method}, seed {wildcards.seed} (teacher {wildcards.teacher}, draw {wildcards.draw})"
    shell:
        "python -m evals.run --model {input.model:q} {params.template:q} --problems {params.problems:q} --benchmarks {params.benchmarks}"
        " --engine {params.engine:q} --gpus {resources.gpu} --seed {params.seed} {params.trackers}"
        " --out {params.out:q}"
        " 2>&1 | tee {log:q}"


rule evaluate_teacher:
    """The teacher itself, on the same benchmarks: the ceiling."""
    input:
        model=teacher_files,
        problems=benchmark_problems,
        tasks=task_files(),
        code=code("evals.run"),
    output:
        evaluation(f"{RUN}/evals/{{teacher}}/teacher"),
    log:
        f"{LOGS}/evals/{{teacher}}.teacher.log",
    benchmark:
        f"{TIMES}/evals/{{teacher}}.teacher.tsv"
    conda:
        CONDA
    resources:
        gpu=TEACHER_GPUS,
    params:
        model=TEACHER,
        problems=f"{RUN}/problems",
        benchmarks=BENCHMARKS,
        engine=options(EXPERIMENT.engine),
        seed=EXPERIMENT.seed,
        out=f"{RUN}/evals/{{teacher}}/teacher",
    message:
        "Evaluating the teacher {wildcards.teacher}"
    shell:
        "python -m evals.run {params.model:q} --problems {params.problems:q} --benchmarks {params.benchmarks}"
        " --engine {params.engine:q} --gpus {resources.gpu} --seed {params.seed} --out {params.out:q}"
        " 2>&1 | tee {log:q}"


rule evaluate_untrained:
    """The student before training: the floor."""
    input:
        model=student_files,
        problems=benchmark_problems,
        tasks=task_files(),
        code=code("evals.run"),
    output:
        evaluation(f"{RUN}/evals/students/{{student}}"),
    log:
        f"{LOGS}/evals/students.{{student}}.log",
    benchmark:
        f"{TIMES}/evals/students.{{student}}.tsv"
    conda:
        CONDA
    resources:
        gpu=STUDENT_GPUS,
    params:
        model=BASE_STUDENT,
        problems=f"{RUN}/problems",
        benchmarks=BENCHMARKS,
        engine=options(EXPERIMENT.engine),
        seed=EXPERIMENT.seed,
        out=f"{RUN}/evals/students/{{student}}",
    message:
        "Evaluating the untrained student {wildcards.student}"
    shell:
        "python -m evals.run {params.model:q} --problems {params.problems:q} --benchmarks {params.benchmarks}"
        " --engine {params.engine:q} --gpus {resources.gpu} --seed {params.seed} --out {params.out:q}"
        " 2>&1 | tee {log:q}"


rule model_card:
    """What a trained student learnt from, how it scores, and on what terms."""
    input:
        training=rules.student.output.training,
        exposures=rules.student.output.exposures,
        answers=ANSWERS,
        code=code("evals.report.model_card"),
    output:
        card=f"{RUN}/students/{STUDENT}/seed{{seed}}/README.md",
    log:
        f"{LOGS}/cards/{STUDENT}.seed{{seed}}.log",
    benchmark:
        f"{TIMES}/cards/{STUDENT}.seed{{seed}}.tsv"
    conda:
        CONDA
    params:
        run=lambda wildcards: RUN,
        benchmarks=BENCHMARKS,
        method=lambda wildcards: method_json(wildcards.method),
        models=models_json,
        problems=options(EXPERIMENT.problems.train),
        license=["--license", EXPERIMENT.problems.license] if EXPERIMENT.problems.license else [],
    message:
        "Model card: {wildcards.student}, {wildcards.method}, seed {wildcards.seed} (teacher {wildcards.teacher}, draw {wildcards.draw})"
    shell:
        "python -m evals.report.model_card --run {params.run:q} --teacher {wildcards.teacher} --draw {wildcards.draw}"
        " --student {wildcards.student} --method {wildcards.method} --seed {wildcards.seed}"
        " --benchmarks {params.benchmarks} --method-json {params.method:q} --models {params.models:q}"
        " --problems {params.problems:q} {params.license:q} --out {output.card:q} 2>&1 | tee {log:q}"
