# What a person runs here; .ci/run says the same words. Every target sets up what it needs.

BIN := .venv/bin
SECONDS ?= 10
# ROOM=server/ledger is a folder of tests/unit, ROOM=server/pipeline one file of it.
TESTS ?= $(if $(ROOM),$(or $(wildcard tests/unit/$(ROOM)),tests/unit/$(dir $(ROOM))test_$(notdir $(ROOM)).py),tests/unit tests/kernel)
# Rooms that compute without I/O: what a unit test can reach whole.
PURE := kzn/model/*,kzn/columns/*,kzn/wire/*,kzn/server/resolve/*,kzn/server/ledger/*,kzn/server/metrics/*,kzn/server/pipeline.py,kzn/topology/tables/*,kzn/topology/ownership/*,kzn/topology/static/*,kzn/topology/*.py,kzn/agent/inspect/filter.py,kzn/agent/inspect/rows.py

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## two zones on this machine, real packets, real hook (root; ARGS="--json", SECONDS=10)
	@scripts/setup demo
	@$(BIN)/kzn demo --seconds $(SECONDS) $(ARGS)

test: ## unit tests, and with root the kernel tests (ARGS="-k name", ROOM=server/ledger, TESTS=tests/unit)
	@scripts/setup test
	$(BIN)/pytest $(TESTS) $(ARGS)

quick: ## the unit tests that take no seconds, under a minute (ARGS="-k name")
	@scripts/setup test
	$(BIN)/pytest tests/unit -m "not slow" -q $(ARGS)

coverage: ## the quick tests with the lines they reach; 85 % of the pure rooms at least
	@scripts/setup test
	$(BIN)/coverage run -m pytest tests/unit -m "not slow" -q $(ARGS)
	$(BIN)/coverage report
	$(BIN)/coverage report --include="$(PURE)" --fail-under=85

check: ## format, lint, types, floors, generated files
	@scripts/setup test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@scripts/generated --check
	@scripts/manifests --check
	$(BIN)/clang-format --dry-run -Werror --style=file:bpf/.clang-format bpf/src/*.[ch] bpf/src/*/*.h docs/examples/*/src/*.c
	@if command -v shellcheck >/dev/null; then shellcheck $$(grep -l '^#!/bin/sh' scripts/* .ci/run); fi

format: ## mend format and lint, make the generated files again
	@scripts/setup test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	@scripts/generated
	$(BIN)/clang-format -i --style=file:bpf/.clang-format bpf/src/*.[ch] bpf/src/*/*.h docs/examples/*/src/*.c

vm: ## the kernel tests on other kernels, by QEMU (KERNEL="6.1 6.12 7", ARGS="--suite smoke")
	@scripts/setup vm
	$(BIN)/python tests/vm/run.py $(ARGS) $(KERNEL)

bench: ## every program of bench/ and a table (ARGS="--json" one object a line, ARGS="wire drain" these)
	@scripts/setup test
	@$(BIN)/python bench/lib/every.py $(ARGS)

manifests: ## deploy/kzn.yaml and the operator's rules, of their sources
	@scripts/setup test
	@scripts/manifests

image-check: ## the steps of the Containerfile in a chroot, and both daemons out of it (root)
	@scripts/setup image
	$(BIN)/hadolint Containerfile
	$(BIN)/python scripts/image_check.py

clean: ## everything that the other targets made
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	$(MAKE) -C bpf clean

.PHONY: help vm demo test quick coverage check format bench manifests image-check clean
.DEFAULT_GOAL := help
