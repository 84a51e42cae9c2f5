"""Data sets: one module each, found by name."""
