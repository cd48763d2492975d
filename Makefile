# Short names for the commands that CI and people run. ./trawl works without make.
.DEFAULT_GOAL := help
.PHONY: help check test bench chaos format lock audit sbom compose-test up down

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

check: ## format, lint, types and layers
	./trawl check

test: ## the same and all tests; ARGS goes to pytest
	./trawl test $(ARGS)

bench: ## the benchmarks; ARGS goes to them
	./trawl bench $(ARGS)

chaos: ## kill, freeze and disconnect the system while checking every outcome; N kills (60), ARGS goes to it
	./trawl chaos $(if $(N),--kills $(N)) $(ARGS)

format: ## format the code, and fix what ruff can fix
	.venv/bin/ruff format . && .venv/bin/ruff check --fix .

up: ## Redis, a worker and Flower in containers
	deploy/prepare
	docker compose up --build --detach

down: ## stop them; the volumes stay
	docker compose down

compose-test: ## test the compose file on a Docker engine; takes six minutes
	deploy/try-compose

audit: ## check the locked versions for known vulnerabilities
	@python3 requirements/audit.py

sbom: ## write dist/sbom.cdx.json, a CycloneDX list of the packages in run.txt
	@mkdir -p dist
	PYTHONWARNINGS=ignore uv tool run --from cyclonedx-bom cyclonedx-py requirements requirements/run.txt \
	  --pyproject pyproject.toml --mc-type application --output-reproducible --output-file dist/sbom.cdx.json

# Both locks hold the wheels of every platform. dev.txt repeats the pins of run.txt and adds its own, so it can replace it.
COMPILE = uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --custom-compile-command "make lock" --quiet

lock: ## resolve the requirements again; UPGRADE=--upgrade takes the newest versions
	$(COMPILE) --extra embedded --extra digests $(UPGRADE) --output-file requirements/run.txt
	$(COMPILE) --all-extras --group dev --constraint requirements/run.txt $(UPGRADE) --output-file requirements/dev.txt
