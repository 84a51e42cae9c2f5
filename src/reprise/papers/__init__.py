"""The papers: one file holds one method."""
