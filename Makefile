# make check is the day: everything that CI asks. It needs Go and, for the race
# detector, a C compiler.
RACE := $(shell command -v $(firstword $(shell go env CC)) >/dev/null 2>&1 && echo -race)

.PHONY: check format vet test tidy generated bench fuzz build

check: format vet tidy generated test

format:
	@out=$$(go tool gofumpt -l .); if [ -n "$$out" ]; then echo "not formatted (go tool gofumpt -w .):"; echo "$$out"; exit 1; fi

vet:
	go vet ./...
	go tool staticcheck ./...

tidy:
	go mod tidy -diff

# The schema is made from the structs; the geo database needs a download and is
# checked by its recorded digest instead, in its own test.
generated:
	go test ./configs -run 'TestTheSchemaIsCurrent|TestEveryExample' -count=1

test:
	@[ -n "$(RACE)" ] || echo "no C compiler: the tests run without the race detector"
	go test $(RACE) -timeout 20m ./...

build:
	go build ./cmd/proxima

bench:
	go test -run '^$$' -bench . -benchmem ./router ./proxy ./geo/... ./metrics ./healthcheck ./admin

# Each fuzz target for a minute; FUZZTIME=10s for less.
FUZZTIME ?= 60s
fuzz:
	@for pkg in $$(go list ./...); do \
	  for target in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
	    echo "$$pkg $$target"; go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $$pkg || exit 1; \
	  done; \
	done
