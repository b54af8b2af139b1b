# What a person runs here; .ci/run says the same words. Every target sets up what it needs.

BIN := .venv/bin
SECONDS ?= 10
TESTS ?= tests/unit tests/kernel

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## two zones on this machine, real packets, real hook (root; ARGS="--json", SECONDS=10)
	@scripts/setup demo
	@$(BIN)/kzn demo --seconds $(SECONDS) $(ARGS)

test: ## unit tests, and with root the kernel tests (ARGS="-k name", TESTS=tests/unit)
	@scripts/setup test
	$(BIN)/pytest $(TESTS) $(ARGS)

check: ## format, lint, types, floors, generated files
	@scripts/setup test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@scripts/generated --check
	@scripts/manifests --check
	$(BIN)/clang-format --dry-run -Werror --style=file:bpf/.clang-format bpf/src/*.[ch] docs/examples/*/src/*.c
	@if command -v shellcheck >/dev/null; then shellcheck $$(grep -l '^#!/bin/sh' scripts/* .ci/run); fi

format: ## mend format and lint, make the generated files again
	@scripts/setup test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	@scripts/generated
	$(BIN)/clang-format -i --style=file:bpf/.clang-format bpf/src/*.[ch] docs/examples/*/src/*.c

vm: ## the kernel tests on other kernels, by QEMU (KERNEL="6.1 6.12 7", ARGS="--suite smoke")
	@scripts/setup vm
	$(BIN)/python tests/vm/run.py $(ARGS) $(KERNEL)

bench: ## every program of bench/, one line of JSON each
	@scripts/setup test
	@for program in bench/*.py; do \
	    [ -e "$$program" ] || { echo "bench: no programs" >&2; exit 1; }; \
	    $(BIN)/python "$$program" --json || exit 1; \
	done

manifests: ## deploy/kzn.yaml and the operator's rules, of their sources
	@scripts/setup test
	@scripts/manifests

image-check: ## the steps of the Containerfile in a chroot, and both daemons out of it (root)
	@scripts/setup image
	$(BIN)/hadolint Containerfile
	$(BIN)/python scripts/image_check.py

clean: ## everything that the other targets made
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	$(MAKE) -C bpf clean

.PHONY: help vm demo test check format bench manifests image-check clean
.DEFAULT_GOAL := help
