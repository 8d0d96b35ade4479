# Two commands do all the set-up: `make demo` and `make test`. Both make the virtualenvs they need.
# `make` alone shows what stands behind `##`.
.DEFAULT_GOAL := help
PYTHON ?= python3
SCRIPT ?= rotate_seeq_application_key
# Another mirror than Key Vault, for the demo: openbao.
MIRROR ?=

# .venv runs tests and lint; .venv-demo has the sandbox alone, so that a first look takes less; .venv-runtime has what a
# Gateway's host has, and runs the scripts; .venv-supply has what looks after packages and forms.
DEV := .venv/.ready
DEMO := .venv-demo/.ready
OPENBAO := .foreign/openbao/.ready
RUNTIME := .venv-runtime/.ready
SUPPLY := .venv-supply/.ready
RUN := .venv/bin/python
# What was compiled is kept, whatever the environment says: each worker would compile all tests anew, ten seconds each.
TEST := PYTHONDONTWRITEBYTECODE= $(RUN) -m pytest

.PHONY: help demo demo-audit test pythons foreign supply faults faults-all bench lint docs picture bundle lock audit-packages release clean

help: ## What make can do here; this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' Makefile | expand -t 16

# With MIRROR=openbao the mirror is in a real OpenBao server, of some 200 MB.
demo: $(DEMO) $(RUNTIME) bundle $(if $(filter openbao,$(MIRROR)),$(OPENBAO)) ## Rotations against the sandbox, seen from outside; one is killed half-way
	@.venv-demo/bin/python -m sandbox $(SCRIPT) $(if $(MIRROR),--mirror $(MIRROR))

# An audit of forty records, some of them ill: the table, and the page's path.
demo-audit: $(DEV) $(RUNTIME) ## An audit of forty records, some of them ill, with its page
	@$(RUN) -m sandbox.audit

# More tests at a time than there are cores: they mostly wait for each other's processes.
test: $(DEV) $(RUNTIME) ## The tests; FAULTS=more for every one and more draws, ARGS="tests/docs" for some
	$(TEST) --numprocesses=5 --dist=worksteal $(ARGS)

# What runs under the Gateway's interpreter, under each other supported Python that is here, with what the lock installs.
pythons: ## The files as attached, under each other Python that is here
	@$(PYTHON) -m tools.pythons
	@set -e; for version in $$($(PYTHON) -m tools.pythons --others); do \
	  $(MAKE) --no-print-directory behaviour-$$version; done

behaviour-%: $(DEV) .venv-runtime-%/.ready
	RUNTIME_PYTHON=.venv-runtime-$*/bin/python $(TEST) --numprocesses=6 --dist=worksteal --runtime-only tests/behaviour $(ARGS)

# The vendors' own commands, Keeper's JavaScript SDK and a real OpenBao server, some 800 MB; with them `make test` also
# holds the sandbox to these.
# uv has them in seconds, pip takes minutes for azure-cli's 150 packages.
foreign: .foreign/.ready $(OPENBAO) ## Vendors' own clients and a server (800 MB); the tests hold the sandbox to them

.foreign/.ready: tests/sandbox/foreign/requirements.txt tests/sandbox/foreign/package.json
	$(PYTHON) -m venv --clear .foreign/uv
	.foreign/uv/bin/python -m pip install --quiet --disable-pip-version-check uv
	.foreign/uv/bin/uv venv --quiet --clear --python $(PYTHON) .foreign/python
	.foreign/uv/bin/uv pip install --quiet --python .foreign/python/bin/python -r tests/sandbox/foreign/requirements.txt
	mkdir -p .foreign/node
	cp tests/sandbox/foreign/package.json .foreign/node/
	npm install --prefix .foreign/node --silent --no-fund --no-audit --no-package-lock
	@touch $@

$(OPENBAO): tests/sandbox/foreign/requirements-openbao.txt
	@echo "Installing the OpenBao server, once; this takes a minute."
	$(PYTHON) -m venv --clear .foreign/openbao
	.foreign/openbao/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

# What locks, audits, and holds our forms to the schemas of those who read them, some 140 MB.
supply: $(SUPPLY) ## The tools for locks and forms; with them the tests hold both to schemas

# Every request of a rotation met by every fault; prints what held. `faults-all` leaves nothing out, and takes long.
faults: $(DEV) $(RUNTIME) ## Every request of a rotation met by every fault
	FAULTS=more $(TEST) --numprocesses=auto tests/faults $(ARGS)

faults-all: $(DEV) $(RUNTIME) ## The same, with nothing left out; takes long
	FAULTS=all $(TEST) --numprocesses=auto --timeout=7200 tests/faults $(ARGS)

# What a rotation costs; see docs/performance.md. `make bench ARGS="--runs 1"` is the quick look.
bench: $(DEV) $(RUNTIME) ## What a rotation costs
	@$(RUN) -m bench $(ARGS)

lint: $(DEV) ## ruff and mypy, both strict
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

# What is made of the code: docs/reference/ and the record templates, and what commands print in the pages; a test says
# when one of them is old. The picture of a rotation in time is drawn anew where its requests have changed.
docs: $(DEV) $(RUNTIME) ## What is made of the code: the reference, the templates, the outputs in the pages
	@$(RUN) -m tools.reference
	@$(RUN) -m tools.outputs
	@$(RUN) -m tools.timeline

# The picture of `make demo-audit`'s page in the README; it needs Chromium. Its dates are those of the day: no test compares it.
picture: $(DEV) $(RUNTIME) ## The picture of the audit's page in the README; needs Chromium
	@$(RUN) -m tools.picture

# The files to attach. `make bundle WITH="key_vault"` leaves all other mirrors and consumers out of them, WITH=none all.
# It needs Python and nothing else.
bundle: ## The files to attach, in dist/; WITH="key_vault" leaves other mirrors out
	@$(PYTHON) -m tools.bundle $(if $(strip $(WITH)),--with='$(strip $(WITH))')

# One lock for all supported Pythons and platforms. Ranges stand in requirements*.txt; a test says when a lock no longer
# fits them. The second takes what the first has.
LOCK := $(SUPPLY:.ready=bin/uv) pip compile --quiet --universal --python-version 3.10 --generate-hashes --upgrade \
  --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"
lock: $(SUPPLY) ## Renew the lock files, with hashes
	$(LOCK) --output-file requirements.lock requirements.txt
	$(LOCK) --output-file requirements-aws.lock --constraint requirements.lock requirements.txt requirements-aws.txt

audit-packages: $(SUPPLY) ## Ask for known weaknesses of what the locks hold
	@$(SUPPLY:.ready=bin/python) -m tools.audit_packages $(ARGS)

# It needs Python and nothing else; to sign, ssh-keygen. See docs/release.md.
release: ## All that a team gets, in dist/release-VERSION/; SIGN=KEY signs it
	@$(PYTHON) -m tools.release $(if $(TAG),--tag='$(TAG)') $(if $(SIGN),--sign='$(SIGN)')

clean: ## Take away all that make made
	rm -rf .venv .venv-* .foreign dist .mypy_cache .ruff_cache .hypothesis

$(DEV): requirements.txt requirements-aws.txt requirements-cli.txt requirements-sandbox.txt requirements-dev.txt
	@echo "Installing what the tests need, once: 1.3 GB, which takes some minutes."
	$(PYTHON) -m venv --clear .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

$(DEMO): requirements.txt requirements-aws.txt requirements-cli.txt requirements-sandbox.txt
	@echo "Installing what the sandbox needs, once; this takes a minute or more."
	$(PYTHON) -m venv --clear .venv-demo
	.venv-demo/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-sandbox.txt
	@touch $@

$(RUNTIME): requirements-aws.lock
	@echo "Installing what a Gateway's host needs, once; this takes a minute or more."
	$(PYTHON) -m venv --clear .venv-runtime
	.venv-runtime/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-aws.lock
	@touch $@

.PRECIOUS: .venv-runtime-%/.ready
.venv-runtime-%/.ready: requirements-aws.lock
	$$($(PYTHON) -m tools.pythons $*) -m venv --clear .venv-runtime-$*
	.venv-runtime-$*/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-aws.lock
	@touch $@

$(SUPPLY): requirements-release.txt
	$(PYTHON) -m venv --clear .venv-supply
	.venv-supply/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-release.txt
	@touch $@
