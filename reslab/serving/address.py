"""The address of a server."""

from __future__ import annotations

import os
import socket

from reslab.core.errors import UserError

BACKLOG = 1024  # connections that are not accepted yet


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises UserError if the port is in use or the address is not ours."""
    listener = None
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        # with the protocol named, asyncio switches off Nagle's algorithm, which delays answers
        listener = socket.socket(family, kind, protocol or socket.IPPROTO_TCP)
        if os.name == "posix":  # elsewhere it would share the port with another program
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except (OSError, UnicodeError) as error:
        if listener is not None:
            listener.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"cannot listen on {host}, port {port}: {reason}; choose another --port or --host"
        ) from None
    return listener
