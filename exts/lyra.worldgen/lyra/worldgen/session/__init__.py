"""A world that somebody works on: one class that the command line, the service, the explorer and Kit all drive."""

from .commands import Branch as Branch
from .commands import Certify as Certify
from .commands import Command as Command
from .commands import Extend as Extend
from .commands import Finish as Finish
from .commands import Generate as Generate
from .commands import Import as Import
from .commands import Preview as Preview
from .commands import Rescale as Rescale
from .commands import Undo as Undo
from .commands import Vary as Vary
from .commands import command_from_json as command_from_json
from .commands import command_to_json as command_to_json
from .commands import resumed as resumed
from .events import DoneEvent as DoneEvent
from .events import Event as Event
from .events import FrameEvent as FrameEvent
from .events import LogEvent as LogEvent
from .events import Outcome as Outcome
from .events import ProgressEvent as ProgressEvent
from .session import Session as Session
from .session import SessionState as SessionState
