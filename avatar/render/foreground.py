"""The person apart from the background at their edge: the matte refined by the plate, colours without the background.

Where the plate is what stands behind the person, how much a pixel differs from it says more about the edge than a
network's matte does (difference matting; Qian and Sezan 1999). Where it is not (never seen, or it moved), the matte
stays. Colours: blur fusion (Forte 2021, Approximate Fast Foreground Colour Estimation), the background being known, or
where it moves, what is seen of it beside the person.
"""

from __future__ import annotations

import torch
from torch import Tensor

from avatar.render.neighbours import COARSE, carry, enlarge, erode, grow, shrink

PERSON, BACKGROUND = 0.9, 0.1  # matte of what is surely one or the other, away from the edge
UNSURE_PX = 10.0  # at 512: how far from the matte's edge the true one may lie
REACH_PX = 18.0  # at 512: how far colours of the sure person and background are carried
NOISE, CONTRAST = 10.0, 50.0  # grey levels: distance from the plate of what is background; of what is none of it
EDGE_CONTRAST = 0.8  # of the largest distance beside, where that is more: a pixel of the edge is mixed
LIKELY = (0.1, 0.3)  # matte from which the plate may say person, and from which it is believed in full
SURELY = (0.75, 0.95)  # matte that is person though it looks like the plate: a coat of the wall's colour
GAP_PX = 4.0  # at 512: gaps in the person that are closed, such as stripes of the wall's colour
CLOSED = (0.4, 0.8)  # matte from which a gap may be one in the person, and from which it is: not one between hairs
SAME = 12.0  # grey levels between plate and sure background, above which the plate is not what stands behind


class PersonFinder:
    """Tells persons from one plate."""

    def __init__(self, plate: Tensor, *, stands: bool = True) -> None:
        """plate: [3, S, S] uint8. stands: it is what stands behind the person, but for what passes by."""
        self._stands = stands
        self._size, self._scale = plate.shape[-1], plate.shape[-1] / 512
        self._plate = plate.float()
        self._coarse_plate = shrink(self._plate)

    def __call__(self, image: Tensor, matte: Tensor) -> tuple[Tensor, Tensor]:
        """The person of a frame [3, S, S] with its matte [1, S, S], all uint8: the same frame, and the refined matte.

        The frame is as it was but for the edge: there the person's colours are freed of what stood behind them, and
        stand before the plate. Where the plate is not what stood there, it is put there, so that nothing of what moves
        behind a person is taken for theirs.
        """
        small, small_matte = shrink(image.float()), shrink(matte.float() / 255)
        unsure, reach = self._coarsely(UNSURE_PX), self._coarsely(REACH_PX)
        inside = erode((small_matte > PERSON).float(), unsure)
        outside = erode((small_matte < BACKGROUND).float(), unsure)
        edge = enlarge((inside + outside == 0).float(), self._size).flatten().nonzero()[:, 0]
        there = edge // self._size // COARSE * small.shape[2] + edge % self._size // COARSE
        seen, before, plate = (picture.flatten(1).index_select(1, edge) for picture in (image, matte, self._plate))
        seen, before, solid = seen.float(), before.float() / 255, enlarge(inside, self._size)

        def carried(values: Tensor, weight: Tensor) -> Tensor:
            return carry(values, weight, reach).flatten(1).index_select(1, there)

        if self._stands:
            apart = carried(torch.cat([small - self._coarse_plate, self._squares(image)]), outside)
            offset, squares = apart.split([3, 1])
            behind = plate + offset
            spread = (squares - offset.square().mean(0, keepdim=True)).clamp_min(0).sqrt()
            alpha = self._difference_matte(seen - behind, before, solid, edge)
            alpha = torch.lerp(before, alpha, 1 / (1 + (spread / SAME).pow(4)))
        else:
            behind, alpha = carried(small, outside), before
        nearby = carried(small, inside)
        colors = (nearby + alpha * (seen - torch.lerp(behind, nearby, alpha))).clamp(0, 255)
        image, refined = image.clone(), (255 * solid).to(torch.uint8)
        image.view(3, -1)[:, edge] = torch.lerp(plate, colors, alpha).round().to(torch.uint8)
        refined.view(1, -1)[:, edge] = (255 * alpha).round().to(torch.uint8)
        return image if self._stands else torch.where(refined > 0, image, self._plate.to(torch.uint8)), refined

    def _squares(self, image: Tensor) -> Tensor:
        """Mean squared difference from the plate about coarse pixels [1, s, s], of one fine pixel in four."""
        difference = image[:, ::2, ::2].float() - self._plate[:, ::2, ::2]
        return shrink(difference.square().mean(0, keepdim=True), COARSE // 2)

    def _difference_matte(self, difference: Tensor, matte: Tensor, solid: Tensor, edge: Tensor) -> Tensor:
        """Coverage [1, E] of edge pixels by their difference from the background [3, E] and their matte [1, E].

        solid: [1, S, S], 1 inside the person, beyond the edge. edge: [E] indices of pixels.
        """
        distance = difference.square().sum(0, keepdim=True).sqrt()
        picture = torch.zeros_like(solid)
        picture.view(1, -1)[:, edge] = distance
        full = (EDGE_CONTRAST * grow(picture, 1).view(1, -1)[:, edge]).clamp_min(CONTRAST)
        alpha = ((distance - NOISE) / (full - NOISE)).clamp(0, 1) * _ramp(matte, LIKELY)
        picture = solid.clone()
        picture.view(1, -1)[:, edge] = torch.maximum(alpha, _ramp(matte, SURELY))
        gap, found = max(1, round(GAP_PX * self._scale / 2)), picture.view(1, -1)[:, edge]
        return torch.lerp(found, erode(grow(picture, gap), gap).view(1, -1)[:, edge], _ramp(matte, CLOSED))

    def _coarsely(self, pixels: float) -> int:
        """A distance at 512 px, in coarse pixels."""
        return max(1, round(pixels * self._scale / COARSE))


def _ramp(values: Tensor, ends: tuple[float, float]) -> Tensor:
    low, high = ends
    return ((values - low) / (high - low)).clamp(0, 1)
