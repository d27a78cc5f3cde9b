"""SpeechModel: one person's audio-to-motion model, as data. What computes with it is in `avatar.motion`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal

from torch import Tensor

from avatar.core.lips import POSITIONS
from cuda_ext.shapes import check_shapes

Calibration = Literal["regression", "adversarial"]
"""How a model is adapted: a regression on pairs of the person's sound and face, or a post-net trained adversarially."""


@dataclass(frozen=True)
class KernelRegression:
    """Kernel ridge regression from inputs [T, I] to expression [T, K]; C centers in P projected dimensions.

    Beside it a linear map of the inputs to L positions of the lips; both are None in models that have none.
    """

    mean: Tensor  # [I]
    project: Tensor  # [I, P]
    centers: Tensor  # [C, P] projected inputs
    weight: Tensor  # [C, K]
    offset: Tensor  # [K]
    positions: Tensor | None = None  # [I, L] lip positions of a unit of each input
    along: Tensor | None = None  # [L, K] expression of a unit of each lip position

    def __post_init__(self) -> None:
        shapes = {"mean": "I", "project": "I P", "centers": "C P", "weight": "C K", "offset": "K"}
        if (self.positions is None) != (self.along is None):
            raise ValueError("KernelRegression: positions and along go together; one of them is missing")
        shapes |= {"positions": "I L", "along": "L K"} if self.positions is not None else {}
        check_shapes("KernelRegression", {name: (getattr(self, name), shape) for name, shape in shapes.items()})


@dataclass(frozen=True)
class PostNet:
    """A convolution from articulation of F frames to expression [T, K] (Ye et al. 2023, GeneFace, section 3.3)."""

    input_mean: Tensor  # [A] mean articulation of the person's speech
    input_std: Tensor  # [A] its standard deviation
    lips: Tensor  # [4, K] expression of a unit of each lip curve, scaled to the person's range
    first: Tensor  # [H, F * A]
    bias: Tensor  # [H]
    second: Tensor  # [K, H]
    offset: Tensor  # [K]

    def __post_init__(self) -> None:
        shapes = {
            "input_mean": "A",
            "input_std": "A",
            "lips": "4 K",
            "first": "H W",
            "bias": "H",
            "second": "K H",
            "offset": "K",
        }
        check_shapes("PostNet", {name: (getattr(self, name), shape) for name, shape in shapes.items()})


@dataclass(frozen=True)
class LipRange:
    """How far the person's lips move, of which least squares predicts less: L positions of `core.lips.POSITIONS`."""

    gain: Tensor  # [L] times what is predicted, about the person's mean
    gaps: Tensor  # [Q] cm, ascending, after the gain: quantiles of those below the median
    closing: Tensor  # [Q] cm, added to each of these
    along: Tensor  # [L, K] expression of a unit of each position

    def __post_init__(self) -> None:
        shapes = {"gain": "L", "gaps": "Q", "closing": "Q", "along": "L K"}
        check_shapes("LipRange", {name: (getattr(self, name), shape) for name, shape in shapes.items()})
        if len(self.gain) != len(POSITIONS) or len(self.gaps) < 2:
            raise ValueError(f"LipRange: {len(self.gain)} positions, {len(self.gaps)} gaps; expected 4, and 2 or more")


@dataclass(frozen=True)
class SpeechModel:
    """Encoder, decoder and what of the person goes with them. Tensors are kept in the precision of the file."""

    features: str  # the audio features that the encoder takes: `whisper`, or `hubert:FOLDER`
    encoder: Mapping[str, Tensor]  # weights of `avatar.motion.encoder.Encoder` by name
    decoder: KernelRegression | PostNet
    mean: Tensor  # [K] mean expression, without lids
    lid_slope: Tensor  # [K] change of expression from open to shut eyelids
    lip_reading: Tensor  # [K] lip opening (cm) of a unit of each mode
    voice: Tensor | None = None  # [T, 10] prosody features of the frames of the person's own motion
    lips: LipRange | None = None  # None in models that have another gain, or none

    def __post_init__(self) -> None:
        """Raises: ValueError naming the tensor whose shape is wrong."""
        modes = {"decoder.offset": self.decoder.offset, "mean": self.mean}
        modes |= {"lid_slope": self.lid_slope, "lip_reading": self.lip_reading}
        shapes = {name: (tensor, "K") for name, tensor in modes.items()}
        shapes |= {"lips.along": (self.lips.along, "L K")} if self.lips else {}
        check_shapes("SpeechModel", shapes | ({"voice": (self.voice, "T 10")} if self.voice is not None else {}))
        if not self.encoder:
            raise ValueError("SpeechModel: has no encoder weights")

    def __repr__(self) -> str:
        return f"SpeechModel({self.features}, {type(self.decoder).__name__}, {len(self.mean)} modes)"

    @property
    def calibration(self) -> Calibration:
        """How the model was made."""
        return "adversarial" if isinstance(self.decoder, PostNet) else "regression"


def decoder_tensors(decoder: KernelRegression | PostNet) -> dict[str, Tensor]:
    """A decoder's tensors by name, without those that it has not."""
    tensors = {field.name: getattr(decoder, field.name) for field in fields(decoder)}
    return {name: tensor for name, tensor in tensors.items() if tensor is not None}


def decoder_from_tensors(tensors: Mapping[str, Tensor]) -> KernelRegression | PostNet:
    """The decoder that `decoder_tensors` took apart. Raises: TypeError, ValueError for other names or shapes."""
    return PostNet(**tensors) if "lips" in tensors else KernelRegression(**tensors)


def to_tensors(model: SpeechModel) -> dict[str, Tensor]:
    """All tensors of a model by name, as avatar files hold them."""
    found = {f"encoder.{name}": tensor for name, tensor in model.encoder.items()}
    found |= {f"decoder.{name}": tensor for name, tensor in decoder_tensors(model.decoder).items()}
    found |= {"mean": model.mean, "lid_slope": model.lid_slope, "lip_reading": model.lip_reading}
    found |= {f"lips.{name}": tensor for name, tensor in vars(model.lips).items()} if model.lips else {}
    return found | ({"voice": model.voice} if model.voice is not None else {})


def from_tensors(tensors: Mapping[str, Tensor], features: str) -> SpeechModel:
    """The model that `to_tensors` took apart. Raises: KeyError, TypeError, ValueError for other names or shapes."""

    def part(prefix: str) -> dict[str, Tensor]:
        return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}

    lips = part("lips.")
    return SpeechModel(
        features,
        part("encoder."),
        decoder_from_tensors(part("decoder.")),
        mean=tensors["mean"],
        lid_slope=tensors["lid_slope"],
        lip_reading=tensors["lip_reading"],
        voice=tensors.get("voice"),
        lips=LipRange(**lips) if lips else None,
    )
