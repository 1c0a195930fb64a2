"""10^5 inputs that are almost frames; `tests/fuzz/fuzz_decode.py` runs for longer."""

import pytest

from fuzz.fuzz_decode import fuzz


@pytest.mark.parametrize("seed", range(4))
def test_25_000_almost_frames_bring_out_our_own_errors_only(seed: int) -> None:
    outcomes = fuzz(25_000, seed)
    assert outcomes.total() == 25_000
    assert set(outcomes) == {
        "decoded",
        "framing",
        "malformed",
        "unsupported",
        "security",
        "bad_tag",
    }
    assert outcomes["decoded"] > 1_000
