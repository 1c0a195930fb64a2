"""Pushes whose receipts are known one by one: who got one, and who did not."""

import socket
import threading
import time
from collections.abc import Hashable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from zegel.cosem.push import RECEIPT_BYTES, parse_receipt
from zegel.meter.frames import Push

K = TypeVar("K", bound=Hashable)
NEVER = threading.Event()


def push_once(port: int, push: Push, *, receipt_s: float = 2.0) -> bool:
    """Push on a connection of its own; tell whether its receipt came."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=receipt_s) as sock:
            sock.sendall(push.wire)
            received = b""
            while len(received) < RECEIPT_BYTES:
                data = sock.recv(RECEIPT_BYTES - len(received))
                if not data:
                    return False
                received += data
    except OSError:
        return False
    return parse_receipt(received) == push.invoke_id


def push_each(
    port: int,
    pushes: Mapping[K, Push],
    *,
    threads: int = 4,
    receipt_s: float = 2.0,
    pause_s: float = 0.0,
    stop: threading.Event = NEVER,
) -> set[K]:
    """Push each once, until `stop`; return the keys of those that got their receipt."""
    receipted: set[K] = set()

    def one(key: K) -> None:
        if not stop.is_set() and push_once(port, pushes[key], receipt_s=receipt_s):
            receipted.add(key)
        time.sleep(pause_s)  # meters do not push all at once

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(one, pushes))
    return receipted
