# Lists of files, from the run config: what a rule reads or makes.


def list_data_files(wildcards):
    """The local files that a split is read from: an edit of one loads its problems again."""
    dataset = RUN_CONFIG.get_split(wildcards.split)
    paths = [part.path for part in (dataset, *dataset.parts.values()) if part.source == "file"]
    return [path for path in paths if Path(path).is_file()]  # heal load-problems reports a missing one


def list_needed_traces(methods):
    """The trace files of these methods, for every teacher and teacher seed, and every student where it makes them."""
    paths = {file.path for method in methods for file in METHODS[method].needs()}
    return expand([f"{TRACES}/{path}" for path in sorted(paths)], **AXES)


def find_graded_samples(wildcards):
    """The samples that a grades file is about."""
    grades = find_trace_file(f"{wildcards.grades}.parquet")
    return f"{TRACES}/{grades.parents[0].path}"


def list_viewed_traces(wildcards):
    """Samples, grades, repairs and scores: of the methods that this run makes, and of other GEAR variants that exist.

    A run of `ablations viewer` makes the ablations' variants itself: the page waits for them, so that a second run
    finds the same input files.
    """
    folder = TRACES.format(teacher=wildcards.teacher, teacher_seed=wildcards.teacher_seed)
    made = {"ablations": ("ablations",), "study": ("ablations",), "comparisons": tuple(EXPERIMENT.comparisons)}
    methods = dict.fromkeys(MAIN)
    for target in workflow.dag_settings.targets:
        for comparison in made.get(target, ()):
            methods |= dict.fromkeys(COMPARISONS[comparison].methods)
    needed = list_needed_traces(methods)
    files = [f"{folder}/{SAMPLES.path}", f"{folder}/{GRADES.path}"]
    for file in (REPAIRS, SCORES):
        for variant in VARIANTS:
            path = f"{folder}/{file.of(variant=variant).path}"
            if path in needed or Path(path).exists():
                files.append(path)
    return files


def list_model_cards(methods):
    return expand(f"{STUDENT}/README.md", method=methods, **AXES)


def list_student_files(file):
    """A function of the wildcards: one file of every student of a comparison."""
    return lambda wildcards: expand(f"{STUDENT}/{file}", method=list(COMPARISONS[wildcards.comparison].methods), **AXES)


def list_curricula(wildcards):
    methods = list(COMPARISONS[wildcards.comparison].methods)
    return expand(f"{CURRICULUM}/curriculum.jsonl", method=methods, **AXES)


def list_comparison_traces(wildcards):
    return list_needed_traces(COMPARISONS[wildcards.comparison].methods)


def list_problem_files(splits):
    return [f"{RUN}/problems/{split}.parquet" for split in splits]


def list_benchmark_problems(wildcards):
    splits = list_benchmarks()
    return sorted({f"{RUN}/problems/{splits[benchmark]}.parquet" for benchmark in BENCHMARKS})


def list_task_files():
    """The task files of the run's benchmarks: another benchmark, added later, evaluates nothing again."""
    return [str(path.relative_to(ROOT)) for path in find_task_files(BENCHMARKS)]


def list_eval_files(folder):
    """What one evaluation writes: every answer, and lm-eval's results, per benchmark."""
    return [f"{folder}/{benchmark}/{file}" for benchmark in BENCHMARKS for file in ("answers.parquet", "results.json")]


def list_answers(methods):
    """Every answer that a comparison rests on: of students, teachers and untrained students."""
    folders = (STUDENT_EVALS, TEACHER_EVALS, UNTRAINED_EVALS)
    patterns = [f"{folder}/{benchmark}/answers.parquet" for folder in folders for benchmark in BENCHMARKS]
    return expand(patterns, method=list(methods), **AXES)


def list_comparison_answers(wildcards):
    """The answers of a comparison's methods, and of the main methods that the numbers of its rows rest on."""
    view = RUN_CONFIG.get_comparison(wildcards.comparison)
    return list_answers(dict.fromkeys([*view.main_methods, *view.methods]))


def list_audited_traces(wildcards):
    """Repairs and scores of the GEAR variants of a comparison."""
    folder = TRACES.format(teacher=wildcards.teacher, teacher_seed=wildcards.teacher_seed)
    variants = RUN_CONFIG.list_variants(COMPARISONS[wildcards.comparison].methods)
    return [f"{folder}/{file.of(variant=variant).path}" for variant in variants for file in (REPAIRS, SCORES)]


def list_table_files(comparison):
    """Scores, exposures and costs of a comparison; audits of its teachers where steps can be checked."""
    files = [f"{TABLES}/{comparison}.{suffix}" for suffix in ("csv", "md", "tex", "txt")]
    files += [f"{TABLES}/{comparison}_{detail}.{suffix}" for detail in (*DETAILS, "costs") for suffix in ("csv", "md")]
    files += [f"{TABLES}/{comparison}_{table}.csv" for table in ("coverage", "exposures")]
    files += [f"{TABLES}/{comparison}_notes.json", f"{TABLES}/{comparison}_outcomes.parquet"]
    if comparison == "main":
        files += [f"{TABLES}/paper.{suffix}" for suffix in ("csv", "md")]
    if STEPS_CHECKABLE and comparison in ("main", "ablations"):
        files += [f"{TABLES}/{comparison}_audits/audits_{teacher}.csv" for teacher in EXPERIMENT.teachers]
    return files


def list_figure_files(comparison):
    figures = [f"{FIGURES}/{comparison}/{name}" for name in ("differences", "accuracy", "cost", "loss")]
    if comparison == "main":
        needed = {file.path for method in MAIN for file in METHODS[method].needs()}
        names = ["ceiling"] + ["trace"] * STEPS_CHECKABLE
        names += ["positions"] * (STEPS_CHECKABLE or REPAIRS.of(variant=DEFAULT_VARIANT).path in needed)
        names += ["pure"] * (STEPS_CHECKABLE or SCORES.of(variant=DEFAULT_VARIANT).path in needed)
        figures += expand(f"{FIGURES}/teacher_seed{{teacher_seed}}/{{name}}_{{teacher}}", name=names, **AXES)
        figures += [f"{FIGURES}/{name}" for name in ["hours"] + ["roc"] * STEPS_CHECKABLE]
    return [f"{figure}.{suffix}" for figure in figures for suffix in PICTURES]


def list_report_files(comparison):
    return list_table_files(comparison) + list_figure_files(comparison)


def list_study_files():
    """The study's figures, over the methods of the ablation table."""
    figures = ["ablations/exposures"] + ["ablations/cuts"] * STEPS_CHECKABLE
    return [f"{FIGURES}/{figure}.{suffix}" for figure in figures for suffix in PICTURES]


def list_pages(comparison):
    return [f"{RUN}/report/{comparison}.{suffix}" for suffix in ("html", "txt")]


def list_page_inputs(wildcards):
    """Tables and figures on a comparison's page: the main ones, and its own."""
    files = []
    for comparison in dict.fromkeys(("main", wildcards.comparison)):
        files += [file for file in list_report_files(comparison) if not file.endswith((".tex", ".txt"))]
    return files
