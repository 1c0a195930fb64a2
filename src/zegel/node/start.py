"""The start document: all that a zone is told, once, on an inherited pipe.

The supervisor writes one JSON line to the zone's standard input and keeps the pipe open:
its end means that the supervisor is gone, and the zone exits. So there are no orphans.
"""

import msgspec

from zegel.errors import ConfigError
from zegel.node.config import Config
from zegel.node.isolation import Users
from zegel.node.switches import Switches

__all__ = ["Ready", "StartDocument", "read"]


class StartDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a zone is started with. No secret stands in it."""

    zone: str
    config: Config
    users: Users = Users()
    switches: Switches = Switches()


class Ready(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The one line that a zone writes to its standard output when it is up, or an error."""

    ports: dict[str, int] = {}
    error: str = ""  # the line for people
    exit_code: int = 0


def read(line: bytes) -> StartDocument:
    """Read a start document.

    Raises:
        ConfigError: not a start document; the zone is not for people to start by hand.
    """
    try:
        return msgspec.json.decode(line, type=StartDocument)
    except msgspec.MsgspecError as error:
        raise ConfigError(
            "start document",
            where="standard input",
            expected="a line from the supervisor",
            found=error,
        ) from error
