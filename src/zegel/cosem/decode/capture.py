"""A capture from its bytes to the document, step by step."""

from zegel.cosem.apdu import DataNotification, DataNotificationConfirm, apdu_name
from zegel.cosem.apdu.names import CIPHERED_TAGS
from zegel.cosem.datetime import CosemDateTime
from zegel.cosem.decode.body import tree
from zegel.cosem.decode.document import Document, Security, Time
from zegel.cosem.decode.framing import Unframed, read_bytes, unframe
from zegel.cosem.decode.values import named_values
from zegel.cosem.keys import Key
from zegel.cosem.security import SecurityHeader, open_apdu, split_protected
from zegel.errors import InputError, MalformedError, UnsupportedError

__all__ = ["decode_capture"]

NOTIFICATION, CONFIRM = 0x0F, 0x10
NO_KEY = "protected, and no key given: only the header is shown"
NO_AUTHENTICATION_KEY = "authenticated, and no authentication key given: only the header is shown"
NO_TAG = "encryption only: no tag stands on the wire, so a wrong key cannot be noticed"
TAGGED = "the date-time carries its own tag 09, which the standard does not write"


def decode_capture(
    capture: bytes, *, key: Key | None = None, authentication_key: Key | None = None
) -> Document:
    """Decode a frame of any known framing, binary or hex text.

    Without the keys it needs, a protected APDU shows its header and a warning.

    Raises:
        FramingError: a transport frame that is cut or does not check.
        MalformedError: an APDU or value that does not follow its rules.
        UnsupportedError: well formed, but outside what is read.
        SecurityError: a key that does not fit the suite, or no protection at all.
        BadTagError: another key, or changed bytes; nothing of the content is shown.
    """
    unframed = unframe(read_bytes(capture))
    try:
        return _document(unframed, key, authentication_key)
    except InputError as error:
        if error.at is not None:
            error.where = f"byte {error.at} of the APDU"
        raise


def _document(unframed: Unframed, key: Key | None, authentication_key: Key | None) -> Document:
    apdu, warnings = unframed.apdu, list(unframed.warnings)
    if apdu[0] not in CIPHERED_TAGS:
        return _plain(unframed, apdu, None, warnings)
    protected = split_protected(apdu)
    header = protected.header
    missing = NO_KEY if key is None else None
    if missing is None and header.authenticated and authentication_key is None:
        missing = NO_AUTHENTICATION_KEY
    if key is None or missing is not None:
        name = _name(header.tag)
        security = _security(header, verified=None)
        warnings.append(missing or NO_KEY)
        return Document(
            framing=unframed.framing, security=security, apdu=name, warnings=tuple(warnings)
        )
    opened = open_apdu(protected, encryption_key=key, authentication_key=authentication_key)
    security = _security(header, verified=opened.verified)
    if opened.verified is None:
        warnings.append(NO_TAG)
    try:
        return _plain(unframed, opened.plaintext, security, warnings)
    except (MalformedError, UnsupportedError) as error:
        if opened.verified is None:
            error.what = f"deciphered without a tag, so the key may be wrong: {error.what}"
        raise


def _security(header: SecurityHeader, *, verified: bool | None) -> Security:
    return Security(
        apdu=_name(header.tag),
        system_title=header.system_title.hex() if header.system_title else None,
        security_control=f"{header.security_control:02x}",
        suite=header.suite,
        authenticated=header.authenticated,
        encrypted=header.encrypted,
        invocation_counter=header.invocation_counter,
        verified=verified,
    )


def _name(tag: int) -> str:
    return apdu_name(tag) or f"tag {tag:02x}"


def _plain(
    unframed: Unframed, apdu: bytes, security: Security | None, warnings: list[str]
) -> Document:
    """Read an APDU that is not, or no longer, protected."""
    tag = apdu[0] if apdu else None
    if tag == NOTIFICATION:
        notification = DataNotification.decode(apdu)
        if notification.tagged_date_time:
            warnings.append(TAGGED)
        values, remarks = named_values(notification)
        warnings += remarks
        invoke_id, date_time = notification.long_invoke_id_and_priority, notification.date_time
        body = tree(notification.body)
    elif tag == CONFIRM:
        confirm = DataNotificationConfirm.decode(apdu)
        invoke_id, date_time = confirm.long_invoke_id_and_priority, confirm.date_time
        values, body = (), None
    else:
        expected = "data-notification or its confirm"
        found = "end of data" if tag is None else _name(tag)
        raise UnsupportedError("APDU", at=0, expected=expected, found=found)
    return Document(
        framing=unframed.framing,
        security=security,
        apdu=_name(tag),
        invoke_id=invoke_id,
        plaintext=apdu.hex(),
        time=_time(date_time, warnings),
        body=body,
        values=values,
        warnings=tuple(warnings),
    )


def _time(raw: bytes, warnings: list[str]) -> Time | None:
    """Show the date-time of a notification; one that cannot be is shown raw, with a warning."""
    if not raw:
        return None
    try:
        moment = CosemDateTime.decode(raw)
        utc = moment.to_utc()
    except MalformedError as error:
        warnings.append(f"date-time: {error}")
        return Time(raw=raw.hex())
    text = None if utc is None else utc.replace(tzinfo=None).isoformat(timespec="auto") + "Z"
    return Time(raw=raw.hex(), local=str(moment), utc=text)
