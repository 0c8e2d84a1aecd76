"""The documents' reader and runner, on documents made for it: a runner that cannot fail would prove nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from doc_blocks import anchors, links, parse

RUNNER = Path(__file__).resolve().parents[1] / "support" / "run_document.py"


def run(tmp_path: Path, source: str) -> subprocess.CompletedProcess[str]:
    document = tmp_path / "page.md"
    document.write_text(dedent(source), encoding="utf-8")
    return subprocess.run(
        [sys.executable, RUNNER, document], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )


def test_blocks_keep_language_line_and_directives() -> None:
    page = parse(
        Path("page.md"),
        dedent(
            """\
            # Title

            <!-- config: a.yaml -->

            ```yaml
            a: 1
            ```

            1. In a list:

               ~~~py title="x"
               b = "```"
               if b:
                   c = 2
               ~~~
            """
        ),
    )
    first, second = page.blocks
    assert (first.language, first.text, first.line, first.directives) == ("yaml", "a: 1\n", 6, {"config": "a.yaml"})
    assert (second.language, second.line, second.directives) == ("python", 12, {})
    assert second.text == 'b = "```"\nif b:\n    c = 2\n'


def test_an_outer_fence_holds_inner_ones() -> None:
    page = parse(Path("page.md"), "````markdown\n```python\n1 / 0\n```\n````\n")
    assert [block.language for block in page.blocks] == ["markdown"]


@pytest.mark.parametrize("source", ["```python\nx = 1\n", "<!-- setup\nx = 1\n"])
def test_what_is_never_closed_is_an_error(source: str) -> None:
    with pytest.raises(ValueError, match="never closed"):
        parse(Path("page.md"), source)


def test_unknown_and_dangling_directives_are_told() -> None:
    page = parse(Path("page.md"), "<!-- norun: x -->\n\n<!-- config -->\ntext\n")
    assert [entry.split(":")[0] for entry in page.unknown] == ["line 1", "line 4"]


def test_links_and_anchors() -> None:
    page = parse(Path("p.md"), "## What `make test` does\n[a](b.md#c) and `[x](y)` and ![i](i.png)\n```\n[n](m)\n```\n")
    assert links(page) == ["b.md#c"]
    assert anchors(page) == {"what-make-test-does"}


def test_blocks_share_one_namespace_and_may_await(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        """\
        <!-- setup
        hidden = 40
        -->
        ```python
        import asyncio
        async def add(n): return hidden + n
        total = await add(2)
        ```
        ```python
        assert total == 42 and asyncio.run(add(1)) == 41
        print("both ran")
        ```
        """,
    )
    assert (done.returncode, done.stdout) == (0, "both ran\n"), done.stderr


def test_a_failing_block_fails_with_the_documents_line(tmp_path: Path) -> None:
    done = run(tmp_path, "# Title\n\n```python\nx = 1\nassert x == 2\n```\n")
    assert done.returncode == 1
    assert 'page.md", line 5' in done.stderr


def test_a_block_that_is_not_run_is_still_compiled(tmp_path: Path) -> None:
    assert run(tmp_path, "<!-- no-run: it divides -->\n```python\n1 / 0\n```\n").returncode == 0
    assert run(tmp_path, "<!-- no-run: it divides -->\n```python\n1 /\n```\n").returncode == 1


def test_an_announced_error_must_come(tmp_path: Path) -> None:
    assert run(tmp_path, "<!-- raises: ZeroDivisionError -->\n```python\n1 / 0\n```\n").returncode == 0
    assert run(tmp_path, "<!-- raises: ZeroDivisionError -->\n```python\n1 / 1\n```\n").returncode == 1
    assert run(tmp_path, "<!-- raises: KeyError -->\n```python\n1 / 0\n```\n").returncode == 1


def test_a_file_is_there_for_the_next_block(tmp_path: Path) -> None:
    page = '<!-- file: a.yaml -->\n```yaml\na: 1\n```\n```python\nassert open("a.yaml").read() == "a: 1\\n"\n```\n'
    done = run(tmp_path, page)
    assert done.returncode == 0, done.stderr


def test_a_block_cannot_leave_the_machine(tmp_path: Path) -> None:
    done = run(tmp_path, '```python\nimport socket\nsocket.create_connection(("192.0.2.1", 9), 1)\n```\n')
    assert done.returncode == 1
    assert "stay on loopback" in done.stderr
