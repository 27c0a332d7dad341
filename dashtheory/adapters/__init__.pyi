from .avalanche import AvalancheRule as AvalancheRule
from .core import StageReport as StageReport
from .core import StageRule as StageRule
from .lightning import LightningRule as LightningRule
from .skorch import SkorchRule as SkorchRule
from .transformers import TransformersRule as TransformersRule
