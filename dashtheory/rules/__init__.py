"""The rules between stages, for any `torch.nn.Module`: DASH, S&P, cold, warm, controls and ablations.

Names are imported on first use (`__init__.pyi` lists them), so that a rule's text can be read without torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
