"""The benchmark of the core measures, compares and notices a peer that reads other values."""

import json
import sys
from pathlib import Path

from zegel.cli.bench.core import Peer, run

PEER = """
import json, sys
frames = [json.loads(line) for line in open(sys.argv[1])][: int(sys.argv[2])]
assert set(frames[0]) == {"frame", "key", "auth_key", "plaintext"}
print("some noise of a library")
found = {"frames": len(frames), "seconds": 0.5, "decode_seconds": 0.25, "checksum": 0}
print(json.dumps(found | {"version": "1"}))
"""


def test_results_name_value_limit_ratio_and_what_is_asked(tmp_path: Path) -> None:
    script = tmp_path / "peer.py"
    script.write_text(PEER, encoding="ascii")
    here = Peer("here", (sys.executable, str(script)), frames=3, must=80.0, general=True)
    absent = Peer("absent", (str(tmp_path / "python"), "x"), frames=3, must=1.0)
    found = json.loads(json.dumps(run(peers=(here, absent), rounds=1, seconds=0.01)))
    assert found["missing"] == ["absent"]
    assert not found["checksums_equal"]
    assert (found["plaintext_bytes"], found["frame_bytes"]) == (2736, 2766)
    assert found["off_fast_path"] == {"no_layout": 8}
    against = {(line["name"], line["peer"]): line for line in found["results"]}
    line = against["open+decode to Arrow", "here"]
    assert line["limit"] == 2.0
    assert line["must"] == 80.0
    assert abs(line["ratio"] / (line["value"] / 2.0) - 1) < 0.01
    assert against["general decoder", "here"]["limit"] == 4.0
    assert against["open+decode to Arrow", "openssl speed aes-128-gcm"]["must"] == 0.12
