"""Trace files."""

from __future__ import annotations

from collections.abc import Iterable

from heal.config.experiment import Gear
from heal.records import content_id


class files:
    """Names of trace files. Where they depend on a method's options, their hash is in the name: variants never mix.

    `{student}` stands for the student that the curriculum is for: those files are a student's own pass over the
    problems, or over the teacher's correct samples.
    """

    base = ("samples.parquet", "grades.parquet")
    guided = "guided.parquet"
    of_student = ("students/{student}/samples.parquet", "students/{student}/grades.parquet")
    ranks = "students/{student}/ranks.parquet"
    continued = "students/{student}/continued.parquet"

    @staticmethod
    def of_teacher(needs: Iterable[str]) -> list[str]:
        """Those that the teacher made, each once: what a method costs of the teacher."""
        return sorted({file for file in needs if "{student}" not in file})

    @staticmethod
    def variant(gear: Gear) -> str:
        return f"{gear.detector}-{content_id(gear.model_dump())[:8]}"

    @staticmethod
    def repairs(gear: Gear) -> str:
        return f"repairs/{files.variant(gear)}.parquet"

    @staticmethod
    def scores(gear: Gear) -> str:
        return f"scores/{files.variant(gear)}.parquet"

    @staticmethod
    def extra(gear: Gear, allocation: str) -> tuple[str, str]:
        """Samples and grades of the extra samples that cost as much as HEAL with this GEAR."""
        return (
            f"extra/{allocation}-{files.variant(gear)}.parquet",
            f"extra/{allocation}-{files.variant(gear)}.grades.parquet",
        )


def kind_of(file: str) -> str:
    """The schema (heal.records) of a trace file."""
    table, _, name = file.removesuffix(".parquet").rpartition("/")
    if name.endswith("grades"):
        return "grades"
    return {"extra": "samples", "repairs": "repairs", "scores": "scores"}.get(table, name)
