#!/bin/sh
# Pins one environment: scripts/lock.sh NAME [--upgrade] writes requirements/NAME.txt
#
# What goes into each environment is said here once; the ranges are pyproject.toml's. The pins are universal (every
# supported Python and platform, by markers) and carry neither hashes nor addresses, so they install from any index.
set -eu

name=$1
shift
every="--extra proxy --extra redis --extra sql --extra mongo --extra policy --extra prices --extra secrets --extra otel
--extra metrics --extra cli --extra watch --extra fast"
case $name in
    dev) parts="$every --group dev" ;;
    demo) parts="--extra cli --extra proxy --group build" ;;
    litellm) parts="--extra litellm --extra proxy --extra redis --extra cli --group door-litellm" ;;
    langchain) parts="--extra langchain --extra proxy --extra cli --group door-langchain" ;;
    agents) parts="--extra proxy --extra cli --group door-agents" ;;
    *) echo "scripts/lock.sh: no environment is called '$name'; it is one of dev demo litellm langchain agents." >&2; exit 2 ;;
esac

uv=$(command -v uv || echo .venv/bin/uv)
# shellcheck disable=SC2086 # the parts are words
"$uv" pip compile pyproject.toml --quiet --universal --python-version 3.11 --no-annotate --no-header --no-emit-index-url \
    $parts --output-file "requirements/$name.txt" "$@"
echo "requirements/$name.txt: $(wc -l <"requirements/$name.txt" | tr -d ' ') pins"
