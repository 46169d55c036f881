"""Ray Data scores files in processes of its own: once each, and a run goes on where it was."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from deeptrace.reward import Reward
from deeptrace.reward.rows import read_rows, score_files
from tests.reward.clips import folder_of_clips

ray = pytest.importorskip("ray")


@pytest.fixture
def small_ray() -> Iterator[None]:
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield
    ray.shutdown()


# Ray leaves processes and sockets to the garbage collector, which tells of it.
@pytest.mark.filterwarnings(
    "ignore::ResourceWarning",
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)
def test_ray_scores_each_content_once_and_goes_on(tmp_path: Path, small_ray: None) -> None:
    from deeptrace.reward.ray import score_with_ray

    paths = folder_of_clips(tmp_path / "clips", 2)
    shutil.copy(paths[0], tmp_path / "clips" / "copy.mp4")
    (tmp_path / "clips" / "broken.mp4").write_bytes(b"no video")
    everything = [*paths, str(tmp_path / "clips" / "copy.mp4"), str(tmp_path / "clips" / "broken.mp4"), "absent.mp4"]
    out = tmp_path / "rows.jsonl"
    rows = score_with_ray(everything, out, actors=1)
    assert [row.path for row in rows] == everything
    assert [row.row["code"] for row in rows] == [None, None, None, "NOT_A_VIDEO", "NOT_FOUND"]
    assert rows[2].values == rows[0].values
    assert len(read_rows(out)) == 4
    local = list(score_files(Reward("embedded"), paths))
    assert [row.values for row in rows[:2]] == [row.values for row in local]
    before = out.read_bytes()
    again = score_with_ray(paths, out, actors=1)  # nothing is left to do: Ray is not asked
    assert [row.values for row in again] == [row.values for row in local]
    assert out.read_bytes() == before
