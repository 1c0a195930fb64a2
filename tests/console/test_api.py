"""The API over a real socket: every route, the gate, the one error shape, paging."""

import io
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from helpers.api_node import TITLES, TOKEN, ApiNode
from zegel.errors import RefusedError, error_classes

DAY = {"from": "2026-03-29", "to": "2026-03-30"}
ROUTES = [
    ("GET", "/v1/zones"),
    ("GET", "/v1/meters"),
    ("GET", "/v1/meters/E0001"),
    ("POST", "/v1/meters"),
    ("GET", "/v1/readings"),
    ("GET", "/v1/quarantine"),
    ("GET", "/v1/quarantine/5"),
    ("GET", "/v1/frames/fates"),
    ("GET", "/v1/keys"),
    ("GET", "/v1/keys/import-key"),
    ("POST", "/v1/shipments"),
    ("GET", "/openapi.json"),
    ("GET", "/nowhere"),
    ("OPTIONS", "/v1/meters"),
]
SHAPE = {"type", "title", "status", "detail", "code", "what", "where", "expected", "found"}


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    """Check that an answer is a problem of the one shape, and return it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = answer.json()
    assert set(found) == SHAPE
    assert found["status"] == status
    assert found["code"] in error_classes()
    assert found["type"] == f"urn:zegel:error:{found['code']}"
    return found


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize(
    "header", [None, "Bearer wrong", f"Basic {TOKEN}", "Bearer", f"Bearer {TOKEN}x", "Bearer \xe9"]
)
def test_no_route_answers_without_the_token(
    node: ApiNode, method: str, path: str, header: str | None
) -> None:
    headers = {} if header is None else {b"Authorization": header.encode("latin-1")}
    answer = httpx.request(method, node.url + path, headers=headers, trust_env=False)
    assert problem(answer, 401)["what"] == "token"
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_every_route_of_the_description_is_behind_the_gate(api: httpx.Client) -> None:
    described = api.get("/openapi.json").json()["paths"]
    guarded = {path for _, path in ROUTES}
    for path in described:
        probe = path.replace("{meter}", "E0001").replace("{frame}", "5")
        assert probe in guarded or path == "/healthz"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8480", "", "[::2]:80"])
def test_a_loopback_node_answers_to_loopback_names_only(api: httpx.Client, host: str) -> None:
    assert problem(api.get("/healthz", headers={"Host": host}), 421)["what"] == "Host"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:1", "[::1]:8480", "LOCALHOST:8480"])
def test_loopback_names_are_answered(api: httpx.Client, host: str) -> None:
    assert api.get("/v1/meters", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "what", "where"),
    [
        ("GET", "/nowhere", 404, "path", "GET /nowhere"),
        ("GET", "/v1/meters/nobody", 404, "meter", "nobody"),
        ("GET", "/v1/quarantine/77", 404, "quarantined frame", "77"),
        ("DELETE", "/v1/meters", 405, "method", "DELETE /v1/meters"),
        ("GET", "/v1/quarantine/x", 400, "frame id", "path"),
        ("GET", "/v1/quarantine/18446744073709551616", 400, "frame id", "path"),
        ("GET", "/v1/quarantine?cursor=-1", 400, "frame id", "cursor"),
        ("GET", "/v1/meters?limit=0", 400, "query parameter", "limit"),
        ("GET", "/v1/meters?limit=10001", 400, "query parameter", "limit"),
        ("GET", "/v1/meters?limit=many", 400, "query parameter", "limit"),
        ("GET", "/v1/meters?cursor=-1", 400, "query parameter", "cursor"),
        ("GET", "/v1/meters?colour=red", 400, "unknown query parameter", "colour"),
        ("GET", "/v1/zones?x=", 400, "unknown query parameter", "x"),
        ("GET", "/v1/meters?limit=1&limit=2", 400, "query parameter given twice", "limit"),
        ("GET", "/v1/readings?from=2026-03-29", 400, "query parameter", "to"),
        ("GET", "/v1/readings?from=2026-03-30&to=2026-03-29", 400, "time", "from"),
        ("GET", "/v1/readings?from=2026-02-30&to=2026-03-29", 400, "time", "from"),
        ("GET", "/v1/readings?from=1969-01-01&to=2026-03-29", 400, "time", "from"),
        ("GET", "/v1/readings?from=2026-03-29&to=now", 400, "time", "to"),
        ("GET", "/v1/readings?from=2026-03-29&to=2026-03-29T25:00:00Z", 400, "time", "to"),
        ("GET", "/v1/readings?from=2026-03-29T00:00:00&to=2026-03-30", 400, "time", "from"),
        ("GET", "/v1/readings?from=2026-03-29&to=2026-03-30&cursor=1", 400, "cursor", "cursor"),
        ("GET", "/v1/readings?from=2026-03-29&to=2026-03-30&meter=no", 404, "meter", "no"),
    ],
)
def test_a_wrong_request_is_named(
    api: httpx.Client, method: str, path: str, status: int, what: str, where: str
) -> None:
    found = problem(api.request(method, path), status)
    assert (found["what"], found["where"]) == (what, where)


@pytest.mark.parametrize(
    ("body", "where", "words"),
    [
        ([{"serial": 5, "system_title": "x"}], "$[0].serial", "Expected `str`, got `int`"),
        ([{"serial": "a"}], "$[0]", "system_title"),
        ([{"serial": "a", "system_title": "b", "colour": 1}], "$[0]", "unknown field `colour`"),
        ([{"serial": "a", "system_title": "b", "meter_id": 1}], "$[0]", "unknown field"),
        ([{"serial": "a", "system_title": "b", "counter_floor": -1}], "$[0].counter_floor", ">= 0"),
        ({}, "$", "Expected `array`, got `object`"),
        (b"[{", "$", "truncated"),
        (b"", "$", "truncated"),
        (b'[{"serial": "\xff"}]', "$", "utf-8"),
    ],
)
def test_a_wrong_body_is_named(api: httpx.Client, body: Any, where: str, words: str) -> None:
    kind: dict[str, Any] = {"content": body} if isinstance(body, bytes) else {"json": body}
    found = problem(api.post("/v1/meters", **kind), 400)
    assert where == found["where"]
    assert words in found["detail"]


def test_more_rows_than_a_request_may_have_are_refused(api: httpx.Client) -> None:
    rows = [{"serial": "a", "system_title": "b"}] * 10_001
    assert problem(api.post("/v1/meters", json=rows), 403)["expected"] == "<= 10000"


def test_a_body_over_the_limit_is_refused(api: httpx.Client) -> None:
    kind = {"Content-Type": "application/octet-stream"}
    body = b"ZSHIP1" + bytes(16 * 1024 * 1024)
    assert problem(api.post("/v1/shipments", content=body, headers=kind), 413)


def test_an_error_of_a_zone_keeps_its_code_and_place(node: ApiNode, api: httpx.Client) -> None:
    node.vault.fault = RefusedError("provider", where="slot 1", expected="a login", found="none")
    found = problem(api.get("/v1/keys"), 403)
    assert found["detail"] == "provider; slot 1; expected a login; found none"


def test_a_bug_is_a_problem_too_and_tells_nothing(node: ApiNode, api: httpx.Client) -> None:
    node.vault.fault = KeyError("secret")
    answer = api.get("/v1/keys")
    assert problem(answer, 500)["what"] == "internal error"
    assert "secret" not in answer.text


def test_a_bug_of_the_console_is_logged_and_not_told(node: ApiNode, api: httpx.Client) -> None:
    node.console["nonsense"] = 1  # its own health report cannot be made
    answer = api.get("/v1/zones")
    assert problem(answer, 500)["what"] == "internal error"
    assert "nonsense" not in answer.text
    assert [line for line in node.log.lines if line.startswith("request failed")]


def test_meters_are_paged_and_searched(api: httpx.Client) -> None:
    first = api.get("/v1/meters", params={"limit": 2}).json()
    assert [meter["serial"] for meter in first["meters"]] == ["E0001", "E0002"]
    assert (first["total"], first["next"]) == (3, 2)
    second = api.get("/v1/meters", params={"limit": 2, "cursor": first["next"]}).json()
    assert [meter["serial"] for meter in second["meters"]] == ["E0003"]
    assert second["next"] is None
    south = api.get("/v1/meters", params={"segment": "south"}).json()
    assert [meter["serial"] for meter in south["meters"]] == ["E0003"]


def test_imported_meters_reach_the_store_as_they_were_sent(
    node: ApiNode, api: httpx.Client
) -> None:
    rows = [
        {"serial": "N1", "system_title": TITLES[4], "ean": "871687120012345671", "maker": "ISK"},
        {"serial": "N2", "system_title": "short"},
    ]
    answer = api.post("/v1/meters", json=rows)
    assert answer.status_code == 200
    assert answer.json()["refused"][0]["row"] == 1
    assert [meter.serial for meter in node.store.asked[-1].meters] == ["N1", "N2"]
    assert node.store.asked[-1].meters[0].ean == "871687120012345671"


def test_the_pages_of_readings_together_are_all_readings_once(
    node: ApiNode, api: httpx.Client
) -> None:
    for limit in (1, 7, 91, 92, 93, 184, 1000):
        found, cursor = [], None
        for _ in range(400):
            params = {**DAY, "limit": limit} | ({"cursor": cursor} if cursor else {})
            page = api.get("/v1/readings", params=params).json()
            assert len(page["readings"]) <= limit
            found += page["readings"]
            cursor = page["next"]
            if cursor is None:
                break
        assert [(row["serial"], row["import_wh"]) for row in found] == [
            (f"E000{meter}", str(wh)) for meter, _, wh, _ in node.store.rows
        ]


def test_a_local_day_has_its_own_number_of_quarters(api: httpx.Client) -> None:
    rows = api.get("/v1/readings", params={**DAY, "meter": "E0001"}).json()["readings"]
    assert len(rows) == 92
    assert (rows[0]["t"], rows[-1]["t"]) == ("2026-03-28T23:15:00Z", "2026-03-29T22:00:00Z")


def test_a_range_takes_its_end_and_not_its_start(api: httpx.Client) -> None:
    params = {"from": "2026-03-28T23:15:00Z", "to": "2026-03-28T23:45:00Z", "meter": TITLES[0]}
    rows = api.get("/v1/readings", params=params).json()["readings"]
    assert [row["t"] for row in rows] == ["2026-03-28T23:30:00Z", "2026-03-28T23:45:00Z"]


def test_wide_numbers_are_strings(api: httpx.Client) -> None:
    row = api.get("/v1/readings", params={**DAY, "limit": 1}).json()["readings"][0]
    assert (row["import_wh"], row["export_wh"], row["frame_id"]) == ("1010", "3", str(1 << 40))


@pytest.mark.parametrize(
    ("accept", "read"),
    [
        ("application/vnd.apache.arrow.stream", lambda body: pa.ipc.open_stream(body).read_all()),
        ("text/csv", lambda body: pyarrow.csv.read_csv(io.BytesIO(body))),
        ("text/*;q=0.5", lambda body: pyarrow.csv.read_csv(io.BytesIO(body))),
        (
            "application/vnd.apache.parquet",
            lambda body: pyarrow.parquet.read_table(io.BytesIO(body)),
        ),
    ],
)
def test_accept_chooses_the_format(
    node: ApiNode, api: httpx.Client, accept: str, read: Any
) -> None:
    answer = api.get("/v1/readings", params=DAY, headers={"Accept": accept})
    assert answer.status_code == 200
    table = read(answer.content)
    assert table.column("import_wh").to_pylist() == [row[2] for row in node.store.rows]


def test_no_format_that_is_accepted_is_refused(api: httpx.Client) -> None:
    answer = api.get("/v1/readings", params=DAY, headers={"Accept": "image/png"})
    assert "text/csv" in problem(answer, 406)["detail"]


@pytest.mark.parametrize("name", ["limit", "cursor"])
def test_pages_are_for_json_only(api: httpx.Client, name: str) -> None:
    answer = api.get("/v1/readings", params={**DAY, name: "1"}, headers={"Accept": "text/csv"})
    assert problem(answer, 400)["where"] == name


def test_a_stream_that_breaks_at_once_is_a_problem(node: ApiNode, api: httpx.Client) -> None:
    node.store.break_after = 0
    answer = api.get("/v1/readings", params=DAY, headers={"Accept": "text/csv"})
    assert problem(answer, 503)["where"] == "part 3"


def test_a_stream_that_breaks_later_never_looks_complete(node: ApiNode, api: httpx.Client) -> None:
    node.store.break_after = 1
    with pytest.raises(httpx.RemoteProtocolError):
        api.get("/v1/readings", params=DAY, headers={"Accept": "text/csv"})
    assert api.get("/v1/meters").status_code == 200
    assert all("Traceback" not in line for line in node.log.lines)


def test_quarantine_is_paged_and_filtered(api: httpx.Client) -> None:
    first = api.get("/v1/quarantine", params={"limit": 1}).json()
    assert [entry["reason"] for entry in first["entries"]] == ["bad_tag"]
    second = api.get("/v1/quarantine", params={"limit": 1, "cursor": first["next"]}).json()
    assert [entry["reason"] for entry in second["entries"]] == ["replay"]
    assert second["next"] is None
    only = api.get("/v1/quarantine", params={"reason": "replay"}).json()
    assert [entry["meter_id"] for entry in only["entries"]] == [None]


def test_a_shipment_goes_to_the_vault_unread(node: ApiNode, api: httpx.Client) -> None:
    kind = {"Content-Type": "application/octet-stream"}
    answer = api.post("/v1/shipments", content=b"ZSHIP1\x00\xff", headers=kind)
    assert answer.json()["imported"] == 3
    assert node.vault.shipments == [b"ZSHIP1\x00\xff"]
    assert problem(api.post("/v1/shipments", content=b"no", headers=kind), 400)["where"] == "byte 0"
    assert problem(api.post("/v1/shipments", json={}), 400)["what"] == "Content-Type"


def test_the_token_is_in_no_answer_and_no_log(node: ApiNode, api: httpx.Client) -> None:
    bodies = [api.request(method, path).text for method, path in ROUTES]
    assert not any(TOKEN in text for text in (*bodies, *node.log.lines))
