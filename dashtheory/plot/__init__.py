"""One visual language for every figure; functions take tables and axes, and compute nothing but means over seeds.

What draws tables is imported on first use (`__init__.pyi` lists the names), so that the explorers' page need not
wait for tables and statistics. seaborn is imported by the functions that draw with it, when they are called: it
brings ipywidgets along, which nothing else here needs.
"""

from dashtheory._needs import attach
from dashtheory.plot.style import style as style  # at once: a module and a function share the name

__getattr__, __dir__, __all__ = attach(__name__, __file__)
