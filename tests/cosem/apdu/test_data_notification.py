import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.cosem_strategies import values
from helpers.vectors import Vector, vectors
from zegel.cosem.apdu import DataNotification, DataNotificationConfirm
from zegel.cosem.decode import decode_capture
from zegel.cosem.types import Value
from zegel.errors import MalformedError

CLOCK = bytes.fromhex("07e5091b01092f0f00ff8880")
SOUND = [v for v in vectors() if v.kind not in ("malformed", "encrypted-no-key")]


@pytest.mark.parametrize("vector", SOUND, ids=str)
def test_a_real_push_is_written_as_it_was_read(vector: Vector) -> None:
    apdu = bytes.fromhex(decode_capture(vector.capture, **vector.keys()).plaintext or "")
    notification = DataNotification.decode(apdu)
    assert notification.encode() == apdu
    wanted = vector.expected["notification"]["long_invoke_id_and_priority"]
    assert f"{notification.long_invoke_id_and_priority:08x}" == wanted


@given(
    invoke_id=st.integers(0, 2**32 - 1),
    date_time=st.sampled_from([b"", CLOCK]),
    body=values(),
    tagged=st.booleans(),
)
@settings(max_examples=50)
def test_writing_and_reading_are_inverse(
    invoke_id: int, date_time: bytes, body: Value, tagged: bool
) -> None:
    notification = DataNotification(invoke_id, date_time, body, tagged)
    assert DataNotification.decode(notification.encode()) == notification
    confirm = DataNotificationConfirm(invoke_id, date_time)
    assert DataNotificationConfirm.decode(confirm.encode()) == confirm
    assert notification.invoke_id == confirm.invoke_id == invoke_id & 0xFFFFFF


REFUSED = {
    "nothing": ("", "APDU tag"),
    "another tag": ("10000000", "APDU tag"),
    "no invoke id": ("0f000000", "long-invoke-id"),
    "no date-time": ("0f00000000", "date-time length"),
    "date-time of 5": ("0f0000000005", "date-time length"),
    "date-time cut off": ("0f000000000c07e5", "date-time"),
    "no body": ("0f0000000000", "data tag"),
    "more than the body": ("0f00000000000000", "data-notification"),
}


@pytest.mark.parametrize(("text", "what"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_is_refused(text: str, what: str) -> None:
    with pytest.raises(MalformedError) as caught:
        DataNotification.decode(bytes.fromhex(text))
    assert caught.value.what == what
    assert caught.value.at is not None


def test_a_confirm_ends_with_its_date_time() -> None:
    assert DataNotificationConfirm.decode(bytes.fromhex("100000000700")).invoke_id == 7
    with pytest.raises(MalformedError, match="confirmation"):
        DataNotificationConfirm.decode(bytes.fromhex("10000000070000"))


@pytest.mark.parametrize(
    "notification",
    [
        DataNotification(2**32, b"", Value(0, None)),
        DataNotification(-1, b"", Value(0, None)),
        DataNotification(0, b"12345", Value(0, None)),
        DataNotification(0, b"", Value(17, 256)),
    ],
)
def test_what_does_not_fit_is_not_written(notification: DataNotification) -> None:
    with pytest.raises(MalformedError):
        notification.encode()
