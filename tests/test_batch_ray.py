"""The same batches on a real Ray cluster of two nodes on this machine, one of which is killed in the middle."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from avatar.batch.cluster import RayEngine
from avatar.batch.run import Snapshot, run_batch
from avatar.core.files import UserError
from tests.batch_worker import run_commands
from tests.test_batch_run import counts, left_over, plan_of, records, studio

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # before Ray: nothing is sent anywhere
ray = pytest.importorskip("ray", reason="needs Ray: pip install 'avatar-builder[ray]'")
MEMORY = 8_000_000_000


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head and room for more."""
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 80_000_000, "memory": MEMORY}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    yield cluster
    cluster.shutdown()


def go(file: Path, cluster: Any, show: Any = None) -> Snapshot:
    engine = RayEngine(cluster.address, run=run_commands)
    return run_batch(plan_of(file), engine, file.with_suffix(".batch"), show=show)


def test_all_jobs_finish_though_a_node_is_killed(tmp_path: Path, cluster: Any) -> None:
    other = cluster.add_node(num_cpus=1, object_store_memory=80_000_000, memory=MEMORY)
    cluster.wait_for_nodes()
    speeches = {f"s{index:02d}": f"count\n{'wait' if index >= 4 else 'sleep 0.1'}\nhello" for index in range(16)}
    file = studio(tmp_path, **speeches)
    seen: set[str] = set()
    killed: list[int] = []

    def kill_in_the_middle(snapshot: Snapshot) -> None:
        seen.update(one.worker for one in snapshot.running if one.worker.startswith("node"))
        if not killed and len(seen) == 2 and snapshot.counts.get("done", 0) >= 4:
            cluster.remove_node(other, allow_graceful=False)
            killed.append(snapshot.counts["done"])
            (tmp_path / "go").touch()  # all others wait for it, so that the node dies in the middle

    end = go(file, cluster, kill_in_the_middle)
    assert killed
    assert killed[0] < 16
    assert end.counts["done"] == 16
    assert end.bad == 0
    assert all((tmp_path / f"{name}.mp4").read_text() == text for name, text in speeches.items())
    assert not left_over(tmp_path)
    assert go(file, cluster).counts["unchanged"] == 16
    assert sum(counts(file, name) for name in speeches) <= 16 + 2


def test_crashes_failures_and_hangs_are_distinguished(tmp_path: Path, cluster: Any) -> None:
    file = studio(tmp_path, poison="count\ncrash", shaky="crash once", bad="fail", stuck="hang", good="hello")
    text = file.read_text().replace('"jobs"', '"defaults": {"all": {"limit": 4}}, "jobs"')
    file.write_text(text)
    end = go(file, cluster)
    found = records(file)
    assert {name.removesuffix(".mp4"): record.state for name, record in found.items()} == {
        "poison": "quarantined",
        "shaky": "done",
        "bad": "failed",
        "stuck": "failed",
        "good": "done",
    }
    assert end.bad == 3
    assert counts(file, "poison") == 3
    assert found["bad.mp4"].reason.endswith("cannot be spoken; give another")
    assert "time limit of 4 s" in found["stuck.mp4"].reason


def test_what_no_node_has_is_refused(tmp_path: Path, cluster: Any) -> None:
    file = studio(tmp_path, one="hello")
    file.write_text(file.read_text().replace('"id"', '"cpus": 64, "id"'))
    with pytest.raises(UserError, match="wants 64 CPUs"):
        go(file, cluster)
    ray.shutdown()


def test_no_cluster_is_one_clear_line() -> None:
    with pytest.raises(UserError, match="no Ray cluster answers"):
        RayEngine("127.0.0.1:1")
