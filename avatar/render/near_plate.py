"""The plate, completed as near to the person as training frames show it.

Preprocessing keeps its distance from the person, since a matte errs by some pixels, and fills in smoothly what it did
not see. Beside a person who hardly moves that fill shows, and a renderer would paint what is wrong with it as a rim of
the person. Here the median of many views decides, and the fill follows.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from avatar.core.take import Take, read_frames, read_mattes, read_plate
from avatar.render.neighbours import COARSE, carry, grow, mean_within, shrink

VIEWS, LEAST_VIEWS = 48, 3  # training frames looked at; of them that must show a pixel
PERSON = 76  # of 255, matte of what may be the person
NEAR_PX = (16, 10, 6, 4)  # at 512: how near to the person a pixel may be seen; the first is preprocessing's
SPREAD = (4, 12)  # coarse px: how far what is known is carried behind the person
SAME = 12.0  # grey levels: a plate that differs by more from what its own views show was made in another way


def complete_plate(take: Take) -> Tensor:
    """The plate [3, S, S] uint8 of a Take: as it is where it was seen, else seen from nearer, else carried on.

    As it is where the background does not stand.
    """
    if not take.background_stands:
        return read_plate(take).permute(2, 0, 1).contiguous()
    plate, frames = read_plate(take).permute(2, 0, 1).float(), take.training_frames()
    chosen = frames[:: max(1, len(frames) // VIEWS)]
    views = read_frames(take, chosen).permute(3, 0, 1, 2).flatten(2)  # [3, V, S * S]
    cover = (read_mattes(take, chosen) > PERSON).float()
    known, best = torch.zeros(1, *plate.shape[1:], dtype=torch.bool), plate.clone()
    for pixels in NEAR_PX:
        reach = max(1, round(pixels * take.camera.size / 512))
        clear = torch.stack([grow(one[None], reach) for one in cover]).flatten(1) == 0  # [V, S * S]
        new = ((clear.sum(0) >= LEAST_VIEWS) & ~known.flatten()).nonzero()[:, 0]
        known.view(-1)[new] = True
        seen = torch.where(clear[:, new], views[:, :, new].float(), torch.nan).nanmedian(1).values
        if pixels < NEAR_PX[0]:
            best.view(3, -1)[:, new] = seen
        elif len(new) == 0 or (seen - plate.view(3, -1)[:, new]).abs().mean() > SAME:
            return plate.to(torch.uint8)
    hidden = plate + _carry_on((best - plate) * known, known.float())
    return torch.where(known, best, hidden).round().clamp(0, 255).to(torch.uint8)


def _carry_on(values: Tensor, weight: Tensor) -> Tensor:
    """Values [C, S, S] where their weight [1, S, S] is 1, carried to where it is 0."""
    share = shrink(weight)
    small, filled = shrink(values) / share.clamp_min(1e-4), (share > 0).float()
    for reach in SPREAD:
        small = torch.where(filled > 0, small, carry(small, filled, reach))
        filled = (mean_within(filled, reach) > 0).float()
    large = functional.interpolate(small[None], scale_factor=COARSE, mode="bilinear", align_corners=False)[0]
    return large[:, : values.shape[1], : values.shape[2]]
