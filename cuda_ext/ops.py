"""The native ops as differentiable torch functions, on the CPU or a GPU: float32. `cuda_ext.reference` explains them."""

from __future__ import annotations

from cuda_ext.deform import deform, deform_adam_, deform_int8
from cuda_ext.image import photo_error, photo_moments, to_bytes, to_nv12
from cuda_ext.native import cuda_architectures, get_threads, isa, set_threads
from cuda_ext.place import place
from cuda_ext.reference import dequantize, quantize
from cuda_ext.splat import splat

__all__ = [
    "cuda_architectures",
    "deform",
    "deform_adam_",
    "deform_int8",
    "dequantize",
    "get_threads",
    "isa",
    "photo_error",
    "photo_moments",
    "place",
    "quantize",
    "set_threads",
    "splat",
    "to_bytes",
    "to_nv12",
]
