# The problems of every split, and what keeps training problems apart from held-out ones.


rule problem_set:
    """Problems of one split, checked."""
    input:
        data=data_files,
        code=code("heal.data.load_problems"),
    output:
        problems=f"{RUN}/problems/{{split}}.parquet",
    log:
        f"{LOGS}/problems/{{split}}.log",
    benchmark:
        f"{TIMES}/problems/{{split}}.tsv"
    wildcard_constraints:
        split="|".join(CHECKED),
    conda:
        CONDA
    params:
        options=lambda wildcards: dataset(wildcards.split),
        instruction=lambda wildcards: INSTRUCTION,
        seed=EXPERIMENT.seed,
    message:
        "Problems: {wildcards.split}"
    shell:
        "python -m heal.data.load_problems --options {params.options:q} {params.instruction:q} --seed {params.seed}"
        " --out {output.problems:q} 2>&1 | tee {log:q}"


if DECONTAMINATED:

    rule decontaminated_problems:
        """The training problems without those that are also held out, and the list of these."""
        input:
            problems=f"{RUN}/problems/{UNFILTERED}.parquet",
            held_out=[f"{RUN}/problems/{split}.parquet" for split in SPLITS if split != "train"],
            code=code("heal.data.decontaminate"),
        output:
            problems=TRAIN,
            report=DECONTAMINATION,
        log:
            f"{LOGS}/problems/train.log",
        benchmark:
            f"{TIMES}/problems/train.tsv"
        conda:
            CONDA
        params:
            options=options(EXPERIMENT.problems.decontamination),
            instruction=lambda wildcards: INSTRUCTION,
        message:
            "Problems: train, decontaminated"
        shell:
            "python -m heal.data.decontaminate --problems {input.problems:q} --held-out {input.held_out:q}"
            " --options {params.options:q} {params.instruction:q} --report {output.report:q}"
            " --out {output.problems:q} 2>&1 | tee {log:q}"
