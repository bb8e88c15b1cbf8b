"""The web page: own classes on own pictures."""

from .page import build_page, serve
from .session import Question, Session

__all__ = ['Question', 'Session', 'build_page', 'serve']
