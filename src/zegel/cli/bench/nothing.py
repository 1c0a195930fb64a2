"""A server that does nothing but answer: what any edge in front of this generator costs at least.

It accepts, reads one frame, sends a receipt and closes; no spool, no limits, no check. Raw
epoll, one thread. Usage: python -m zegel.cli.bench.nothing; prints its port, ends with
standard input.
"""

import contextlib
import select
import socket
import struct

from zegel.edge.receipt import receipt

__all__ = ["main", "serve"]

HEADER_BYTES = 8
COUNTER_AT = HEADER_BYTES + 14  # behind 0xDB, title, length of three octets and control


def serve(listening: socket.socket) -> None:
    """Answer every frame until standard input ends."""
    epoll, open_, seen = select.epoll(), dict[int, socket.socket](), dict[int, bytes]()
    epoll.register(listening, select.EPOLLIN)
    epoll.register(0, select.EPOLLIN)
    listener = listening.fileno()
    while True:
        for fd, _ in epoll.poll():
            if fd == 0:
                return
            if fd == listener:
                _accept(listening, epoll, open_)
            else:
                _answer(fd, open_, seen)


def _accept(listening: socket.socket, epoll: select.epoll, open_: dict[int, socket.socket]) -> None:
    with contextlib.suppress(BlockingIOError):
        while True:
            sock, _ = listening.accept()
            sock.setblocking(False)  # noqa: FBT003 - the library's own form
            open_[sock.fileno()] = sock
            epoll.register(sock.fileno(), select.EPOLLIN)


def _answer(fd: int, open_: dict[int, socket.socket], seen: dict[int, bytes]) -> None:
    sock = open_[fd]
    try:
        data = sock.recv(65_536)
    except BlockingIOError:
        return
    except ConnectionError:
        data = b""
    if not data:
        seen.pop(fd, None)
        open_.pop(fd).close()
        return
    data = seen.pop(fd, b"") + data
    if len(data) < HEADER_BYTES or len(data) < HEADER_BYTES + (data[6] << 8 | data[7]):
        seen[fd] = data
        return
    _, source, destination = struct.unpack_from(">HHH", data)
    (counter,) = struct.unpack_from(">I", data, COUNTER_AT)
    with contextlib.suppress(OSError):
        sock.send(receipt(source, destination, counter))


def main() -> None:
    """Listen on a free port of the loopback interface."""
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listening:
        listening.setblocking(False)  # noqa: FBT003 - as above
        print(listening.getsockname()[1], flush=True)
        serve(listening)


if __name__ == "__main__":
    main()
