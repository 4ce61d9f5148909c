"""Detectors find the step at which a wrong trace breaks. Each other file of this package defines one."""

from __future__ import annotations

from functools import cache

from heal.discovery import check_name, discover_classes
from heal.method.detectors.base import Detector


@cache
def find_detectors() -> dict[str, type[Detector]]:
    """name → class, of every detector. Raises HealError as `discover_classes`."""
    return discover_classes(__name__, Detector)


def list_detectors() -> list[str]:
    """The names that `gear.detector` takes."""
    return sorted(find_detectors())


def check_detector(name: str, where: str, field: str) -> None:
    """Raises HealError with the nearest name where no detector has this name."""
    check_name(name, find_detectors(), "detector", where=where, field=field)


def make_detector(name: str) -> Detector:
    """The detector of that name. Raises HealError for an unknown one."""
    check_detector(name, where="config", field="gear.detector")
    return find_detectors()[name]()
