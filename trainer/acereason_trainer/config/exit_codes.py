"""The launcher's exit codes: a contract between a stage pod and the planner."""

from enum import IntEnum


class ExitCode(IntEnum):
    """What the end of a stage attempt means. Any other code counts against the user.

    Numbers follow sysexits.h where it has one. Whether something was published is never read from
    a code: the result record and the manifest say so.
    """

    DONE = 0
    """The stage's artifact is published."""
    CORRUPT_INPUT = 65
    """An input does not hash to its digest (EX_DATAERR)."""
    TEMPORARY = 75
    """A lost peer, infrastructure, the watchdog (EX_TEMPFAIL)."""
    HEALTH_STOP = 76
    """A detector saw damage (docs/health.md); resumed once from before it, with another salt."""
    BAD_CONFIGURATION = 78
    """The settings cannot work; never retried (EX_CONFIG)."""
    STOPPED = 143
    """Stopped on request (128 + SIGTERM); charged to nobody."""


CONSEQUENCES = frozenset({"LostPeer", "StateGivenUp"})
"""Reasons that follow on another rank's end: of ends with one code, any other one says more."""
