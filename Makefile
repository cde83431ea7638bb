# Thin front door: `make try` answers a question with a real model, `make test` runs the tests.
# Everything lives in .venv, build/ and the model cache (PYEDGE_CACHE, else ~/.cache/pyedge).
SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help try test bench native wheels lint format clean wasm

BIN := .venv/bin
SOURCES := $(shell find csrc pyedge -type f -not -name '*.pyc') CMakeLists.txt pyproject.toml $(wildcard wasm/page/dist/sw.js)
MARK ?= not slow
PYTEST_ARGS ?=
WHEELS_ARGS ?=
# A worker for each processor; the tests of a file stay together, since they share what it loads.
WORKERS ?= -n auto --dist loadfile
MODELS := smollm2-135m-instruct gemma-3-270m

help:
	@echo "make try    set up, fetch the default model (92 MB), answer a question"
	@echo "make test   set up, fetch both test models (92 and 241 MB), run the tests; MARK=\"slow or not slow\" runs all"
	@echo "make native the command without Python, as one static file in build/native/"
	@echo "make wheels wheels and native commands for x86-64, aarch64 and armv7l, glibc and musl, in dist/"
	@echo "make bench  measure the Python door on this machine"
	@echo "make lint   ruff, mypy and clang-format, checking only; make format mends"
	@echo "make wasm   build the package for browsers and Node, and the chat page of \`pyedge web\`"
	@echo "make clean  remove .venv and build/"

try: .venv/.installed
	@$(BIN)/pyedge generate "Why is the sky blue?"

test: .venv/.installed-test
	@PATH="$(CURDIR)/$(BIN):$$PATH" cmake -S . -B build/test -G Ninja -DPYEDGE_TESTS=ON --log-level=WARNING
	@PATH="$(CURDIR)/$(BIN):$$PATH" cmake --build build/test
	@for model in $(MODELS); do $(BIN)/pyedge pull $$model || echo "make test: $$model could not be fetched" >&2; done
	@$(BIN)/pytest $(WORKERS) -m "$(MARK)" $(PYTEST_ARGS)

bench: .venv/.installed-test
	@$(BIN)/pytest bench --benchmark-only --benchmark-columns=median,iqr,rounds $(PYTEST_ARGS)

native: .venv/.tools-ready
	@PATH="$(CURDIR)/$(BIN):$$PATH" cmake -S . -B build/native -G Ninja -DPYEDGE_CLI=ON -DPYEDGE_STATIC=ON -DPYEDGE_QUANTIZE=OFF --log-level=WARNING
	@PATH="$(CURDIR)/$(BIN):$$PATH" cmake --build build/native --target pyedge_cli
	@strip build/native/pyedge
	@ls -l build/native/pyedge

wheels: .venv/.installed-wheels
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tools/wheels.py $(WHEELS_ARGS)

lint: .venv/.installed-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@find csrc tests -name '*.[ch]' -o -name '*.cpp' | xargs $(BIN)/clang-format --dry-run --Werror

format: .venv/.installed-dev
	@$(BIN)/ruff check --fix --exit-zero .
	@$(BIN)/ruff format .
	@find csrc tests -name '*.[ch]' -o -name '*.cpp' | xargs $(BIN)/clang-format -i

# The npm package, in wasm/dist, and the chat page, in wasm/page/dist: see wasm/build.sh about the compiler that it needs.
wasm:
	@wasm/build.sh
	@cd wasm/page && { [ -e node_modules/.package-lock.json ] || npm ci --no-audit --no-fund --silent; } && npm run --silent build

clean:
	rm -rf .venv build wasm/dist wasm/node_modules wasm/page/dist wasm/page/node_modules

# ---- set-up, quick on repeat --------------------------------------------------------------------------------------

.venv/.tools-ready: tools/setup-venv.sh
	@tools/setup-venv.sh

.venv/.installed: .venv/.tools-ready $(SOURCES)
	@tools/install.sh .
	@touch $@

.venv/.installed-%: .venv/.tools-ready $(SOURCES)
	@tools/install.sh '.[$*]'
	@touch .venv/.installed $@
