"""Run inside an environment with label-studio-sdk: python check_label_studio.py TASKS.json CONFIG.xml FIRST LAST.

Checks that the SDK accepts the configuration, each task and each annotation, and that its own expansion of key frames
shows the first box region on exactly the frames FIRST..LAST, counted from 1.
"""

import json
import sys
from pathlib import Path

from label_studio_sdk._extensions.label_studio_tools.postprocessing.video import extract_key_frames
from label_studio_sdk.label_interface import LabelInterface

tasks = json.loads(Path(sys.argv[1]).read_text())
interface = LabelInterface(Path(sys.argv[2]).read_text())
interface.validate()
for task in tasks:
    assert interface.validate_task({"data": task["data"]}) is True
    for annotation in task["annotations"]:
        assert interface.validate_annotation(annotation) is True
        errors = interface.validate_prediction({**annotation, "model_version": "x"}, return_errors=True)
        assert errors == [], errors
regions = extract_key_frames([r for r in tasks[0]["annotations"][0]["result"] if r["type"] == "videorectangle"])
frames = sorted({key["frame"] for key in regions[0]["value"]["sequence"]})
assert frames == list(range(int(sys.argv[3]), int(sys.argv[4]) + 1)), frames
print("accepted")
