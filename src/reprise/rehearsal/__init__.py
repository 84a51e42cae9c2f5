"""Rehearsals: every step of a scale at full size, twice, on generated files; never a result."""

from reprise.rehearsal.project import PREFIX, is_rehearsal, rehearsed, representatives

__all__ = ["PREFIX", "is_rehearsal", "rehearsed", "representatives"]
