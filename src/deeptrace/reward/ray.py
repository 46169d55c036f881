"""Millions of files by Ray Data: local by default, a cluster by its address. Needs the extra ``ray``.

Files are told apart by their bytes first, so each content is scored once and what has a row already is left out. Then
one actor a device scores them, with as many waiting as Ray's backpressure lets. Rows come back to this process as they
are ready, and each is in the journal at once: a run that is killed goes on from there. Workers must see the same paths.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from deeptrace.errors import MissingExtra, VideoError
from deeptrace.files import dumps, loads
from deeptrace.journal import Journal
from deeptrace.reward.kinds import FAST_REWARD
from deeptrace.reward.rows import RewardRow, content_digest, key_of, read_row, row_of
from deeptrace.reward.score import LookName, NotRewarded, Reward, crashed

try:
    import ray
    import ray.data
except ImportError:
    raise MissingExtra("scoring with Ray", "ray") from None

_BATCH: Final = 4
"""Videos that an actor takes at once: rows come back in these steps."""


def _judge(model: str, look: LookName) -> Reward:
    return Reward(model, look=look, kind=FAST_REWARD) if look == "fast" else Reward(model, look=look)


class RewardActor:
    """One model on one device. Called by Ray with a batch of keys and paths; gives a row, as text, for each."""

    def __init__(self, model: str, look: LookName) -> None:
        self.reward = _judge(model, look)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[str]]:
        """Score the videos of a batch; one that fails in any way gets the row of its failure."""
        rows = [self._row(str(path), str(key)) for path, key in zip(batch["path"], batch["key"], strict=True)]
        return {"row": [dumps(row) for row in rows]}

    def _row(self, path: str, key: str) -> dict[str, Any]:
        try:
            outcome = next(self.reward.iter([path]))
        except Exception as error:  # noqa: BLE001 - one video must not end a run over millions
            outcome = crashed(error)
        return {"key": key, **row_of(outcome, self.reward, path=path)}


def score_with_ray(
    paths: Sequence[str],
    out: str | os.PathLike[str],
    *,
    model: str = "embedded",
    look: LookName = "full",
    address: str | None = None,
    actors: int | None = None,
    gpus: float = 0.0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[RewardRow]:
    """The row of each path, in order; rows are kept in the journal ``out`` and taken from there.

    ``address`` is a Ray cluster, ``ray://host:10001`` or ``auto``; None starts Ray here. ``actors`` is how many models
    run at once (None: one for every core that Ray has); ``gpus`` is what each takes of a GPU.

    Raises:
        FileError: the journal cannot be used.
    """
    reward = _judge(model, look)
    key_by_path: dict[str, str] = {}
    with Journal(out, lock=False, sync_seconds=1.0) as journal:
        todo: dict[str, str] = {}
        for path in paths:
            try:
                key = key_of(content_digest(path), reward)
            except VideoError as error:
                key = f"path:{path}"
                missing = NotRewarded(error.code, str(error))
                journal.add(key, {**row_of(missing, reward, path=path), "video_id": Path(path).stem})
            key_by_path[path] = key
            held = journal.rows.get(key)
            if held is None or (held["status"] != "rewarded" and not key.startswith("path:")):
                todo.setdefault(key, os.path.abspath(path))
        del reward  # the actors have their own
        done = len(paths) - len(todo)
        progress(done, len(paths))
        for row in _scored(todo, (model, look), address=address, actors=actors, gpus=gpus):
            journal.add(str(row["key"]), row)
            done += 1
            progress(done, len(paths))
        return [read_row(journal.rows[key_by_path[path]], path=path) for path in paths]


def _scored(
    todo: Mapping[str, str], judge: tuple[str, LookName], *, address: str | None, actors: int | None, gpus: float
) -> Iterator[dict[str, Any]]:
    if not todo:
        return
    with _ray(address, actors):
        cores = int(ray.cluster_resources().get("CPU", 1))  # type: ignore[no-untyped-call]
        count = max(1, min(actors or cores, len(todo)))
        items = [{"key": key, "path": path} for key, path in todo.items()]
        # Small blocks, so that every actor gets some and rows come back early.
        data = ray.data.from_items(items, override_num_blocks=max(count, min(len(items), 10_000) // _BATCH))
        scored = data.map_batches(
            RewardActor,
            fn_constructor_args=judge,
            batch_size=_BATCH,
            compute=ray.data.ActorPoolStrategy(size=count),
            num_cpus=None if gpus else 1,
            num_gpus=gpus or None,
        )
        for item in scored.iter_rows():
            yield loads(item["row"])


@contextmanager
def _ray(address: str | None, actors: int | None) -> Iterator[None]:
    """Ray while it is needed. A Ray that runs already in this process is used, and left running."""
    if ray.is_initialized():
        yield
        return
    options: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "configure_logging": False}
    if address is None:
        options["num_cpus"] = max(actors or 0, os.cpu_count() or 1)
    else:
        options = {"address": address}
    ray.init(**options)
    ray.data.DataContext.get_current().enable_progress_bars = False
    try:
        yield
    finally:
        ray.shutdown()
