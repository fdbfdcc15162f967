# Every developer task has a target. `make` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
STAGE ?=
ROLE ?= user
RUN := .venv/bin/python -m
CLOUD := $(RUN) scripts.local_cloud
SAM := .local/sam/bin/sam
export SAM_CLI_TELEMETRY := 0
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Let Python compile packages at first use. That takes half the time of compiling all of them.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^##@ / {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

##@ Run it locally (no AWS account, no Docker)
.PHONY: demo local stop status
demo: setup ## Start the local cloud, deploy the stack and play one month of usage and billing
	@$(CLOUD) start
	@$(CLOUD) deploy
	@$(RUN) scripts.demo

local: setup ## Start the local cloud with its previous data, deploy changes and show the API's URL and key
	@$(CLOUD) start
	@$(CLOUD) deploy
	@$(CLOUD) status

stop: setup ## Stop the local cloud and keep its data (FRESH=1 deletes it)
	@$(CLOUD) stop $(if $(FRESH),--fresh)

status: setup ## Show the URL and the key of the local API
	@$(CLOUD) status

##@ Develop
.PHONY: check test soak mutants lint format requirements clean
check: lint ## Run the linters and unit tests in under a minute. Pure modules must have full test coverage
	@$(RUN) pytest tests/unit -q -n 2 --cov

test: setup ## Run all tests (ARGS="-k record -x" is passed to pytest)
	@$(RUN) pytest -n 2 $(ARGS)

# Each round uses new random examples. A failure prints the seed and the steps that led to it.
soak: setup ## Repeat the randomized tests with new seeds: make soak MINUTES=30
	@end=$$(( $$(date +%s) + 60 * $(or $(MINUTES),10) )); round=0; \
	while [ $$(date +%s) -lt $$end ]; do round=$$((round + 1)); echo "  Round $$round, seed $$round$$$$"; \
		MACHINE_EXAMPLES=200 CHAOS_SEED=$$round$$$$ $(RUN) pytest -q --hypothesis-seed=$$round$$$$ \
			tests/integration/test_invariants.py tests/integration/test_invariants_under_faults.py tests/e2e/test_chaos.py; \
	done; echo "  $$round rounds passed"

mutants: setup .local/mutmut/.installed ## List mutations of the pure modules that no unit test detects (MODULE=pricing.terms for one module)
	@$(RUN) scripts.mutants $(if $(MODULE),--module "$(MODULE)")

lint: setup ## Check spelling, style, types, imports and templates
	@$(MAKE) -k -j2 $(OUTPUT_SYNC) lint/types lint/sam lint/templates lint/style lint/spelling lint/imports

# Two run at a time, the slowest first, and each prints its output in one piece. Make before 4.0 mixes the output.
OUTPUT_SYNC := $(if $(filter output-sync,$(.FEATURES)),--output-sync=target)

.PHONY: lint/types lint/sam lint/templates lint/style lint/spelling lint/imports
lint/types:
	@.venv/bin/mypy
# Checks the template after SAM's transform. Errors go to stderr.
lint/sam:
	@AWS_DEFAULT_REGION=us-east-1 $(SAM) validate --lint >/dev/null
# Checks the templates against AWS's rules.
lint/templates:
	@.venv/bin/cfn-lint template.yaml infra/*.yaml
lint/style:
	@.venv/bin/ruff check
	@.venv/bin/ruff format --check
lint/spelling:
	@.venv/bin/codespell
# Checks which package may import which. The output is shown only if the check fails.
lint/imports:
	@PYTHONPATH=layers/usage_billing .venv/bin/lint-imports --no-cache --no-logo >.local/imports.log || { cat .local/imports.log; exit 1; }

format: setup ## Format the code and apply automatic fixes
	@.venv/bin/ruff check --fix --quiet || true
	@.venv/bin/ruff format

requirements: .local/uv/.installed ## Pin the dependencies of pyproject.toml (UPGRADE=--upgrade updates the pinned versions)
	$(COMPILE) pyproject.toml --group dev --output-file requirements/dev.txt
	$(COMPILE) --group ministack --output-file requirements/ministack.txt
	$(COMPILE) --group sam --output-file requirements/sam.txt
	$(COMPILE) --group lambda --output-file requirements/lambda.txt
	$(COMPILE) --group mutmut --constraint requirements/dev.txt --output-file requirements/mutmut.txt
	$(COMPILE) --group uv --output-file requirements/uv.txt
	$(COMPILE) pyproject.toml --constraint requirements/dev.txt --output-file layers/dependencies/requirements.txt
	$(COMPILE) --no-universal layers/usage_recorder/pyproject.toml --constraint requirements/dev.txt \
		--output-file layers/usage_recorder/requirements.txt

clean: ## Stop all local clouds of this checkout and delete data, environments, builds and caches
	@for state in .local/cloud.json .local/*/cloud.json; do \
		if [ -e "$$state" ]; then env -u STACK -u API_URL $(CLOUD) stop --fresh --dir "$$(dirname "$$state")"; fi; done
	rm -rf .venv .local .aws-sam .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

.PHONY: bench
bench: setup .local/lambda/.installed ## Run the benchmark: capacity, throughput, cold starts and cost (ARGS=--quick)
	@$(RUN) bench $(ARGS)

##@ Use a stack: the local one, or on AWS with STACK=usage-billing-dev, AWS_REGION and AWS_PROFILE
.PHONY: token api-key quotas subscriptions dead-events smoke logs
token: setup ## Print a token: make token USER=user-1 ROLE=user
	$(if $(filter command,$(origin USER)),,$(error USER is missing: make token USER=user-1))
	@$(RUN) scripts.token --user "$(USER)" --role "$(ROLE)"

api-key: setup ## Create an API key: make api-key ID=reports SCOPE=read|record|operate (ARGS=--list, ARGS="--revoke ID")
	$(if $(or $(ID),$(ARGS)),,$(error ID is missing: make api-key ID=reports. Use the name of the service that will use the key))
	@$(RUN) scripts.api_key $(if $(ID),--id "$(ID)") $(if $(SCOPE),--scope "$(SCOPE)") $(ARGS)

quotas: setup ## Show what the quotas in a file cost and import them: make quotas FILE=examples/quotas.json (YES=1 does not ask)
	@$(RUN) scripts.import_file quotas "$(FILE)" $(if $(YES),--yes)

subscriptions: setup ## Import subscriptions: make subscriptions FILE=examples/subscriptions.json
	@$(RUN) scripts.import_file subscriptions "$(FILE)"

dead-events: setup ## List, redrive or drop events that could not be recorded (ARGS="redrive --code CODE", ARGS=--help)
	@$(RUN) scripts.dead_events $(ARGS)

smoke: setup ## Record, read and bill usage over HTTP (STACK requires TEST_USER_ID=... TEST_SUBSCRIPTION_ID=...)
	@$(RUN) scripts.smoke

logs: setup ## Follow the logs of all functions and the API's access log (MINUTES=60 starts an hour ago)
	@$(RUN) scripts.logs $(if $(MINUTES),--minutes "$(MINUTES)") $(ARGS)

##@ AWS
.PHONY: deploy
# With .venv on PATH, the build also compiles bytecode for Lambda if .venv has Python 3.13.
deploy: setup ## Build and deploy to AWS: make deploy STAGE=dev (PARAMETERS="Name=value ..." adds to samconfig.toml)
	$(if $(STAGE),,$(error STAGE is missing: make deploy STAGE=dev, or another section of samconfig.toml))
	@PATH="$(CURDIR)/.venv/bin:$$PATH" $(RUN) scripts.deployment --stage "$(STAGE)"

##@ Environments
.PHONY: setup
setup: ## Install the tools, or update them if their requirements have changed
	@$(MAKE) -s -j3 $(foreach home,.venv .local/ministack .local/sam,$(home)/.installed)

# An environment is recreated when its requirements change, so nothing old is left in it. Only pinned packages with a
# matching hash are installed, from the registry that pip is configured to use. A symbolic link is refused, because the
# folder behind it would be cleared.
INSTALL = @for each in .venv .local $(@D); do if [ -L $$each ]; then \
		echo "$$each is a symbolic link, perhaps to the environment of another checkout. Remove it first." >&2; exit 1; fi; done && \
	echo "  Installing $< into $(@D) ..." && \
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is required: make PYTHON=python3.13 ...")' && \
	$(PYTHON) -m venv --clear $(@D) && \
	$(@D)/bin/python -m pip install -qq --no-compile --no-deps --require-hashes --only-binary=:all: -r $< && \
	touch $@

.venv/.installed: requirements/dev.txt
	$(INSTALL)
.local/ministack/.installed: requirements/ministack.txt
	$(INSTALL)
.local/sam/.installed: requirements/sam.txt
	$(INSTALL)
.local/lambda/.installed: requirements/lambda.txt
	$(INSTALL)
.local/mutmut/.installed: requirements/mutmut.txt
	$(INSTALL)
.local/uv/.installed: requirements/uv.txt
	$(INSTALL)

COMPILE := .local/uv/bin/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 \
	--custom-compile-command "make requirements" $(UPGRADE)
