"""Every op in plain torch, any float type: the manual, and in float64 the oracle of the tests. Slow."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

NEAREST_CM = 1.0  # nearer splats are not drawn
LOW_PASS = 0.3  # px^2, as Kerbl et al. 2023
ALPHA_MAX, ALPHA_CUT = (
    0.999,
    1 / 255,
)  # of a splat in a pixel, nearly as Kerbl et al. 2023; less than the cut is nothing
COLUMNS = 64  # columns that share an int8 scale


@dataclass(frozen=True)
class AdamStep:
    """One step of Adam."""

    step: int  # counts from 1, for the correction of both means' bias; 0: the factor brings it
    rate: Tensor | float  # learning rate: one, or [M]
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    factor: Tensor | None = None  # [1] of all rates; on a GPU read when the step runs, so that a captured one changes


def rotation_matrix(quaternions: Tensor) -> Tensor:
    """[..., 4] wxyz, any length -> [..., 3, 3]."""
    w, x, y, z = (quaternions / (quaternions.norm(dim=-1, keepdim=True) + 1e-12)).unbind(-1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def project(
    means: Tensor, quaternions: Tensor, log_scales: Tensor, *, focal: float, size: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Screen positions [N,2] px, screen covariances [N,2,2] px^2 with the low-pass, depths [N] cm."""
    depth = means[:, 2]
    slope = means[:, :2] / depth[:, None]
    limit = 0.65 * size / focal
    held = slope.clamp(-limit, limit)
    factor = rotation_matrix(quaternions) * log_scales.exp()[:, None, :]
    screen = (focal / depth)[:, None, None] * (factor[:, :2] - held[:, :, None] * factor[:, 2:])
    covariance = screen @ screen.transpose(1, 2) + LOW_PASS * torch.eye(2, dtype=means.dtype)
    return focal * slope + 0.5 * size, covariance, depth


def splat(
    means: Tensor,
    quaternions: Tensor,
    log_scales: Tensor,
    opacity_logits: Tensor,
    colors: Tensor,
    *,
    focal: float,
    size: int,
) -> tuple[Tensor, Tensor]:
    """As `cuda_ext.ops.splat`, without the early stop at 1e-4 transmittance: front to back over depth, every pixel."""
    order = torch.argsort(means[:, 2].detach(), stable=True)
    order = order[means[order, 2] >= NEAREST_CM]
    means, quaternions, log_scales = means[order], quaternions[order], log_scales[order]
    opacity, colors = torch.sigmoid(opacity_logits[order]), colors[order]
    centers, covariance, _ = project(means, quaternions, log_scales, focal=focal, size=size)
    inverse = torch.linalg.inv(covariance)
    line = torch.arange(size, dtype=means.dtype) + 0.5
    grid = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)
    through, rgb = torch.ones_like(grid[..., 0]), torch.zeros(3, size, size, dtype=means.dtype)
    for index in range(len(means)):
        offset = grid - centers[index]
        distance = torch.einsum("yxi,ij,yxj->yx", offset, inverse[index], offset)
        alpha = (opacity[index] * torch.exp(-0.5 * distance)).clamp(max=ALPHA_MAX)
        alpha = torch.where(alpha >= ALPHA_CUT, alpha, torch.zeros_like(alpha))
        rgb = rgb + (through * alpha) * colors[index][:, None, None]
        through = through * (1 - alpha)
    return rgb, (1 - through)[None]


def structural_similarity(image: Tensor, target: Tensor) -> Tensor:
    """SSIM of each pixel and channel, [3,S,S]: Gaussian window 11, sigma 1.5, zero padding, population variance."""
    line = torch.arange(-5, 6, dtype=image.dtype)
    line = torch.exp(-0.5 * (line / 1.5) ** 2)
    window = torch.outer(line, line) / line.sum() ** 2

    def blur(picture: Tensor) -> Tensor:
        return functional.conv2d(picture[:, None], window[None, None], padding=5)[:, 0]

    mean, mean_t = blur(image), blur(target)
    variance, variance_t = blur(image * image) - mean**2, blur(target * target) - mean_t**2
    covariance = blur(image * target) - mean * mean_t
    c1, c2 = 0.01**2, 0.03**2
    return ((2 * mean * mean_t + c1) * (2 * covariance + c2)) / (
        (mean**2 + mean_t**2 + c1) * (variance + variance_t + c2)
    )


def photo_error(image: Tensor, target: Tensor, weight: Tensor, *, ssim_weight: float = 0.2) -> Tensor:
    """Weighted mean over pixels and channels of (1 - ssim_weight) |I - T| + ssim_weight (1 - SSIM) / 2."""
    error = (1 - ssim_weight) * (image - target).abs()
    error = error + ssim_weight * (1 - structural_similarity(image, target)) / 2
    total = weight.sum()
    return (weight * error).sum() / (3 * total) if total > 0 else (0 * error).sum()


def compose(
    rgb: Tensor, alpha: Tensor, plate: Tensor, picture: Tensor, blobs: Tensor, weights: Tensor, gain: Tensor
) -> tuple[Tensor, ...]:
    """Image, error of the matte, truth, weight and sums of a frame whose gain [3] is given; see `ops.compose`."""
    plain = rgb + (1 - alpha) * plate
    truth = picture.to(rgb.dtype) / 255
    weight = 1 + torch.einsum("b,by,bx->yx", weights, blobs[:, 1], blobs[:, 0])[None]
    error = (alpha - truth[3:]).abs().mean()
    sums = torch.cat([(plain * truth[:3]).sum((1, 2)), plain.square().sum((1, 2)), error[None]])
    return gain[:, None, None] * plain, error, truth[:3], weight, sums


def deform(base: Tensor, deltas: Tensor, coefficients: Tensor) -> Tensor:
    """base [M] + coefficients [K] @ deltas [K,M]."""
    return base + coefficients @ deltas


def deform_adam_(
    deltas: Tensor, moment1: Tensor, moment2: Tensor, gradient: Tensor, coefficients: Tensor, adam: AdamStep
) -> None:
    """Adam (Kingma and Ba 2015) on deltas [K,M] in place with the gradient outer(coefficients, gradient)."""
    full = torch.outer(coefficients, gradient)
    moment1.mul_(adam.beta1).add_(full, alpha=1 - adam.beta1)
    moment2.mul_(adam.beta2).addcmul_(full, full, value=1 - adam.beta2)
    first, second = (1 - beta**adam.step if adam.step else 1.0 for beta in (adam.beta1, adam.beta2))
    rate = adam.rate if adam.factor is None else adam.rate * adam.factor
    deltas -= rate * (moment1 / first) / ((moment2 / second).sqrt() + adam.epsilon)


def quantize(deltas: Tensor) -> tuple[Tensor, Tensor]:
    """deltas [K,M] -> codes [K,M] int8 in -127..127 and scales [K,ceil(M/64)]: the largest of 64 columns over 127."""
    rows, columns = deltas.shape
    blocks = functional.pad(deltas, (0, -columns % COLUMNS)).reshape(rows, -1, COLUMNS)
    scales = blocks.abs().amax(-1) / 127
    codes = (blocks / torch.where(scales > 0, scales, torch.ones_like(scales))[..., None]).round().to(torch.int8)
    return codes.reshape(rows, -1)[:, :columns].contiguous(), scales


def dequantize(codes: Tensor, scales: Tensor) -> Tensor:
    """The deltas [K,M] that codes and scales stand for."""
    return codes.to(scales.dtype) * scales.repeat_interleave(COLUMNS, 1)[:, : codes.shape[1]]


def deform_int8(base: Tensor, codes: Tensor, scales: Tensor, coefficients: Tensor) -> Tensor:
    """base [M] + coefficients [K] @ dequantize(codes, scales)."""
    return base + coefficients @ dequantize(codes, scales)


def to_bytes(rgb: Tensor, alpha: Tensor, background: Tensor) -> Tensor:
    """round(clamp(255 rgb + (1 - alpha) background)) -> [S,S,3] uint8, halves up."""
    mixed = 255 * rgb + (1 - alpha) * background.permute(2, 0, 1).to(rgb.dtype)
    return (mixed.clamp(0, 255) + 0.5).floor().to(torch.uint8).permute(1, 2, 0).contiguous()


def to_nv12(rgb: Tensor, alpha: Tensor, background: Tensor) -> Tensor:
    """Luma rows, then rows of interleaved Cb and Cr of 2 x 2 means: [3 S / 2, S] uint8. ITU-R BT.709, limited range."""
    mixed = (255 * rgb + (1 - alpha) * background.permute(2, 0, 1).to(rgb.dtype)).clamp(0, 255)
    weights = torch.tensor([0.2126, 0.7152, 0.0722], dtype=rgb.dtype)
    luma = 16 + 219 / 255 * torch.einsum("c,cyx->yx", weights, mixed)
    small = functional.avg_pool2d(mixed[None], 2)[0]
    gray = torch.einsum("c,cyx->yx", weights, small)
    blue, red = 128 + 224 / 255 / 1.8556 * (small[2] - gray), 128 + 224 / 255 / 1.5748 * (small[0] - gray)
    chroma = torch.stack([blue, red], -1).flatten(1)
    return (torch.cat([luma, chroma]).clamp(0, 255) + 0.5).floor().to(torch.uint8)


def quaternion(rotation: Tensor) -> Tensor:
    """Rotation matrix [3,3] -> unit quaternion [4] wxyz, from the largest of its four squares."""
    r = rotation
    trace = r[0, 0] + r[1, 1] + r[2, 2]
    squares = torch.stack([trace, r[0, 0], r[1, 1], r[2, 2]])
    best = int(squares.detach().argmax())
    if best == 0:
        q = torch.stack([1 + trace, r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]])
    elif best == 1:
        q = torch.stack([r[2, 1] - r[1, 2], 1 + 2 * r[0, 0] - trace, r[0, 1] + r[1, 0], r[0, 2] + r[2, 0]])
    elif best == 2:
        q = torch.stack([r[0, 2] - r[2, 0], r[0, 1] + r[1, 0], 1 + 2 * r[1, 1] - trace, r[1, 2] + r[2, 1]])
    else:
        q = torch.stack([r[1, 0] - r[0, 1], r[0, 2] + r[2, 0], r[1, 2] + r[2, 1], 1 + 2 * r[2, 2] - trace])
    return q / q.norm()


def quaternion_product(a: Tensor, b: Tensor) -> Tensor:
    """Hamilton product [..., 4]: the rotation b, then a."""
    aw, ax, ay, az = a.unbind(-1)
    bw, bx, by, bz = b.unbind(-1)
    parts = [
        aw * bw - ax * bx - ay * by - az * bz,
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
    ]
    return torch.stack(parts, -1)


def torso_motion(torso: Tensor, *, focal: float) -> tuple[Tensor, Tensor]:
    """The torso's similarity as a linear map [3,3] of camera points, and its roll as a quaternion [4]."""
    scale, roll, zero, one = torch.exp(torso[2]), torso[3], torso.new_zeros(()), torso.new_ones(())
    cos, sin = scale * torch.cos(roll), scale * torch.sin(roll)
    linear = [cos, -sin, torso[0] / focal, sin, cos, torso[1] / focal, zero, zero, one]
    turned = torch.stack([torch.cos(roll / 2), zero, zero, torch.sin(roll / 2)])
    return torch.stack(linear).reshape(3, 3), turned


def place(
    means: Tensor,
    quaternions: Tensor,
    rigidity: Tensor,
    head: tuple[Tensor, Tensor],
    rest: tuple[Tensor, Tensor],
    torso: Tensor,
    *,
    focal: float,
) -> tuple[Tensor, Tensor]:
    """As `cuda_ext.ops.place`: w (R x + t) + (1 - w) T(R0 x + t0), and the quaternions turned by the same mixture."""
    linear, rolled = torso_motion(torso, focal=focal)
    (rotation, translation), (rest_rotation, rest_translation) = head, rest
    skull = means @ rotation.T + translation
    body = (means @ rest_rotation.T + rest_translation) @ linear.T
    w = rigidity[:, None]
    turn_head = quaternion(rotation)
    turn_body = quaternion_product(rolled, quaternion(rest_rotation))
    turn_body = turn_body if float((turn_head * turn_body).sum().detach()) >= 0 else -turn_body
    mixed = w * turn_head + (1 - w) * turn_body
    mixed = mixed / mixed.norm(dim=1, keepdim=True)
    return w * skull + (1 - w) * body, quaternion_product(mixed, quaternions)


@dataclass(frozen=True)
class Convolution:
    """A convolution over time, and what stands around it."""

    weight: Tensor  # [O, I, K]
    bias: Tensor  # [O]
    normalized: tuple[Tensor, Tensor] | None = None  # scale and shift [I] of inputs that are normalized first
    dilation: int = 1
    stride: int = 1
    gelu: bool = False  # of the sums


def convolve(inputs: Tensor, layer: Convolution, left: int, right: int, added: Tensor | None = None) -> Tensor:
    """Rows [B,T,I] between rows of zeros -> [B,N,O], plus added [B,N,O]."""
    if layer.normalized:
        inputs = functional.layer_norm(inputs, inputs.shape[-1:], *layer.normalized)
    padded = functional.pad(inputs, (0, 0, left, right)).mT
    if padded.shape[2] < layer.dilation * (layer.weight.shape[2] - 1) + 1:
        return inputs.new_zeros(len(inputs), 0, len(layer.weight))
    out = functional.conv1d(padded, layer.weight, layer.bias, stride=layer.stride, dilation=layer.dilation).mT
    out = functional.gelu(out) if layer.gelu else out
    return out if added is None else out + added
