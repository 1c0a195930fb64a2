"""An edge of a few lines that answers receipts, with knobs to misbehave."""

import selectors
import socket
import threading
from collections import Counter
from types import TracebackType
from typing import Self

from zegel.cosem.push import receipt
from zegel.cosem.wrapper import WrapperFrame, WrapperReader, decode_datagram

__all__ = ["EchoEdge"]


class EchoEdge:
    """Serve TCP and UDP on one free port of 127.0.0.1 in a thread, until left.

    `mute` gives that many frames no receipt and closes; `wrong` answers that many with another
    invoke-id; `hold` keeps the connections of muted frames open instead of closing them.
    `frames` counts whole frames by their bytes, `streams` the connections, `rests` what stood in
    the buffer at the end of a stream.
    """

    def __init__(self, *, mute: int = 0, wrong: int = 0, hold: bool = False) -> None:
        self.mute, self.wrong, self.hold = mute, wrong, hold
        self.frames: Counter[bytes] = Counter()
        self.streams = 0
        self.rests: list[bytes] = []
        self._readers: dict[socket.socket, tuple[WrapperReader, bytearray]] = {}

    def __enter__(self) -> Self:
        self._server = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port: int = self._server.getsockname()[1]
        self._datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._datagrams.bind(("127.0.0.1", self.port))
        self._ours, self._stop = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        for sock in (self._server, self._datagrams, self._ours):
            sock.setblocking(False)
            self._selector.register(sock, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.send(b".")
        self._thread.join(10)
        ours = (self._server, self._datagrams, self._ours, self._stop)
        for sock in (*ours, *self._readers):
            sock.close()
        self._selector.close()

    def _serve(self) -> None:
        while True:
            for key, _ in self._selector.select():
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                if sock is self._ours:
                    return
                if sock is self._server:
                    self._accept()
                elif sock is self._datagrams:
                    self._datagram()
                else:
                    self._receive(sock)

    def _accept(self) -> None:
        sock, _ = self._server.accept()
        sock.setblocking(False)
        self.streams += 1
        self._readers[sock] = WrapperReader(), bytearray()
        self._selector.register(sock, selectors.EVENT_READ)

    def _datagram(self) -> None:
        data, peer = self._datagrams.recvfrom(65_536)
        answer = self.answer(decode_datagram(data))
        if answer is not None:
            self._datagrams.sendto(answer, peer)

    def _receive(self, sock: socket.socket) -> None:
        reader, rest = self._readers[sock]
        try:
            data = sock.recv(65_536)
        except ConnectionError:
            data = b""
        rest += data
        reader.receive(data)
        keep = bool(data)
        for frame in iter(reader.next_frame, None):
            rest.clear()
            answer = self.answer(frame)
            if answer is not None:
                sock.send(answer)
            else:
                keep = self.hold
        if not data:
            self.rests.append(bytes(rest))
        if not keep:
            self._selector.unregister(sock)
            del self._readers[sock]
            sock.close()

    def answer(self, frame: WrapperFrame) -> bytes | None:
        """Return the receipt for a frame, or None to say nothing."""
        self.frames[frame.apdu] += 1
        counter = int.from_bytes(frame.apdu[14:18], "big")
        if self.mute:
            self.mute -= 1
            return None
        if self.wrong:
            self.wrong -= 1
            counter += 1
        return receipt(counter)
