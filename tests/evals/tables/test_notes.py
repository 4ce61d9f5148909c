"""Notes keep their topic and text on disk; a file that holds none is refused."""

from __future__ import annotations

import pytest

from evals.tables.notes import Note, Topic, read_notes, select_notes, write_notes
from heal import records
from heal.errors import HealError

NOTES = [Note(topic, f"About {topic.value}, “quoted”.") for topic in Topic]


def test_notes_survive_a_file(tmp_path):
    write_notes(tmp_path / "main_notes.json", NOTES)
    assert read_notes(tmp_path / "main_notes.json") == NOTES
    assert select_notes(NOTES, Topic.WORLD, Topic.RUN) == [
        Note(Topic.RUN, "About run, “quoted”."),
        Note(Topic.WORLD, "About world, “quoted”."),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"topic": "run", "text": "x"}, "expected a list of notes"),
        ([{"topic": "weather", "text": "x"}], "not a note"),
        ([{"topic": "run", "text": "x"}, {"topic": "run"}], "not a note"),
        (["mini: x"], "not a note"),
    ],
)
def test_a_file_without_notes_is_refused(tmp_path, content, message):
    path = tmp_path / "main_notes.json"
    records.write_json(path, content)
    with pytest.raises(HealError, match=message) as refused:
        read_notes(path)
    assert refused.value.where.startswith(str(path))
    path.unlink()
    with pytest.raises(HealError, match="no such file"):
        read_notes(path)
