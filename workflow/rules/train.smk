# Training data of every method, and the students trained on it.


rule build_curriculum:
    """One method's training data, from the traces it declared to need."""
    input:
        problems=TRAIN,
        traces=lambda wildcards: [f"{TRACES}/{file.path}" for file in METHODS[wildcards.method].needs()],
    output:
        curriculum=f"{CURRICULUM}/curriculum.jsonl",
    log:
        f"{LOGS}/{run_layout.CURRICULUM}.log",
    benchmark:
        f"{TIMES}/{run_layout.CURRICULUM}.tsv"
    conda:
        CONDA
    params:
        version=get_version("build-curriculum"),
        method_version=lambda wildcards: METHODS[wildcards.method].version,
        options=track_options("build-curriculum"),
        traces=TRACES,
    message:
        "Curriculum: {wildcards.method} (teacher {wildcards.teacher}, teacher seed {wildcards.teacher_seed})"
    shell:
        "HEAL_LOG={log:q} heal build-curriculum --method {wildcards.method} --student {wildcards.student} --problems {input.problems:q}"
        " --traces {params.traces:q} --out {output.curriculum:q}"


rule train_student:
    """One student: one method's curriculum, one training seed."""
    input:
        curriculum=rules.build_curriculum.output.curriculum,
        base=list_model_files("students"),
        teacher=lambda wildcards: (
            list_model_files("teachers")(wildcards) if METHODS[wildcards.method].distillation else []
        ),
    output:
        model=directory(f"{STUDENT}/model"),
        loss=f"{STUDENT}/loss.csv",
        exposures=f"{STUDENT}/exposures.csv",
        training=f"{STUDENT}/training.json",
    log:
        f"{LOGS}/{run_layout.STUDENT}.log",
    benchmark:
        f"{TIMES}/{run_layout.STUDENT}.tsv"
    conda:
        CONDA
    resources:
        gpu=count_gpus("students"),
        mem_mb=estimate_resource("mem_mb", "train_student", "students"),
        runtime=estimate_resource("runtime", "train_student", "students"),
    params:
        version=get_version("train"),
        options=track_options("train"),
        # Another teacher seed has training seeds of its own: the tables take teacher seeds as independent.
        seed=lambda wildcards: 1000 * (EXPERIMENT.seed + int(wildcards.teacher_seed)) + int(wildcards.seed),
        out=lambda wildcards, output: str(Path(output.training).parent),
    message:
        "Training {wildcards.student}: {wildcards.method}, seed {wildcards.seed} (teacher {wildcards.teacher}, teacher seed {wildcards.teacher_seed})"
    shell:
        "HEAL_LOG={log:q} heal train --student {wildcards.student} --method {wildcards.method} --teacher {wildcards.teacher}"
        " --curriculum {input.curriculum:q} --seed {params.seed} --gpus {resources.gpu} --out {params.out:q}"
