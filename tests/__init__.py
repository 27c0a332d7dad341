"""Tests of dashtheory: oracles, closed forms at hand-sized inputs, and laws."""
