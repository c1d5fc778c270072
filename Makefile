# Everything a user or contributor runs. `make` lists the targets.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help run test check lint bench bench-quick audit lock binary clean
help:
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

.venv/run.stamp: requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

.venv/dev.stamp: .venv/run.stamp requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

# Where the environment forbids Python to keep byte code, every start would compile all of it, and
# tests start hundreds of processes.
.PHONY: bytecode
bytecode: .venv/run.stamp
	@$(BIN)/python -m compileall -q collector storage

run: bytecode ## set up and start the collector on http://127.0.0.1:8000
	$(BIN)/collector serve

test: .venv/dev.stamp bytecode ## set up and run every test
	@tests/browser/setup
	@PYTHON=$(CURDIR)/$(BIN)/python tests/programs/setup
	$(BIN)/python -m pytest -n auto --dist worksteal

check: lint ## formatting, lint, strict types, instructions per event, house rules, documents
	$(BIN)/python -m pytest -q tests/test_house.py tests/test_docs.py

lint: .venv/dev.stamp ## the part of check that make test does not do
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m bench.instructions

bench: .venv/dev.stamp ## measure every target on this machine, about half an hour
	$(BIN)/python -m bench.targets

bench-quick: .venv/dev.stamp ## the same within two minutes: rough, and without what takes long
	$(BIN)/python -m bench.targets --quick

# In an environment of its own: it is no dependency of ours. --strict: what cannot be looked up is a
# failure, and not "nothing found".
audit: ## whether a locked version is known to be vulnerable (needs the network)
	@test -x .venv-audit/bin/pip-audit || { $(PYTHON) -m venv .venv-audit && \
		.venv-audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit; }
	.venv-audit/bin/pip-audit --strict --disable-pip --require-hashes -r requirements.lock
	.venv-audit/bin/pip-audit --strict --disable-pip --require-hashes -r requirements-dev.lock
	.venv-audit/bin/pip-audit --strict --disable-pip --require-hashes -r requirements-binary.lock

lock: ## resolve the dependencies anew (needs uv)
	uv pip compile --universal --generate-hashes --no-header -q -p 3.11 pyproject.toml -o requirements.lock
	uv pip compile --universal --generate-hashes --no-header -q -p 3.11 pyproject.toml --group dev -o requirements-dev.lock
	uv pip compile --universal --generate-hashes --no-header -q -p 3.11 pyproject.toml --group binary -o requirements-binary.lock

# In an environment of its own, too: what is packed is what production runs, and nothing beside it.
.venv-binary/stamp: requirements-binary.lock
	@test -x .venv-binary/bin/python || $(PYTHON) -m venv .venv-binary
	.venv-binary/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-binary.lock
	@touch $@

binary: .venv-binary/stamp ## build dist/collector: everything in one file, Python included (docs/BINARY.md)
	@.venv-binary/bin/python binary/build.py

clean: ## remove what the targets above made (not your data)
	rm -rf .venv .venv-audit .venv-binary build .hypothesis .mypy_cache .ruff_cache .pytest_cache dist
