# Figures, each as svg and png with the numbers behind it, from files that exist already.


rule plot_differences:
    """The paired difference of every method to the reference: the comparison's result."""
    input:
        table=f"{TABLES}/{{comparison}}.csv",
    output:
        **name_pictures("{comparison}/differences", "Differences to the reference", "Results", Methods="{comparison}"),
    log:
        f"{LOGS}/figures/{{comparison}}.differences.log",
    benchmark:
        f"{TIMES}/figures/{{comparison}}.differences.tsv"
    conda:
        CONDA
    params:
        version=get_version("plot-differences"),
        options=track_options("plot-differences"),
    message:
        "Figure: differences to the reference ({wildcards.comparison})"
    shell:
        "HEAL_LOG={log:q} heal plot-differences --table {input.table:q} --out {output.svg:q}"


rule plot_accuracy:
    """Accuracy of every method with its interval and the single seeds."""
    input:
        answers=list_comparison_answers,
    output:
        **name_pictures("{comparison}/accuracy", "Accuracy", "Results", Methods="{comparison}"),
    log:
        f"{LOGS}/figures/{{comparison}}.accuracy.log",
    benchmark:
        f"{TIMES}/figures/{{comparison}}.accuracy.tsv"
    conda:
        CONDA
    params:
        version=get_version("plot-accuracy"),
        options=track_options("plot-accuracy"),
    message:
        "Figure: accuracy ({wildcards.comparison})"
    shell:
        "HEAL_LOG={log:q} heal plot-accuracy --comparison {wildcards.comparison} --out {output.svg:q}"


rule plot_cost:
    """Accuracy on the primary benchmark against the teacher's tokens."""
    input:
        table=f"{TABLES}/{{comparison}}.csv",
    output:
        **name_pictures("{comparison}/cost", "Accuracy against teacher tokens", "Results", Methods="{comparison}"),
    log:
        f"{LOGS}/figures/{{comparison}}.cost.log",
    benchmark:
        f"{TIMES}/figures/{{comparison}}.cost.tsv"
    conda:
        CONDA
    params:
        version=get_version("plot-cost"),
        options=track_options("plot-cost"),
    message:
        "Figure: accuracy against teacher tokens ({wildcards.comparison})"
    shell:
        "HEAL_LOG={log:q} heal plot-cost --comparison {wildcards.comparison} --table {input.table:q} --out {output.svg:q}"


rule plot_exposures:
    """Accuracy on the primary benchmark against what the students were shown."""
    input:
        table=f"{TABLES}/{{comparison}}.csv",
        exposures=f"{TABLES}/{{comparison}}_exposures.csv",
        training=list_student_files("training.json"),
    output:
        **name_pictures("{comparison}/exposures", "Accuracy against exposures", "Results", Methods="{comparison}"),
    log:
        f"{LOGS}/figures/{{comparison}}.exposures.log",
    benchmark:
        f"{TIMES}/figures/{{comparison}}.exposures.tsv"
    conda:
        CONDA
    params:
        version=get_version("plot-exposures"),
        options=track_options("plot-exposures"),
    message:
        "Figure: accuracy against exposures ({wildcards.comparison})"
    shell:
        "HEAL_LOG={log:q} heal plot-exposures --comparison {wildcards.comparison} --table {input.table:q} --exposures {input.exposures:q} --out {output.svg:q}"


rule plot_loss:
    """The students' training loss by PACE stage."""
    input:
        losses=list_student_files("loss.csv"),
    output:
        **name_pictures("{comparison}/loss", "Training loss by PACE stage", "Costs", Methods="{comparison}"),
    log:
        f"{LOGS}/figures/{{comparison}}.loss.log",
    benchmark:
        f"{TIMES}/figures/{{comparison}}.loss.tsv"
    conda:
        CONDA
    params:
        version=get_version("plot-loss"),
        options=track_options("plot-loss"),
    message:
        "Figure: training loss ({wildcards.comparison})"
    shell:
        "HEAL_LOG={log:q} heal plot-loss --comparison {wildcards.comparison} --out {output.svg:q}"


rule plot_cuts:
    """What the cuts of every GEAR variant are worth, by the audits."""
    input:
        audits=expand(f"{TABLES}/{{{{comparison}}}}_audits/audits_{{teacher}}.csv", **AXES),
    output:
        **name_pictures("{comparison}/cuts", "What cuts are worth", "Mechanism", Methods="{comparison}"),
    log:
        f"{LOGS}/figures/{{comparison}}.cuts.log",
    benchmark:
        f"{TIMES}/figures/{{comparison}}.cuts.tsv"
    conda:
        CONDA
    params:
        version=get_version("plot-cuts"),
        options=track_options("plot-cuts"),
        audits=lambda wildcards, input: repeat_flag("--audits", input.audits),
    message:
        "Figure: cuts by detector ({wildcards.comparison})"
    shell:
        "HEAL_LOG={log:q} heal plot-cuts --comparison {wildcards.comparison} {params.audits:q} --out {output.svg:q}"


rule plot_ceiling:
    """The teacher's pass rates: what rejection sampling cannot teach."""
    input:
        problems=TRAIN,
        grades=f"{TRACES}/{GRADES.path}",
    output:
        **name_pictures(
            "teacher_seed{teacher_seed}/ceiling_{teacher}",
            "The teacher's ceiling",
            "Mechanism",
            Teacher="{teacher}",
            Seed="{teacher_seed}",
        ),
    log:
        f"{LOGS}/figures/teacher_seed{{teacher_seed}}.ceiling_{{teacher}}.log",
    benchmark:
        f"{TIMES}/figures/teacher_seed{{teacher_seed}}.ceiling_{{teacher}}.tsv"
    conda:
        CONDA
    params:
        version=get_version("plot-ceiling"),
        options=track_options("plot-ceiling"),
    message:
        "Figure: the ceiling of the teacher {wildcards.teacher}, teacher seed {wildcards.teacher_seed}"
    shell:
        "HEAL_LOG={log:q} heal plot-ceiling --problems {input.problems:q} --grades {input.grades:q} --out {output.svg:q}"


rule plot_trace:
    """One wrong trace: its entropy, the breakpoint, the hint and what came of it."""
    input:
        samples=f"{TRACES}/{SAMPLES.path}",
        repairs=f"{TRACES}/{REPAIRS.of(variant=DEFAULT_VARIANT).path}",
        model=list_model_files("teachers"),
    output:
        **name_pictures(
            "teacher_seed{teacher_seed}/trace_{teacher}",
            "One repaired trace",
            "Mechanism",
            Teacher="{teacher}",
            Seed="{teacher_seed}",
        ),
    log:
        f"{LOGS}/figures/teacher_seed{{teacher_seed}}.trace_{{teacher}}.log",
    benchmark:
        f"{TIMES}/figures/teacher_seed{{teacher_seed}}.trace_{{teacher}}.tsv"
    conda:
        CONDA
    params:
        version=get_version("plot-trace"),
        options=track_options("plot-trace"),
    message:
        "Figure: one repaired trace of the teacher {wildcards.teacher}, teacher seed {wildcards.teacher_seed}"
    shell:
        "HEAL_LOG={log:q} heal plot-trace --teacher {wildcards.teacher} --samples {input.samples:q} --repairs {input.repairs:q} --out {output.svg:q}"


rule plot_positions:
    """Where repairs cut, and how often they succeed by position."""
    input:
        problems=TRAIN,
        repairs=f"{TRACES}/{REPAIRS.of(variant=DEFAULT_VARIANT).path}",
    output:
        **name_pictures(
            "teacher_seed{teacher_seed}/positions_{teacher}",
            "Cuts by position",
            "Mechanism",
            Teacher="{teacher}",
            Seed="{teacher_seed}",
        ),
    log:
        f"{LOGS}/figures/teacher_seed{{teacher_seed}}.positions_{{teacher}}.log",
    benchmark:
        f"{TIMES}/figures/teacher_seed{{teacher_seed}}.positions_{{teacher}}.tsv"
    conda:
        CONDA
    params:
        version=get_version("plot-positions"),
        options=track_options("plot-positions"),
    message:
        "Figure: where the repairs of the teacher {wildcards.teacher} cut, teacher seed {wildcards.teacher_seed}"
    shell:
        "HEAL_LOG={log:q} heal plot-positions --problems {input.problems:q} --repairs {input.repairs:q} --out {output.svg:q}"


rule plot_pure:
    """PURE's anomaly of valid and invalid repairs."""
    input:
        problems=TRAIN,
        repairs=f"{TRACES}/{REPAIRS.of(variant=DEFAULT_VARIANT).path}",
        scores=f"{TRACES}/{SCORES.of(variant=DEFAULT_VARIANT).path}",
    output:
        **name_pictures(
            "teacher_seed{teacher_seed}/pure_{teacher}",
            "PURE's scores",
            "Mechanism",
            Teacher="{teacher}",
            Seed="{teacher_seed}",
        ),
    log:
        f"{LOGS}/figures/teacher_seed{{teacher_seed}}.pure_{{teacher}}.log",
    benchmark:
        f"{TIMES}/figures/teacher_seed{{teacher_seed}}.pure_{{teacher}}.tsv"
    conda:
        CONDA
    params:
        version=get_version("plot-pure"),
        options=track_options("plot-pure"),
    message:
        "Figure: PURE's scores on the repairs of the teacher {wildcards.teacher}, teacher seed {wildcards.teacher_seed}"
    shell:
        "HEAL_LOG={log:q} heal plot-pure --problems {input.problems:q} --repairs {input.repairs:q} --scores {input.scores:q} --out {output.svg:q}"


rule plot_roc:
    """Whether PURE's score and its rivals find the invalid repairs of the run's own GEAR."""
    input:
        problems=TRAIN,
        traces=expand(f"{TRACES}/{{table}}/{DEFAULT_VARIANT}.parquet", table=("repairs", "scores"), **AXES),
    output:
        **name_pictures("roc", "PURE's ROC and its rivals'", "Mechanism"),
    log:
        f"{LOGS}/figures/roc.log",
    benchmark:
        f"{TIMES}/figures/roc.tsv"
    conda:
        CONDA
    params:
        version=get_version("plot-roc"),
        options=track_options("plot-roc", comparison="main"),
    message:
        "Figure: PURE's ROC and its rivals'"
    shell:
        "HEAL_LOG={log:q} heal plot-roc --out {output.svg:q}"


rule plot_hours:
    """Hours of each part of the run, from the ledger. They differ between two runs."""
    input:
        answers=list_answers(MAIN),
        traces=list_needed_traces(MAIN),
    output:
        **name_pictures("hours", "Hours by part of the run", "Costs"),
    log:
        f"{LOGS}/figures/hours.log",
    benchmark:
        f"{TIMES}/figures/hours.tsv"
    conda:
        CONDA
    params:
        version=get_version("plot-hours"),
        options=track_options("plot-hours"),
    message:
        "Figure: hours by part of the run"
    shell:
        "HEAL_LOG={log:q} heal plot-hours --out {output.svg:q}"
