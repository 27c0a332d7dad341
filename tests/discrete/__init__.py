"""Tests of discrete."""
