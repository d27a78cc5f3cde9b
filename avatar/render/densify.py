"""Dead splats move to where detail is missing; parameters and optimizer state together.

Follows the relocation idea of Kheradmand et al. 2024 (3DGS as Markov chain Monte Carlo): the number of splats is
fixed, splats that became transparent are reborn as halves of splats with much to do.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

DEAD_LOGIT = -4.0  # opacity under 2 %
SHARE = 0.05  # of all splats, at most, in one call


class Splats(Protocol):
    """What relocation needs of a renderer."""

    base: Tensor
    deltas: Tensor
    basis: Tensor
    quaternions: Tensor
    rigidity: Tensor

    @property
    def count(self) -> int: ...

    def columns(self, values: Tensor) -> dict[str, Tensor]: ...

    def moments(self) -> dict[str, Tensor]: ...


def relocate(splats: Splats) -> int:
    """Move dead splats onto those with the largest running gradient; returns how many moved."""
    base = splats.columns(splats.base)
    logits = base["opacity_logits"]
    dead = (logits < DEAD_LOGIT).nonzero().squeeze(1)[: int(SHARE * splats.count)]
    if len(dead) == 0:
        return 0
    moments = splats.moments()
    pull = splats.columns(moments["base.second"][0])["means"].sum(1).sqrt()
    pull[logits < DEAD_LOGIT] = 0
    busy = pull.topk(len(dead)).indices
    # two halves side by side along the longest axis replace one
    steps = torch.randn(len(busy), 3, generator=torch.Generator().manual_seed(0)).to(logits.device)
    offset = 0.5 * steps * base["log_scales"][busy].exp()
    base["log_scales"][busy] -= 0.35
    base["opacity_logits"][busy] -= 0.2
    for columns in _rows(splats):
        for values in columns.values():
            values[dead] = values[busy]
    for row in splats.basis:
        row.view(-1, 3)[dead] = row.view(-1, 3)[busy]
    base["means"][dead] += offset
    splats.quaternions[dead] = splats.quaternions[busy]
    splats.rigidity[dead] = splats.rigidity[busy]
    _forget(splats, moments, torch.cat([dead, busy]))
    return len(dead)


def _rows(splats: Splats) -> list[dict[str, Tensor]]:
    return [splats.columns(row) for row in (splats.base, *splats.deltas)]


def _forget(splats: Splats, moments: dict[str, Tensor], chosen: Tensor) -> None:
    for name, moment in moments.items():
        if not name.startswith(("quaternions", "rigidity")):
            for row in moment:
                for values in splats.columns(row).values():
                    values[chosen] = 0
        else:
            moment.view(splats.count, -1)[chosen] = 0
