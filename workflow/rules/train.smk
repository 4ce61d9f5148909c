rule student:
    """One student: one method's curriculum, one training seed."""
    input:
        curriculum=f"{RUN}/curricula/{STUDENT}/curriculum.jsonl",
        base=student_files,
        teacher=lambda wildcards: teacher_files(wildcards) if METHODS[wildcards.method].distillation else [],
        code=code("heal.training.train"),
    output:
        model=directory(f"{RUN}/students/{STUDENT}/seed{{seed}}/model"),
        loss=f"{RUN}/students/{STUDENT}/seed{{seed}}/loss.csv",
        exposures=f"{RUN}/students/{STUDENT}/seed{{seed}}/exposures.csv",
        training=f"{RUN}/students/{STUDENT}/seed{{seed}}/training.json",
    log:
        f"{LOGS}/students/{STUDENT}.seed{{seed}}.log",
    benchmark:
        f"{TIMES}/students/{STUDENT}.seed{{seed}}.tsv"
    conda:
        CONDA
    resources:
        gpu=STUDENT_GPUS,
    params:
        model=BASE_STUDENT,
        options=lambda wildcards: as_json(TRAINING[wildcards.method]),
        schedule=lambda wildcards: METHODS[wildcards.method].schedule,
        teaching=teaching,
        # Another draw has seeds of its own: the tables take draws for independent.
        seed=lambda wildcards: 1000 * (EXPERIMENT.seed + int(wildcards.draw)) + int(wildcards.seed),
        threads=EXPERIMENT.engine.threads,
        out=lambda wildcards, output: str(Path(output.training).parent),
    message:
        "Training {wildcards.student}: {wildcards.method}, seed {wildcards.seed} (teacher {wildcards.teacher}, draw {wildcards.draw})"
    shell:
        "python -m heal.training.train --curriculum {input.curriculum:q} {params.model:q} --options {params.options:q}"
        " --schedule {params.schedule} {params.teaching:q} --seed {params.seed} --threads {params.threads}"
        " --gpus {resources.gpu} --out {params.out:q} 2>&1 | tee {log:q}"
