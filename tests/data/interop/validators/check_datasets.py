"""Run inside an environment with datasets: python check_datasets.py FOLDER VIDEOS TRACES.

Loads the folder as a videofolder without decoding and checks how many videos and traces there are, and that the video
files are found.
"""

import sys
from pathlib import Path

from datasets import Video, load_dataset

loaded = load_dataset("videofolder", data_dir=sys.argv[1], cache_dir=str(Path(sys.argv[1], "..", "cache")))
card = load_dataset(sys.argv[1], cache_dir=str(Path(sys.argv[1], "..", "cache2")))
for splits in (loaded, card):
    rows = [row for split in splits.values() for row in split.cast_column("video", Video(decode=False))]
    assert len(rows) == int(sys.argv[2]), len(rows)
    assert sum(len(row["traces"]) for row in rows) == int(sys.argv[3])
    assert all(Path(row["video"]["path"]).is_file() for row in rows)
    assert all("video_id" in row for row in rows)
print("accepted", sorted(loaded), sorted(card))
