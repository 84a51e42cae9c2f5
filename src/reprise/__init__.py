"""Reprise: vision papers rebuilt by one command, beside the numbers they printed.

Importing this package costs nothing: torch and the other heavy libraries are imported by the
modules that need them.
"""

__version__ = "0.1.0"
