# Model Manager. `make help` lists the targets.

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X modelmanager.dev/internal/cli.Version=$(VERSION)
# Everything is compiled in one way, so that programs, tests and checks share what
# is compiled: on a cold machine that is most of the time they take.
export CGO_ENABLED := 0
export GOFLAGS := -trimpath $(GOFLAGS)

STATICCHECK := go run honnef.co/go/tools/cmd/staticcheck@v0.8.2

# Packages with tests, and those of them that need a cluster, or its programs.
TESTED := go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}' ./...
ON_CLUSTER := /kube$$|/kubetest$$|/test/cluster

.PHONY: help build images demo test lint fuzz bench setup cluster cluster-down test-cluster clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## make bin/mm and bin/mm-agent
	@mkdir -p bin
	go build -ldflags '$(LDFLAGS)' -o bin/ ./cmd/mm ./cmd/mm-agent

images: ## make the images of server and agent, and push them (REPOSITORY=registry.example.org/model-manager)
	@REPOSITORY='$(REPOSITORY)' VERSION='$(VERSION)' scripts/images

demo: build ## do the main job, visibly, on this machine
	@scripts/demo

test: build ## run every test, with real interpreters
	@scripts/lacking
	go test -timeout 20m $$($(TESTED) | grep -v -E '/test/|$(ON_CLUSTER)')
	go test -timeout 20m -p 1 $$($(TESTED) | grep /test/ | grep -v -E '$(ON_CLUSTER)')
	@test/cluster/run-tests
	@scripts/lacking

lint: ## check the sources: formatting, vet, staticcheck
	@files=$$(gofmt -l .); test -z "$$files" || { echo "$$files"; echo "gofmt has something to say about the files above"; exit 1; }
	go vet ./...
	$(STATICCHECK) ./...

fuzz: ## fuzz the parsers and validators for a while (FUZZTIME=1m each)
	@scripts/fuzz

bench: build ## measure against the named peers (bench/RESULTS.md)
	@scripts/bench

setup: ## install what the tests need, on Debian
	@scripts/setup

cluster: ## build and start a Kubernetes cluster on this machine, for tests (Debian, root)
	@test/cluster/up

cluster-down: ## end that cluster, and remove every trace of it
	@test/cluster/down

test-cluster: ## run the tests that need a cluster (of make cluster, or KUBECONFIG with MM_TEST_REGISTRY)
	@test/cluster/run-tests

clean: ## remove what was built here
	rm -rf bin .cache
