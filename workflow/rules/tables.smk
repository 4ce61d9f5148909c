# Tables, from files that exist already: no model is needed to build them again.


rule tabulate_comparison:
    """The table of a comparison, as csv, md, tex and plain text."""
    input:
        answers=list_comparison_answers,
        training=list_student_files("training.json"),
        traces=list_comparison_traces,
        premise=expand(f"{TRACES}/premise.json", **AXES),
        problems=expand(f"{RUN}/problems/{{split}}.parquet", split=SPLITS),
        decontamination=DECONTAMINATION,
        gates=GATES,
    output:
        csv=mark_for_report(
            f"{TABLES}/{{comparison}}.csv", "comparison", "Results", Table="Comparison", Methods="{comparison}"
        ),
        md=f"{TABLES}/{{comparison}}.md",
        tex=f"{TABLES}/{{comparison}}.tex",
        txt=f"{TABLES}/{{comparison}}.txt",
        notes=f"{TABLES}/{{comparison}}_notes.json",
    log:
        f"{LOGS}/tables/{{comparison}}.log",
    benchmark:
        f"{TIMES}/tables/{{comparison}}.tsv"
    conda:
        CONDA
    params:
        version=get_version("tabulate-comparison"),
        options=track_options("tabulate-comparison"),
        decontamination=lambda wildcards, input: add_flag("--decontamination", input.decontamination),
        gates=repeat_flag("--gates", GATES),
    message:
        "Table: {wildcards.comparison}"
    shell:
        "HEAL_LOG={log:q} heal tabulate-comparison --comparison {wildcards.comparison} {params.decontamination:q}"
        " {params.gates:q} --out {output.csv:q}"


rule tabulate_details:
    """Strata, pass@k, maj@k, ranks, and every verdict behind a comparison."""
    input:
        answers=list_comparison_answers,
        problems=TRAIN,
    output:
        expand(f"{TABLES}/{{{{comparison}}}}_{{detail}}.{{suffix}}", detail=DETAILS, suffix=("csv", "md")),
        outcomes=f"{TABLES}/{{comparison}}_outcomes.parquet",
    log:
        f"{LOGS}/details/{{comparison}}.log",
    benchmark:
        f"{TIMES}/details/{{comparison}}.tsv"
    conda:
        CONDA
    params:
        version=get_version("tabulate-details"),
        options=track_options("tabulate-details"),
        table=f"{TABLES}/{{comparison}}.csv",
    message:
        "Strata, pass@k, maj@k, ranks: {wildcards.comparison}"
    shell:
        "HEAL_LOG={log:q} heal tabulate-details --comparison {wildcards.comparison} --out {params.table:q}"


rule tabulate_costs:
    """Tokens, seconds and GPU-seconds of every method. Seconds differ between two runs."""
    input:
        answers=list_comparison_answers,
        training=list_student_files("training.json"),
        traces=list_comparison_traces,
    output:
        csv=mark_for_report(
            f"{TABLES}/{{comparison}}_costs.csv", "costs", "Costs", Table="Costs", Methods="{comparison}"
        ),
        md=f"{TABLES}/{{comparison}}_costs.md",
    log:
        f"{LOGS}/costs/{{comparison}}.log",
    benchmark:
        f"{TIMES}/costs/{{comparison}}.tsv"
    conda:
        CONDA
    params:
        version=get_version("tabulate-costs"),
        options=track_options("tabulate-costs"),
    message:
        "Costs: {wildcards.comparison}"
    shell:
        "HEAL_LOG={log:q} heal tabulate-costs --comparison {wildcards.comparison} --out {output.csv:q}"


rule tabulate_exposures:
    """What every method's students were shown: withheld facts, and exposures per stage."""
    input:
        curricula=list_curricula,
        exposures=list_student_files("exposures.csv"),
        problems=TRAIN,
    output:
        coverage=mark_for_report(
            f"{TABLES}/{{comparison}}_coverage.csv", "coverage", "Mechanism", Table="Facts", Methods="{comparison}"
        ),
        exposures=mark_for_report(
            f"{TABLES}/{{comparison}}_exposures.csv", "exposures", "Costs", Table="Exposures", Methods="{comparison}"
        ),
    log:
        f"{LOGS}/exposures/{{comparison}}.log",
    benchmark:
        f"{TIMES}/exposures/{{comparison}}.tsv"
    conda:
        CONDA
    params:
        version=get_version("tabulate-exposures"),
        options=track_options("tabulate-exposures"),
    message:
        "Exposures: {wildcards.comparison}"
    shell:
        "HEAL_LOG={log:q} heal tabulate-exposures --comparison {wildcards.comparison} --coverage {output.coverage:q}"
        " --exposures {output.exposures:q}"


rule tabulate_paper:
    """The paper's numbers next to this run's."""
    input:
        answers=list_answers(MAIN),
        premise=expand(f"{TRACES}/premise.json", **AXES),
        problems=TRAIN,
        numbers="evals/paper.yaml",
    output:
        csv=mark_for_report(f"{TABLES}/paper.csv", "paper", "Results", Table="Paper and this run"),
        md=f"{TABLES}/paper.md",
    log:
        f"{LOGS}/paper.log",
    benchmark:
        f"{TIMES}/paper.tsv"
    conda:
        CONDA
    params:
        version=get_version("tabulate-paper"),
        options=track_options("tabulate-paper", comparison="main"),
    message:
        "Table: paper and this run"
    shell:
        "HEAL_LOG={log:q} heal tabulate-paper --out {output.csv:q}"


rule audit_traces:
    """What one teacher's traces say about GEAR and PURE, where every step can be checked."""
    input:
        problems=TRAIN,
        samples=f"{TRACES}/{SAMPLES.path}",
        grades=f"{TRACES}/{GRADES.path}",
        guided=f"{TRACES}/{GUIDED.path}",
        variants=list_audited_traces,
    output:
        audits=f"{TABLES}/{{comparison}}_audits/teacher_seed{{teacher_seed}}/audits_{{teacher}}.csv",
        md=f"{TABLES}/{{comparison}}_audits/teacher_seed{{teacher_seed}}/audits_{{teacher}}.md",
        notes=f"{TABLES}/{{comparison}}_audits/teacher_seed{{teacher_seed}}/audits_{{teacher}}_notes.json",
        premises=f"{TABLES}/{{comparison}}_audits/teacher_seed{{teacher_seed}}/premises_{{teacher}}.csv",
    log:
        f"{LOGS}/audits/{{comparison}}.{{teacher}}.{{teacher_seed}}.log",
    benchmark:
        f"{TIMES}/audits/{{comparison}}.{{teacher}}.{{teacher_seed}}.tsv"
    conda:
        CONDA
    params:
        version=get_version("audit"),
        options=track_options("audit"),
    message:
        "Audits of the teacher {wildcards.teacher}, teacher seed {wildcards.teacher_seed} ({wildcards.comparison})"
    shell:
        "HEAL_LOG={log:q} heal audit --comparison {wildcards.comparison} --teacher {wildcards.teacher}"
        " --teacher-seed {wildcards.teacher_seed} --out {output.audits:q}"


rule combine_audits:
    """The audits of all teacher seeds of a teacher in one table."""
    input:
        audits=[
            f"{TABLES}/{{comparison}}_audits/teacher_seed{teacher_seed}/audits_{{teacher}}.csv"
            for teacher_seed in AXES["teacher_seed"]
        ],
        notes=f"{TABLES}/{{comparison}}_audits/teacher_seed0/audits_{{teacher}}_notes.json",
    output:
        audits=mark_for_report(
            f"{TABLES}/{{comparison}}_audits/audits_{{teacher}}.csv",
            "audits",
            "Mechanism",
            Table="Audits",
            Methods="{comparison}",
            Teacher="{teacher}",
        ),
        md=f"{TABLES}/{{comparison}}_audits/audits_{{teacher}}.md",
        notes=f"{TABLES}/{{comparison}}_audits/audits_{{teacher}}_notes.json",
        premises=mark_for_report(
            f"{TABLES}/{{comparison}}_audits/premises_{{teacher}}.csv",
            "premises",
            "Mechanism",
            Table="Premises",
            Methods="{comparison}",
            Teacher="{teacher}",
        ),
    log:
        f"{LOGS}/audits/{{comparison}}.{{teacher}}.log",
    benchmark:
        f"{TIMES}/audits/{{comparison}}.{{teacher}}.tsv"
    conda:
        CONDA
    params:
        version=get_version("combine-audits"),
        audits=lambda wildcards, input: repeat_flag("--audits", input.audits),
    message:
        "Audits of the teacher {wildcards.teacher}, all teacher seeds ({wildcards.comparison})"
    shell:
        "HEAL_LOG={log:q} heal combine-audits --teacher {wildcards.teacher} {params.audits:q} --out {output.audits:q}"


rule check_reproduction:
    """Whether the main comparison agrees with the committed reference run of this name."""
    input:
        answers=list_answers(MAIN),
        reference=find_file(f"results/reference/{EXPERIMENT.run}/reproduction.csv"),
    output:
        csv=f"{TABLES}/reproduction.csv",
        txt=f"{TABLES}/reproduction.txt",
    log:
        f"{LOGS}/reproduction.log",
    benchmark:
        f"{TIMES}/reproduction.tsv"
    conda:
        CONDA
    params:
        version=get_version("check-reproduction"),
        options=track_options("check-reproduction", comparison="main"),
        reference=lambda wildcards, input: repeat_flag("--reference", input.reference),
    message:
        "Comparing with the reference run"
    shell:
        "HEAL_LOG={log:q} heal check-reproduction --comparison main {params.reference:q} --out {output.csv:q}"


rule check_reference:
    """Recomputes the numbers of the reference results from their raw answers."""
    log:
        f"{LOGS}/check_reference.log",
    conda:
        CONDA
    params:
        folders=sorted(str(path) for path in Path("results/reference").glob("*") if path.is_dir()),
    message:
        "Checking {params.folders}"
    shell:
        "HEAL_LOG={log:q} heal check-reference {params.folders:q}"
