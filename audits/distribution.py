"""Which tests one of pytest-xdist's workers runs together, under ``--dist loadgroup``.

Tests that share a measurement without a ledger must not be split: two workers would both make it. xdist has a mark for
that, which version 3.8 forgets under pytest 9.2 without a word (https://github.com/pytest-dev/pytest-xdist/issues/1386).
"""

from __future__ import annotations

from pathlib import PurePath

from xdist.scheduler import LoadScopeScheduling

TOGETHER = frozenset({"test_post_processing.py"})
"""Files whose tests stay together; every other test goes to whichever worker is free."""


class ByMeasurement(LoadScopeScheduling):  # type: ignore[misc]  # xdist is untyped
    """xdist's scheduler of groups; the largest group is given out first."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return file if PurePath(file).name in TOGETHER else nodeid
