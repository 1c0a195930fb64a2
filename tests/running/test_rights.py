"""Every zone is kept to itself: its own user, files, memory, network, code, and calls."""

import os
import re
from pathlib import Path
from typing import Any

import pytest

from helpers.attack import zones
from helpers.callers import CALLS, Found, Order, Trial, attempts, reaches
from helpers.nodes import RunningNode, street
from zegel.calls.table import TABLE, ZONES

ROOT = os.geteuid() == 0


def as_root(test: Any) -> Any:
    """Mark a test that needs zones with users of their own."""
    return pytest.mark.root(pytest.mark.skipif(not ROOT, reason="needs root")(test))


def sockets(node: RunningNode) -> dict[tuple[str, str], str]:
    """Return the socket of every pair (caller, callee) that could have one."""
    run = node.config.run()
    return {(a, b): str(run / b / f"{a}.sock") for a in ZONES for b in ZONES}


def paths(node: RunningNode) -> dict[str, list[str]]:
    """Return the folders and files of each zone, and of the node itself."""
    run = node.config.run()
    own = {
        zone: [str(node.data / zone), *map(str, sorted((node.data / zone).rglob("*")))]
        for zone in ZONES
    }
    return {**own, "": [str(node.data), str(run), *(str(run / zone) for zone in ZONES)]}


@pytest.fixture(scope="module")
def who(node: RunningNode) -> dict[str, Trial]:
    """The users of the zones, with the groups that a stolen zone has, and two others."""
    directory = node.supervisor._directory
    assert directory is not None
    mine = directory.users
    groups = {"edge": [mine.spool], "store": [mine.spool]}
    zones_ = {zone: Trial(mine.of(zone), groups.get(zone, [])) for zone in ZONES}
    return {**zones_, "stranger": Trial(mine.spool + 1), "root": Trial(0)}


@pytest.fixture(scope="module")
def stolen(node: RunningNode, who: dict[str, Trial]) -> dict[str, Found]:
    """What each of them reaches."""
    node.send(street(node, meters=1).pushes())
    node.settled(1)
    every = [path for some in paths(node).values() for path in some]
    pids = [*node.pids.values(), os.getpid()]
    order = Order(list(who.values()), list(sockets(node).values()), every, pids)
    return dict(zip(who, attempts(order), strict=True))


@as_root
@pytest.mark.parametrize("name", [*ZONES, "stranger"])
def test_a_user_may_say_exactly_what_the_table_gives_its_zone(
    node: RunningNode, stolen: dict[str, Found], name: str
) -> None:
    for (caller, callee), path in sockets(node).items():
        found, row = stolen[name].sockets[path], TABLE.get((caller, callee))
        if row is None:
            assert found == "ENOENT", (caller, callee)
        elif caller != name:
            assert found == "EACCES", (caller, callee)
        else:
            assert found == [kind.__name__ for kind in CALLS if kind in row], (caller, callee)


@as_root
def test_who_opens_a_socket_that_is_not_made_for_him_is_cut_off(
    node: RunningNode, stolen: dict[str, Found]
) -> None:
    found = stolen["root"].sockets  # no file mode stops root, the user at the other end does
    for pair, path in sockets(node).items():
        assert found[path] == ("cut off" if pair in TABLE else "ENOENT")


@as_root
@pytest.mark.parametrize("name", [*ZONES, "stranger"])
def test_a_zones_user_opens_its_own_folder_and_no_other(
    node: RunningNode, stolen: dict[str, Found], name: str
) -> None:
    found = stolen[name]
    for owner, some in paths(node).items():
        for path in some:
            if path not in found.read:
                continue  # made meanwhile
            gone = {"ENOENT"} if owner == name else set()
            mine = owner == name
            spool = (name, owner) == ("store", "edge")  # sealed segments, to read only
            if owner:
                assert found.read[path] in ({"open"} | gone if mine or spool else {"EACCES"}), path
            assert found.written[path] in ({"open"} | gone if mine else {"EACCES"}), path


@as_root
@pytest.mark.parametrize("name", [*ZONES, "stranger"])
def test_a_zones_user_reads_no_memory_and_signals_nobody_else(
    node: RunningNode, stolen: dict[str, Found], name: str
) -> None:
    assert set(stolen[name].memory.values()) == {"EACCES"}  # its own zone's neither
    assert stolen[name].signals == [pid for zone, pid in node.pids.items() if zone == name]


@as_root
def test_each_process_has_its_user_and_says_so(node: RunningNode, who: dict[str, Trial]) -> None:
    said = zones(node)
    for zone, pid in node.pids.items():
        status = Path(f"/proc/{pid}/status").read_text()
        ids = dict(re.findall(r"(Uid|Gid|Groups|CapEff|NoNewPrivs):[ \t]*(.*)", status))
        user = who[zone].user
        assert {*ids["Uid"].split(), *ids["Gid"].split()} == {str(user)}
        assert ids["Groups"].split() == [str(group) for group in who[zone].groups]
        assert (int(ids["CapEff"], 16), ids["NoNewPrivs"]) == (0, "1")
        assert said[zone]["uid"] == user
        assert said[zone]["isolation"] == ("namespace" if zone in ("vault", "store") else "uid")
    assert len({said[zone]["uid"] for zone in ZONES}) == len(ZONES)


@as_root
def test_vault_and_store_reach_no_network_and_the_others_do(node: RunningNode) -> None:
    reached = {zone for zone, pid in node.pids.items() if reaches(pid, node.push_port)}
    assert reached == {"edge", "console"}


@pytest.mark.skipif(ROOT, reason="as root zones have users of their own")
def test_without_root_no_isolation_is_said(node: RunningNode) -> None:
    assert {zone["isolation"] for zone in zones(node).values()} == {"none"}


@pytest.mark.skipif(ROOT, reason="as root zones have users of their own")
def test_without_root_memory_is_closed_and_any_process_of_the_user_may_say_what_a_zone_may(
    node: RunningNode, stolen: dict[str, Found]
) -> None:
    found = stolen["stranger"]
    assert {found.memory[pid] for pid in node.pids.values()} == {"EACCES"}
    for pair, path in sockets(node).items():
        allowed = [kind.__name__ for kind in CALLS if kind in TABLE.get(pair, ())]
        assert found.sockets[path] == (allowed or "ENOENT")


def test_no_zone_has_loaded_code_that_it_must_not_have(node: RunningNode) -> None:
    never = {
        "edge": ("vault", "store", "console", "reader", "meter", "cosem"),
        "console": ("vault", "store", "edge", "reader", "meter"),
        "store": ("vault", "edge", "console", "reader", "meter"),
        "vault": ("edge", "store", "console", "reader", "meter", "cosem"),
    }
    for zone, said in zones(node).items():
        assert f"zegel.{zone}.zone" in said["modules"]
        loaded = {name.split(".")[1] for name in said["modules"] if "." in name}
        assert not loaded & set(never[zone]), zone
        assert said["test"] is False
