"""Laws of the trace viewer: which repairs it selects, what it shows of each, and that any text stays text."""

import base64
import hashlib
import json
import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from heal import records
from heal.config.experiment import Gear, Hint, Pure
from heal.engines.base import load_tokenizer
from heal.errors import HealError
from heal.method import pure
from heal.viewer.page import FILES, FOLDER, embed_json, render_page
from heal.viewer.page_rows import RowBuilder
from heal.viewer.read_run import label_variants, read_run
from heal.viewer.select_repairs import interleave, spread_repairs
from tests.support.paths import ROOT
from tests.support.viewer_run import Story, make_checked_stories, make_stories, read_page_data, write_page, write_run


def build_stories(run, options=Pure()):  # noqa: B008
    run_data = read_run(run, "t", 0, options, 0)
    builder = RowBuilder(run_data, load_tokenizer(str(run / "tokenizer")), options)
    return [(repair, builder.build_tables(repair)) for repair in run_data.repairs]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("run"), make_stories(3))


@pytest.fixture(scope="module")
def page(run):
    return write_page(run)


@settings(max_examples=200)
@given(st.text(st.characters(exclude_categories=["Cs"])))
@example("</script><script>alert(1)</script>")
@example("<!-- <script> \u2028 \u2029 \x00 ]]> &lt; $script")
def test_any_text_comes_back_and_none_ends_its_block(text):
    block = embed_json({text: [text]})
    assert json.loads(block) == {text: [text]}
    assert not re.search("[<>&\u2028\u2029]", block)
    assert read_page_data(render_page({"text": text})) == {"text": text}


def test_the_policy_allows_the_page_s_own_blocks_and_nothing_else(page):
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    allowed = dict(part.split(" ", 1) for part in policy.split("; "))
    assert set(allowed) == {"default-src", "style-src", "script-src", "base-uri", "form-action"}
    assert {allowed.pop(name) for name in ("default-src", "base-uri", "form-action")} == {"'none'"}
    for name, tag in (("style-src", "style"), ("script-src", "script")):
        (block,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(block.encode()).digest()).decode()
        assert allowed[name] == f"'sha256-{digest}'"


def test_nothing_on_the_page_can_make_html_of_a_text_or_load_a_file():
    html, _, *scripts = ((FOLDER / name).read_text(encoding="utf-8") for name in FILES)
    script = "".join(scripts)
    makers = r"innerHTML|outerHTML|insertAdjacent|createContextual|document\.write|eval|Function\("
    assert not re.search(rf"{makers}|fetch|import|https?:", script)
    assert not re.search(r"\b(src|https?):?=|<link|<img|<iframe|https?:", html)


def test_a_trace_is_shown_whole_in_any_script(run):
    for repair, tables in build_stories(run):
        row, text = repair.row, tables["texts"]
        source = text[row["source_id"]]
        assert len(source["pieces"]) == len(source["centinats"])
        if row["trace_id"]:
            story = tables["repairs"][repair.id]
            added = text[row["trace_id"]]
            kept_text, new = "".join(source["pieces"][: story["kept_tokens"]]), "".join(added["pieces"])
            assert (kept_text, new) == (row["kept"], row["continuation"])
            assert len(added["pieces"]) == len(added["centinats"]) == len(row["entropies"])
            assert added["centinats"] == [round(100 * value) for value in row["entropies"]]
            assert story["ends"][-1] == len(row["token_ids"])


def test_what_repairs_share_stands_on_the_page_once(page):
    data = read_page_data(page)
    assert len(data["repairs"]) == 18
    sources = {cut["text"] for cut in data["cuts"].values()}
    assert len(sources) == 15, "two repairs of every sixth trace"
    assert set(data["texts"]) == sources | {one["text"] for one in data["repairs"].values() if one["text"]}


def test_every_verdict_of_every_detector_is_there(page):
    data = read_page_data(page)
    counts = Counter((data["about"]["variants"][one["variant"]], one["verdict"]) for one in data["repairs"].values())
    assert counts == {
        ("entropy_surge", "accepted"): 9,
        ("random", "wrong"): 3,
        ("random", "no_breakpoint"): 3,
        ("random", "accepted"): 3,
    }
    for one in data["repairs"].values():
        assert (one["pure"] == "not scored") == (one["verdict"] != "accepted")


def test_the_numbers_of_pure_are_pure_s(run):
    options = Pure(drop_share=0.4)
    stories = build_stories(run, options)
    for variant in {repair.variant for repair, _ in stories}:
        scores = records.read(run / f"traces/t/teacher_seed0/scores/{variant}.parquet", "scores")
        kept_ids = {
            repair.row["trace_id"] for repair, _ in stories if repair.variant == variant and repair.pure == "kept"
        }
        assert kept_ids == pure.keep_quantile(scores, options) and len(kept_ids) < len(scores)
    for repair, tables in stories:
        if repair.score:
            numbers = tables["repairs"][repair.id]["score"]
            assert len(numbers["ratios"]) == repair.row["kept_steps"] + 1, "u falls below 0.1 at the first new step"
            assert numbers["certain"] and numbers["worst"] == len(numbers["ratios"])
            anomaly, surprise = pure.compute_anomaly(repair.score, options), repair.score["nll_mean"]
            assert numbers["anomaly"] == max(numbers["ratios"]) == pytest.approx(anomaly, 1e-3)
            assert numbers["perplexities"] == pytest.approx(np.exp(surprise), 1e-3)


def test_the_first_wrong_step_is_the_checker_s(tmp_path):
    run = write_run(tmp_path, make_checked_stories())
    verdicts = {}
    for repair, tables in build_stories(run):
        (cut,), story = tables["cuts"].values(), tables["repairs"][repair.id]
        assert cut["first_wrong"] == 2
        verdicts[repair.row["detector"]] = story["checker"], story["first_wrong"]
    assert verdicts == {"entropy_surge": ("valid", None), "random": ("inherited", 2), "first_step": ("fresh", 3)}


def test_the_oracle_rule_keeps_the_valid_repairs(tmp_path):
    run = write_run(tmp_path, make_checked_stories())
    decisions = {repair.row["detector"]: repair.pure for repair, _ in build_stories(run, Pure(rule="oracle"))}
    assert decisions == {"entropy_surge": "kept", "random": "dropped", "first_step": "dropped"}


def test_without_a_checker_no_step_has_a_verdict(run, page):
    assert not read_page_data(page)["about"]["checked"]
    assert {one["checker"] for one in read_page_data(page)["repairs"].values()} == {None}


def list_chosen_ids(run):
    return [repair.id for repair in spread_repairs(read_run(run, "t", 0, Pure(), 0).repairs)]


def test_neither_rows_nor_their_order_change_the_choice_or_a_byte(run, page, tmp_path):
    other = write_run(tmp_path, make_stories(3), order=lambda rows: rows[::-1])
    assert list_chosen_ids(other) == list_chosen_ids(run)
    one, two = read_page_data(page), read_page_data(write_page(other))
    for data in (one, two):
        for place in ("command", "model", "run"):
            data["about"].pop(place)
    assert embed_json(one) == embed_json(two)
    assert write_page(run) == write_page(run)


@given(st.lists(st.lists(st.integers(), max_size=5), max_size=5))
def test_taking_in_turn_takes_all_and_never_two_more_of_one_than_of_another(groups):
    named = [[(number, item) for item in items] for number, items in enumerate(groups)]
    taken = interleave(named)
    assert sorted(taken) == sorted(item for items in named for item in items)
    for length in range(len(taken)):
        counts = Counter(number for number, _ in taken[:length])
        unfinished = [number for number, items in enumerate(named) if counts[number] < len(items)]
        assert all(counts[number] >= max(counts.values(), default=0) - 1 for number in unfinished)


def test_a_smaller_page_is_spread_too_and_a_part_of_a_larger_one(run):
    few, more = (read_page_data(write_page(run, "--max-repairs", str(count))) for count in (5, 9))
    assert len(few["repairs"]) == 5 and set(few["repairs"]) < set(more["repairs"])
    groups = {(one["variant"], one["verdict"], one["pure"]) for one in few["repairs"].values()}
    assert len(groups) == 5


@pytest.fixture(scope="module")
def long_run(tmp_path_factory):
    """200 repairs of 100 problems; trace and continuation have some 350 tokens each."""
    steps = [f"Then, since this is step {k} of a long trace, it goes on with more words." for k in range(5)]
    stories = [
        Story(f"Question {i}", steps, [f"{detector} {step}" for step in steps], detector=detector)
        for i in range(100)
        for detector in ("entropy_surge", "random")
    ]
    return write_run(tmp_path_factory.mktemp("long"), stories)


def test_200_traces_are_at_most_2_megabytes(long_run):
    html = write_page(long_run)
    assert len(read_page_data(html)["repairs"]) == 200
    assert len(html.encode()) <= 2e6


def test_where_traces_are_too_long_there_are_fewer_and_page_and_command_say_so(long_run, capsys):
    html = write_page(long_run, "--max-mb", "0.3")
    data = read_page_data(html)
    assert 250_000 < len(html.encode()) <= 300_000
    assert 0 < len(data["repairs"]) < data["about"]["requested"] == 200
    assert f"{len(data['repairs'])} of 200 repairs (the others do not fit" in capsys.readouterr().err
    with pytest.raises(HealError, match="not one repair fits"):
        write_page(long_run, "--max-mb", "0.01")


def test_a_run_that_has_no_scores_yet_is_shown_without(tmp_path):
    run = write_run(tmp_path, make_stories(), scores=False)
    data = read_page_data(write_page(run))
    assert {one["pure"] for one in data["repairs"].values()} == {"not scored"}
    assert {one.get("score") for one in data["repairs"].values()} == {None}


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda traces: [path.unlink() for path in traces.glob("repairs/*.parquet")], "no repairs"),
        (lambda traces: [path.unlink() for path in traces.glob("repairs/*.json")], "no provenance with the options"),
        (lambda traces: (traces / "samples.parquet").unlink(), "no such file"),
        (lambda traces: traces.parent.parent.joinpath("u").mkdir(), "several teachers: t, u"),
        (lambda traces: traces.parent.rename(traces.parent.parent.parent / "gone"), "no traces"),
    ],
)
def test_an_error_says_what_is_missing_and_how_to_fix_it(tmp_path, break_it, message):
    run = write_run(tmp_path, make_stories())
    break_it(run / "traces/t/teacher_seed0")
    with pytest.raises(HealError, match=message) as refused:
        write_page(run)
    assert refused.value.fix and refused.value.where
    assert not (run / "page.html").exists()


def test_another_tokenizer_is_refused(tmp_path):
    run = write_run(tmp_path, make_stories())
    with pytest.raises(HealError, match="steps by this tokenizer"):
        write_page(run, "--tokenizer", str(ROOT / "heal/worlds/mini/models/teacher"))


def test_variants_of_one_detector_are_labeled_by_the_options_that_differ():
    gears = {
        "a": Gear(),
        "b": Gear(hint=Hint(source="none")),
        "c": Gear(detector="random"),
        "d": Gear(rewind=2, detector="oracle"),
    }
    named = label_variants(gears)
    assert named["a"] == "entropy_surge, hint source answer" and named["b"] == "entropy_surge, hint source none"
    assert (named["c"], named["d"]) == ("random", "oracle")
    assert len(set(label_variants({"a": Gear(), "b": Gear(leak_patterns=["a long pattern indeed"])}).values())) == 2


def test_the_page_s_files_are_installed_with_the_package():
    import tomllib

    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["heal"]
    installed = {path for pattern in patterns for path in (ROOT / "heal").glob(pattern)}
    assert {FOLDER / name for name in FILES} <= installed


def test_page_and_provenance_say_where_they_come_from(run):
    about = read_page_data(write_page(run, "--seed", "3"))["about"]
    provenance = json.loads((run / "page.html.provenance.json").read_text())
    assert about["command"].split() == provenance["argv"] and about["command"].endswith("--seed 3")
    assert about["git"] == provenance["git"]
    assert (about["run"], about["teacher"], about["teacher_seed"]) == (run.name, "t", 0)
