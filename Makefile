# Everything runs in a virtual environment of the project's own; nothing else is touched.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
# What Python has compiled is kept, whatever the environment says: tests start hundreds of processes.
unexport PYTHONDONTWRITEBYTECODE
VENV := .venv
BIN := $(VENV)/bin
# Python compiles what it imports by itself; pip would compile all there is, for half a minute.
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt

MODEL ?=
ARGS ?=

# For benchmarks: pictures to post besides our own, a model in INT8, and what to calibrate one with.
IMAGE ?=
INT8 ?=
INT8_DATA ?= ../shared/photos
BENCH_MODEL = $(or $(MODEL),../shared/models/yolov8n.onnx)
BENCH_INT8 = $(or $(INT8),$(VENV)-bench/$(basename $(notdir $(BENCH_MODEL))).int8.xml)
BENCH = benchmarks/bench.py --model "$(BENCH_MODEL)" $(if $(IMAGE),--image "$(IMAGE)")

.DEFAULT_GOAL := help
.PHONY: help serve test browser cover soak check bench bench-peers audit demo-model format docs clean

help: ## show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

serve: $(VENV)/base ## set up and serve: make serve MODEL=path/to/model.onnx [ARGS="--port 9000"]
	$(BIN)/sightline serve $(if $(MODEL),--model "$(MODEL)") $(ARGS)

test: $(VENV)/dev $(VENV)/browser ## set up everything and run all tests, three parts side by side
	$(BIN)/python tests/run_parallel.py $(ARGS)

cover: $(VENV)/dev $(VENV)/browser ## the same, and what of the code they reach: 90 % at least
	$(BIN)/python tests/run_parallel.py --cov $(ARGS)

browser: $(VENV)/browser ## find or install the Chromium that the page is tried in (CHROMIUM= names one)

soak: $(VENV)/dev $(VENV)/browser ## the long tests: a million hostile requests (SOAK_REQUESTS=, SOAK_SEED=, SOAK_EXAMPLES=)
	$(BIN)/python -m pytest -m soak $(ARGS)
	$(BIN)/python -m pytest tests/fuzz/test_properties.py --hypothesis-profile=soak $(ARGS)

check: $(VENV)/dev ## format, lint, types, architecture
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/unit/test_architecture.py tests/unit/test_docs.py

bench: $(VENV)/dev ## measure our service on this machine (MODEL=, INT8=, IMAGE=)
	$(BIN)/python $(BENCH) $(if $(INT8),--int8 "$(INT8)") $(ARGS)

bench-peers: $(VENV)/dev $(VENV)-peers/ready $(BENCH_INT8) ## the same next to others' services, and in INT8 (5 GB)
	$(BIN)/python $(BENCH) --int8 "$(BENCH_INT8)" --peer-python $(VENV)-peers/bin/python $(ARGS)

audit: $(VENV)/base $(VENV)-audit/ready ## look for known holes in our code and in what it stands on
	$(VENV)-audit/bin/bandit --quiet --recursive src
	$(VENV)-audit/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip

demo-model: $(VENV)-train/ready ## train the bundled demo model from scratch (a CPU, a quarter of an hour)
	$(VENV)-train/bin/python -m sightline.training.demo $(ARGS)

format: $(VENV)/dev ## rewrite the code as `make check` wants it
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

docs: $(VENV)/dev ## generate docs/reference from the code
	$(BIN)/python docs/generate.py

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) $(VENV)-peers $(VENV)-bench $(VENV)-train $(VENV)-audit .mypy_cache .pytest_cache .ruff_cache .coverage*

$(VENV)/python: # the interpreter alone
	@test -n "$(PYTHON)" || { echo "Sightline needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 …"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/base: $(VENV)/python pyproject.toml constraints.txt
	$(PIP) --editable .
	@touch $@

$(VENV)-peers/ready: benchmarks/peers/requirements.txt
	$(PYTHON) -m venv $(VENV)-peers
	$(VENV)-peers/bin/pip install --quiet --requirement $<
	@touch $@

$(VENV)-bench/%.int8.xml: $(BENCH_MODEL) | $(VENV)/dev
	mkdir -p $(@D)
	$(BIN)/sightline quantize "$<" --data $(INT8_DATA) -o $@ --force

$(VENV)-audit/ready:
	$(PYTHON) -m venv $(VENV)-audit
	$(VENV)-audit/bin/pip install --quiet --disable-pip-version-check 'bandit>=1.9' 'pip-audit>=2.9'
	@touch $@

$(VENV)-train/ready: pyproject.toml constraints.txt src/sightline/training/demo/requirements.txt
	$(PYTHON) -m venv $(VENV)-train
	$(VENV)-train/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--requirement src/sightline/training/demo/requirements.txt --editable .
	@touch $@

$(VENV)/dev: $(VENV)/python pyproject.toml constraints.txt
	$(PIP) --editable '.[dev]'
	@touch $(VENV)/base $@

# Chromium as it is there, else Debian's, else Playwright's own.
$(VENV)/browser: $(VENV)/dev
	@if test -n "$$CHROMIUM" || command -v chromium chromium-browser google-chrome google-chrome-stable > /dev/null; then \
		touch $@; \
	elif test "$$(id -u)" = 0 && grep -qs '^ID=debian' /etc/os-release; then \
		apt-get update -qq && apt-get install --yes -qq --no-install-recommends chromium fonts-dejavu-core && touch $@; \
	else \
		$(BIN)/playwright install chromium && touch $@; \
	fi || echo "There is no Chromium, and none was to be had: the tests that want one are skipped (and fail under CI=true)."
