# Targets: each is a part of the way to the main comparison, or more.


rule problems:
    """Problems of every split, and the report of the decontamination."""
    input:
        list_problem_files(SPLITS),
        DECONTAMINATION,


rule traces:
    """The teacher's samples, grades and repairs, as the main methods need them."""
    input:
        list_needed_traces(MAIN),
        expand(f"{TRACES}/premise.json", **AXES),


rule scores:
    """PURE's scores of the repairs of every GEAR variant."""
    input:
        [file for file in list_needed_traces(METHODS) if "/scores/" in file],


rule viewer:
    """The trace viewer: one html per teacher and teacher seed."""
    input:
        expand(f"{RUN}/viewer/{{teacher}}_teacher_seed{{teacher_seed}}.html", **AXES),


rule curricula:
    """The training data of the main methods."""
    input:
        expand(f"{CURRICULUM}/curriculum.jsonl", method=MAIN, **AXES),


rule students:
    """The trained students of the main methods."""
    input:
        expand(f"{STUDENT}/model", method=MAIN, **AXES),


rule model_cards:
    """A model card for every student of the main methods."""
    input:
        list_model_cards(MAIN),


rule tables:
    """The main tables without the figures."""
    input:
        list_table_files("main"),


rule ablations:
    """Every ablation of the config, with the main methods."""
    input:
        [
            file
            for comparison in ("main", "ablations")
            for file in list_report_files(comparison) + list_pages(comparison)
        ],


rule comparisons:
    """The config's further comparisons, and the main one."""
    input:
        [file for comparison in ("main", *EXPERIMENT.comparisons) for file in list_report_files(comparison)],
        list_pages("main"),


rule study:
    """The ablations and the study's figures: of the mini study with --configfile config/mini_study.yaml."""
    input:
        rules.ablations.input,
        list_study_files(),
