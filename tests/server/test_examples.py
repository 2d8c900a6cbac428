"""The examples, each from the library's wheel in an environment of its own, on the real server: a builder's evening."""

import difflib
import importlib.util
import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.conversation import connected
from tests.support.environment import ROOT, copy_files
from tests.support.examples import EXAMPLES, Example, install

Install = Callable[[str], Example]
REFUND = "refund order: order_id O-1001"


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Install]:
    """Install examples; what was started of them is stopped."""
    made: dict[str, Example] = {}

    def make(name: str) -> Example:
        if name not in made:
            made[name] = install(name, tmp_path_factory.mktemp("example"), wheel)
        return made[name]

    yield make
    for example in made.values():
        example.stop()


@pytest.fixture(scope="module")
def shop(installed: Install) -> Example:
    """The shop of `state_graph`, with its database."""
    example = installed("state_graph/after")
    example.run("python", "-m", "shop.orders")
    return example.start()


def rows(example: Example, database: str, query: str) -> list[Any]:
    """Read the example's own tables, past the library."""
    with closing(sqlite3.connect(example.folder / database)) as connection:
        return connection.execute(query).fetchall()


def lines(folder: Path) -> list[str]:
    """Give all lines of code and configuration in a folder that say something, file by file."""
    files = [path for path in sorted(folder.rglob("*")) if path.suffix in (".py", ".toml", ".json")]
    return [line for path in files for line in [f"# {path.relative_to(folder)}", *path.read_text().split("\n")] if line]


async def ask_and_answer_twice(example: Example, first: str, second: str, *done: str) -> None:
    """Ask for two things: answered by the SDK, and by the approvals API.

    Asserts what every example is to show: it is held, the inbox tells of it, and it is told when it is done.
    """
    olga, ana = example.bearer("olga"), example.bearer("ana", "approver")
    async with connected(example.url, **olga) as asking, connected(example.url, **ana) as deciding:
        thread_id, question = await example.ask(asking, first)
        page = example.visit(f"/inbox/requests/{question['id']}", ana)
        listed = example.visit("/inbox", ana)
        answered: Any = await deciding.runs.wait(thread_id, example.graph, command={"resume": {"approved": True}})

        thread_id, _ = await example.ask(asking, second)
        (request,) = example.requests(ana, thread_id=thread_id, tab="open")
        by_api = example.decide(request, ana)
        told = await example.last_words(asking, thread_id, done[-1])

    assert 'id="decide"' in page
    assert question["id"] in listed
    assert done[0] in str(answered["messages"][-1]["content"])
    assert by_api.status_code == 200, by_api.text
    assert by_api.json()["receipt"]["outcome"] == "executed"
    assert done[-1] in told


# An existing graph


def test_the_gate_is_put_into_an_existing_graph_with_fifteen_lines(record_property: Callable[..., None]) -> None:
    before, after = (lines(EXAMPLES / "state_graph" / version) for version in ("before", "after"))

    changes = [line for line in difflib.ndiff(before, after) if line[:2] in ("+ ", "- ")]
    written = [line for line in changes if line.startswith("+ ") and not line.startswith("+ # ")]

    record_property("measured", f"state_graph: {len(written)} lines written, {len(changes) - len(written)} gone")
    assert len(written) <= 15, "\n".join(changes)


def test_before_the_same_sentence_is_done_at_once(tmp_path: Path) -> None:
    """Else the example would show nothing."""
    source = EXAMPLES / "state_graph" / "before" / "src"
    program = """
import asyncio, shop.orders
from shop.graph import graph
shop.orders.make()
said = asyncio.run(graph.ainvoke({"messages": [("user", "refund order: order_id O-1001")]}))
print(said["messages"][-1].content)
"""

    env = {"PYTHONPATH": f"{source}:{ROOT / 'src'}", "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=env, capture_output=True, text=True)

    assert done.stdout.strip() == "[offline model] Refunded O-1001.", done.stderr


async def test_an_existing_graph_is_gated_and_each_approval_has_one_effect(shop: Example) -> None:
    await ask_and_answer_twice(shop, *[REFUND] * 2, "Refunded O-1001.")

    assert rows(shop, "shop.db", "SELECT order_id, refunds FROM orders ORDER BY 1") == [("O-1001", 2), ("O-1002", 0)]


async def test_its_lookup_runs_at_once(shop: Example) -> None:
    async with connected(shop.url, **shop.bearer("olga")) as client:
        thread_id = (await client.threads.create())["thread_id"]
        words: Any = {"messages": [{"role": "user", "content": "get order: order_id O-1002"}]}
        said: Any = await client.runs.wait(thread_id, shop.graph, input=words)

    assert said["messages"][-1]["content"] == "[offline model] O-1002: a chair, 12900 cents, refunded 0 times"


def test_the_source_of_the_library_is_not_on_its_path(shop: Example) -> None:
    found = shop.run("python", "-c", "import clearance, shop; print(clearance.__file__); print(shop.__file__)")

    library, project = found.split()
    assert Path(library).is_relative_to(shop.inside.folder)
    assert Path(project).is_relative_to(shop.folder)


def test_the_sample_agent_is_nowhere_in_it(shop: Example) -> None:
    assert importlib.util.find_spec("agent") is not None

    missing = shop.run("python", "-c", "import importlib.util; print(importlib.util.find_spec('agent'))")

    assert missing.strip() == "None"


# A `create_agent`


def test_an_agent_of_create_agent_with_two_actions_is_forty_lines(record_property: Callable[..., None]) -> None:
    written = [line for line in lines(EXAMPLES / "create_agent") if not line.startswith("# ")]

    record_property("measured", f"create_agent: {len(written)} lines of code and configuration")
    assert len(written) <= 40


async def test_an_agent_of_create_agent_is_gated_and_each_approval_has_one_effect(installed: Install) -> None:
    example = installed("create_agent").start()
    try:
        await ask_and_answer_twice(
            example,
            "add product: name desk lamp, cents 4900",
            "add product: name desk fan, cents 5900",
            "desk lamp is in the catalogue, at 4900 cents.",
            "desk fan is in the catalogue, at 5900 cents.",
        )
        async with connected(example.url, **example.bearer("olga")) as client:
            _, question = await example.ask(client, "remove product: name desk lamp")
    finally:
        example.stop()

    found = rows(example, ".clearance/clearance.db", "SELECT name, cents FROM products ORDER BY name")
    assert found == [("desk fan", 5900), ("desk lamp", 4900)]
    assert question["action"] == "remove_product"


# One file or two


@pytest.fixture
def variant(installed: Install, tmp_path: Path) -> Iterator[Example]:
    """A copy of the shop that a test changes, in the shop's environment; it stands first on the path."""
    folder = copy_files(EXAMPLES / "state_graph" / "after", tmp_path / "variant")
    inside = installed("state_graph/after").inside
    made = Example(folder, "", environment_=inside, env={"PYTHONPATH": str(folder / "src")})
    yield made
    made.stop()


def test_a_clearance_in_the_graphs_own_file_stops_the_server_with_a_sentence(variant: Example) -> None:
    package = variant.folder / "src" / "shop"
    one_file = (package / "tools.py").read_text() + (package / "graph.py").read_text().replace(
        "from shop.tools import clearance, get_order\n", ""
    )
    (package / "graph.py").write_text(one_file)
    project = variant.folder / "pyproject.toml"
    project.write_text(project.read_text().replace("shop.tools:clearance", "shop.graph:clearance"))

    with pytest.raises(RuntimeError, match=r"two Clearance objects over one database.*a module of its own"):
        variant.start()


async def test_a_graphs_file_that_is_executed_more_than_once_has_one_clearance_in_the_two_file_form(
    variant: Example,
) -> None:
    graph = variant.folder / "src" / "shop" / "graph.py"
    graph.write_text(
        graph.read_text()
        + """
from clearance.server.auth import auth

with open("executed", "a") as file:
    file.write("once\\n")
"""
    )
    configuration = json.loads((variant.folder / "langgraph.json").read_text())
    configuration["auth"]["path"] = "./src/shop/graph.py:auth"
    (variant.folder / "langgraph.json").write_text(json.dumps(configuration))
    variant.run("python", "-m", "shop.orders")
    variant.start()
    await ask_and_answer_twice(variant, *[REFUND] * 2, "Refunded O-1001.")

    assert len((variant.folder / "executed").read_text().splitlines()) >= 2
    assert rows(variant, "shop.db", "SELECT refunds FROM orders WHERE order_id = 'O-1001'") == [(2,)]


# A support desk


@pytest.fixture(scope="module")
def desk(installed: Install) -> Example:
    """The support desk, with its example orders."""
    example = installed("support_desk")
    example.run("clearance", "example-orders")
    return example.start()


async def test_a_small_refund_runs_at_once_until_the_days_sum_is_large(desk: Example) -> None:
    async with connected(desk.url, **desk.bearer("olga")) as client:
        thread_id = (await client.threads.create())["thread_id"]
        words: Any = {"messages": [{"role": "user", "content": "refund order: order_id O-1003, amount 1000"}]}
        said: Any = await client.runs.wait(thread_id, desk.graph, input=words)
        _, question = await desk.ask(client, "refund order: order_id O-1002, amount 1001")

    assert said["messages"][-1]["content"] == "[offline model] 10.00 EUR went back for O-1003."
    assert question["facts"]["buyer_refunds_24h"] == 1000
    assert question["approvers"] == ["lead"]


async def test_a_lead_lowers_a_refund_alone_and_the_desks_table_has_it_once(desk: Example) -> None:
    olga, lea = desk.bearer("olga"), desk.bearer("lea", "lead")
    async with connected(desk.url, **olga) as client:
        thread_id, _ = await desk.ask(client, "refund order: order_id O-1001, amount 4900")
        (request,) = desk.requests(lea, thread_id=thread_id, tab="open")
        answered = desk.decide(request, lea, "edit", arguments={"amount": 4000})
        told = await desk.last_words(client, thread_id, "went back")

    assert answered.status_code == 200, answered.text
    assert told.endswith("40.00 EUR went back for O-1001.")
    assert rows(desk, ".clearance/clearance.db", "SELECT amount FROM refunds WHERE order_id = 'O-1001'") == [(4000,)]
    assert desk.run("clearance", "audit", "verify").startswith("Whole:")


async def test_an_answer_to_a_buyer_is_read_whole_before_it_is_sent(desk: Example) -> None:
    olga, lea = desk.bearer("olga"), desk.bearer("lea", "lead")
    async with connected(desk.url, **olga) as client:
        thread_id, question = await desk.ask(client, 'close ticket: ticket_id T-7, answer "A new lamp, today."')
        page = desk.visit(f"/inbox/requests/{question['id']}", lea)
    async with connected(desk.url, **lea) as client:
        said: Any = await client.runs.wait(thread_id, desk.graph, command={"resume": {"approved": True}})

    assert "A new lamp, today." in page.partition('id="decide"')[0]
    assert said["messages"][-1]["content"] == "[offline model] Closed T-7 with an answer."


#: Words of the sample agent's trade, which no page, card, text of the API or line of the terminal may bring along.
BANKS = re.compile(
    r"\b(bank|customer|account|transfer|transferred|ledger|payee|payer|balance|overdraft|treasurer|deposit|dollar|usd)s?\b"
    r"|\$\d|\bA-2\d{3}\b",
    re.IGNORECASE,
)


async def test_no_page_card_api_text_or_terminal_speaks_of_banks(desk: Example) -> None:
    olga, lea = desk.bearer("olga"), desk.bearer("lea", "lead", "finance")
    async with connected(desk.url, **olga) as client:
        _, question = await desk.ask(client, "refund order: order_id O-1002, amount 20100")
    of_request = f"/inbox/requests/{question['id']}"
    pages = ["/inbox", "/inbox?tab=open", "/inbox?tab=decided", of_request, f"{of_request}?edit=1", "/inbox/statistics",
             "/inbox/audit", "/inbox/freeze"]  # fmt: skip
    read = {path: desk.visit(path, lea) for path in pages}
    read["/inbox/sign-in"] = desk.read("/inbox/sign-in", {})
    for path in re.findall(r'(?:src|href)="(/inbox/static/[^"]+)"', read["/inbox"]):
        if "htmx" not in path:
            read[path] = desk.read(path, lea)
    for path in ("/requests", f"/requests/{question['id']}", "/counts", "/freeze", "/audit", "/statistics"):
        read[f"/approvals{path}"] = desk.read(f"/approvals{path}", lea)
    document = json.loads(desk.read("/openapi.json", lea))
    ours = {path: one for path, one in document["paths"].items() if path.startswith("/approvals")}
    read["openapi"] = json.dumps(ours)
    schemas = {name: json.dumps(one) for name, one in document["components"]["schemas"].items()}
    names = re.findall(r"schemas/(\w+)", read["openapi"])
    for name in names:  # grows by what each of them is made of
        read[f"schema {name}"] = schemas[name]
        names += [inner for inner in re.findall(r"schemas/(\w+)", schemas[name]) if inner not in names]
    desk.env["CLEARANCE_TOKEN"] = lea["Authorization"].removeprefix("Bearer ")
    for command in (("--help",), ("pending", "--help"), ("pending",), ("show", question["id"]), ("policy", "explain"),
                    ("status",), ("stats",)):  # fmt: skip
        read[f"clearance {' '.join(command)}"] = desk.run("clearance", "--url", desk.url, *command)
    read["question"] = json.dumps(question)

    # What stands in the markup alone is read by nobody.
    texts = {name: re.sub(r"<(style|script).*?</\1>", "", text, flags=re.DOTALL) for name, text in read.items()}
    found = {
        name: sorted({text[max(0, one.start() - 30) : one.end() + 30] for one in BANKS.finditer(text)})
        for name, text in texts.items()
        if BANKS.search(text)
    }

    assert found == {}
    assert "Refund 201.00 EUR" in read[of_request]
    assert "buyer_refunds_24h" in read["clearance policy explain"]
    assert "201.00 EUR" in read["clearance pending"]
