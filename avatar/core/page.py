"""One self-contained HTML page from pictures, curves and tables. No script, nothing fetched."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from avatar.core.files import whole

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 0; background: #f6f6f4; color: #222 }
main { max-width: 1080px; margin: auto; padding: 24px }
h1 { font-size: 26px; margin: 8px 0 } h2 { font-size: 18px; margin: 32px 0 8px }
section { background: #fff; border: 1px solid #e2e2de; border-radius: 10px; padding: 16px; margin: 12px 0 }
img, svg { max-width: 100%; height: auto; display: block }
table { border-collapse: collapse } td, th { padding: 4px 14px 4px 0; text-align: left; border-bottom: 1px solid #eee }
p.lead { font-size: 17px } figcaption { color: #666; font-size: 13px } figure { margin: 8px 0 }
"""
COLORS = ("#2a6fdb", "#d9482b", "#2a9d5c", "#8a5bd0")


def to_picture(image: np.ndarray, caption: str = "") -> str:
    """HTML of a picture [H, W, 3] uint8."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=88)
    data = base64.b64encode(buffer.getvalue()).decode()
    note = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    return f'<figure><img src="data:image/jpeg;base64,{data}" alt="{html.escape(caption)}">{note}</figure>'


def to_curve(series: Mapping[str, Sequence[float]], *, unit: str = "", width: int = 1000, height: int = 160) -> str:
    """HTML of curves over the same axis, as inline SVG; at most four."""
    everything = np.concatenate([np.asarray(values, float) for values in series.values()])
    everything = everything[np.isfinite(everything)]
    low, high = (float(everything.min()), float(everything.max())) if len(everything) else (0.0, 1.0)
    span = (high - low) or 1.0
    parts = [f'<svg viewBox="0 0 {width} {height + 20}" role="img">']
    for color, values in zip(COLORS, series.values(), strict=False):
        data = np.nan_to_num(np.asarray(values, float), nan=low)
        x = np.linspace(0, width, max(2, len(data)))
        points = " ".join(f"{a:.1f},{height - (b - low) / span * height:.1f}" for a, b in zip(x, data, strict=False))
        parts.append(f'<polyline fill="none" stroke="{color}" stroke-width="1.5" points="{points}"/>')
    legend = " ".join(
        f'<tspan fill="{color}">{html.escape(name)} </tspan>' for color, name in zip(COLORS, series, strict=False)
    )
    parts.append(f'<text x="0" y="{height + 16}" font-size="13">{legend}<tspan fill="#888">')
    parts.append(f"{low:.3g} to {high:.3g} {html.escape(unit)}</tspan></text></svg>")
    return "".join(parts)


def to_table(rows: Sequence[Sequence[str]]) -> str:
    """HTML of a table; the first row is its head."""
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in rows[0])
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows[1:])
    return f"<table><tr>{head}</tr>{body}</table>"


def write_page(path: Path, title: str, lead: str, sections: Sequence[tuple[str, str]]) -> None:
    """Write a page: sections are (heading, HTML from the functions above)."""
    body = "".join(f"<section><h2>{html.escape(name)}</h2>{content}</section>" for name, content in sections)
    text = f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(title)}</title>"
    text += f"<meta name=viewport content='width=device-width'><style>{STYLE}</style>"
    text += f"<main><h1>{html.escape(title)}</h1><p class=lead>{html.escape(lead)}</p>{body}</main></html>"
    with whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
