"""Metrics: plain functions of tensors. Those that need published weights are imported from their own modules."""

from __future__ import annotations

from avatar.metrics.coverage import coverage_inside, edge_psnr, person_core, premultiply
from avatar.metrics.motion import (
    blinks_per_minute,
    correlation,
    head_motion_degrees,
    lip_jerkiness,
    lip_vertex_error,
)
from avatar.metrics.pictures import METRICS, Metric, Score, flicker, landmark_distance, psnr, region_masks, ssim

__all__ = [
    "METRICS",
    "Metric",
    "Score",
    "blinks_per_minute",
    "correlation",
    "coverage_inside",
    "edge_psnr",
    "flicker",
    "head_motion_degrees",
    "landmark_distance",
    "lip_jerkiness",
    "lip_vertex_error",
    "person_core",
    "premultiply",
    "psnr",
    "region_masks",
    "ssim",
]
