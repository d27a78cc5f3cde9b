"""The native ops as differentiable torch functions: float32, CPU. `cuda_ext.reference` has the formula of each."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from cuda_ext.reference import COLUMNS, dequantize, quantize
from cuda_ext.shapes import check_shapes

__all__ = [
    "deform",
    "deform_adam_",
    "deform_int8",
    "dequantize",
    "get_threads",
    "isa",
    "photo_error",
    "place",
    "quantize",
    "set_threads",
    "splat",
    "to_bytes",
]

_BUILD = "the native ops are not built: run `pip install -e .` in the checkout (needs a C++17 compiler)"


class _Missing:
    def __getattr__(self, name: str) -> Any:
        raise ImportError(_BUILD)


def _load() -> ModuleType | _Missing:
    try:
        return importlib.import_module("cuda_ext._native")
    except ModuleNotFoundError:
        return _Missing()


_native: Any = _load()


def set_threads(count: int) -> None:
    """Use this many threads for all ops; 0 means one for each core."""
    if count < 0:
        raise ValueError(f"set_threads: count is {count}, expected 0 or more")
    _native.set_threads(count)


def get_threads() -> int:
    """Number of threads in use."""
    return int(_native.get_threads())


def isa() -> str:
    """Instruction set in use: v2, v3, v4 (x86-64 levels) or generic; AVATAR_ISA overrides it."""
    return str(_native.isa())


def _plain(tensor: Tensor) -> Tensor:
    if tensor.device.type != "cpu":
        raise ValueError(f"a tensor is on {tensor.device}, the native ops run on the CPU only")
    return tensor.detach().contiguous()


def _check_finite(where: str, tensors: dict[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        # A sum that is finite proves every term finite; only a failed sum is looked at again.
        if not bool(torch.isfinite(tensor.detach().sum())) and not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"{where}.{name} has a value that is not finite")


class _Splat(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, focal: float, size: int, screen_gradient: Tensor | None, *inputs: Tensor
    ) -> tuple[Tensor, Tensor]:
        arrays = [_plain(tensor) for tensor in inputs]
        rgb, alpha = torch.empty(3, size, size), torch.empty(1, size, size)
        ctx.native = _native.splat_forward(*arrays, focal, size, rgb, alpha)
        ctx.save_for_backward(*arrays, rgb, alpha)
        ctx.camera = (focal, size)
        ctx.screen_gradient = screen_gradient
        return rgb, alpha

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_rgb: Tensor, grad_alpha: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, rgb, alpha = ctx.saved_tensors
        gradients = [torch.empty_like(tensor) for tensor in inputs]
        _native.splat_backward(
            ctx.native,
            *inputs,
            *ctx.camera,
            rgb,
            alpha,
            _plain(grad_rgb),
            _plain(grad_alpha),
            *gradients,
            ctx.screen_gradient,
        )
        return None, None, None, *gradients


def splat(
    means: Tensor,
    quaternions: Tensor,
    log_scales: Tensor,
    opacity_logits: Tensor,
    colors: Tensor,
    *,
    focal: float,
    size: int,
    screen_gradient: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw Gaussian splats: rgb [3,S,S] premultiplied, alpha [1,S,S]; differentiable in all five tensors.

    means [N,3] cm, camera frame (OpenCV axes); quaternions [N,4] wxyz, any length; log_scales [N,3] of cm;
    opacity_logits [N]; colors [N,3]; focal and size in px. screen_gradient [N]: the backward pass adds the length of
    each splat's screen position gradient (loss per px) to it, for densification.
    Raises ValueError or TypeError naming the argument. Source: EWA projection of 3D Gaussian Splatting (Kerbl 2023).
    """
    tensors = {
        "means": (means, "N 3"),
        "quaternions": (quaternions, "N 4"),
        "log_scales": (log_scales, "N 3"),
        "opacity_logits": (opacity_logits, "N"),
        "colors": (colors, "N 3"),
    }
    if screen_gradient is not None:
        tensors["screen_gradient"] = (screen_gradient, "N")
    check_shapes("splat", tensors, dtype=torch.float32)
    if not focal > 0 or not 0 < size <= 16384:
        raise ValueError(f"splat: focal is {focal} and size is {size}, expected focal > 0 and size in 1..16384")
    _check_finite("splat", {name: tensor for name, (tensor, _) in tensors.items()})
    return _Splat.apply(focal, size, screen_gradient, means, quaternions, log_scales, opacity_logits, colors)


class _PhotoError(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, image: Tensor, target: Tensor, weight: Tensor, ssim_weight: float) -> Tensor:
        size = image.shape[1]
        gradient = torch.empty(3, size, size)
        workspace, sums = torch.empty(9, size, size), torch.empty(3, size, dtype=torch.float64)
        error = _native.photo_error(
            _plain(image), _plain(target), _plain(weight), ssim_weight, workspace, sums, gradient
        )
        ctx.save_for_backward(gradient)
        return torch.tensor(error, dtype=torch.float32)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return grad * gradient, None, None, None


def photo_error(image: Tensor, target: Tensor, weight: Tensor, *, ssim_weight: float = 0.2) -> Tensor:
    """Weighted mean of (1 - ssim_weight) * L1 + ssim_weight * (1 - SSIM) / 2: a scalar, differentiable in image only.

    image, target [3,S,S] in 0..1; weight [1,S,S] >= 0 (all zero gives 0). SSIM: Gaussian window 11, sigma 1.5, zero
    padding, C1 = 0.01^2, C2 = 0.03^2, per channel and pixel. Raises ValueError or TypeError naming the argument.
    """
    check_shapes(
        "photo_error",
        {"image": (image, "3 S S"), "target": (target, "3 S S"), "weight": (weight, "1 S S")},
        dtype=torch.float32,
    )
    return _PhotoError.apply(image, target, weight, ssim_weight)


class _Deform(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, base: Tensor, deltas: Tensor, coefficients: Tensor) -> Tensor:
        base, deltas, coefficients = _plain(base), _plain(deltas), _plain(coefficients)
        out = torch.empty_like(base)
        _native.deform(base, deltas, coefficients, out)
        ctx.save_for_backward(deltas, coefficients)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        deltas, coefficients = ctx.saved_tensors
        grad = _plain(grad)
        grad_deltas = grad_coefficients = None
        if ctx.needs_input_grad[1]:
            grad_deltas = torch.outer(coefficients, grad)
        if ctx.needs_input_grad[2]:
            grad_coefficients = torch.empty_like(coefficients)
            _native.deform_coefficients(deltas, grad, grad_coefficients)
        return grad, grad_deltas, grad_coefficients


def deform(base: Tensor, deltas: Tensor, coefficients: Tensor) -> Tensor:
    """Blendshapes: base [M] + coefficients [K] @ deltas [K,M] -> [M]; differentiable in all three.

    Leave requires_grad of deltas off and use `deform_adam_` to train them without a [K,M] gradient.
    """
    check_shapes(
        "deform",
        {"base": (base, "M"), "deltas": (deltas, "K M"), "coefficients": (coefficients, "K")},
        dtype=torch.float32,
    )
    return _Deform.apply(base, deltas, coefficients)


def deform_adam_(
    deltas: Tensor,
    moment1: Tensor,
    moment2: Tensor,
    gradient: Tensor,
    coefficients: Tensor,
    *,
    lr: Tensor | float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    step: int,
) -> None:
    """One Adam step of deltas [K,M] in place, their gradient being coefficients [K] times gradient [M].

    moment1, moment2 [K,M] are Adam's state, also in place; lr: one rate, or [M]; step counts from 1.
    """
    tensors = {
        "deltas": (deltas, "K M"),
        "moment1": (moment1, "K M"),
        "moment2": (moment2, "K M"),
        "gradient": (gradient, "M"),
        "coefficients": (coefficients, "K"),
    }
    if isinstance(lr, Tensor):
        tensors["lr"] = (lr, "M")
    check_shapes("deform_adam_", tensors, dtype=torch.float32)
    for name in ("deltas", "moment1", "moment2"):
        if not tensors[name][0].is_contiguous():
            raise ValueError(f"deform_adam_.{name} is not contiguous, it cannot be updated in place")
    if step < 1:
        raise ValueError(f"deform_adam_: step is {step}, expected 1 or more")
    rates, rate = (_plain(lr), 0.0) if isinstance(lr, Tensor) else (None, lr)
    _native.deform_adam(
        deltas.detach(), moment1, moment2, _plain(gradient), _plain(coefficients), rates, rate, beta1, beta2, eps, step
    )


def to_bytes(rgb: Tensor, alpha: Tensor, background: Tensor) -> Tensor:
    """Premultiplied rgb [3,S,S] and alpha [1,S,S] in 0..1 over background [S,S,3] uint8 -> [S,S,3] uint8, rounded."""
    sizes = check_shapes("to_bytes", {"rgb": (rgb, "3 S S"), "alpha": (alpha, "1 S S")}, dtype=torch.float32)
    check_shapes("to_bytes", {"background": (background, "S S 3")}, dtype=torch.uint8, sizes=sizes)
    out = torch.empty_like(background, memory_format=torch.contiguous_format)
    _native.to_bytes(_plain(rgb), _plain(alpha), background.contiguous(), out)
    return out


def deform_int8(base: Tensor, codes: Tensor, scales: Tensor, coefficients: Tensor) -> Tensor:
    """As `deform` with deltas from `quantize`: codes [K,M] int8, scales [K,ceil(M/64)]. Not differentiable."""
    sizes = check_shapes("deform_int8", {"base": (base, "M"), "coefficients": (coefficients, "K")}, dtype=torch.float32)
    check_shapes("deform_int8", {"codes": (codes, "K M")}, dtype=torch.int8, sizes=sizes)
    sizes["B"] = -(-sizes["M"] // COLUMNS)
    check_shapes("deform_int8", {"scales": (scales, "K B")}, dtype=torch.float32, sizes=sizes)
    out = torch.empty_like(base, memory_format=torch.contiguous_format)
    _native.deform_int8(_plain(base), _plain(codes), _plain(scales), _plain(coefficients), out)
    return out


class _Place(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, focal: float, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        arrays = [_plain(tensor) for tensor in inputs]
        means, quaternions = torch.empty_like(arrays[0]), torch.empty_like(arrays[1])
        _native.place(*arrays, focal, means, quaternions)
        ctx.save_for_backward(*arrays)
        ctx.focal = focal
        return means, quaternions

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_means: Tensor, grad_quaternions: Tensor) -> tuple[Tensor | None, ...]:
        arrays = ctx.saved_tensors
        gradients = [torch.empty_like(tensor) for tensor in arrays[:5]]
        _native.place_backward(*arrays, ctx.focal, _plain(grad_means), _plain(grad_quaternions), *gradients)
        return None, *gradients, None, None, None


def place(
    means: Tensor,
    quaternions: Tensor,
    rigidity: Tensor,
    rotation: Tensor,
    translation: Tensor,
    rest_rotation: Tensor,
    rest_translation: Tensor,
    torso: Tensor,
    *,
    focal: float,
    size: int,
) -> tuple[Tensor, Tensor]:
    """Bring splats from the head frame into the camera frame: means [N,3] cm and quaternions [N,4].

    rigidity w [N] in 0..1 mixes the head's motion R p + t (rotation [3,3], translation [3] cm) with that of the torso:
    the rest pose, then a similarity of the image by torso [4] (shift x, y px, log-scale, roll rad) about its centre.
    Differentiable in means, quaternions, rigidity, rotation and translation. size (px) states the picture that focal
    belongs to; the principal point is its centre, so it does not enter the formula.
    """
    if not focal > 0 or size < 1:
        raise ValueError(f"place: focal is {focal} and size is {size}, expected both above 0")
    tensors = {
        "means": (means, "N 3"),
        "quaternions": (quaternions, "N 4"),
        "rigidity": (rigidity, "N"),
        "rotation": (rotation, "3 3"),
        "translation": (translation, "3"),
        "rest_rotation": (rest_rotation, "3 3"),
        "rest_translation": (rest_translation, "3"),
        "torso": (torso, "4"),
    }
    check_shapes("place", tensors, dtype=torch.float32)
    return _Place.apply(focal, *(tensor for tensor, _ in tensors.values()))
