"""Streams that change."""
