#!/usr/bin/env bash
# Run the node tests as a user without rights: zones then share one user and the isolation is
# none. As root this becomes another user first; otherwise the normal run was that run.
set -euo pipefail
venv=$1
if [ "$(id -u)" -ne 0 ]; then
  echo "not root: the node tests ran without rights already"
  exit 0
fi
work=$(mktemp -d /tmp/zegel-other-XXXXXX)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
# Hard links where the file system is the same: this folder may lie where others cannot pass.
cp -al "$venv" src tests pyproject.toml docs "$work" 2>/dev/null || cp -a "$venv" src tests pyproject.toml docs "$work"
mkdir "$work/home"
chown 65534:65534 "$work/home"
cd "$work"
env -i PATH="$PATH" HOME="$work/home" TMPDIR=/tmp LANG=C.UTF-8 PYTHONPATH="$work/src" PYTHONDONTWRITEBYTECODE=1 \
  setpriv --reuid 65534 --regid 65534 --clear-groups \
  "$work/$(basename "$venv")/bin/python" -m pytest -p no:cacheprovider -m "not slow and not root" tests/running
