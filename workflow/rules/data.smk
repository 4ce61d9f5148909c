# Problems of every split, and the decontamination of the training problems.


rule load_problems:
    """Problems of one split, checked."""
    input:
        data=list_data_files,
    output:
        problems=f"{RUN}/problems/{{split}}.parquet",
    log:
        f"{LOGS}/problems/{{split}}.log",
    benchmark:
        f"{TIMES}/problems/{{split}}.tsv"
    wildcard_constraints:
        split="|".join(UNFILTERED if split == "train" and DECONTAMINATED else split for split in SPLITS),
    conda:
        CONDA
    params:
        version=get_version("load-problems"),
        options=track_options("load-problems"),
    message:
        "Problems: {wildcards.split}"
    shell:
        "HEAL_LOG={log:q} heal load-problems --split {wildcards.split:q} --out {output.problems:q}"


if DECONTAMINATED:

    rule decontaminate_problems:
        """The training problems without those that are also held out, and a report of the removed ones."""
        input:
            problems=f"{RUN}/problems/{UNFILTERED}.parquet",
            held_out=[f"{RUN}/problems/{split}.parquet" for split in SPLITS if split != "train"],
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
            version=get_version("decontaminate"),
            options=track_options("decontaminate"),
            held_out=lambda wildcards, input: repeat_flag("--held-out", input.held_out),
        message:
            "Problems: train, decontaminated"
        shell:
            "HEAL_LOG={log:q} heal decontaminate --problems {input.problems:q} {params.held_out:q} --report {output.report:q}"
            " --out {output.problems:q}"
