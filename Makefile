# IEVCC: `make` lists what there is. `make demo` and `make test` set up whatever they need themselves.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

BIN := .venv/bin
PY := $(BIN)/python
READY := .venv/ready
UV_COMPILE := $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate \
	--no-emit-index-url --no-emit-find-links

# Given on the command line: make flash BOARD=charger PORT=/dev/ttyUSB0 FIRMWARE=ESP32_GENERIC.bin
ARGS ?=
BOARD ?=
PORT ?=
FIRMWARE ?=
CONFIG ?=
ERASE ?=
export PYTHON

.PHONY: help setup kafka peers hass demo demo-cloud test docs lint format bench soak lock flash deploy repl clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## virtual environment, locked packages, mosquitto where it may be installed
	@tools/setup.sh system mosquitto

$(READY): requirements-dev.lock pyproject.toml tools/setup.sh tools/frozen_modules.py
	@tools/setup.sh environment
	@touch $@

demo: setup ## the main job, live: broker, manager, a meter, three chargers (ARGS="--minutes 2 --headless")
	@$(BIN)/ievcc demo $(ARGS)

demo-cloud: ## two buildings, Kafka, fog workers, PostgreSQL, API and portal (ARGS="--minutes 5")
	@"$${PYTHON:-python3}" -m simulator.kafka --programs || test $$? != 3 # before minutes of setting up
	@$(MAKE) setup
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || tools/setup.sh system postgresql
	@$(PY) -m simulator.kafka
	@$(BIN)/ievcc demo-cloud $(ARGS)

test: setup ## all tests (ARGS="tests/tools -k deploy" for some)
	@tools/setup.sh system chromium socat
	@if command -v npm >/dev/null; then $(MAKE) peers; fi # without npm those tests are skipped, and say so
	@if command -v java >/dev/null && command -v mvn >/dev/null; then $(MAKE) kafka; fi # and so without these
	@tools/tests.sh "not soak and not alone" -n 6 --dist loadfile --no-loadscope-reorder $(ARGS)
	@tools/tests.sh "alone and not soak" -n 2 --dist loadgroup --no-loadscope-reorder $(ARGS)

soak: setup ## the long tests
	@$(PY) -m pytest -m soak $(ARGS)

docs: $(READY) ## docs/protocol.md from the codec's table
	@$(PY) -m tools.protocol_page

lint: $(READY) ## ruff and mypy
	@$(BIN)/ruff check .
	@$(BIN)/mypy

format: $(READY) ## ruff's formatter
	@$(BIN)/ruff format .

bench: setup ## reaction times and codec figures, printed
	@$(PY) -m bench $(ARGS)

kafka: $(READY) ## Apache Kafka's jars for the datahub's tests and demo, with Maven (Java 17)
	@$(PY) -m simulator.kafka

peers: tests/manager/ocpp/peers/node_modules/ready ## the OCPP peers that are not ours, with npm, for the tests

hass: .venv-hass/ready ## a Home Assistant for the tests, in a virtual environment of its own (Python 3.11 or 3.12)

.venv-hass/ready: requirements-hass.lock $(READY)
	@$(BIN)/uv venv --quiet --clear --python $(PY) .venv-hass
	@$(BIN)/uv pip install --quiet --python .venv-hass/bin/python --require-hashes -r requirements-hass.lock
	@touch $@

tests/manager/ocpp/peers/node_modules/ready: tests/manager/ocpp/peers/package-lock.json
	@npm ci --prefix tests/manager/ocpp/peers --ignore-scripts --no-audit --no-fund --silent
	@touch $@

lock: $(READY) ## requirements*.lock from pyproject.toml: pins with hashes (ARGS=--upgrade for newer ones)
	@$(UV_COMPILE) pyproject.toml $(ARGS) --output-file requirements.lock
	@$(UV_COMPILE) pyproject.toml --extra cloud $(ARGS) --output-file requirements-cloud.lock
	@$(UV_COMPILE) pyproject.toml --extra dev $(ARGS) --output-file requirements-dev.lock

flash: $(READY) ## MicroPython onto a board: BOARD=charger|energy_meter PORT=... FIRMWARE=file.bin [ERASE=1]
	@$(PY) -m tools.flash --board "$(BOARD)" --port "$(PORT)" --firmware "$(FIRMWARE)" $(if $(ERASE),--erase) $(ARGS)

deploy: $(READY) ## our firmware onto a board: BOARD=charger|energy_meter PORT=... [CONFIG=config.json]
	@$(PY) -m tools.deploy --board "$(BOARD)" --port "$(PORT)" $(if $(CONFIG),--config "$(CONFIG)") $(ARGS)

repl: $(READY) ## talk to the board at PORT=... (Ctrl-] ends it)
	@$(PY) -m tools.repl --port "$(PORT)" $(ARGS)

clean: ## remove what was made here, the virtual environment too
	@rm -rf .venv .deps .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist demo-run out
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
