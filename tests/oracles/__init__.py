"""Naive transcriptions of the rules in DESIGN.md: slow, short, and independent of the package."""
