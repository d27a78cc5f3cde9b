"""Transparent splats move to where detail is missing; parameters and optimizer state together.

After Kheradmand et al. 2024 (3D Gaussian Splatting as Markov Chain Monte Carlo): the number of splats is fixed, those
that became transparent are placed anew as halves of splats with large gradients.
"""

from __future__ import annotations

import torch
from torch import Tensor

from avatar.render.gaussian.parameters import SplatParameters
from cuda_ext import ops

TRANSPARENT_LOGIT = -4.0  # opacity under 2 %
MOST_MOVED = 0.05  # of all splats, in one call: the others must have time to settle
HALF_OFFSET = 0.5  # of a standard deviation of the splat that is split, to one side
HALF_LOG_SCALE, HALF_LOGIT = 0.35, 0.2  # off each half: 30 % smaller, so that both together cover what the one did


def relocate(splats: SplatParameters, moments: dict[str, Tensor]) -> int:
    """Move transparent splats onto those with the largest running gradient; returns how many moved.

    moments: the optimizer's, by parameter (`avatar.render.adam.Adam.moments`); changed in place, as the splats are.
    """
    base = ops.split_attributes(splats.base)
    logits = base["opacity_logits"]
    faint = logits < TRANSPARENT_LOGIT
    transparent = (faint & (splats.learned > 0)).nonzero().squeeze(1)[: int(MOST_MOVED * splats.count)]
    if len(transparent) == 0:
        return 0
    gradient = ops.split_attributes(moments["base.second"][0])["means"].sum(1).sqrt()
    gradient[faint | (splats.learned == 0)] = 0
    split = gradient.topk(len(transparent)).indices
    steps = torch.randn(len(split), 3, generator=torch.Generator().manual_seed(0)).to(logits.device)
    offset = HALF_OFFSET * steps * base["log_scales"][split].exp()
    base["log_scales"][split] -= HALF_LOG_SCALE
    base["opacity_logits"][split] -= HALF_LOGIT
    for rows in (splats.base[None], splats.deltas, splats.prior):
        for values in ops.split_attributes(rows).values():
            values[:, transparent] = values[:, split]
    base["means"][transparent] += offset
    splats.quaternions[transparent] = splats.quaternions[split]
    splats.rigidity[transparent] = splats.rigidity[split]
    _reset_moments(moments, torch.cat([transparent, split]), splats.count)
    return len(transparent)


def _reset_moments(moments: dict[str, Tensor], chosen: Tensor, count: int) -> None:
    for name, moment in moments.items():
        if name.startswith(("quaternions", "rigidity")):
            moment.view(count, -1)[chosen] = 0
            continue
        for values in ops.split_attributes(moment).values():
            values[:, chosen] = 0
