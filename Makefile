# Thin names for the commands there are. ./trawl needs no make; CI and people run the same ones.
.DEFAULT_GOAL := help
.PHONY: help check test bench chaos format lock audit sbom compose-test up down

help: ## say what there is
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

check: ## format, lint, types and layers
	./trawl check

test: ## the same and all tests; ARGS goes to pytest
	./trawl test $(ARGS)

bench: ## the benchmarks; ARGS goes to them
	./trawl bench $(ARGS)

chaos: ## kill, freeze and cut off the system while every outcome is checked; N kills (60), ARGS goes to it
	./trawl chaos $(if $(N),--kills $(N)) $(ARGS)

format: ## put the code into its format, mend what ruff can mend
	.venv/bin/ruff format . && .venv/bin/ruff check --fix .

up: ## Redis, a worker and Flower in containers
	deploy/prepare
	docker compose up --build --detach

down: ## end them; the volumes stay
	docker compose down

compose-test: ## try the compose file on a Docker engine; takes two minutes
	deploy/try-compose

audit: ## look the locked versions up among known vulnerabilities
	@python3 requirements/audit.py

sbom: ## write dist/sbom.cdx.json, a CycloneDX list of what run.txt installs
	@mkdir -p dist
	PYTHONWARNINGS=ignore uv tool run --from cyclonedx-bom cyclonedx-py requirements requirements/run.txt \
	  --pyproject pyproject.toml --mc-type application --output-reproducible --output-file dist/sbom.cdx.json

# Both locks hold the wheels of every platform. dev.txt has the pins of run.txt and more, so that it replaces it.
COMPILE = uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --custom-compile-command "make lock" --quiet

lock: ## resolve the requirements again; UPGRADE=--upgrade takes the newest versions
	$(COMPILE) --extra embedded $(UPGRADE) --output-file requirements/run.txt
	$(COMPILE) --all-extras --group dev --constraint requirements/run.txt $(UPGRADE) --output-file requirements/dev.txt
