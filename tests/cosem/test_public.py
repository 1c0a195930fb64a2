import subprocess
import sys

import zegel.cosem
import zegel.cosem.apdu


def test_every_public_name_loads() -> None:
    for module in (zegel.cosem, zegel.cosem.apdu):
        assert all(getattr(module, name) is not None for name in module.__all__)
        assert module.__all__ == sorted(module.__all__)


def test_opening_frames_loads_no_decoder_and_decoding_loads_no_numpy() -> None:
    code = (
        "import sys; import zegel.cosem.security as s; a = set(sys.modules);"
        "import zegel.cosem.decode; b = set(sys.modules);"
        "print('zegel.cosem.axdr' in a, 'zegel.cosem.axdr' in b, 'numpy' in b)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True", "False"]
