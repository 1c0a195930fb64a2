#!/bin/sh
# Make one environment per peer library in .peers/NAME, from its hashed requirements.
# The peers never share an environment or a process with Zegel: gurux-dlms is GPL-2.
# Usage: benchmarks/peers/setup.sh [NAME...]     (default: every requirements/peer-NAME.txt)
set -eu
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}
if [ $# -eq 0 ]; then
    set -- $(ls requirements/peer-*.txt | sed 's|requirements/peer-||; s|\.txt$||')
fi
for name in "$@"; do
    wanted="requirements/peer-$name.txt"
    reader="benchmarks/peers/read_$(echo "$name" | tr - _).py"
    if cmp -s "$wanted" ".peers/$name/requirements.txt"; then
        cp "$reader" ".peers/$name/read.py"
        echo "peer $name: ready" >&2
        continue
    fi
    rm -rf ".peers/$name"
    "$python" -m venv ".peers/$name"
    ".peers/$name/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r "$wanted"
    cp "$reader" ".peers/$name/read.py"
    cp "$wanted" ".peers/$name/requirements.txt"
    echo "peer $name: installed" >&2
done
