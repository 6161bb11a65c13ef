# Model Manager. `make help` lists the targets.

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X modelmanager.dev/internal/cli.Version=$(VERSION)
STATICCHECK := go run honnef.co/go/tools/cmd/staticcheck@v0.8.2

.PHONY: help build demo test lint fuzz bench setup clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## make bin/mm and bin/mm-agent
	@mkdir -p bin
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/mm ./cmd/mm-agent

demo: build ## do the main job, visibly, on this machine
	@scripts/demo

test: build ## run every test, with real interpreters
	@scripts/lacking
	go test -timeout 20m $$(go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}' ./... | grep -v /test/)
	go test -timeout 20m -p 1 ./test/...
	@scripts/lacking

lint: ## check the sources: formatting, vet, staticcheck
	@test -z "$$(gofmt -l . | tee /dev/stderr)" || { echo "gofmt has something to say about the files above"; exit 1; }
	go vet ./...
	$(STATICCHECK) ./...

fuzz: ## fuzz the parsers and validators for a while (FUZZTIME=1m each)
	@scripts/fuzz

bench: build ## measure against the named peers (bench/RESULTS.md)
	@scripts/bench

setup: ## install what the tests need, on Debian
	@scripts/setup

clean: ## remove what was built here
	rm -rf bin .cache
