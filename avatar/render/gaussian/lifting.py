"""What first splats are: their attributes, how motion changes them, and the frame that they are lifted from."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np
import torch
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter
from torch import Tensor

from avatar.core.geometry import Camera, project, to_camera, to_rays, undo_torso
from avatar.core.landmarks import CHIN_POINTS, FACE_OVAL, INNER_LIPS, LOWER_LIP, MESH_POINTS, UPPER_LIP
from avatar.core.motion_space import MotionSpace
from avatar.core.take import Take, Track, read_frames, read_mattes
from avatar.render.features import EYE_FEATURES
from avatar.render.gaussian.order import morton_order
from avatar.render.surface import surface_depth

FIRST_OPACITY_LOGIT = 1.0  # 73 %: visible, and far from where the sigmoid is flat
OPAQUE_LOGIT = 4.0  # 98 %: of what no frame shows, and training therefore never makes opaque
OWN, BLUR_CM = 0.9, 0.4  # matte from which on a pixel's colour is the person's alone; reach of the colours about it
STEEPEST = 4.0  # of a surface's length over the width that is seen: beyond, mesh and landmarks are too coarse
BESIDE_FACE_CM = 3.0  # how far the surface falls back beside the face, at most: about where the ears are


BY_MOTION = ("basis", "eyes", "fading", "shading")  # of the splats' values, those whose first axis is the motion's


@dataclass(frozen=True)
class InitialSplats:
    """The first splats, in the head frame, without expression, and with zeros for what eyes do."""

    means: Tensor  # [N, 3] cm
    log_scales: Tensor  # [N, 3] along the axes of the camera in the frame that they are lifted from
    colors: Tensor  # [N, 3] 0..1
    opacity_logits: Tensor  # [N]
    rigidity: Tensor  # [N] 0 torso .. 1 head
    learned: Tensor  # [N] 1 where training changes them; 0 where no frame shows them, and it would only add noise
    basis: Tensor  # [K, N, 3] cm per unit of expression
    eyes: Tensor  # [4, N, 3] cm per unit of the eyes' features: both lids' openness, gaze across and down
    fading: Tensor  # [K + 4, N] of the opacity logit per unit of expression and of the eyes' features
    shading: Tensor  # [K, N, 3] of colour per unit of expression

    @property
    def count(self) -> int:
        return len(self.means)


def stretch(splats: InitialSplats, steepness: np.ndarray) -> InitialSplats:
    """The same splats, as long in depth as the surface is that they stand for [N]: heads that turn show it."""
    log_scales = splats.log_scales.clone()
    log_scales[:, 2] += torch.from_numpy(steepness).log().float()
    return replace(splats, log_scales=log_scales)


def make_splats(means: Tensor, sizes: Tensor | float, colors: Tensor, basis: Tensor, **others: Tensor) -> InitialSplats:
    """Round splats [N] of standard deviations `sizes` cm: opaque, of the head, and not learned, unless said."""
    count = len(means)
    kept = {
        "opacity_logits": torch.full((count,), OPAQUE_LOGIT),
        "rigidity": torch.ones(count),
        "learned": torch.zeros(count),
        "eyes": torch.zeros(EYE_FEATURES, count, 3),
        "fading": torch.zeros(len(basis) + EYE_FEATURES, count),
        "shading": torch.zeros(len(basis), count, 3),
    } | others
    log_scales = torch.as_tensor(sizes, dtype=torch.float32).log().expand(count)[:, None].repeat(1, 3)
    return InitialSplats(means.float(), log_scales, colors.float(), basis=basis.float(), **kept)


def begin_to_learn(count: int) -> dict[str, Tensor]:
    """Of splats [N] that frames show: visible, and changed by training."""
    return {"opacity_logits": torch.full((count,), FIRST_OPACITY_LOGIT), "learned": torch.ones(count)}


def thin_splats(parts: list[InitialSplats], most: int) -> list[InitialSplats]:
    """The same parts with `most` splats in all, evenly left out; as they are where they have no more."""
    share = most / max(1, sum(part.count for part in parts))
    return parts if share >= 1 else [_chosen(part, torch.arange(int(share * part.count)) / share) for part in parts]


def _chosen(splats: InitialSplats, places: Tensor) -> InitialSplats:
    """Splats at places [M], in their order."""
    rows = places.long()
    values = {name: one.index_select(int(name in BY_MOTION), rows) for name, one in vars(splats).items()}
    return InitialSplats(**values)


def join_splats(parts: list[InitialSplats]) -> InitialSplats:
    """All splats of some parts, in the order of `morton_order`."""
    joined = {
        field.name: torch.cat([getattr(part, field.name) for part in parts], int(field.name in BY_MOTION))
        for field in fields(InitialSplats)
    }
    return _chosen(InitialSplats(**joined), morton_order(joined["means"]))


@dataclass(frozen=True)
class FrameView:
    """A frame that splats are lifted from, with the person's mesh as it is there."""

    image: np.ndarray  # [S, S, 3] 0..1
    matte: np.ndarray  # [S, S] 0..1
    camera: Camera
    landmarks: np.ndarray  # [478, 3] px
    mesh: Tensor  # [478, 3] cm, head frame, with the frame's expression
    neutral: Tensor  # [478, 3] cm, head frame
    expression: Tensor  # [K]
    eyes: Tensor  # [4]
    rotation: Tensor  # [3, 3]
    translation: Tensor  # [3]
    torso: Tensor  # [4]

    @cached_property
    def posed(self) -> Tensor:
        """The mesh in the camera's frame [478, 3] cm."""
        return to_camera(self.mesh, self.rotation, self.translation)

    @property
    def pixel_cm(self) -> float:
        """What a pixel is wide at the depth of the face."""
        return float(self.posed[:MESH_POINTS, 2].mean()) / self.camera.focal

    def depth(self, pixels: np.ndarray) -> np.ndarray:
        """Depth [P] cm at pixels [P, 2]: on the face that of the mesh, beside it falling back as steeply as far."""

        def fall(distance: Tensor, border: Tensor) -> Tensor:
            return (distance * border / self.camera.focal).clamp_max(BESIDE_FACE_CM)

        posed = self.posed[:MESH_POINTS]
        queries = torch.from_numpy(pixels)
        return surface_depth(project(posed, self.camera), posed[:, 2], queries, fall).numpy()

    def steepness(self, pixels: np.ndarray) -> np.ndarray:
        """How many times as long as it looks the surface is that pixels [P, 2] show [P]; 1 where it faces the camera.

        Also 1 beside the face, where depth is a guess.
        """
        depth = self.depth(pixels)
        across, down = (self.depth(pixels + step) - depth for step in ([1.0, 0.0], [0.0, 1.0]))
        columns, rows = pixels.astype(int).T
        face = self.fill(FACE_OVAL)[rows, columns]
        return np.sqrt(1 + face * (across**2 + down**2) / self.pixel_cm**2).clip(1, STEEPEST)

    def at_rest(self, pixels: np.ndarray) -> np.ndarray:
        """Where pixels [P, 2] of the torso lie in the picture of a torso at rest, maybe beyond its border."""
        middle = self.camera.size / 2
        return undo_torso(pixels - middle, self.torso.double().numpy()) + middle

    def to_head(self, pixels: np.ndarray, depth: np.ndarray) -> Tensor:
        """Points [P, 3] cm of the head frame that are seen at pixels [P, 2] in a depth [P] cm."""
        rays = to_rays(pixels, self.camera)
        points = torch.from_numpy(np.concatenate([rays * depth[:, None], depth[:, None]], 1)).float()
        return (points - self.translation) @ self.rotation

    def without_expression(self, points: Tensor, basis: Tensor) -> Tensor:
        """Points [P, 3] as they are without the frame's expression, of a basis [K, P, 3]."""
        return points - torch.einsum("k,knc->nc", self.expression, basis)

    def color_at(self, points: list[int]) -> Tensor:
        """The colours [P, 3] of the pixels that landmarks lie on."""
        return self.colors(self.image, self.landmarks[points, :2])

    def colors(self, image: np.ndarray, pixels: np.ndarray) -> Tensor:
        """The colours [P, 3] of an image at pixels [P, 2]; of those beyond it the nearest."""
        columns, rows = pixels.astype(int).clip(0, self.camera.size - 1).T
        return torch.from_numpy(image[rows, columns]).float()

    def fill(self, outline: tuple[int, ...]) -> np.ndarray:
        """The pixels [S, S] inside an outline of landmarks: 1, or 0."""
        canvas = Image.new("L", (self.camera.size, self.camera.size))
        points = [(float(x), float(y)) for x, y in self.landmarks[list(outline), :2]]
        ImageDraw.Draw(canvas).polygon(points, fill=1, outline=1)
        return np.array(canvas, float)

    @cached_property
    def blurred(self) -> np.ndarray:
        """The person's own colours [S, S, 3], each of its neighbourhood, without the background's."""
        weight, reach = (self.matte > OWN) + 1e-4, BLUR_CM / self.pixel_cm
        colors = [gaussian_filter(self.image[..., channel] * weight, reach) for channel in range(3)]
        return np.stack(colors, -1) / gaussian_filter(weight, reach)[..., None]

    @cached_property
    def own_colors(self) -> np.ndarray:
        """The picture [S, S, 3]; where the background is mixed into it, the person's colours about there."""
        return np.where(self.matte[..., None] > OWN, self.image, self.blurred)

    @cached_property
    def mouth(self) -> np.ndarray:
        """The pixels [S, S] between the lips."""
        return self.fill(INNER_LIPS)


def view_frame(take: Take, track: Track, space: MotionSpace, frame: int) -> FrameView:
    """Read a frame of a Take."""
    return FrameView(
        image=read_frames(take, [frame])[0].float().numpy() / 255,
        matte=read_mattes(take, [frame])[0].float().numpy() / 255,
        camera=take.camera,
        landmarks=track.landmarks[frame].numpy(),
        mesh=track.neutral + torch.einsum("k,kvc->vc", track.expression[frame], space.basis),
        neutral=track.neutral,
        expression=track.expression[frame],
        eyes=track.eyes[frame],
        rotation=track.rotation[frame],
        translation=track.translation[frame],
        torso=track.torso[frame],
    )


def opening_basis(space: MotionSpace) -> Tensor:
    """[K] cm: how far the lips part."""
    return space.basis[:, LOWER_LIP, 1] - space.basis[:, UPPER_LIP, 1]


def jaw_basis(space: MotionSpace) -> Tensor:
    """[K, 3]: how the jaw moves, which the chin's skin shows."""
    return space.basis[:, list(CHIN_POINTS)].mean(1)
