"""Names of MediaPipe's face landmarks, the 478 points [x, y, z] that Tracks hold.

LEFT and RIGHT are sides of a picture that is not mirrored: LEFT_EYE is the person's own right eye. Outlines are closed
and run from point to point; sets have no order.
"""

from __future__ import annotations

from typing import NamedTuple

POINTS = 478
MESH_POINTS = 468
"""The points of the mesh come first, then the irises."""


class Eye(NamedTuple):
    """The corners, the middle of each lid and the centre of the iris."""

    outer: int
    inner: int
    upper: int
    lower: int
    iris: int


LEFT_EYE = Eye(outer=33, inner=133, upper=159, lower=145, iris=468)
RIGHT_EYE = Eye(outer=263, inner=362, upper=386, lower=374, iris=473)
EYE_CORNERS = (LEFT_EYE.outer, RIGHT_EYE.outer)
"""The outer ones: their distance is what lengths in a face are measured in."""
IRISES = tuple(range(MESH_POINTS, POINTS))
IRIS_CENTERS = (LEFT_EYE.iris, RIGHT_EYE.iris)

LEFT_UPPER_LID, RIGHT_UPPER_LID = (246, 161, 160, 159, 158, 157, 173), (466, 388, 387, 386, 385, 384, 398)
LEFT_LOWER_LID, RIGHT_LOWER_LID = (7, 163, 144, 145, 153, 154, 155), (249, 390, 373, 374, 380, 381, 382)
"""Lids from the outer to the inner corner, without the corners."""
LEFT_EYE_OUTLINE = (LEFT_EYE.outer, *LEFT_UPPER_LID, LEFT_EYE.inner, *LEFT_LOWER_LID[::-1])
RIGHT_EYE_OUTLINE = (RIGHT_EYE.outer, *RIGHT_UPPER_LID, RIGHT_EYE.inner, *RIGHT_LOWER_LID[::-1])
BROWS = ((70, 63, 105, 66, 107, 55, 65, 52, 53, 46), (300, 293, 334, 296, 336, 285, 295, 282, 283, 276))
"""Outlines, the left one first."""
LEFT_BROW_OUTER, RIGHT_BROW_OUTER, LEFT_BROW_INNER, RIGHT_BROW_INNER = 70, 300, 55, 285

LEFT_CORNER, RIGHT_CORNER = 61, 291
"""Outer corners of the mouth."""
LIP_TOP, LIP_BOTTOM = 0, 17
"""The middle of the lips' outer outline."""
UPPER_LIP, LOWER_LIP = 13, 14
"""The middle of the lips' inner outline: their distance is the opening of the mouth."""
MOUTH_EXTREMES = (LEFT_CORNER, RIGHT_CORNER, LIP_TOP, LIP_BOTTOM)
LEFT_UPPER_LIP, RIGHT_UPPER_LIP, LEFT_LOWER_LIP, RIGHT_LOWER_LIP = 40, 270, 181, 405
"""On the outer outline, halfway to the corners."""
OUTER_LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
INNER_UPPER_LIP = (191, 80, 81, 82, 13, 312, 311, 310, 415)
INNER_LOWER_LIP = (95, 88, 178, 87, 14, 317, 402, 318, 324)
"""Left to right, without the inner corners."""
INNER_LIPS = (78, *INNER_UPPER_LIP, 308, *INNER_LOWER_LIP[::-1])
LIPS = (*OUTER_LIPS, *INNER_LIPS)
MOUTH_20 = (61, 40, 37, 0, 267, 270, 291, 321, 314, 17, 84, 91, 78, 81, 13, 311, 308, 402, 14, 178)
"""Where the 68 points of iBUG 300-W (Sagonas et al. 2013) have the mouth, its points 48 to 67 in their order."""
BETWEEN_LIP_OUTLINES = (
    76, 184, 74, 73, 72, 11, 302, 303, 304, 408, 306, 62, 183, 42, 41, 38, 12, 268, 271, 272, 407, 292,
)  # fmt: skip
"""A set: the upper lip's points between both outlines, and the corners'."""
WHOLE_UPPER_LIP = (
    *INNER_UPPER_LIP, 185, 40, 39, 37, 0, 267, 269, 270, 409,
    184, 74, 73, 72, 11, 302, 303, 304, 408, 183, 42, 41, 38, 12, 268, 271, 272, 407,
)  # fmt: skip
"""A set: both outlines of the upper lip and what is between them, without the corners."""
WHOLE_LOWER_LIP = (
    *INNER_LOWER_LIP, 146, 91, 181, 84, 17, 314, 405, 321, 375,
    77, 90, 180, 85, 16, 315, 404, 320, 307, 96, 89, 179, 86, 15, 316, 403, 319, 325,
)  # fmt: skip
"""A set: both outlines of the lower lip and what is between them, without the corners."""

FOREHEAD, GLABELLA, NOSE_BRIDGE, NOSE_TIP, CHIN = 10, 9, 6, 4, 152
"""On the midline: the top of the face, between the brows, between the eyes, and so on down."""
NOSE_RIDGE, NOSE_BASE = 195, 2
"""Halfway down the nose; below its tip, where the upper lip begins."""
CHEEKBONES = (50, 280, 117, 346)
"""Skin below the eyes, two points a side."""
CHEEKS = (234, 454)
"""The sides of the face's outline, beside the ears."""
FACE_OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150,
    136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
JAWLINE = (234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361, 323, 454)
"""The lower part of the face's outline, from cheek to cheek."""
JAW_CORNERS = (58, 288)
CHIN_POINTS = (152, 148, 377, 175, 199)
"""A set: the skin of the chin, which moves as the lower teeth do."""
UPPER_FACE = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 345, 346, 347, 348, 429, 279, 294, 4, 64, 49, 209, 119, 118, 117, 116,
    234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
"""Forehead, temples, cheekbones, nose: an outline of the skin that the jaw does not move."""
RIGID = (
    6, 197, 195, 5, 4, 1, 168, 8, 9, 151, 10, 108, 337, 67, 297, 103, 332, 54, 284, 21, 251, 162, 389, 127, 356,
    33, 263, 133, 362, 98, 327, 2, 94, 122, 351, 196, 419, 3, 248, 236, 456, 174, 399, 193, 417, 69, 299, 104, 333,
    68, 298, 71, 301, 139, 368, 34, 264, 143, 372, 156, 383, 130, 359, 226, 446, 35, 265,
)  # fmt: skip
"""A set that moves little with expression: nose, forehead, temples, eye corners. The order is the motion space's."""
RIGID_FEW = (10, 151, 9, 8, 168, 6, 197, 195, 5, 54, 284, 103, 332, 33, 263, 133, 362)
"""Few of them, without the lower nose: what pictures of two frames are aligned by."""
IBUG68 = (
    162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389, 71, 63, 105, 66, 107, 336, 296,
    334, 293, 301, 168, 197, 5, 4, 75, 97, 2, 326, 305, 33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380, 61,
    39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87,
)  # fmt: skip
"""The 68 points of iBUG's markup (Sagonas et al. 2013): jaw, brows, nose, eyes, lips, in its order."""
