"""The attacks of scripts/torture: one file for each way to disturb a run."""

import dataclasses
import typing


@dataclasses.dataclass
class Part:
    """Cases of one kind. `check` disturbs a run as its case says, and answers what was wrong."""

    name: str
    cases: list
    check: typing.Callable
    # Whether cases must not run side by side.
    alone: bool = False
    # Shown in the table: a text, or what makes one at the end.
    note: typing.Any = ""
    # How many disturbances the cases were, where a case holds several.
    count: typing.Any = None

    def __post_init__(self):
        self.count = self.count or (lambda: len(self.cases))
