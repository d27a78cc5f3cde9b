"""Splats in another light: each colour times the light it would receive over the light it was filmed in.

What was filmed is in the colours at rest and, as far as the head turned in the clip, in their deltas: the part of the
old light that is linear in the head's pose. Just that is divided by, so that no light counts twice.
"""

from __future__ import annotations

import torch
from torch import Tensor

from avatar.core.geometry import exponential
from avatar.core.light import DISPLAY, LUMINANCE, ClipLight, coefficients, in_frame, products
from avatar.core.motion_space import Motion
from avatar.render.features import POSE_FEATURES, Scaling, raw_features
from cuda_ext import ops

LIMIT = 2.0  # of log light, gently: no splat becomes more than seven times as bright or as dark
DARK = 0.12  # of white: splats below are noise in shadow and hair, which is raised less
WHITE, LEAST_ROOM = 1.15, 0.15  # towards which highlights are raised more and more slowly; log light that all may be
EXPOSED = 0.6  # deviations above its mean that a light is as bright as the clip's: its bright side stays below white
RIDGE = 0.003  # share of all frames that a pose feature of zero counts as


class Shading:
    """How bright splats become in lights."""

    def __init__(self, light: ClipLight, shapes: ops.SplatBlendshapes, scaling: Scaling, own: Motion) -> None:
        """own: the motion of the clip that the splats were learned from. All on the shapes' device."""
        self._rest, self._scaling = shapes.rest_rotation, scaling
        self._old, self._explained = light.matrices.to(self._rest.device), light.explained
        rigid = shapes.rigidity[:, None]
        basis = products(light.normals.to(self._rest.device).float())
        self._basis = torch.cat([rigid * basis, (1 - rigid) * basis], 1)  # [N, 20]
        colours = ops.split_attributes(shapes.base)["colors"]
        bright = colours.clamp_min(0) @ colours.new_tensor(LUMINANCE)
        self._raised = (bright / DARK).clamp(0, 1)[:, None]
        room = DISPLAY * (WHITE / colours.amax(1).clamp(DARK, WHITE)).log()
        self._room = room.clamp_min(LEAST_ROOM)[:, None, None]
        facing = ((light.normals.to(self._rest.device).float() @ self._rest.mT)[:, 2] < 0).float()
        self._mean = (self._basis * facing[:, None]).sum(0) / facing.sum()
        off = (self._basis - self._mean) * facing[:, None]
        self._spread = off.mT @ off / facing.sum()  # [20, 20] covariance
        turns = self._turns(own.rotation, own.torso)
        inputs = self._pose(own)
        seen = coefficients(in_frame(self._old[:, None, None], turns)).permute(1, 2, 3, 0).flatten(1)  # [T, 60]
        penalty = RIDGE * len(inputs) * torch.eye(inputs.shape[1], device=inputs.device)
        penalty[0, 0] = 0.0
        self._learned = torch.linalg.solve(inputs.mT @ inputs + penalty, inputs.mT @ seen)  # [7, 60]

    def _turns(self, rotation: Tensor, torso: Tensor) -> Tensor:
        """Rotations [T, 2, 3, 3] of head and torso from the head frame to the camera's."""
        zero = torch.zeros_like(torso[:, 3])
        body = exponential(torch.stack([zero, zero, torso[:, 3]], 1)) @ self._rest
        return torch.stack([rotation, body], 1)

    def _pose(self, motion: Motion) -> Tensor:
        """1 and the pose features [T, 7] that colours follow."""
        known = slice(-POSE_FEATURES, None)
        width = motion.expression.shape[1] + 10
        raw = raw_features(motion, self._rest)[:, known]
        scaled = (raw - self._scaling.mean[:width][known]) / self._scaling.scale[:width][known]
        return torch.cat([torch.ones_like(scaled[:, :1]), scaled], 1)

    def change(self, motion: Motion, lights: Tensor | None, view: Tensor | None = None) -> Tensor:
        """By how much more light, log, a splat is lit than in the clip: as products of its normal [T, 20, 3].

        Ten of the head's light and ten of the body's, which its rigidity weighs. Arguments as in `tint`.
        """
        turns = self._turns(motion.rotation, motion.torso)
        turns = turns if view is None else view[:, None] @ turns
        wanted = self._old if lights is None else lights.to(self._rest.device)
        wanted = wanted.expand(len(motion), 3, 4, 4)
        new = coefficients(in_frame(wanted[:, None], turns[:, :, None])).permute(0, 1, 3, 2).flatten(1, 2)
        change = new - (self._pose(motion) @ self._learned).view(len(motion), 20, 3)
        if lights is None:  # where light explains little of the skin, its motion would be guessed
            return change * self._explained
        change[:, ::10] -= self._exposure(wanted)[:, None, None]  # the products that are 1 for all
        return change

    def tint(
        self, motion: Motion, lights: Tensor | None, gain: Tensor | None = None, view: Tensor | None = None
    ) -> Tensor:
        """What colours of splats are multiplied with, [T, N, 3].

        lights: [3, 4, 4] or [T, 3, 4, 4] log light of the camera's frame; as bright as the clip's on the whole. None:
        the clip's own, which stays in the room while the head turns. gain: [3] or [T, 3] log light that is added.
        view: [T, 3, 3] the view's turn.
        """
        change = self.change(motion, lights, view)
        log = (self._basis @ change.permute(1, 0, 2).flatten(1)).view(-1, len(motion), 3)
        log = LIMIT * torch.tanh(log / LIMIT)
        raised = log.clamp_min(0) * self._raised[:, None] / self._room
        log = torch.where(log > 0, self._room * torch.tanh(raised), log)
        if gain is not None:
            log = log + gain.to(log.device)
        return (log / DISPLAY).exp().permute(1, 0, 2)

    def _exposure(self, lights: Tensor) -> Tensor:
        """How much brighter than the clip's lights [T, 3, 4, 4] make the person at rest, log light [T].

        A light of more contrast is exposed for what it lights, as who sets a camera would.
        """
        both = torch.cat([lights, self._old[None]])
        grey = torch.einsum("tcij,c->tij", both, both.new_tensor(LUMINANCE))
        values = coefficients(in_frame(grey[:, None], self._rest.expand(2, 3, 3))).flatten(1)  # [T + 1, 20]
        contrast = ((values @ self._spread) * values).sum(1).clamp_min(0).sqrt()
        level = values @ self._mean + EXPOSED * contrast
        return level[:-1] - level[-1]
