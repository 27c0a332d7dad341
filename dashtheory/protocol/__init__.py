"""The warm-start protocol: a stream of chunks, training to a criterion, a rule between stages, measures.

Names are imported on first use (`__init__.pyi` lists them), so that a part that needs no torch loads none.
"""

from dashtheory._needs import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
