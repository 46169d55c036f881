"""``deeptrace inspect`` and ``deeptrace demo``: videos in, verdicts out, as a table, JSON, CSV and a page.

`command` reads the options, `videos` finds the files, `run` asks the model (in `processes`, where that is faster),
`folder` keeps what came, `table` prints it.
"""

from deeptrace.cli.inspect.command import inspect
from deeptrace.cli.inspect.demo import demo
from deeptrace.cli.inspect.videos import find_videos

__all__ = ["demo", "find_videos", "inspect"]
