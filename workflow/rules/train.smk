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


for seeds in SEED_GROUPS:

    rule:
        """The students of one method's curriculum, one per training seed of a group."""
        name:
            name_rule("train_student", seeds)
        input:
            curriculum=rules.build_curriculum.output.curriculum,
            base=list_model_files("students"),
            teacher=lambda wildcards: (
                list_model_files("teachers")(wildcards) if METHODS[wildcards.method].distillation else []
            ),
        output:
            models=[directory(folder) for folder in list_per_seed(f"{STUDENT}/model", seeds)],
            loss=list_per_seed(f"{STUDENT}/loss.csv", seeds),
            exposures=list_per_seed(f"{STUDENT}/exposures.csv", seeds),
            training=list_per_seed(f"{STUDENT}/training.json", seeds),
        log:
            join_seeds(f"{LOGS}/{run_layout.STUDENT}.log", seeds),
        benchmark:
            join_seeds(f"{TIMES}/{run_layout.STUDENT}.tsv", seeds)
        conda:
            CONDA
        resources:
            gpu=count_gpus("students"),
            mem_mb=estimate_resource("mem_mb", "train_student", "students"),
            runtime=estimate_resource("runtime", "train_student", "students"),
        params:
            version=get_version("train"),
            options=track_options("train"),
            first_seed=get_first_seed,
            students=pair_seeds_with_students,
        message:
            f"Training {{wildcards.student}}: {{wildcards.method}}, {describe_seeds(seeds)} (teacher {{wildcards.teacher}}, teacher seed {{wildcards.teacher_seed}})"
        shell:
            "HEAL_LOG={log:q} heal train --student {wildcards.student} --method {wildcards.method} --teacher {wildcards.teacher}"
            " --curriculum {input.curriculum:q} --gpus {resources.gpu} {params.students:q}"
