"""The rules between stages, for any `torch.nn.Module`: DASH, S&P, cold, warm, controls and ablations.

Names are imported on first use (`__init__.pyi` lists them), so that a rule's text can be read without torch.
"""

from dashtheory._needs import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
