# Problems of every split, and the decontamination of the training problems.
from heal.data.decontaminate import choose_held_out


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
    HELD_OUT = choose_held_out(
        Path(f"{RUN}/problems"),
        SPLITS[1:],
        EXPERIMENT.problems.decontamination,
        EXPERIMENT.problems.instruction,
        may_change=MAY_RESAMPLE,
    )

    rule decontaminate_problems:
        """The training problems without those that are also held out. The splits that it compares: choose_held_out."""
        input:
            problems=f"{RUN}/problems/{UNFILTERED}.parquet",
            held_out=list_problem_files(HELD_OUT),
        output:
            problems=update(TRAIN),
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
            "HEAL_LOG={log:q} heal decontaminate --problems {input.problems:q} {params.held_out:q} --out {output.problems:q}"

    rule check_decontamination:
        """That the training problems ask nothing that any split holds out, and the report of the removed ones."""
        input:
            problems=f"{RUN}/problems/{UNFILTERED}.parquet",
            train=TRAIN,
            held_out=list_problem_files(dict.fromkeys([*HELD_OUT, *SPLITS[1:]])),
        output:
            report=DECONTAMINATION,
        log:
            f"{LOGS}/problems/decontamination.log",
        benchmark:
            f"{TIMES}/problems/decontamination.tsv"
        priority: 1
        conda:
            CONDA
        params:
            version=get_version("check-decontamination"),
            options=track_options("check-decontamination"),
            held_out=lambda wildcards, input: repeat_flag("--held-out", input.held_out),
        message:
            "Problems: train, compared with every held-out split"
        shell:
            "HEAL_LOG={log:q} heal check-decontamination --problems {input.problems:q} --train {input.train:q}"
            " {params.held_out:q} --out {output.report:q}"
