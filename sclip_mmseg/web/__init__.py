"""The web page, on which images are segmented into classes entered by the user."""

from ..old_names import keep_old_names
from .hosts import Hosts, listen
from .server import serve
from .session import Question, Session

keep_old_names(__name__, build_page='web.page.build_page')

__all__ = ['Hosts', 'Question', 'Session', 'listen', 'serve']
