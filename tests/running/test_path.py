"""From a meter's socket to a value that is read back."""

from datetime import date

import pytest

from helpers.nodes import RunningNode, stored, street


@pytest.mark.parametrize("suite", [0, 1, 2])
def test_what_meters_push_comes_back_exactly(node: RunningNode, suite: int) -> None:
    made = street(node, meters=4, days=2, suite=suite)
    before = node.api.fates()
    stats = node.send(made.pushes(0) + made.pushes(1))
    assert (stats.confirmed, stats.failed) == (8, 0)
    after = node.settled(before.received + 8)
    assert after.stored - before.stored == 8
    found = stored(node, made)
    assert len(found) == len(made.truth())
    assert dict(found) == made.truth()


@pytest.mark.parametrize(("day", "quarters"), [(date(2026, 3, 29), 92), (date(2026, 10, 25), 100)])
def test_a_day_with_a_changed_clock_keeps_all_its_quarters(
    node: RunningNode, day: date, quarters: int
) -> None:
    made = street(node, meters=2, start=day)
    before = node.api.fates()
    node.send(made.pushes())
    node.settled(before.received + 2)
    found = stored(node, made)
    assert len(found) == 2 * quarters
    assert dict(found) == made.truth()


def test_pushes_by_udp_and_over_kept_open_connections_are_receipted_and_stored(
    node: RunningNode,
) -> None:
    made = street(node, meters=6)
    before = node.api.fates()
    pushes = made.pushes()
    assert node.send(pushes[:3], udp=True).confirmed == 3
    assert node.send(pushes[3:], keep_open=True, in_flight=1).confirmed == 3
    node.settled(before.received + 6)
    assert dict(stored(node, made)) == made.truth()


def test_fates_add_up_when_good_and_bad_frames_mix(node: RunningNode) -> None:
    made, stranger = street(node, meters=3), street(None, meters=2)
    before = node.api.fates()
    node.send(made.pushes() + stranger.pushes() + made.pushes()[:1])
    after = node.settled(before.received + 6)
    assert after.received == after.stored + after.duplicate + after.quarantined
    assert after.stored - before.stored == 3
    assert after.duplicate - before.duplicate == 1
    reasons = after.reasons.get("unknown_meter", 0) - before.reasons.get("unknown_meter", 0)
    assert reasons == 2


def test_the_fleets_frames_stay_on_the_fast_path_once_their_layout_is_known(
    node: RunningNode,
) -> None:
    made = street(node, meters=40, days=3)
    start = node.api.fates()
    node.send(made.pushes(0))
    before = node.settled(start.received + 40)
    node.send(made.pushes(1) + made.pushes(2))
    after = node.settled(before.received + 80)
    assert after.off_fast_path == before.off_fast_path


def test_a_key_of_version_0_is_judged_like_any_other(
    node: RunningNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zegel.meter.intake.KEY_VERSION", 0)
    made = street(node, meters=2)
    before = node.api.fates()
    node.send(made.pushes())
    node.settled(before.received + 2)
    node.send(made.pushes())
    after = node.settled(before.received + 4)
    assert (after.stored - before.stored, after.duplicate - before.duplicate) == (2, 2)
