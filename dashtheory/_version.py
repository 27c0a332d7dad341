"""The version of the package, stored here alone."""

__version__ = "0.5.0"
