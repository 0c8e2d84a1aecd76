"""Runs the blocks of one document: `python run_document.py DOCUMENT`, in an empty folder, on loopback only.

A process of its own for each document: blocks share one namespace and nothing leaks into the next document. A block may
`await` at its top level; between such blocks no loop runs, so `asyncio.run(...)` works as well. Line numbers in a
traceback are the document's own. Only the standard library is used here, because a door's environment may run it.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import sys
import types
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from doc_blocks import Block, read_document
from loopback import only_loopback


def compile_block(block: Block, path: Path) -> types.CodeType:
    """The block as code, with the document's name and line numbers."""
    padded = "\n" * (block.line - 1) + block.text
    code: types.CodeType = compile(padded, str(path), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    return code


def execute(code: types.CodeType, namespace: dict[str, object], runner: asyncio.Runner) -> None:
    """Runs one block, on the document's loop when it awaits at its top level."""
    if code.co_flags & inspect.CO_COROUTINE:
        runner.run(_awaited(code, namespace))
    else:
        exec(code, namespace)


async def _awaited(code: types.CodeType, namespace: dict[str, object]) -> None:
    await eval(code, namespace)


def run_block(block: Block, path: Path, namespace: dict[str, object], runner: asyncio.Runner) -> None:
    """Writes the block's file if it names one, then compiles it, then runs it unless it says otherwise."""
    name = block.directives.get("file") or block.directives.get("config")
    if name:
        Path(name).write_text(block.text, encoding="utf-8")
    if block.language != "python":
        return
    code = compile_block(block, path)
    if "no-run" in block.directives:
        return
    expected = block.directives.get("raises")
    try:
        execute(code, namespace, runner)
    except Exception as error:
        if type(error).__name__ != expected:
            raise
        return
    if expected:
        raise AssertionError(f"{path}:{block.line}: the block ended without the {expected} it announces.")


def main(path: Path) -> None:
    """Runs every block of the document in order."""
    only_loopback()
    main_module = types.ModuleType("__main__")
    main_module.__file__ = str(path)
    sys.modules["__main__"] = main_module
    with asyncio.Runner() as runner:
        for block in read_document(path).blocks:
            run_block(block, path, main_module.__dict__, runner)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
