"""Tests of twolayer."""
