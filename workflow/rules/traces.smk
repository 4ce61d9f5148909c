# The teacher's samples: base, answer-guided, and the extra ones of the equal-cost control; and their grades.


rule base_samples:
    """One shard of the base samples."""
    input:
        problems=TRAIN,
        model=teacher_files,
        traces=lambda wildcards: EXPERIMENT.teachers[wildcards.teacher].traces or [],
        code=code("heal.pipeline.sample"),
    output:
        samples=f"{T}/shards/samples/{{shard}}.parquet",
    log:
        f"{LOGS}/samples/{{teacher}}.draw{{draw}}.{{shard}}.log",
    benchmark:
        f"{TIMES}/samples/{{teacher}}.draw{{draw}}.{{shard}}.tsv"
    conda:
        CONDA
    resources:
        gpu=TEACHER_GPUS,
    params:
        model=TEACHER,
        engine=options(EXPERIMENT.engine),
        sampling=options(EXPERIMENT.sampling),
        traces=lambda wildcards, input: ["--traces", input.traces, *INSTRUCTION] if input.traces else [],
        seed=EXPERIMENT.seed,
        shards=len(SHARDS),
    message:
        "Teacher {wildcards.teacher}, draw {wildcards.draw}: base samples, part {wildcards.shard} of {params.shards}"
    shell:
        "python -m heal.pipeline.sample base --problems {input.problems:q} {params.traces:q} {params.model:q} --engine {params.engine:q}"
        " --options {params.sampling:q} --seed {params.seed} --draw {wildcards.draw}"
        " --shard {wildcards.shard}/{params.shards}"
        " --gpus {resources.gpu} --out {output.samples:q} 2>&1 | tee {log:q}"


rule guided_samples:
    """One shard of the answer-guided samples, graded."""
    input:
        problems=TRAIN,
        grades=f"{T}/grades.parquet",
        model=teacher_files,
        code=code("heal.pipeline.sample"),
    output:
        guided=f"{T}/shards/guided/{{shard}}.parquet",
    log:
        f"{LOGS}/guided/{{teacher}}.draw{{draw}}.{{shard}}.log",
    benchmark:
        f"{TIMES}/guided/{{teacher}}.draw{{draw}}.{{shard}}.tsv"
    conda:
        CONDA
    resources:
        gpu=TEACHER_GPUS,
    params:
        model=TEACHER,
        engine=options(EXPERIMENT.engine),
        sampling=options(EXPERIMENT.sampling),
        guided=options(EXPERIMENT.guided),
        gear=options(EXPERIMENT.gear),
        seed=EXPERIMENT.seed,
        shards=len(SHARDS),
    message:
        "Teacher {wildcards.teacher}, draw {wildcards.draw}: guided samples, part {wildcards.shard} of {params.shards}"
    shell:
        "python -m heal.pipeline.sample guided --problems {input.problems:q} --grades {input.grades:q} {params.model:q}"
        " --engine {params.engine:q} --options {params.sampling:q} --guided {params.guided:q} --gear {params.gear:q}"
        " --seed {params.seed} --draw {wildcards.draw} --shard {wildcards.shard}/{params.shards}"
        " --gpus {resources.gpu} --out {output.guided:q} 2>&1 | tee {log:q}"


rule extra_samples:
    """As many further samples as the tokens buy that HEAL spends beyond the base samples."""
    input:
        problems=TRAIN,
        grades=f"{T}/grades.parquet",
        match=[f"{T}/guided.parquet", f"{T}/repairs/{{variant}}.parquet", f"{T}/scores/{{variant}}.parquet"],
        model=teacher_files,
        code=code("heal.pipeline.sample"),
    output:
        samples=f"{T}/extra/{{allocation}}-{{variant}}.parquet",
    log:
        f"{LOGS}/extra/{{teacher}}.draw{{draw}}.{{allocation}}-{{variant}}.log",
    benchmark:
        f"{TIMES}/extra/{{teacher}}.draw{{draw}}.{{allocation}}-{{variant}}.tsv"
    wildcard_constraints:
        allocation="uniform|treated",
    conda:
        CONDA
    resources:
        gpu=TEACHER_GPUS,
    params:
        model=TEACHER,
        engine=options(EXPERIMENT.engine),
        sampling=options(EXPERIMENT.sampling),
        gear=lambda wildcards: as_json(GEARS[wildcards.variant]),
        seed=EXPERIMENT.seed,
    message:
        "Teacher {wildcards.teacher}, draw {wildcards.draw}: extra samples ({wildcards.allocation}) at HEAL's cost"
    shell:
        "python -m heal.pipeline.sample extra --problems {input.problems:q} --grades {input.grades:q} --match {input.match:q}"
        " --allocation {wildcards.allocation} {params.model:q} --engine {params.engine:q} --options {params.sampling:q}"
        " --gear {params.gear:q} --seed {params.seed} --draw {wildcards.draw}"
        " --gpus {resources.gpu} --out {output.samples:q} 2>&1 | tee {log:q}"


rule grade:
    """The verdict on every base or extra sample, and on those of a student."""
    input:
        problems=TRAIN,
        samples=lambda wildcards: f"{T}/{wildcards.graded.replace('grades', 'samples').replace('.samples', '')}.parquet",
        code=code("heal.pipeline.grade"),
    output:
        grades=f"{T}/{{graded}}.parquet",
    log:
        f"{LOGS}/grades/{{teacher}}.draw{{draw}}.{{graded}}.log",
    benchmark:
        f"{TIMES}/grades/{{teacher}}.draw{{draw}}.{{graded}}.tsv"
    wildcard_constraints:
        graded=r"grades|extra/[\w-]+\.grades|students/\w+/grades",
    conda:
        CONDA
    message:
        "Teacher {wildcards.teacher}, draw {wildcards.draw}: {wildcards.graded}"
    shell:
        "python -m heal.pipeline.grade --problems {input.problems:q} --samples {input.samples:q} --out {output.grades:q}"
        " 2>&1 | tee {log:q}"


rule merge:
    """The shards of one table, joined in their order."""
    input:
        parts=[f"{T}/shards/{{table}}/{shard}.parquet" for shard in SHARDS],
        code=code("heal.pipeline.merge"),
    output:
        merged=f"{T}/{{table}}.parquet",
    log:
        f"{LOGS}/merge/{{teacher}}.draw{{draw}}.{{table}}.log",
    benchmark:
        f"{TIMES}/merge/{{teacher}}.draw{{draw}}.{{table}}.tsv"
    conda:
        CONDA
    params:
        kind=lambda wildcards: kind_of(f"{wildcards.table}.parquet"),
    message:
        "Teacher {wildcards.teacher}, draw {wildcards.draw}: {wildcards.table}, joined"
    shell:
        "python -m heal.pipeline.merge --kind {params.kind} --parts {input.parts:q} --out {output.merged:q} 2>&1 | tee {log:q}"


rule premise:
    """Whether this teacher's samples can test HEAL at all."""
    input:
        problems=TRAIN,
        samples=f"{T}/samples.parquet",
        grades=f"{T}/grades.parquet",
        guided=f"{T}/guided.parquet",
        repairs=f"{T}/repairs/{OWN}.parquet",
        tests=benchmark_problems,
        code=code("heal.pipeline.premise"),
    output:
        premise=f"{T}/premise.json",
    log:
        f"{LOGS}/premise/{{teacher}}.draw{{draw}}.log",
    benchmark:
        f"{TIMES}/premise/{{teacher}}.draw{{draw}}.tsv"
    conda:
        CONDA
    params:
        gear=options(EXPERIMENT.gear),
        options=options(EXPERIMENT.premise),
    message:
        "Teacher {wildcards.teacher}, draw {wildcards.draw}: is this a test of HEAL?"
    shell:
        "python -m heal.pipeline.premise --problems {input.problems:q} --samples {input.samples:q} --grades {input.grades:q}"
        " --guided {input.guided:q} --repairs {input.repairs:q} --tests {input.tests:q} --gear {params.gear:q}"
        " --options {params.options:q} --out {output.premise:q}"
        " 2>&1 | tee {log:q}"
