"""The networks for images: built by name, initialised from an explicit generator."""

from dashtheory.deep.models.classifier import Classifier
from dashtheory.deep.models.convnet import convnet
from dashtheory.deep.models.mlp import mlp
from dashtheory.deep.models.picture import PictureNetwork
from dashtheory.deep.models.registry import MODELS, Model, build_model
from dashtheory.deep.models.resnet import BasicBlock, narrow_resnet, resnet18
from dashtheory.deep.models.transformer import CharTransformer, TransformerConfig, initialize_
from dashtheory.deep.models.vgg import vgg16

__all__ = [
    "MODELS",
    "BasicBlock",
    "CharTransformer",
    "Classifier",
    "Model",
    "PictureNetwork",
    "TransformerConfig",
    "build_model",
    "convnet",
    "initialize_",
    "mlp",
    "narrow_resnet",
    "resnet18",
    "vgg16",
]
