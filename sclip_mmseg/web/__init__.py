"""The web page: own classes on own pictures."""

from .hosts import Hosts, listen
from .server import serve
from .session import Question, Session

__all__ = ['Hosts', 'Question', 'Session', 'listen', 'serve']
