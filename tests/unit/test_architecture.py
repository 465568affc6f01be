"""The contract on structure: who may import whom, how large things get, what is public."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import sightline

PACKAGE = Path(sightline.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

# What each part may import of ours, besides itself.
EVERYONE = {"types", "errors", "settings", "machine", "backoff", "threads", "sightline"}
ALLOWED = {
    "sightline": EVERYONE | {"serving"},  # the public names
    "__main__": {"cli"},
    "types": {"vision"},  # Detections.draw, when it is called: docs/decisions/0002
    "errors": set(),
    "settings": {"errors"},
    "machine": set(),
    "backoff": set(),
    "threads": set(),
    "vision": EVERYONE,
    "engines": EVERYONE,
    "net": EVERYONE,
    "storage": EVERYONE,
    "telemetry": EVERYONE,
    "demo": EVERYONE | {"vision"},
    "models": EVERYONE | {"net", "vision"},
    "serving": EVERYONE | {"engines.base", "engines.cache", "engines.choose", "models", "vision"},
    "tasks": EVERYONE | {"serving", "net", "storage"},
    "backend": EVERYONE | {"serving", "tasks"},
    "api": EVERYONE | {"backend", "tasks", "serving", "storage", "vision"},
    "wiring": EVERYONE
    | {"backend", "tasks", "serving", "storage", "engines", "models", "vision", "net"}
    | {"telemetry", "demo"},
    "workers": EVERYONE | {"wiring", "api", "backend", "telemetry"},
    "training": EVERYONE | {"serving", "engines", "models", "vision", "demo"},
    "client": {"types", "errors"},
    "bench": EVERYONE | {"serving", "models", "engines", "vision"},
    "cli": EVERYONE
    | {"wiring", "workers", "api", "backend", "telemetry", "serving", "models", "net", "vision"}
    | {"demo", "training", "bench", "tasks", "client"},
    "asgi": EVERYONE | {"api", "wiring"},
}

# The rooms of api/, lowest first: each may import those before it.
API = [
    *("headers", "negotiation", "deadline", "disconnect", "methods", "request_info", "assets"),
    *("admission", "problems", "uploads", "server", "middleware", "schemas", "tasks", "openapi"),
    *("context", "live", "routes", "app"),
]


def part_of(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    return "sightline" if relative == Path("__init__.py") else relative.parts[0].removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    """Modules of ours that the file at `path` imports, without the leading `sightline.`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    ours = {name for name in found if name.split(".")[0] == "sightline"}
    return {name.partition(".")[2] for name in ours}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    part = part_of(path)
    for name in imports_of(path):
        top = name.split(".")[0]
        public = top in sightline.__all__ or top == ""
        allowed = any(name == target or name.startswith(f"{target}.") for target in ALLOWED[part])
        assert allowed or public or top == part, f"{part} must not import sightline.{name}"


def api_room(name: str) -> str:
    """Of a module of api/ by its name in Python, without the leading `sightline.`."""
    return name.split(".")[1]


@pytest.mark.parametrize(
    "path", sorted((PACKAGE / "api").rglob("*.py")), ids=lambda path: path.stem
)
def test_imports_inside_the_api_point_one_way(path: Path) -> None:
    relative = path.relative_to(PACKAGE / "api")
    room = relative.parts[0].removesuffix(".py")
    if room == "__init__":
        return
    for name in imports_of(path):
        if name.startswith("api."):
            imported = api_room(name)
            assert API.index(imported) <= API.index(room), f"{relative}: sightline.{name}"


def test_no_module_is_part_of_a_circle() -> None:
    """Imports for types count too; `types` and `vision.draw` may: docs/decisions/0002."""
    known = {".".join(path.relative_to(PACKAGE).with_suffix("").parts) for path in MODULES}
    graph = {}
    for path in MODULES:
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        found = {one if one in known else one.rpartition(".")[0] for one in imports_of(path)}
        graph[name] = (found & known) - {name}
    graph["types"] = set()
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as circle:
        pytest.fail(" → ".join(circle.args[1]))


@pytest.mark.parametrize(
    "folder", [PACKAGE, *sorted({path.parent for path in MODULES} - {PACKAGE})], ids=str
)
def test_no_folder_is_flat_and_wide(folder: Path) -> None:
    modules = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
    assert len(modules) <= 20, "divide it by concern"


@pytest.mark.parametrize("package", sorted(PACKAGE.rglob("__init__.py")), ids=str)
def test_every_room_says_what_belongs_in_it(package: Path) -> None:
    assert ast.get_docstring(ast.parse(package.read_text("utf-8")))


def test_no_two_classes_have_one_name() -> None:
    """But for the client's errors, which are the service's, and names that the API shows."""
    homes: dict[str, list[Path]] = {}
    for path in MODULES:
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, []).append(path.relative_to(PACKAGE))
    shared = {Path("client/errors.py"), Path("client/answers.py"), Path("client/task.py")}
    shared |= {path.relative_to(PACKAGE) for path in (PACKAGE / "api" / "schemas").glob("*.py")}
    twice = {name: paths for name, paths in homes.items() if len(set(paths) - shared) > 1}
    assert not twice


@pytest.mark.parametrize("name", ["types", "errors", "machine", "backoff", "threads"])
def test_core_imports_nothing_of_ours_at_import_time(name: str) -> None:
    tree = ast.parse((PACKAGE / f"{name}.py").read_text("utf-8"))
    top_level = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert not [ast.unparse(node) for node in top_level if "sightline" in ast.unparse(node)]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text("utf-8")
    assert text.count("\n") <= 300, "a file under 300 lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            assert lines <= 40, f"{node.name}: a function of {lines} lines, and 40 are enough"


def test_public_names() -> None:
    assert sorted(sightline.__all__) == [
        "ConfigError",
        "DeadlineExceeded",
        "Detection",
        "Detections",
        "Detector",
        "ImageError",
        "InferenceError",
        "ModelError",
        "ModelSpec",
        "Overloaded",
        "SightlineError",
        "__version__",
    ]
    for name in sightline.__all__:
        assert getattr(sightline, name) is not None
    assert dir(sightline) == sorted(sightline.__all__)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = sightline.nonsense


def test_importing_the_package_loads_nothing_heavy() -> None:
    """The budget is 0.3 s; an import is what would break it, and that shows without a clock."""
    code = "import sys, sightline; print(' '.join(sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    heavy = {"numpy", "cv2", "openvino", "onnxruntime", "onnx", "PIL", "fastapi", "pydantic"}
    assert not heavy & set(loaded.stdout.split())


def test_importing_the_package_takes_under_300_ms() -> None:
    """Best of three, as CPU time, so that a busy machine does not count."""
    code = "import time; t = time.process_time(); import sightline; print(time.process_time() - t)"
    times = [
        float(subprocess.check_output([sys.executable, "-c", code], text=True)) for _ in range(3)
    ]
    assert min(times) < 0.3


def test_nothing_under_agpl_or_gpl_and_no_torch_in_the_base_install() -> None:
    from importlib.metadata import requires

    base = [name for name in requires("sightline") or [] if "extra ==" not in name]
    forbidden = ("torch", "ultralytics", "av", "supervision")
    assert not [name for name in base if name.lower().startswith(forbidden)]
    for path in MODULES:
        source = path.read_text("utf-8")
        assert "import ultralytics" not in source
        assert part_of(path) == "training" or "import torch" not in source


def test_no_part_but_training_reaches_torch() -> None:
    """The command line may name `training`, but loads it only when a command needs it."""
    names = [f"sightline.cli.{path.stem}" for path in (PACKAGE / "cli").glob("[!_]*.py")]
    code = f"import sys, sightline.demo.dataset, {', '.join(names)}; print(' '.join(sys.modules))"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert not {"torch", "sightline.training"} & set(loaded.split())
