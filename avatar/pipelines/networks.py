"""What an evaluation measures where it is asked to, and figures that need the user's networks: LPIPS, CSIM, SyncNet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avatar.core.progress import Progress, count_steps, no_progress
from avatar.metrics.identity import Identity
from avatar.metrics.lpips import Lpips, find_weights
from avatar.metrics.reading import LipReading, find_program
from avatar.metrics.syncnet import SyncNet


@dataclass(frozen=True)
class Networks:
    """Where they are."""

    lpips: Path | None = None  # folder with the weights; None: torch's cache, when they are there
    identity: Path | None = None  # ONNX file of a face network
    syncnet: Path | None = None  # weights of SyncNet
    reading: LipReading | None = None  # by a program
    landmarker: Path | None = None  # MediaPipe Tasks `.task` file, which had no part in making the avatar


@dataclass(frozen=True)
class Further:
    """What is measured beside the usual figures."""

    networks: Networks = Networks()
    registered: bool = False  # with the pose of head and torso fitted to each picture
    published: bool = False  # as the tables of papers are


@dataclass(frozen=True)
class LoadedNetworks:
    """Those that are there."""

    lpips: Lpips | None
    identity: Identity | None
    syncnet: SyncNet | None
    reading: LipReading | None
    landmarker: Path | None


def load_networks(networks: Networks) -> LoadedNetworks:
    """Raises: UserError when one is something else."""
    weights = find_weights(networks.lpips)
    if networks.reading:
        find_program(networks.reading.program)
    return LoadedNetworks(
        Lpips(weights) if weights else None,
        Identity(networks.identity) if networks.identity else None,
        SyncNet(networks.syncnet) if networks.syncnet else None,
        networks.reading,
        networks.landmarker,
    )


def compare_looks(
    networks: LoadedNetworks,
    pictures: tuple[np.ndarray, np.ndarray],
    landmarks: tuple[Tensor, Tensor],
    seen: Tensor,
    *,
    progress: Progress = no_progress,
) -> list[tuple[str, str, float]]:
    """Region, metric, value: of drawn and real pictures [T, S, S, 3] and their landmarks [T, 478, 3] px where seen."""
    drawn, real = (torch.from_numpy(each) for each in pictures)
    found: list[tuple[str, str, float]] = []
    if networks.lpips:
        pairs = count_steps(zip(drawn, real, strict=True), "lpips", len(drawn), progress)
        distances = [networks.lpips(picture, truth) for picture, truth in pairs]
        found.append(("whole", "LPIPS", float(np.mean(distances))))
    if networks.identity and seen.any():
        embed, (there, here) = networks.identity.embed, landmarks
        known = count_steps(seen.nonzero().flatten().tolist(), "csim", int(seen.sum()), progress)
        alike = [float(embed(drawn[i], there[i]) @ embed(real[i], here[i])) for i in known]
        found.append(("face", "CSIM", float(np.mean(alike))))
    return found
