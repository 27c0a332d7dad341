"""Data sets of pictures, and streams made from them or from the user's own data."""

from dashtheory.deep.data.augment import PictureAugmentation
from dashtheory.deep.data.cache import cache_folder
from dashtheory.deep.data.cifar import cifar10, cifar100
from dashtheory.deep.data.fashion import fashion_mnist
from dashtheory.deep.data.find import cifar10_available, cifar10_name, find_data
from dashtheory.deep.data.folder import image_folder
from dashtheory.deep.data.handwritten import digits
from dashtheory.deep.data.images import ImageData, ImageSet
from dashtheory.deep.data.split import stratified_split
from dashtheory.deep.data.stream import ImageStream, make_stream
from dashtheory.deep.data.street_view import svhn
from dashtheory.deep.data.text import Corpus, encode, python_topics, text_stream
from dashtheory.deep.data.tiny import tiny_imagenet
from dashtheory.deep.data.user import stream_of_dataset, stream_of_tensors

__all__ = [
    "Corpus",
    "ImageData",
    "ImageSet",
    "ImageStream",
    "PictureAugmentation",
    "cache_folder",
    "cifar10",
    "cifar10_available",
    "cifar10_name",
    "cifar100",
    "digits",
    "encode",
    "fashion_mnist",
    "find_data",
    "image_folder",
    "make_stream",
    "python_topics",
    "stratified_split",
    "stream_of_dataset",
    "stream_of_tensors",
    "svhn",
    "text_stream",
    "tiny_imagenet",
]
