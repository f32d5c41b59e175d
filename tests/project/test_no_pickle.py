"""Nothing that comes from outside is unpickled: what talks to clients cannot even do it."""

import ast
from pathlib import Path

import pytest

import raytasks

PACKAGE = Path(raytasks.__file__).parent
FORBIDDEN = {"pickle", "cloudpickle", "_pickle", "marshal", "shelve", "dill", "joblib"}
FACING_CLIENTS = sorted(
    [*(PACKAGE / "api").rglob("*.py"), *(PACKAGE / "client").rglob("*.py"), *PACKAGE.glob("*.py")]
)


@pytest.mark.parametrize("file", FACING_CLIENTS, ids=lambda file: file.stem)
def test_no_module_imports_pickle(file: Path) -> None:
    imported: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {part for alias in node.names for part in alias.name.split(".")}
        elif isinstance(node, ast.ImportFrom):
            imported |= set((node.module or "").split("."))
            imported |= {alias.name for alias in node.names}
    assert not imported & FORBIDDEN


def test_the_modules_are_found() -> None:
    assert {"auth", "routes", "bodies", "sync", "answers"} <= {file.stem for file in FACING_CLIENTS}
