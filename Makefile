# quai: the two commands to know are `make up` and `make test`.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
LOCK := requirements/$(shell $(PYTHON) -c 'import sys; print("py311" if sys.version_info < (3, 12) else "py312")').txt
export PATH := $(CURDIR)/$(BIN):$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
export PYTHONPATH := $(CURDIR)

.PHONY: help
help: ## Show what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: up
up: venv ## Set everything up and run the main job: a lab on this machine, a host provisioned, MasStock released
	@python -m lab main-job

.PHONY: down
down: ## Remove what `make up` made, and nothing else
	@if [ -x $(BIN)/python ]; then python -m lab down; else echo "Nothing to remove: there is no $(VENV)."; fi

.PHONY: status
status: venv ## Show what runs in the lab and where to look
	@python -m lab status

.PHONY: check
check: venv ## Run the fast tests: lint, types, unit, templates, repository rules
	@python tools/run_tests.py check

.PHONY: test
test: venv ## Run every test, whole hosts and faults included
	@python tools/run_tests.py test

.PHONY: test-long
test-long: venv ## Run what is too slow for `make test`
	@python tools/run_tests.py long

.PHONY: bench
bench: venv ## Measure beside peers, write build/bench.json; one group: make bench WHAT=probe
	@PYTHONPATH=$(CURDIR)/collections:$(CURDIR) python -m tests.bench $(WHAT)

.PHONY: generate
generate: venv ## Write again what is generated: JSON Schema, docs, variable tables
	@python tools/generate.py

.PHONY: lock
lock: ## Renew the exact versions in requirements/ for this machine's Python
	@$(PYTHON) -m venv --clear build/lock
	@build/lock/bin/pip install --quiet --disable-pip-version-check -r requirements/direct.in
	@{ head -1 $(LOCK); build/lock/bin/pip freeze; } > build/lock/versions && cp build/lock/versions $(LOCK)
	@rm -r build/lock && git diff --stat $(LOCK)

# What the controller calls beside Python: command and Debian package.
PROGRAMS := ssh:openssh-client curl:curl git:git openssl:openssl

.PHONY: venv
venv: programs $(VENV)/.ready

.PHONY: programs
programs:
	@missing=""; \
	for pair in $(PROGRAMS); do command -v "$${pair%%:*}" >/dev/null || missing="$$missing $${pair##*:}"; done; \
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || missing="$$missing python3-venv"; \
	if [ -n "$$missing" ]; then \
	  echo "Installing what is missing:$$missing"; \
	  apt-get update -qq && apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	fi

$(VENV)/.ready: $(LOCK)
	@echo "Making $(VENV) from $(LOCK) ($$($(PYTHON) --version)); about a minute"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check -r $(LOCK)
	@touch $@
