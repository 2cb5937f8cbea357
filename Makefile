# make check is the day: everything that CI asks. It needs Go; for the race detector
# a C compiler, and for the stories with official clients Node.js and npm.
RACE := $(shell command -v $(firstword $(shell go env CC)) >/dev/null 2>&1 && echo -race)

.PHONY: check format vet test tidy generate bench fuzz build experiments

check: format vet tidy test

format:
	@out=$$(go tool gofumpt -l .); if [ -n "$$out" ]; then echo "not formatted (go tool gofumpt -w .):"; echo "$$out"; exit 1; fi

vet:
	go vet ./...
	go tool staticcheck ./...

tidy:
	go mod tidy -diff

# The tests hold what is generated, configs/schema.json and the geo database, to its source.
# The stories with real processes run in real time, so they come last and alone.
test:
	@[ -n "$(RACE)" ] || echo "no C compiler: the tests run without the race detector"
	go test $(RACE) -timeout 20m $$(go list ./... | grep -v /internal/e2e)
	go test $(RACE) -timeout 20m ./internal/e2e

# The geo database needs a download of 64 MB by npm.
generate:
	go generate ./configs ./geo/world

build:
	go build ./cmd/proxima

# Prints every table of docs/experiments.md anew, in about 20 minutes on two cores.
experiments: build
	PATH="$(CURDIR):$$PATH" awk -f docs/experiments.awk docs/experiments.md > experiments.out
	mv experiments.out docs/experiments.md

bench:
	go test -run '^$$' -bench . -benchmem ./router ./proxy ./geo/... ./metrics ./healthcheck ./admin

# Each fuzz target for a minute; FUZZTIME=10s for less.
FUZZTIME ?= 60s
fuzz:
	@for pkg in $$(go list ./...); do \
	  for target in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
	    echo "$$pkg $$target"; go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x $$pkg || exit 1; \
	  done; \
	done
