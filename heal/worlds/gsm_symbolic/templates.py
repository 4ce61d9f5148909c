"""Which templates are easy, strong, weak and unseen: a fixed division by a rule.

ORDER ranks the package's 85 usable templates by the steps of the worked solution, then by its operations, then by
number (the most of 20 problems; a test counts again). 15 templates spread evenly over it are unseen: no model is taught
them, so unseen is not harder. Of the 70 others, which teachers are taught, the first 25 are easy, and 20 spread evenly
over the harder half are weak: a teacher's training shows few examples of them. The 25 left are strong like the easy
ones, 15 of them in the harder half beside the weak.

Reads nothing, writes nothing. The lists:

    python -m heal.worlds.gsm_symbolic.templates
"""

from collections.abc import Sequence

from heal.command import command_parser

ORDER = (
    55, 4, 5, 6, 10, 14, 16, 20, 23, 24, 26, 39, 43, 45, 54, 56, 58, 59, 99, 8, 50, 69, 72, 95, 30, 38, 1, 82, 12, 13,
    33, 34, 48, 53, 62, 67, 70, 75, 78, 81, 88, 91, 93, 29, 31, 41, 47, 57, 80, 85, 83, 18, 0, 2, 7, 25, 46, 49, 52, 64,
    40, 44, 51, 71, 96, 15, 22, 42, 60, 3, 9, 28, 84, 94, 17, 68, 19, 21, 27, 36, 92, 66, 73, 89, 11,
)  # fmt: skip
N_UNSEEN, N_EASY, N_WEAK = 15, 25, 20


def spread(templates: Sequence[int], n: int) -> tuple[int, ...]:
    """`n` of them at even distances: the middles of n parts of equal length."""
    return tuple(templates[(2 * i + 1) * len(templates) // (2 * n)] for i in range(n))


UNSEEN = spread(ORDER, N_UNSEEN)
TAUGHT = tuple(template for template in ORDER if template not in UNSEEN)
EASY = TAUGHT[:N_EASY]
WEAK = spread(TAUGHT[len(TAUGHT) // 2 :], N_WEAK)
STRONG = tuple(template for template in TAUGHT if template not in EASY + WEAK)
GROUPS = {"easy": EASY, "strong": STRONG, "weak": WEAK, "unseen": UNSEEN}


def difficulty(template: int) -> str:
    """The group of a template."""
    return next(name for name, templates in GROUPS.items() if template in templates)


def main() -> None:
    command_parser(__doc__).parse_args()
    for shown, listed in GROUPS.items():
        print(f"{shown} ({len(listed)}): {', '.join(map(str, listed))}")


if __name__ == "__main__":
    main()
