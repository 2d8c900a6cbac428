"""Imports point inward, and importing does nothing."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"
LIBRARY = SOURCE / "clearance"
#: What stands on what: each may import what stands in a line above its own, and nothing else of the library.
LAYERS = [
    {"canonical", "errors", "message_values"},
    {"text", "loglines", "contract"},
    {"principal", "settings"},
    {"importing"},
    {"db", "actions"},
    {"journal"},
    {"gate", "key_files"},
    {"models", "desk", "parts", "mcp_start"},
    {"application"},
    {"graph"},
    {"server", "cli"},
]
#: Imports inside functions that go the other way: the object that a project makes leads to everything, once it is used.
LATE = {("application", "graph"), ("cli", "server")}
#: Imports that may close a circle, (from, to): why.
EXCUSED: dict[tuple[str, str], str] = {}
#: The folders that have a map. Alembic finds what is in `db/migrations` by itself.
PACKAGES = sorted(
    str(path.parent.relative_to(LIBRARY))
    for path in LIBRARY.rglob("*/__init__.py")
    if "migrations" not in path.parts and path.parent != LIBRARY
)


@pytest.mark.parametrize("part", sorted(set().union(*LAYERS)))
def test_imports_point_inward(part: str) -> None:
    height = {one: number for number, layer in enumerate(LAYERS) for one in layer}
    files = sorted((LIBRARY / part).rglob("*.py")) or [LIBRARY / f"{part}.py"]

    found = [
        f"{path.relative_to(LIBRARY)}: {name}"
        for path in files
        for name, is_late in _imports(path)
        if name.startswith("clearance.")
        for other in [name.split(".")[1]]
        if other != part
        if not (is_late and (part, other) in LATE)
        if height[other] >= height[part]
    ]

    assert found == []


def test_every_part_of_the_library_has_its_layer() -> None:
    parts = {path.stem for path in LIBRARY.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}

    assert parts - {"__init__"} == set().union(*LAYERS)


def test_no_modules_of_the_library_import_one_another() -> None:
    # Inside functions and for types counts, too: such a circle is one thing in several files.
    modules = {".".join(path.relative_to(SOURCE).with_suffix("").parts): path for path in LIBRARY.rglob("*.py")}
    modules = {name.removesuffix(".__init__"): path for name, path in modules.items()}
    onward = {
        module: {name if name in modules else name.rpartition(".")[0] for name, _ in _imports(path)} & modules.keys()
        for module, path in modules.items()
    }
    for module, other in EXCUSED:
        onward[module].remove(other)

    # What leads nowhere any more, or is reached from nowhere, is in no circle; what is left when nothing more goes is.
    while ends := {one for one, others in onward.items() if not others or one not in set().union(*onward.values())}:
        onward = {module: others - ends for module, others in onward.items() if module not in ends}

    assert onward == {}


@pytest.mark.parametrize("package", ["", *PACKAGES])
def test_every_module_stands_in_the_map_of_its_package(package: str) -> None:
    folder = LIBRARY / package
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or ""
    modules = [path.stem for path in folder.glob("*.py") if path.stem != "__init__"]
    folders = [f"{path.parent.name}/" for path in folder.glob("*/__init__.py")]

    # A line of a map: a name, and after two spaces what it is for. Folders end with a slash.
    named = re.findall(r"^ *([a-z_]+/?) {2,}\S", text, re.MULTILINE)

    assert sorted(named) == sorted([*modules, *folders])


def test_every_public_name_stands_in_the_map_of_the_library() -> None:
    tree = ast.parse((LIBRARY / "__init__.py").read_text())
    text = ast.get_docstring(tree) or ""
    names = next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    )

    listed = text[text.index("What a project writes") : text.index("The folders")]

    assert [name for name in names if not re.search(rf"\b{name}\b", listed)] == []


def test_the_library_knows_no_bank_and_no_agent() -> None:
    words = re.compile(
        r"\b(bank|customer|transfer_funds|delete_user|olga|usd)s?\b|\bagent\.\w|\bagent/|(from|import) agent\b",
        re.IGNORECASE,
    )

    found = [
        f"{path.relative_to(LIBRARY)}:{number}: {line.strip()}"
        for path in sorted(LIBRARY.rglob("*"))
        if path.suffix in {".py", ".html", ".js", ".tcss", ".mako"} and "htmx" not in path.name
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if words.search(line)
    ]

    assert found == []


def test_only_the_gates_own_approval_interrupts() -> None:
    found = [
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        if any(
            isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) == "interrupt"
            for node in ast.walk(ast.parse(path.read_text()))
        )
    ]

    assert found == ["clearance/gate/question.py"]


def test_every_module_takes_its_logger_where_text_from_outside_is_made_visible() -> None:
    named = {
        f"{path.relative_to(SOURCE)}: {ast.unparse(node.args[0]) if node.args else 'root'}"
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("getLogger")
    }
    direct = [
        f"{path.relative_to(SOURCE)}: {ast.unparse(node.func)}"
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in {f"logging.{how}" for how in ("info", "warning", "error", "exception", "log")}
    ]

    # The one hides the address of a webhook in another's log; nothing is logged by it.
    assert named == {"clearance/loglines.py: name", "clearance/server/upkeep/webhooks.py: 'httpx'"}
    assert direct == []


def test_importing_writes_nothing_needs_no_settings_and_waits_for_no_drawing(tmp_path: Path) -> None:
    modules = [
        ".".join(path.relative_to(SOURCE).with_suffix("").parts)
        for path in sorted(SOURCE.rglob("*.py"))
        if "migrations" not in path.parts and path.name not in ("__init__.py", "__main__.py")
    ]
    program = f"""
import os, sys
wrong = []
opened = []
def hook(event, args):
    if event == "open" and isinstance(args[1], str) and any(letter in args[1] for letter in "wax+"):
        wrong.append((event, args))
    if event in ("socket.connect", "sqlite3.connect", "subprocess.Popen"):
        wrong.append((event, args))
sys.dont_write_bytecode = True
before = dict(os.environ)
sys.addaudithook(hook)
import importlib
for name in {modules!r}:
    importlib.import_module(name)
assert not wrong, wrong
assert dict(os.environ) == before
# Every start of a server would wait for it, though few pages draw.
assert "svg" not in sys.modules
# Of an extra: there where it is used, and loaded when it is. (`jsonschema` may be another's.)
assert not {{"mcp", "langchain_mcp_adapters"}} & sys.modules.keys()
"""
    # Settings that cannot be: whoever reads them while importing fails.
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "DATABASE_URL": "nonsense", "AUTH": "nonsense"}

    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_to_write_an_action_and_to_make_a_clearance_loads_no_database_and_no_agent() -> None:
    code = """
import sys
from clearance import Action, Clearance, ExternalAction, Facts, Migrations, gated
Clearance(actions=[])
print(*sys.modules)
"""

    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    heavy = {"alembic", "cel_expr_python", "fastapi", "httpx", "jwt", "langchain_core", "langgraph", "sqlalchemy"}
    assert heavy & set(loaded) == set()


def test_what_a_server_loads_before_its_start_leads_to_little() -> None:
    # Until its start begins, the server looks for garbage again and again, in all that is there.
    code = "import clearance.server.app, clearance.server.auth, sys; print(*sys.modules)"

    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    heavy = {"sqlalchemy", "fastapi", "jwt", "cel_expr_python", "clearance.application"}
    assert heavy & set(loaded) == set()


def _imports(path: Path) -> list[tuple[str, bool]]:
    """List what a file imports, and whether it does so inside a function."""
    tree = ast.parse(path.read_text())
    checked = {id(inner) for node in ast.walk(tree) if _is_type_checking(node) for inner in ast.walk(node)}
    names: list[tuple[str, bool]] = []
    for node in ast.walk(tree):
        is_late = isinstance(node, ast.stmt) and (node.col_offset > 0 or id(node) in checked)
        if isinstance(node, ast.Import):
            names += [(alias.name, is_late) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [(f"{node.module}.{alias.name}", is_late) for alias in node.names]
    return names


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
