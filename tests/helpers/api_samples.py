"""The samples of the API's documents: what is asked for each, and how they are written.

`PYTHONPATH=src:tests python -m helpers.api_samples` writes them to docs/reference/samples.
"""

import json
from pathlib import Path
from typing import Any

import httpx

from helpers.api_node import TITLES, TOKEN, sample_node, serving

_DAY = {"from": "2026-03-29", "to": "2026-03-30"}
ASKED: dict[str, dict[str, Any]] = {
    "health": {"url": "/healthz"},
    "zones": {"url": "/v1/zones"},
    "meters": {"url": "/v1/meters", "params": {"limit": 2}},
    "meter": {"url": "/v1/meters/E0001"},
    "meters_import": {
        "method": "POST",
        "url": "/v1/meters",
        "json": [
            {"serial": "N1", "system_title": TITLES[4], "maker": "LGZ", "counter_floor": 100},
            {"serial": "N2", "system_title": "short"},
        ],
    },
    "readings": {"url": "/v1/readings", "params": {**_DAY, "meter": "E0001", "limit": 2}},
    "quarantine": {"url": "/v1/quarantine"},
    "quarantined_frame": {"url": f"/v1/quarantine/{(1 << 40) + 5}"},
    "fates": {"url": "/v1/frames/fates"},
    "keys": {"url": "/v1/keys"},
    "import_key": {"url": "/v1/keys/import-key"},
    "shipment": {
        "method": "POST",
        "url": "/v1/shipments",
        "content": b"ZSHIP1",
        "headers": {"Content-Type": "application/octet-stream"},
    },
    "problem": {"url": "/v1/meters", "params": {"limit": 0}},
}


def answer(api: httpx.Client, name: str) -> Any:
    """Ask for a sample's document."""
    return api.request(**{"method": "GET", **ASKED[name]}).json()


def write(folder: Path) -> None:
    """Write every sample."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with (
        serving(sample_node()) as node,
        httpx.Client(base_url=node.url, headers=headers, trust_env=False) as api,
    ):
        for name in ASKED:
            text = json.dumps(answer(api, name), indent=2, ensure_ascii=False) + "\n"
            (folder / f"{name}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(__file__).parents[2] / "docs" / "reference" / "samples")
