"""Theory of the discrete framework: what it does without sampling.

Names are imported on first use (`__init__.pyi` lists them): the limit of large chunks needs no statistics of
scipy.
"""

from dashtheory._needs import attach
from dashtheory.theory.population import (
    population as population,  # at once: a module and a function share the name
)

__getattr__, __dir__, __all__ = attach(__name__, __file__)
