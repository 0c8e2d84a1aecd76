"""The verbs and their options. The only user of Typer; what a verb does is in the sibling of its name.

Each command is short: it opens an output, asks its sibling for a page and data, shows them, and leaves with a code.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Optional

import typer

from apikeyrouter.cli.codes import FAILED
from apikeyrouter.cli.output import Leave, Output, told

app = typer.Typer(
    name="apikeyrouter",
    help="Routes every call to the API key that can serve it, and explains why.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Config = Annotated[
    Optional[Path],  # noqa: UP045 - Typer reads the annotation
    typer.Option("--config", "-c", help="The configuration; else APIKEYROUTER_CONFIG, else ./apikeyrouter.yaml."),
]
Json = Annotated[bool, typer.Option("--json", help="Write the result as JSON.")]


@contextmanager
def output(as_json: bool) -> Iterator[Output]:
    """A command's output; its code becomes Typer's."""
    try:
        with told(as_json=as_json) as out:
            yield out
    except Leave as leave:
        raise typer.Exit(leave.code) from None


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"apikeyrouter {version('apikeyrouter')}")
        raise typer.Exit


@app.callback()
def _common(
    shown: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """Options of the program itself."""


@app.command()
def demo(
    *,
    seconds: Annotated[float, typer.Option(min=1, max=600, help="Over how many seconds the requests come.")] = 30.0,
    requests: Annotated[int, typer.Option(min=1, max=20_000, help="How many requests.")] = 700,
    seed: Annotated[int, typer.Option(help="What the run follows from.")] = 1,
    quick: Annotated[bool, typer.Option("--quick", help="60 requests in 5 seconds.")] = False,
    show_config: Annotated[
        bool, typer.Option("--show-config", help="Show the configuration it uses, and leave.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Route a real workload over HTTP to simulated providers, and report. Succeeds if every request was served."""
    with output(as_json) as out:
        from apikeyrouter.cli import demo as verb
        from apikeyrouter.cli.page import Line
        from apikeyrouter.demo import Plan, Stage

        plan = (
            Plan(requests=60, seconds=5.0, seed=seed) if quick else Plan(requests=requests, seconds=seconds, seed=seed)
        )
        if show_config:
            text = Stage(plan).configuration("http://127.0.0.1:PORT")
            out.show([Line(text.rstrip("\n"))], {"configuration": text})
            return
        report = verb.run(plan, out)
        out.show(verb.report_page(report), verb.data(report))
        if not report.ok:
            raise Leave(FAILED)


@app.command()
def simulate(
    *,
    world: Annotated[
        str, typer.Argument(help="demo, arena, providers, or a YAML file that describes a world.")
    ] = "demo",
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="The port; 0 takes any free one.")] = 8089,
    seconds: Annotated[Optional[float], typer.Option(min=0, help="Stop after so long.")] = None,  # noqa: UP045
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Write a configuration for this world, and leave.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Serve simulated providers that enforce their limits, on loopback, until interrupted."""
    with output(as_json) as out:
        from apikeyrouter.cli import simulate as verb
        from apikeyrouter.cli.page import Line
        from apikeyrouter.simulator import World
        from apikeyrouter.simulator.config import load

        made = World(load(world))
        if print_config:
            text = verb.configuration(made, f"http://{host}:{port}")
            out.show([Line(text.rstrip("\n"))], {"configuration": text})
            return
        verb.simulate(
            made, host, port, seconds, lambda url: out.show([Line(verb.text(made, url))], verb.data(made, url))
        )


@app.command()
def status(config: Config = None, as_json: Json = False) -> None:
    """Show what a configuration declares: keys, who shares which limits, budgets."""
    with output(as_json) as out:
        from apikeyrouter.cli import status as verb
        from apikeyrouter.cli.found import read

        out.show(*verb.status(read(config)))


@app.command()
def explain(
    *,
    model: Annotated[str, typer.Option("--model", "-m", help="The model or alias that is asked for.")],
    input_tokens: Annotated[int, typer.Option(min=0, help="Tokens of the prompt.")] = 1_000,
    max_tokens: Annotated[int, typer.Option(min=0, help="Tokens of the answer at most.")] = 500,
    config: Config = None,
    provider: Annotated[Optional[str], typer.Option(help="Only this provider.")] = None,  # noqa: UP045
    operation: Annotated[str, typer.Option(help="chat, embeddings, or a provider's own.")] = "chat",
    objective: Annotated[Optional[str], typer.Option(help="Instead of the configured one.")] = None,  # noqa: UP045
    tenant: Annotated[Optional[str], typer.Option(help="For whom.")] = None,  # noqa: UP045
    tag: Annotated[Optional[list[str]], typer.Option(help="name=value; may be repeated.")] = None,  # noqa: UP045
    as_json: Json = False,
) -> None:
    """Show which key a request would get now, why, and what rules out every other. Sends nothing."""
    with output(as_json) as out:
        from apikeyrouter.cli import explain as verb
        from apikeyrouter.cli.found import read
        from apikeyrouter.core.model import Request

        request = Request(
            model=model,
            provider=provider,
            operation=operation,
            input_tokens=input_tokens,
            max_output_tokens=max_tokens,
            objective=objective,
            tenant=tenant,
            tags=verb.tags_of(tag or ()),
        )
        found = read(config)
        decision = verb.decide(found, request)
        out.show(*verb.explain(found, decision))
        if decision.chosen is None:
            raise Leave(FAILED)


@app.command()
def doctor(config: Config = None, as_json: Json = False) -> None:
    """Look for what is wrong, missing or surprising in a configuration. Sends nothing, shows no secret."""
    with output(as_json) as out:
        from apikeyrouter.cli import doctor as verb
        from apikeyrouter.cli.found import config_path

        findings = verb.examine(config_path(config))
        out.show(*verb.page_of(findings))
        if verb.worst(findings) == "problem":
            raise Leave(FAILED)


@app.command()
def init(
    folder: Annotated[Path, typer.Option("--dir", help="Where to write.")] = Path(),
    as_json: Json = False,
) -> None:
    """Write a commented apikeyrouter.yaml and .env.example to start from. Replaces nothing."""
    with output(as_json) as out:
        from apikeyrouter.cli import init as verb

        out.show(*verb.init(folder))


policy = typer.Typer(help="Check policies, and try others on recorded traffic.", no_args_is_help=True)
app.add_typer(policy, name="policy")


@policy.command("check")
def check_policies(config: Config = None, as_json: Json = False) -> None:
    """Compile a configuration's policies and show what they say, from the weakest to the strongest."""
    with output(as_json) as out:
        from apikeyrouter.cli import policy as verb
        from apikeyrouter.cli.found import read

        out.show(*verb.check(read(config)))


@policy.command("dry-run")
def rehearse_policies(
    other: Annotated[Path, typer.Argument(help="A configuration with the policies to try.")],
    traffic: Annotated[Path, typer.Argument(help="Recorded requests, as JSON lines.")],
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Tell how many decisions about recorded requests other policies would have changed, and the cost."""
    with output(as_json) as out:
        from apikeyrouter.cli import policy as verb
        from apikeyrouter.cli.found import read

        out.show(*verb.dry_run(read(config), read(other), traffic))


prices = typer.Typer(help="Bring price lists up to date.", no_args_is_help=True)
app.add_typer(prices, name="prices")


@prices.command("refresh")
def refresh_prices(
    path: Annotated[Path, typer.Argument(help="The file to write.")] = Path("prices.json"),
    provider: Annotated[Optional[list[str]], typer.Option(help="Only this provider; may be repeated.")] = None,  # noqa: UP045
    as_json: Json = False,
) -> None:
    """Write a dated price list from the installed ones, and tell what changed."""
    with output(as_json) as out:
        from apikeyrouter.cli import prices as verb

        out.show(*verb.refresh(path, provider or ()))
