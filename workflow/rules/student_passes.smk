# The untrained student's passes over the problems and the teacher's samples, for the baselines that need them.
STUDENT_SHARDS = f"{TRACES}/shards/students/{{student}}"


rule sample_student:
    """One shard of the student's own samples."""
    input:
        problems=TRAIN,
        model=list_model_files("students"),
    output:
        samples=f"{STUDENT_SHARDS}/samples/{{shard}}.parquet",
    log:
        f"{LOGS}/student_samples/{{teacher}}.{{teacher_seed}}.{{student}}.{{shard}}.log",
    benchmark:
        f"{TIMES}/student_samples/{{teacher}}.{{teacher_seed}}.{{student}}.{{shard}}.tsv"
    conda:
        CONDA
    resources:
        gpu=count_gpus("students"),
        mem_mb=estimate_resource("mem_mb", "sample_student", "students"),
        runtime=estimate_resource("runtime", "sample_student", "students"),
    params:
        version=get_version("sample base"),
        options=track_options("sample base", teacher=None),
        shards=len(SHARDS),
    message:
        "Student {wildcards.student}, teacher seed {wildcards.teacher_seed}: its own samples, shard {wildcards.shard} of {params.shards}"
    shell:
        "HEAL_LOG={log:q} heal sample base --student {wildcards.student} --teacher-seed {wildcards.teacher_seed}"
        " --problems {input.problems:q} --shard {wildcards.shard}/{params.shards} --gpus {resources.gpu}"
        " --out {output.samples:q}"


rule rank_samples:
    """One shard of the token ranks of the teacher's correct samples under the student."""
    input:
        problems=TRAIN,
        samples=f"{TRACES}/{SAMPLES.path}",
        grades=f"{TRACES}/{GRADES.path}",
        model=list_model_files("students"),
    output:
        ranks=f"{STUDENT_SHARDS}/ranks/{{shard}}.parquet",
    log:
        f"{LOGS}/student_ranks/{{teacher}}.{{teacher_seed}}.{{student}}.{{shard}}.log",
    benchmark:
        f"{TIMES}/student_ranks/{{teacher}}.{{teacher_seed}}.{{student}}.{{shard}}.tsv"
    conda:
        CONDA
    resources:
        gpu=count_gpus("students"),
        mem_mb=estimate_resource("mem_mb", "rank_samples", "students"),
        runtime=estimate_resource("runtime", "rank_samples", "students"),
    params:
        version=get_version("student-pass ranks"),
        options=track_options("student-pass ranks", teacher=None),
        shards=len(SHARDS),
    message:
        "Student {wildcards.student}: ranks in {wildcards.teacher}'s samples, shard {wildcards.shard} of {params.shards}"
    shell:
        "HEAL_LOG={log:q} heal student-pass ranks --student {wildcards.student} --problems {input.problems:q} --samples {input.samples:q}"
        " --grades {input.grades:q} --shard {wildcards.shard}/{params.shards} --gpus {resources.gpu}"
        " --out {output.ranks:q}"


rule rank_repairs:
    """One shard of the token ranks of one GEAR variant's accepted repairs under the student."""
    input:
        problems=TRAIN,
        repairs=f"{TRACES}/{REPAIRS.path}",
        model=list_model_files("students"),
    output:
        ranks=f"{STUDENT_SHARDS}/repair_ranks/{{variant}}/{{shard}}.parquet",
    log:
        f"{LOGS}/student_repair_ranks/{{teacher}}.{{teacher_seed}}.{{student}}.{{variant}}.{{shard}}.log",
    benchmark:
        f"{TIMES}/student_repair_ranks/{{teacher}}.{{teacher_seed}}.{{student}}.{{variant}}.{{shard}}.tsv"
    conda:
        CONDA
    resources:
        gpu=count_gpus("students"),
        mem_mb=estimate_resource("mem_mb", "rank_repairs", "students"),
        runtime=estimate_resource("runtime", "rank_repairs", "students"),
    params:
        version=get_version("student-pass repair-ranks"),
        options=track_options("student-pass repair-ranks", teacher=None),
        shards=len(SHARDS),
    message:
        "Student {wildcards.student}: ranks in {wildcards.teacher}'s repairs {wildcards.variant}, shard {wildcards.shard} of {params.shards}"
    shell:
        "HEAL_LOG={log:q} heal student-pass repair-ranks --student {wildcards.student} --problems {input.problems:q}"
        " --repairs {input.repairs:q} --shard {wildcards.shard}/{params.shards} --gpus {resources.gpu} --out {output.ranks:q}"


rule continue_samples:
    """One shard of the student's continuations from beginnings of the teacher's correct samples."""
    input:
        problems=TRAIN,
        samples=f"{TRACES}/{SAMPLES.path}",
        grades=f"{TRACES}/{GRADES.path}",
        model=list_model_files("students"),
    output:
        continuations=f"{STUDENT_SHARDS}/continuations/{{shard}}.parquet",
    log:
        f"{LOGS}/student_continuations/{{teacher}}.{{teacher_seed}}.{{student}}.{{shard}}.log",
    benchmark:
        f"{TIMES}/student_continuations/{{teacher}}.{{teacher_seed}}.{{student}}.{{shard}}.tsv"
    conda:
        CONDA
    resources:
        gpu=count_gpus("students"),
        mem_mb=estimate_resource("mem_mb", "continue_samples", "students"),
        runtime=estimate_resource("runtime", "continue_samples", "students"),
    params:
        version=get_version("student-pass continuations"),
        options=track_options("student-pass continuations", teacher=None),
        shards=len(SHARDS),
    message:
        "Student {wildcards.student}: continuations of {wildcards.teacher}'s samples, shard {wildcards.shard} of {params.shards}"
    shell:
        "HEAL_LOG={log:q} heal student-pass continuations --student {wildcards.student} --teacher-seed {wildcards.teacher_seed}"
        " --problems {input.problems:q} --samples {input.samples:q} --grades {input.grades:q}"
        " --shard {wildcards.shard}/{params.shards} --gpus {resources.gpu} --out {output.continuations:q}"
