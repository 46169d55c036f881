"""The one client for language models behind an OpenAI-compatible endpoint.

Messages in, `Reply` or `ChatFailed` out; `ChatStopped` ends a run. Called by the judge, by models behind ``openai:``
and by the data room. Knows nothing of videos or answer formats. Needs the extra ``api``.
"""

from __future__ import annotations

from deeptrace.chat.client import Call, ChatClient
from deeptrace.chat.messages import image_part, text_part, video_part
from deeptrace.chat.redact import RedactingFilter, Redactor
from deeptrace.chat.replies import (
    Attempt,
    ChatError,
    ChatFailed,
    ChatStopped,
    FailCode,
    Outcome,
    Prices,
    Reply,
    ReplyFlag,
    Spent,
    StopCode,
    Timeouts,
    Usage,
)

__all__ = [
    "Attempt",
    "Call",
    "ChatClient",
    "ChatError",
    "ChatFailed",
    "ChatStopped",
    "FailCode",
    "Outcome",
    "Prices",
    "RedactingFilter",
    "Redactor",
    "Reply",
    "ReplyFlag",
    "Spent",
    "StopCode",
    "Timeouts",
    "Usage",
    "image_part",
    "text_part",
    "video_part",
]
