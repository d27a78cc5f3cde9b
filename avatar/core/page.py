"""One self-contained HTML page from pictures, curves and tables. No script, nothing fetched."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
from PIL import Image

from avatar.core.files import whole

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 0; background: #f6f6f4; color: #222 }
main { max-width: 1080px; margin: auto; padding: 24px }
h1 { font-size: 26px; margin: 8px 0 } h2 { font-size: 18px; margin: 4px 0 10px }
section { background: #fff; border: 1px solid #e2e2de; border-radius: 10px; padding: 16px; margin: 12px 0 }
img, svg, video { max-width: 100%; height: auto; display: block }
table { border-collapse: collapse } td, th { padding: 4px 14px 4px 0; text-align: left; border-bottom: 1px solid #eee }
p.lead { font-size: 17px } ul { margin: 8px 0; padding-left: 22px }
p.verdict { color: #fff; display: inline-block; padding: 4px 14px; border-radius: 8px; margin: 0; font-weight: 600 }
figcaption { color: #666; font-size: 13px } figure { margin: 8px 0 }
"""
WIDTH, HEIGHT = 1000, 160  # of curves
MOST_POINTS = 4000
STEPS = (1, 2, 5, 10, 20, 60, 120, 300, 600, 1800)  # s
ERROR_GAIN = 4
COMPARED = f"real, drawn, error x{ERROR_GAIN}"  # what `compare` shows
COLORS = ("#2a6fdb", "#d9482b", "#2a9d5c", "#8a5bd0")


def to_picture(image: np.ndarray, caption: str = "") -> str:
    """HTML of a picture [H, W, 3] uint8."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=88)
    data = base64.b64encode(buffer.getvalue()).decode()
    return _figure(f'<img src="data:image/jpeg;base64,{data}" alt="{html.escape(caption)}">', caption)


def to_film(film: bytes, caption: str = "") -> str:
    """HTML of an mp4, which plays in the page."""
    data = base64.b64encode(film).decode()
    return _figure(f'<video controls loop muted src="data:video/mp4;base64,{data}"></video>', caption)


def _figure(content: str, caption: str) -> str:
    note = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    return f"<figure>{content}{note}</figure>"


def compare(real: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """A real and a drawn picture [H, W, 3] uint8 and their difference, made visible, side by side [H, 3 W, 3]."""
    error = np.abs(drawn.astype(np.int16) - real) * ERROR_GAIN
    return np.concatenate([real, drawn, error.clip(0, 255).astype(np.uint8)], 1)


@dataclass(frozen=True)
class Axis:
    """Time that curves run over, and its parts that are shaded."""

    seconds: float
    shaded: Sequence[tuple[float, float]] = ()


def to_curve(series: Mapping[str, Sequence[float]], axis: Axis | None = None, *, unit: str = "") -> str:
    """HTML of curves over the same axis, as inline SVG; at most four."""
    data = {name: _thin(np.asarray(values, float)) for name, values in series.items()}
    everything = np.concatenate(list(data.values()))
    everything = everything[np.isfinite(everything)]
    low, high = (float(everything.min()), float(everything.max())) if len(everything) else (0.0, 1.0)
    span = (high - low) or 1.0
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT + 20}" role="img">', *(_draw_axis(axis) if axis else [])]
    for color, values in zip(COLORS, data.values(), strict=False):
        x = np.linspace(0, WIDTH, max(2, len(values)))
        y = HEIGHT - (np.nan_to_num(values, nan=low) - low) / span * HEIGHT
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=False))
        parts.append(f'<polyline fill="none" stroke="{color}" stroke-width="1.5" points="{points}"/>')
    legend = " ".join(
        f'<tspan fill="{color}">{html.escape(name)} </tspan>' for color, name in zip(COLORS, series, strict=False)
    )
    parts.append(f'<text x="0" y="{HEIGHT + 16}" font-size="13">{legend}<tspan fill="#888">')
    parts.append(f"{low:.3g} to {high:.3g} {html.escape(unit)}</tspan></text></svg>")
    return "".join(parts)


def _thin(values: np.ndarray) -> np.ndarray:
    """The curve [T], where it is long by the extremes of its parts, which is what a thick line would show."""
    if len(values) <= MOST_POINTS:
        return values
    parts = np.array_split(values, MOST_POINTS // 2)
    return np.array([extreme for part in parts for extreme in (part.min(), part.max())])


def _draw_axis(axis: Axis) -> list[str]:
    scale = WIDTH / max(axis.seconds, 1e-6)
    parts = [
        f'<rect x="{start * scale:.1f}" y="0" width="{max(0.5, (stop - start) * scale):.1f}" height="{HEIGHT}" '
        'fill="#f3c9bf"/>'
        for start, stop in axis.shaded
    ]
    step = next(step for step in STEPS if axis.seconds / step <= 12 or step == STEPS[-1])
    for second in np.arange(step, axis.seconds, step).tolist():
        x = second * scale
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{HEIGHT}" stroke="#e6e6e2"/>')
        parts.append(f'<text x="{x + 3:.1f}" y="11" font-size="11" fill="#999">{second:g} s</text>')
    return parts


def to_list(head: str, lines: Sequence[str], color: str) -> str:
    """HTML of a coloured head and lines under it."""
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return f'<p class="verdict" style="background:{color}">{html.escape(head)}</p><ul>{items}</ul>'


@dataclass(frozen=True)
class Link:
    """A cell of a table that leads somewhere."""

    text: str
    to: str  # relative to the page


def to_table(rows: Sequence[Sequence[str | Link]]) -> str:
    """HTML of a table; the first row is its head."""
    head, *body = rows
    return f"<table>{_to_row(head, 'th')}" + "".join(_to_row(row, "td") for row in body) + "</table>"


def _to_row(row: Sequence[str | Link], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{_to_cell(cell)}</{tag}>" for cell in row) + "</tr>"


def _to_cell(cell: str | Link) -> str:
    if isinstance(cell, str):
        return html.escape(cell)
    return f'<a href="{html.escape(quote(cell.to))}">{html.escape(cell.text)}</a>'


def write_page(path: Path, title: str, lead: str, sections: Sequence[tuple[str, str]]) -> None:
    """Write a page: sections are (heading, HTML from the functions above)."""
    body = "".join(f"<section><h2>{html.escape(name)}</h2>{content}</section>" for name, content in sections)
    text = f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(title)}</title>"
    text += f"<meta name=viewport content='width=device-width'><style>{STYLE}</style>"
    text += f"<main><h1>{html.escape(title)}</h1><p class=lead>{html.escape(lead)}</p>{body}</main></html>"
    with whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
