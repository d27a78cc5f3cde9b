"""Person masks: MediaPipe's selfie segmentation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from preprocess.networks.graph import load_graph
from preprocess.networks.warp import cut_out, whole_picture

SIDE = 256  # of the network's input, px


class PersonMask:
    """Soft masks of batches of pictures."""

    def __init__(self, device: torch.device) -> None:
        self._network = load_graph("selfie").to(device)

    @torch.inference_mode()
    def __call__(self, pictures: Tensor) -> Tensor:
        """Masks [B, H / 2, W / 2] float32 0..1 of pictures [B, H, W, 3] uint8 with even sides."""
        count, height, width, _ = pictures.shape
        regions = whole_picture(count, height, width, pictures.device)
        (mask,) = self._network(cut_out(pictures, regions, SIDE) / 255)
        # by way of the picture's size, as MediaPipe returns it
        large = F.interpolate(mask, size=(height, width), mode="bilinear", align_corners=False)
        return F.avg_pool2d(large, 2)[:, 0]
