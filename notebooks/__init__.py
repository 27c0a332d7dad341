"""The course, and what executes it."""
