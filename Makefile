# Commands for developers; .ci/run uses the same. Every target installs what it needs.

BIN := .venv/bin
SECONDS ?= 10
# ROOM=server/ledger is a folder of tests/unit, ROOM=server/pipeline a test file.
TESTS ?= $(if $(ROOM),$(or $(wildcard tests/unit/$(ROOM)),tests/unit/$(dir $(ROOM))test_$(notdir $(ROOM)).py),tests/unit tests/kernel)
# Code without I/O, which unit tests can cover completely.
PURE := kzn/model/*,kzn/columns/*,kzn/wire/*,kzn/server/resolve/*,kzn/server/ledger/*,kzn/server/metrics/*,kzn/server/pipeline.py,kzn/topology/tables/*,kzn/topology/ownership/*,kzn/topology/static/*,kzn/topology/*.py,kzn/agent/inspect/filter.py,kzn/agent/inspect/rows.py

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## count real packets of a small shop in three zones of network namespaces (root; ARGS="--serve", SECONDS=10)
	@scripts/setup demo
	@$(BIN)/kzn demo --seconds $(SECONDS) $(ARGS)

test: ## run the unit tests, and as root the kernel tests (ARGS="-k name", ROOM=server/ledger, TESTS=tests/unit)
	@scripts/setup test
	$(BIN)/pytest $(TESTS) $(ARGS)

quick: ## run the unit tests that are not slow, under a minute (ARGS="-k name")
	@scripts/setup test
	$(BIN)/pytest tests/unit -m "not slow" -q $(ARGS)

web: ## run the tests of the page in Chromium (ARGS="-k name", KZN_SCREENSHOTS=FOLDER)
	@scripts/setup web
	$(BIN)/pytest tests/web $(ARGS)

screenshots: ## make the pictures of docs/pictures of a served demo, in some ten minutes (root; ARGS="--url URL")
	@scripts/setup web
	$(BIN)/python scripts/screenshots.py $(ARGS)

coverage: ## measure the coverage of the quick tests; at least 85 % of code without I/O
	@scripts/setup test
	$(BIN)/coverage run -m pytest tests/unit -m "not slow" -q $(ARGS)
	$(BIN)/coverage report
	$(BIN)/coverage report --include="$(PURE)" --fail-under=85

check: ## check format, lint, types, imports between layers, generated files
	@scripts/setup test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@scripts/generated --check
	@scripts/manifests --check
	$(BIN)/clang-format --dry-run -Werror --style=file:bpf/.clang-format bpf/src/*.[ch] bpf/src/*/*.h docs/examples/*/src/*.c
	@if command -v shellcheck >/dev/null; then shellcheck $$(grep -l '^#!/bin/sh' scripts/* .ci/run); fi

format: ## fix format and lint, regenerate the generated files
	@scripts/setup test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	@scripts/generated
	$(BIN)/clang-format -i --style=file:bpf/.clang-format bpf/src/*.[ch] bpf/src/*/*.h docs/examples/*/src/*.c

vm: ## run the kernel tests on other kernels in QEMU (KERNEL="6.1 6.12 7", ARGS="--suite smoke", or table, smp)
	@scripts/setup vm
	$(BIN)/python tests/vm/run.py $(ARGS) $(KERNEL)

bench: ## run the programs of bench/ and print a table (ARGS="--json", ARGS="wire drain")
	@scripts/setup test
	@$(BIN)/python bench/lib/every.py $(ARGS)

manifests: ## regenerate deploy/kzn.yaml and the copies of the Prometheus rules
	@scripts/setup test
	@scripts/manifests

image-check: ## run the Containerfile in a chroot and start both daemons (root)
	@scripts/setup image
	$(BIN)/hadolint Containerfile
	$(BIN)/python scripts/image_check.py

clean: ## remove everything that the other targets created
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	$(MAKE) -C bpf clean

.PHONY: help web screenshots vm demo test quick coverage check format bench manifests image-check clean
.DEFAULT_GOAL := help
