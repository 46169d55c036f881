"""Run inside an environment with labelbox[data]: python check_labelbox.py IMPORT.ndjson.

Reads each line with the SDK's own models, turns it into the SDK's annotations, and checks that the SDK's serialiser
writes the same line again.
"""

import json
import sys
from pathlib import Path

from labelbox.data.annotation_types import Label
from labelbox.data.serialization import NDJsonConverter
from labelbox.data.serialization.ndjson.classification import NDRadio
from labelbox.data.serialization.ndjson.objects import NDSegments

MADE_BY_THE_SDK = ("uuid", "schemaId", "customMetrics", "confidence")


def plain(value):
    """A line without the identifiers that the SDK draws anew, and without empty fields."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if k not in MADE_BY_THE_SDK and v not in (None, [])}
    if isinstance(value, float):
        return round(value, 6)
    return [plain(item) for item in value] if isinstance(value, list) else value


for line in Path(sys.argv[1]).read_text().splitlines():
    row = json.loads(line)
    model = NDSegments if "segments" in row else NDRadio
    read = model.model_validate(row)
    if model is NDSegments:
        annotations = read.to_common(row["name"], None)
        label = Label(data={"global_key": row["dataRow"]["globalKey"]}, annotations=annotations)
        (again,) = NDJsonConverter.serialize([label])
        assert plain(again) == plain(row), (plain(again), plain(row))
print("accepted")
