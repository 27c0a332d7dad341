"""The warm-start protocol: a stream of chunks, training to a criterion, a rule between stages, measures.

Names are imported on first use (`__init__.pyi` lists them), so that a part that needs no torch loads none.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
