# Two commands do all the set-up: `make demo` and `make test`. Both make the virtualenvs they need.
PYTHON ?= python3
SCRIPT ?= rotate_seeq_application_key
# Another mirror than Key Vault, for the demo: openbao.
MIRROR ?=

# .venv runs tests and lint; .venv-demo has the sandbox alone, so that a first look takes less; .venv-runtime has what a
# Gateway's host has, and runs the scripts.
DEV := .venv/.ready
DEMO := .venv-demo/.ready
OPENBAO := .foreign/openbao/.ready
RUNTIME := .venv-runtime/.ready
RUN := .venv/bin/python

.PHONY: demo demo-audit test foreign faults faults-all bench lint docs bundle clean

# With MIRROR=openbao the mirror is in a real OpenBao server, of some 200 MB.
demo: $(DEMO) $(RUNTIME) bundle $(if $(filter openbao,$(MIRROR)),$(OPENBAO))
	@.venv-demo/bin/python -m sandbox $(SCRIPT) $(if $(MIRROR),--mirror $(MIRROR))

# An audit of forty records, some of them ill: the table, and the page's path.
demo-audit: $(DEV) $(RUNTIME)
	@$(RUN) -m sandbox.audit

# More tests at a time than there are cores: they mostly wait for each other's processes.
test: $(DEV) $(RUNTIME)
	$(RUN) -m pytest --numprocesses=6 --dist=worksteal $(ARGS)

# The vendors' own commands, Keeper's JavaScript SDK and a real OpenBao server, some 800 MB; with them `make test` also
# holds the sandbox to these.
# uv has them in seconds, pip takes minutes for azure-cli's 150 packages.
foreign: .foreign/.ready $(OPENBAO)

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

# Every request of a rotation met by every fault; prints what held. `faults-all` leaves nothing out, and takes long.
faults: $(DEV) $(RUNTIME)
	$(RUN) -m pytest --numprocesses=auto tests/faults $(ARGS)

faults-all: $(DEV) $(RUNTIME)
	FAULTS=all $(RUN) -m pytest --numprocesses=auto --timeout=7200 tests/faults $(ARGS)

# What a rotation costs; see docs/performance.md. `make bench ARGS="--runs 1"` is the quick look.
bench: $(DEV) $(RUNTIME)
	@$(RUN) -m bench $(ARGS)

lint: $(DEV)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

# What is made of the code: docs/reference/ and the record templates, and what commands print in the pages; a test says
# when one of them is old. The picture of a rotation in time is drawn anew where its requests have changed.
docs: $(DEV) $(RUNTIME)
	@$(RUN) -m tools.reference
	@$(RUN) -m tools.outputs
	@$(RUN) -m tools.timeline

# The files to attach. `make bundle WITH="key_vault"` leaves all other mirrors and consumers out of them, WITH=none all.
# It needs Python and nothing else.
bundle:
	@$(PYTHON) -m tools.bundle $(if $(strip $(WITH)),--with='$(strip $(WITH))')

clean:
	rm -rf .venv .venv-demo .venv-runtime .foreign dist .mypy_cache .ruff_cache .hypothesis

$(DEV): requirements.txt requirements-aws.txt requirements-sandbox.txt requirements-dev.txt
	@echo "Installing what the tests need, once; this takes a minute or more."
	$(PYTHON) -m venv --clear .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

$(DEMO): requirements.txt requirements-aws.txt requirements-sandbox.txt
	@echo "Installing what the sandbox needs, once; this takes a minute or more."
	$(PYTHON) -m venv --clear .venv-demo
	.venv-demo/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-sandbox.txt
	@touch $@

$(RUNTIME): requirements.txt requirements-aws.txt
	@echo "Installing what a Gateway's host needs, once; this takes a minute or more."
	$(PYTHON) -m venv --clear .venv-runtime
	.venv-runtime/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -r requirements-aws.txt
	@touch $@
