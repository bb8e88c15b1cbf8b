"""Host names and socket of the page."""

import errno
import ipaddress
import re
import socket
from collections.abc import Iterable
from urllib.parse import SplitResult, urlsplit

from ..utils.errors import InputError

_NETLOC = re.compile(r'(\[[\da-f:.]+(%\w+)?\]|[\w.-]+)(:\d*)?', re.IGNORECASE)


def listen(host: str, port: int) -> socket.socket:
    """Bind the socket of the page.

    Args:
        host: Name or address of this machine; ``0.0.0.0`` or ``::`` for all its addresses.
        port: The port; 0 for any free one.

    Returns:
        A bound socket.

    Raises:
        InputError: If the address cannot be used.
    """
    if not 0 <= port <= 65535:
        raise InputError(f'--port {port} does not exist: choose one from 1024 to 65535')
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen()
    except (OSError, UnicodeError) as error:  # UnicodeError: the name is too long
        raise InputError(_explain(error, host, port)) from error
    return bound


def _explain(error: Exception, host: str, port: int) -> str:
    code = getattr(error, 'errno', None)
    if code == errno.EADDRINUSE:
        return f'port {port} of {host} is in use: choose another one by --port'
    if code in (errno.EACCES, errno.EPERM):
        return f'this account may not use port {port}: choose one from 1024 by --port'
    return (
        f'--host {host} is not an address of this machine ({error}): leave it out, or use 0.0.0.0 '
        'to be reachable by other machines'
    )


def host_name(netloc: str) -> str:
    """Host in a ``Host`` header, in lower case and without port; empty if it is invalid."""
    parts = split(f'//{netloc}') if _NETLOC.fullmatch(netloc) else None
    return (parts.hostname or '').rstrip('.') if parts else ''


def split(url: str) -> SplitResult | None:
    """The parts of a URL; None if it is invalid."""
    try:
        return urlsplit(url)
    except ValueError:  # brackets without an address in them
        return None


class Hosts:
    """Names and addresses under which the page may be requested.

    They exclude a web site whose name was made to point at this machine (DNS rebinding): it has
    another name, and requests come from another origin.

    Args:
        bound: Address that the socket is bound to.
        names: Names from the user, such as those of a reverse proxy.

    Raises:
        InputError: If a name is invalid.
    """

    def __init__(self, bound: str, names: Iterable[str] = ()):
        self.bound = ipaddress.ip_address(bound)
        self.names = set()
        for name in names:
            host = host_name(name) or host_name(f'[{name}]')
            if not host:
                raise InputError(
                    f"--allow-host '{name}' is not a host name: write it without https:// and path"
                )
            self.names.add(host)

    def refuse(self, hosts: Iterable[str], origin: str | None) -> str | None:
        """Why a request is refused; None if it is allowed.

        Args:
            hosts: Hosts in its ``Host`` header, and as a reverse proxy reports them, in lower case.
            origin: Its ``Origin`` header.
        """
        hosts = list(hosts)
        if not hosts:
            return 'A request needs a Host header.'
        for host in hosts:
            if not self._is_own(host_name(host)):
                return self._explain('host', host_name(host))
        if origin is not None:
            parts = split(origin.lower())
            netloc = parts.netloc if parts else ''
            if netloc not in hosts and host_name(netloc) not in self.names:
                return self._explain('origin', host_name(netloc))
        return None

    def _explain(self, what: str, name: str) -> str:
        shown = f"'{name}'" if name else 'of this request'
        return (
            f'The {what} {shown} is not allowed. If it is yours, start the page with '
            f'--allow-host {name or "NAME"}.'
        )

    def _is_own(self, name: str) -> bool:
        if name == 'localhost' or name in self.names:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        # An address in the browser cannot be the result of DNS rebinding.
        return address.is_loopback or address == self.bound or self.bound.is_unspecified
