"""Which of the 478 mesh points are what."""

from __future__ import annotations

RIGID = (
    6, 197, 195, 5, 4, 1, 168, 8, 9, 151, 10, 108, 337, 67, 297, 103, 332, 54, 284, 21, 251, 162, 389, 127, 356,
    33, 263, 133, 362, 98, 327, 2, 94, 122, 351, 196, 419, 3, 248, 236, 456, 174, 399, 193, 417, 69, 299, 104, 333,
    68, 298, 71, 301, 139, 368, 34, 264, 143, 372, 156, 383, 130, 359, 226, 446, 35, 265,
)  # fmt: skip
"""Points that move little with expression: nose, forehead, temples, eye corners."""

LIPS = (
    61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185,
    78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95,
)  # fmt: skip
LEFT_LID = (33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7)
RIGHT_LID = (263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249)
IRISES = tuple(range(468, 478))
UPPER_LIP, LOWER_LIP = 13, 14
LEFT_CORNER, RIGHT_CORNER = 61, 291
LEFT_EYE = (33, 133, 159, 145, 468)  # outer corner, inner corner, upper lid, lower lid, iris
RIGHT_EYE = (263, 362, 386, 374, 473)
CHIN, FOREHEAD = 152, 10
POINTS = 478
