"""What a server measures, in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Mapping

from avatar.serve.engine import PERIOD
from avatar.serve.hub import Hub

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
QUANTILES = (0.5, 0.95, 0.99)


def metrics_text(hub: Hub) -> str:
    """All metrics of a server."""
    load, sessions = hub.engine.load, hub.sessions
    share, waiting = load.share(), max((one.live.buffered for one in sessions), default=0.0)
    latency = max((one.latency_ms for one in sessions), default=0.0) / 1e3
    drift = max((abs(one.drift_ms) for one in sessions), default=0.0) / 1e3
    quantiles = {f'{{quantile="{share}"}}': load.quantile(share) for share in QUANTILES}
    drawn = (1 - load.undrawn / load.frames) / PERIOD if load.frames else 0.0
    rows: list[tuple[str, str, str, float | Mapping[str, float]]] = [
        ("sessions", "gauge", "Sessions that are open.", len(sessions)),
        ("sessions_capacity", "gauge", "Sessions that fit.", hub.capacity),
        ("sessions_opened_total", "counter", "Sessions since the start.", hub.opened),
        ("sessions_refused_total", "counter", "Sessions refused for want of room.", hub.refused),
        ("frames_total", "counter", "Frames that were due.", load.frames),
        ("frames_late_total", "counter", "Frames done later than 40 ms after they were due.", load.late),
        ("frames_undrawn_total", "counter", "Frames left out, the machine being behind.", load.undrawn),
        ("stalls_total", "counter", "Times that the clock began anew.", load.stalls),
        ("load_ratio", "gauge", "Share of a tick that its slowest stage takes.", share),
        ("infer_fps", "gauge", "Frames a second that could be drawn.", 1 / max(share * PERIOD, PERIOD / 1e3)),
        ("final_fps", "gauge", "Frames a second that sessions get.", drawn),
        ("frame_seconds", "summary", "From a frame's due time until it is coded.", quantiles),
        ("encode_seconds", "gauge", "Mark, label and coding of a frame, in the mean.", load.encode_seconds),
        ("sound_waiting_seconds", "gauge", "The most sound that waits in a session.", waiting),
        (
            "sound_late_total",
            "counter",
            "Times sound was late, open sessions.",
            sum(s.live.late_sound for s in sessions),
        ),
        ("client_latency_seconds", "gauge", "Sound in to picture shown, the most that clients measured.", latency),
        ("client_drift_seconds", "gauge", "Sound against picture, the most that clients measured.", drift),
    ]
    lines: list[str] = []
    for name, kind, words, value in rows:
        lines += [f"# HELP avatar_{name} {words}", f"# TYPE avatar_{name} {kind}"]
        values = value.items() if isinstance(value, Mapping) else [("", value)]
        lines += [f"avatar_{name}{labels} {number:.6g}" for labels, number in values]
    return "\n".join(lines) + "\n"
