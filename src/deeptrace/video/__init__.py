"""Reading and writing video, isolated from the caller.

``probe`` says what a file says of itself, ``sample_frames`` gives frames at chosen moments, ``iter_frames`` all of them
in chunks, ``write_video`` and ``VideoWriter`` make a file that every browser plays. A stranger's file is decoded in a
separate process with limits; the caller gets frames with true times, or a `VideoError` with a stable code.
"""

from deeptrace.video._limits import DEFAULT_LIMITS, VIDEO_SUFFIXES, ReadLimits
from deeptrace.video._pool import close
from deeptrace.video.read import FrameStream, VideoSource, iter_frames, limits, probe, sample_frames
from deeptrace.video.write import VideoWriter, write_video

__all__ = [
    "DEFAULT_LIMITS",
    "VIDEO_SUFFIXES",
    "FrameStream",
    "ReadLimits",
    "VideoSource",
    "VideoWriter",
    "close",
    "iter_frames",
    "limits",
    "probe",
    "sample_frames",
    "write_video",
]
