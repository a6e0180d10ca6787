# Needs CPython 3.11 or newer with pip, and make. Another interpreter: make PYTHON=python3.12 TARGET
PYTHON ?= python3
ARGS ?=

VENV := .venv
READY := $(VENV)/.installed
RUN := $(VENV)/bin/python -m
LABEL := $(or $(CXRAUG_LABEL_VENV),.venv-label)
NVFLARE := $(or $(CXRAUG_NVFLARE_VENV),.venv-nvflare)
DEPLOY := $(or $(CXRAUG_DEPLOY_VENV),.venv-deploy)
LPIPS := $(or $(CXRAUG_LPIPS_VENV),.venv-lpips)
DOCS := $(or $(CXRAUG_DOCS_VENV),.venv-docs)
PARALLEL ?= -n logical --maxprocesses 4 --dist worksteal
FAST := not slow and not gpu and not service and not e2e

MAKEFLAGS += --no-print-directory --no-builtin-rules
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help .venv .venv-nvflare .venv-deploy .venv-lpips demo docs docs-serve study-demo audit label test test-slow test-service check format-check lint types test-fast format clean

help: ## list the targets
	@echo 'Usage: make TARGET [PYTHON=python3.x] [ARGS="more pytest arguments"]'
	@sed -n 's/^\([a-zA-Z.%-]*\):[^#]*## \(.*\)/  \1|\2/p' $(firstword $(MAKEFILE_LIST)) \
	  | sed 's/bench-%/bench-TOPIC/' | awk -F'|' '{ printf "%-14s %s\n", $$1, $$2 }'

demo: $(READY) ## run the whole job on generated phantoms; ends with a table and the path of the report
	@$(VENV)/bin/cxraug run configs/experiments/demo.yaml --out runs/demo

study-demo: $(READY) ## build a reader study on phantoms, have it answered in a real browser, write its report
	@$(RUN) scripts.study_demo $(ARGS)

docs: $(DOCS)/.installed ## build the guide, without warnings, in an environment of its own; ends with site/index.html
	@NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/python -m mkdocs build --strict --quiet $(ARGS)
	@echo site/index.html

docs-serve: $(DOCS)/.installed ## show the guide at http://127.0.0.1:8000 and build it again when a page changes
	@NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/python -m mkdocs serve $(ARGS)

test: $(READY) ## run all tests but those marked slow, gpu or service
	@$(RUN) pytest $(PARALLEL) $(ARGS)

test-slow: $(READY) ## run the tests marked slow
	@$(RUN) pytest -m 'slow and not gpu and not service' $(ARGS)

test-service: $(READY) ## run the tests marked service, which start Orthanc and Chromium on loopback ports
	@$(RUN) pytest $(PARALLEL) --dist loadfile -m 'service and not slow and not gpu' $(ARGS)

# `make check test` runs the fast tests once: as a part of `test`.
check: format-check lint types $(if $(filter test,$(MAKECMDGOALS)),,test-fast) ## format, lint, types and fast tests

format-check: $(READY)
	@$(RUN) ruff format --check .

lint: $(READY)
	@$(RUN) ruff check .

types: $(READY)
	@$(RUN) mypy

test-fast: $(READY)
	@$(RUN) pytest $(PARALLEL) -q -m '$(FAST)' $(ARGS)

format: $(READY) ## format the code and mend what ruff can mend
	@$(RUN) ruff format .
	@$(RUN) ruff check --fix .

bench-%: ## run benchmarks/bench_TOPIC.py in an environment of its own, with its peers
	@if [ ! -f benchmarks/bench_$*.py ] || [ ! -f benchmarks/requirements-$*.txt ]; then \
	  echo "make $@: needs benchmarks/bench_$*.py and benchmarks/requirements-$*.txt;" \
	    "topics: $(or $(patsubst benchmarks/bench_%.py,%,$(wildcard benchmarks/bench_*.py)),none yet)" >&2; exit 2; fi
	@$(MAKE) .venv-bench-$*/.installed
	@.venv-bench-$*/bin/python benchmarks/bench_$*.py $(ARGS)

audit: ## look for known weaknesses: bandit on the code, pip-audit on the lock, from an environment of their own
	@[ -x .venv-audit/bin/pip-audit ] || { $(PYTHON) -m venv .venv-audit && .venv-audit/bin/pip install --quiet bandit pip-audit; }
	@.venv-audit/bin/bandit -q -c pyproject.toml -r monai_cxraug apps scripts
	@.venv-audit/bin/pip-audit --strict --disable-pip --require-hashes -r requirements.lock

label: $(LABEL)/.installed ## serve a classifier in MONAI Label: make label MODEL=runs/demo/cells/plain-f1-s0 STUDIES=radiographs
	@$(LABEL)/bin/python apps/monailabel_cxraug/serve.py $(if $(MODEL),'$(MODEL)') $(if $(STUDIES),'$(STUDIES)') $(ARGS)

clean: ## remove environments, caches and build outputs; runs/ stays
	rm -rf $(VENV) .venv-label .venv-nvflare .venv-deploy .venv-lpips .venv-docs .venv-audit .venv-bench-* site build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv: $(READY) ## make the environment, once

.venv-nvflare: $(NVFLARE)/.installed ## make the environment of NVFlare; Python 3.11 (docs/federated.md)

.venv-deploy: $(DEPLOY)/.installed ## make the environment of MONAI Deploy (docs/monai_deploy.md)

.venv-lpips: $(LPIPS)/.installed ## make the environment of the package lpips (docs/study_report.md)

# torch comes first and alone, so that a build already chosen for the machine (CPU, CUDA) is kept by all that follows.
# The mark is written last: an installation that failed is tried again.
define install
@rm -f $@
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
  || { echo "Python 3.11 or newer is needed; '$(PYTHON)' is $$($(PYTHON) -V 2>&1 | tail -n 1). Try: make PYTHON=python3.12 ..." >&2; exit 2; }
@set -e; \
  version='import pip, sys; print(sys.version)'; \
  wanted=$$($(PYTHON) -c 'import sys; print(sys.version)'); \
  [ "$$($(@D)/bin/python -c "$$version" 2>/dev/null)" = "$$wanted" ] || $(PYTHON) -m venv --clear $(@D); \
  echo 'Installing into $(@D); the first time takes minutes'; \
  $(@D)/bin/python -m pip install --quiet -c constraints.txt torch; \
  $(@D)/bin/python -m pip install --quiet $(1); \
  touch $@
endef

$(READY): pyproject.toml constraints.txt $(wildcard monai_cxraug/*/*.c monai_cxraug/*/*/*.c) scripts/build_kernels.py
	$(call install,-c constraints.txt -e '.[dev]')

# Peers may need older packages than ours, so their file says itself what it pins; what pins packages that would not work
# beside ours stands in a file of its own and is installed without its dependencies.
.venv-bench-%/.installed: benchmarks/requirements-%.txt pyproject.toml constraints.txt
	$(call install,-e . -r $<)
	@if [ -f benchmarks/requirements-$*-nodeps.txt ]; then rm -f $@; \
	  $(@D)/bin/python -m pip install --quiet --no-deps -r benchmarks/requirements-$*-nodeps.txt && touch $@; fi

# MONAI Label runs with pydicom 2.4 and numpy 1 only, so its environment is its own.
$(LABEL)/.installed: $(wildcard apps/monailabel_cxraug/requirements*.txt) pyproject.toml constraints.txt
	$(call install,-e '.[codecs]' -r apps/monailabel_cxraug/requirements.txt)
	@rm -f $@; $(@D)/bin/python -m pip install --quiet --no-deps -r apps/monailabel_cxraug/requirements-nodeps.txt && touch $@

# monai-nvflare asks for NVFlare 2.7 and Python before 3.12.
$(NVFLARE)/.installed: apps/nvflare/requirements.txt pyproject.toml constraints.txt
	$(call install,-c constraints.txt -e . -r $<)

# What the SDK brings pins protobuf lower than constraints.txt does.
$(DEPLOY)/.installed: apps/monai_deploy/requirements.txt pyproject.toml constraints.txt
	$(call install,-e . -r $<)

# The guide is made from the sources without importing them, so that neither the package nor torch is installed here, but
# what the extra names alone.
$(DOCS)/.installed: pyproject.toml constraints.txt
	@rm -f $@; echo 'Installing into $(@D)'; $(PYTHON) -m venv $(@D)
	@$(PYTHON) -c 'import pathlib, tomllib; project = tomllib.loads(pathlib.Path("pyproject.toml").read_text("utf-8"))["project"]; \
	  print(*project["optional-dependencies"]["docs"], sep="\n")' > $(@D)/requirements.txt
	@$(@D)/bin/python -m pip install --quiet -c constraints.txt -r $(@D)/requirements.txt && touch $@

# lpips wants torchvision, whose compiled part need not load for what is used of it; all else comes from our environment.
$(LPIPS)/.installed: $(READY)
	@rm -f $@; $(PYTHON) -m venv $(@D)
	@$(VENV)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
	  > $$($(@D)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/cxraug.pth
	@$(@D)/bin/python -m pip install --quiet --no-deps lpips==0.1.4 torchvision==0.29.1 && touch $@
