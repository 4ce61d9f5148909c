# What the untrained student makes of the training problems, for the baselines that ask it before they teach it.
PASS_SHARDS = f"{T}/shards/students/{{student}}"
PASS_NAME = "{teacher}.draw{draw}.{student}.{shard}"


rule student_samples:
    """One shard of the student's own samples."""
    input:
        problems=TRAIN,
        model=student_files,
        code=code("heal.pipeline.sample"),
    output:
        samples=f"{PASS_SHARDS}/samples/{{shard}}.parquet",
    log:
        f"{LOGS}/student_samples/{PASS_NAME}.log",
    benchmark:
        f"{TIMES}/student_samples/{PASS_NAME}.tsv"
    conda:
        CONDA
    resources:
        gpu=STUDENT_GPUS,
    params:
        model=BASE_STUDENT,
        engine=options(EXPERIMENT.engine),
        sampling=options(EXPERIMENT.sampling),
        seed=EXPERIMENT.seed,
        shards=len(SHARDS),
    message:
        "Student {wildcards.student}, draw {wildcards.draw}: its own samples, part {wildcards.shard} of {params.shards}"
    shell:
        "python -m heal.pipeline.sample base --problems {input.problems:q} {params.model:q} --engine {params.engine:q}"
        " --options {params.sampling:q} --seed {params.seed} --draw {wildcards.draw}"
        " --shard {wildcards.shard}/{params.shards}"
        " --gpus {resources.gpu} --out {output.samples:q} 2>&1 | tee {log:q}"


rule student_ranks:
    """One shard of how familiar the teacher's correct samples are to the student."""
    input:
        problems=TRAIN,
        samples=f"{T}/samples.parquet",
        grades=f"{T}/grades.parquet",
        model=student_files,
        code=code("heal.pipeline.student_pass"),
    output:
        ranks=f"{PASS_SHARDS}/ranks/{{shard}}.parquet",
    log:
        f"{LOGS}/student_ranks/{PASS_NAME}.log",
    benchmark:
        f"{TIMES}/student_ranks/{PASS_NAME}.tsv"
    conda:
        CONDA
    resources:
        gpu=STUDENT_GPUS,
    params:
        model=BASE_STUDENT,
        engine=options(EXPERIMENT.engine),
        shards=len(SHARDS),
    message:
        "Student {wildcards.student}: ranks in {wildcards.teacher}'s samples, part {wildcards.shard} of {params.shards}"
    shell:
        "python -m heal.pipeline.student_pass ranks --problems {input.problems:q} --samples {input.samples:q}"
        " --grades {input.grades:q} {params.model:q} --engine {params.engine:q}"
        " --shard {wildcards.shard}/{params.shards}"
        " --gpus {resources.gpu} --out {output.ranks:q} 2>&1 | tee {log:q}"


rule student_continuations:
    """One shard of how the student goes on from the beginnings of the teacher's correct samples."""
    input:
        problems=TRAIN,
        samples=f"{T}/samples.parquet",
        grades=f"{T}/grades.parquet",
        model=student_files,
        code=code("heal.pipeline.student_pass"),
    output:
        continued=f"{PASS_SHARDS}/continued/{{shard}}.parquet",
    log:
        f"{LOGS}/student_continuations/{PASS_NAME}.log",
    benchmark:
        f"{TIMES}/student_continuations/{PASS_NAME}.tsv"
    conda:
        CONDA
    resources:
        gpu=STUDENT_GPUS,
    params:
        model=BASE_STUDENT,
        engine=options(EXPERIMENT.engine),
        sampling=options(EXPERIMENT.sampling),
        prefixes=options(EXPERIMENT.prefixes),
        gear=options(EXPERIMENT.gear),
        seed=EXPERIMENT.seed,
        shards=len(SHARDS),
    message:
        "Student {wildcards.student} goes on from {wildcards.teacher}'s samples, part {wildcards.shard} of {params.shards}"
    shell:
        "python -m heal.pipeline.student_pass continue --problems {input.problems:q} --samples {input.samples:q}"
        " --grades {input.grades:q} {params.model:q} --engine {params.engine:q} --options {params.prefixes:q}"
        " --sampling {params.sampling:q} --gear {params.gear:q} --seed {params.seed} --draw {wildcards.draw}"
        " --shard {wildcards.shard}/{params.shards}"
        " --gpus {resources.gpu} --out {output.continued:q} 2>&1 | tee {log:q}"
