"""The division of the templates into easy, strong, weak and unseen: fixed, by a rule.

ORDER ranks the package's 85 usable templates by the steps of the worked solution, then by its operations, then by
number (the most of 20 problems; a test counts again). 15 templates spread evenly over it are unseen: no model is taught
them, so unseen is not harder. Of the 70 others, which teachers are taught, the first 25 are easy, and 20 spread evenly
over the harder half are weak: a teacher's training shows few examples of them. The 25 left are strong like the easy
ones, 15 of them in the harder half like the weak.
"""

from collections.abc import Sequence

ORDER = (
    55, 4, 5, 6, 10, 14, 16, 20, 23, 24, 26, 39, 43, 45, 54, 56, 58, 59, 99, 8, 50, 69, 72, 95, 30, 38, 1, 82, 12, 13,
    33, 34, 48, 53, 62, 67, 70, 75, 78, 81, 88, 91, 93, 29, 31, 41, 47, 57, 80, 85, 83, 18, 0, 2, 7, 25, 46, 49, 52, 64,
    40, 44, 51, 71, 96, 15, 22, 42, 60, 3, 9, 28, 84, 94, 17, 68, 19, 21, 27, 36, 92, 66, 73, 89, 11,
)  # fmt: skip
N_UNSEEN, N_EASY, N_WEAK = 15, 25, 20


def spread(templates: Sequence[int], n: int) -> tuple[int, ...]:
    """`n` of them at even distances: the middles of n parts of equal length."""
    return tuple(templates[(2 * part + 1) * len(templates) // (2 * n)] for part in range(n))


def exclude(templates: Sequence[int], others: Sequence[int]) -> tuple[int, ...]:
    """The templates without the others, in their order."""
    return tuple(template for template in templates if template not in others)


UNSEEN = spread(ORDER, N_UNSEEN)
TAUGHT = exclude(ORDER, UNSEEN)
EASY = TAUGHT[:N_EASY]
WEAK = spread(TAUGHT[len(TAUGHT) // 2 :], N_WEAK)
STRONG = exclude(TAUGHT, EASY + WEAK)
GROUPS = {"easy": EASY, "strong": STRONG, "weak": WEAK, "unseen": UNSEEN}


def get_difficulty(template: int) -> str:
    """The group of a template. Raises ValueError for a template that is not used."""
    for name, templates in GROUPS.items():
        if template in templates:
            return name
    raise ValueError(f"template {template} is in no group")
