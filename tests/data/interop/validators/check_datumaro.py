"""Run inside an environment with datumaro: python check_datumaro.py FOLDER FIRST LAST EXPLANATION.

FOLDER holds annotations.xml. Checks that datumaro shows boxes on exactly the frames FIRST..LAST, counted from 0.
"""

import sys

from datumaro.components.dataset import Dataset

dataset = Dataset.import_from(sys.argv[1], "cvat")
names = [label.name for label in next(iter(dataset.categories().values()))]
shown = {}
for item in dataset:
    for box in item.annotations:
        if not box.attributes.get("outside"):
            shown.setdefault(int(item.id.rsplit("_", 1)[-1]), []).append(box)
assert sorted(shown) == list(range(int(sys.argv[2]), int(sys.argv[3]) + 1)), sorted(shown)
assert all(box.attributes["explanation"] == sys.argv[4] for boxes in shown.values() for box in boxes)
assert all("fake_trace" in names and names[box.label] in names for boxes in shown.values() for box in boxes)
print("accepted")
