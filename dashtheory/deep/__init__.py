"""Level 3: networks and real data."""
