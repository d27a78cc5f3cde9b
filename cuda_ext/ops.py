"""The native ops as differentiable torch functions, float32, CPU or GPU. `cuda_ext.reference` explains each."""

from __future__ import annotations

from cuda_ext.compose import Composed, compose, update_exposure_
from cuda_ext.convolve import PackedConvolution, convolve, pack_convolution
from cuda_ext.deform import deform, deform_adam_, deform_int8
from cuda_ext.field import RaySamples, composite, hash_grid, march
from cuda_ext.frame import (
    ATTRIBUTES,
    WIDTH,
    FrameGraph,
    Launched,
    Pixels,
    Pose,
    SplatBlendshapes,
    StackedBlendshapes,
    View,
    draw_frames,
    place_splats,
    place_stacked,
    split_attributes,
    stack,
    with_alpha,
)
from cuda_ext.image import photo_error, photo_moments, to_bytes, to_nv12
from cuda_ext.mlp import Precision, mlp
from cuda_ext.native import cuda_architectures, get_threads, isa, set_threads
from cuda_ext.place import RigidTransform, place
from cuda_ext.reference import AdamStep, Convolution, dequantize, quantize
from cuda_ext.room import Room
from cuda_ext.splat import LOW_PASS, Part, first_pairs, splat, splat_part

__all__ = [
    "ATTRIBUTES",
    "LOW_PASS",
    "WIDTH",
    "AdamStep",
    "Composed",
    "Convolution",
    "FrameGraph",
    "Launched",
    "PackedConvolution",
    "Part",
    "Pixels",
    "Pose",
    "Precision",
    "RaySamples",
    "RigidTransform",
    "Room",
    "SplatBlendshapes",
    "StackedBlendshapes",
    "View",
    "compose",
    "composite",
    "convolve",
    "cuda_architectures",
    "deform",
    "deform_adam_",
    "deform_int8",
    "dequantize",
    "draw_frames",
    "first_pairs",
    "get_threads",
    "hash_grid",
    "isa",
    "march",
    "mlp",
    "pack_convolution",
    "photo_error",
    "photo_moments",
    "place",
    "place_splats",
    "place_stacked",
    "quantize",
    "set_threads",
    "splat",
    "splat_part",
    "split_attributes",
    "stack",
    "to_bytes",
    "to_nv12",
    "update_exposure_",
    "with_alpha",
]
