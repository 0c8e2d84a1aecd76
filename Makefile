.venv/.stamp: pyproject.toml requirements/dev.txt scripts/env.sh
	@sh scripts/env.sh .venv requirements/dev.txt
