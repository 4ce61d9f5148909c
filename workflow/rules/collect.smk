# What can be asked for: each target is a part of the way to the main comparison, or more.
rule problems:
    """Problems of every split."""
    input:
        expand(f"{RUN}/problems/{{split}}.parquet", split=SPLITS),


rule traces:
    """The teacher's samples, grades and repairs, as the main methods need them."""
    input:
        needed_traces(MAIN),
        expand(f"{T}/premise.json", **AXES),


rule scores:
    """What PURE measures on the repairs of every GEAR variant."""
    input:
        [file for file in needed_traces(EVERY) if "/scores/" in file],


rule viewer:
    """The trace viewer: one html per teacher and draw."""
    input:
        expand(f"{RUN}/viewer/{{teacher}}_draw{{draw}}.html", **AXES),


rule curricula:
    """The training data of the main methods."""
    input:
        per_student(f"{RUN}/curricula/{STUDENT}/curriculum.jsonl", MAIN),


rule students:
    """The trained students of the main methods."""
    input:
        per_student(f"{RUN}/students/{STUDENT}/seed{{seed}}/model", MAIN),


rule cards:
    """A model card beside every student of the main methods."""
    input:
        model_cards(MAIN),


rule tables:
    """The main tables without the figures."""
    input:
        lambda wildcards: table_files("main"),


rule ablations:
    """Every ablation of the config, beside the main methods."""
    input:
        lambda wildcards: [file for kind in ("main", "ablations") for file in report_files(kind) + page_files(kind)],


rule comparisons:
    """The config's further comparisons, beside the main one."""
    input:
        lambda wildcards: [file for kind in ("main", *EXPERIMENT.comparisons) for file in report_files(kind)]
        + page_files("main"),


rule study:
    """The ablations and the study's figures: of the mini study with --configfile config/mini_study.yaml."""
    input:
        rules.ablations.input,
        lambda wildcards: study_files(),
