VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT  ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)
FUZZTIME ?= 1m
# IDLE connections at once; more than descriptors allow (ulimit -n) fails.
IDLE ?= 19900
# What make release builds, and where.
PLATFORMS ?= linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64
DIST ?= dist
# The tools of releases have a go.mod of their own: their dependencies are not ours.
RELEASE_TOOL := go tool -modfile=tools/go.mod

.PHONY: help run demo build release image test test-slow check vulnerabilities bench bench-table scaling fuzz generate

help: ## List the targets.
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 12

run: ## Run the service with config.yaml.
	go run ./cmd/middletier serve --config config.yaml

demo: ## Run the service between an identity platform and an API, with nothing to configure.
	go run ./cmd/middletier demo

build: ## Build bin/middletier, static.
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/middletier ./cmd/middletier

release: ## Build static binaries for all platforms into dist/, with checksums and a CycloneDX SBOM.
	rm -rf $(DIST) && mkdir -p $(DIST)
	@set -e; for platform in $(PLATFORMS); do \
		os=$${platform%/*}; arch=$${platform#*/}; name=middletier-$$os-$$arch; \
		if [ $$os = windows ]; then name=$$name.exe; fi; \
		echo $(DIST)/$$name; \
		CGO_ENABLED=0 GOOS=$$os GOARCH=$$arch go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o $(DIST)/$$name ./cmd/middletier; \
		$(RELEASE_TOOL) cyclonedx-gomod bin -json -std -noserial -notimestamp -version $(VERSION) \
			-output $(DIST)/$$name.cdx.json $(DIST)/$$name; \
	done
	cd $(DIST) && sha256sum middletier-* > SHA256SUMS

image: ## Build the container image middletier, version stamped.
	docker build --build-arg VERSION=$(VERSION) --build-arg COMMIT=$(COMMIT) -t middletier .

# Says how far go test is.
WATCH := go run ./internal/testkit/testwatch

# Packages (-p) and tests (-parallel) that run at the same time mostly wait.
test: ## Run all tests but the slow ones, with the race detector.
	@.ci/need test
	$(WATCH) go test -json -race -shuffle=on -p 4 -parallel 8 -timeout 20m ./...

test-slow: ## Run the slow tests: browser, gateway, crowds, traffic, other languages; those of deploy, whose module compiles for minutes; lint that.
	@.ci/need test-slow
	$(WATCH) go test -json -v -race -tags slow -parallel 8 -run '^TestSlow' -skip '^TestSlowRefusals' -timeout 20m ./...
	@# Gigabytes, each upload within seconds: without the race detector, which is too slow for that.
	$(WATCH) go test -json -v -tags slow -run '^TestSlowRefusals' -timeout 20m ./cmd/middletier
	$(WATCH) go -C deploy/check test -json -shuffle=on -timeout 20m ./...
	go -C deploy/check vet ./...
	staticcheck=$$(go tool -n staticcheck) && cd deploy/check && "$$staticcheck" ./...

check: ## Formatting, vet (also for Windows and macOS), staticcheck, go.mod; slow tests included.
	@unformatted=$$(go tool gofumpt -l $$(git ls-files '*.go')); \
	if [ -n "$$unformatted" ]; then echo "not formatted (go tool gofumpt -w FILE):"; echo "$$unformatted"; exit 1; fi
	go vet -tags slow ./...
	GOOS=windows go vet -tags slow ./...
	GOOS=darwin go vet -tags slow ./...
	go tool staticcheck -tags slow ./...
	go mod tidy -diff
	go -C deploy/check mod tidy -diff

vulnerabilities: ## Look for known vulnerabilities in what we call; needs the network.
	$(RELEASE_TOOL) govulncheck ./...

# What benchmarks print goes into a file, for the table at the end.
measure = go test -run '^$$' -timeout 20m -bench $(1) ./$(2) > $(3).out || { cat $(3).out; exit 1; }
MEASURED := hotpath tls bodies medium large load rates memory start growth sidecar exchange

bench: ## Measure all of docs/performance.md beside its peers, and compare with its figures; takes half an hour.
	go test -run '^$$' -bench . -benchmem ./internal/validate
	@# Not -bench .: the exchange has a file of its own.
	$(call measure,'From|Post' -benchtime 0.5s -count 6,internal/obo,tokens)
	go tool benchstat -col /users tokens.out
	go test -run '^$$' -bench Flood -benchtime 1x ./cmd/middletier
	MIDDLETIER_TEST_IDLE=$(IDLE) go test -tags slow -count 1 -v -run Crowds ./cmd/middletier
	MIDDLETIER_TEST_BODY=10737418240 go test -tags slow -count 1 -v -run LargeBodies ./cmd/middletier
	$(call measure,HotPath -benchtime 10000x,cmd/middletier,hotpath)
	go tool benchstat -col /server -ignore /round hotpath.out
	$(call measure,TLS -benchtime 5000x,cmd/middletier,tls)
	$(call measure,'Bodies/.*0KB' -benchtime 2000x,cmd/middletier,bodies)
	$(call measure,'Bodies/.*=1MB' -benchtime 500x,cmd/middletier,medium)
	$(call measure,'Bodies/.*=10MB' -benchtime 200x,cmd/middletier,large)
	$(call measure,Load -benchtime 10000x -count 3,cmd/middletier,load)
	$(call measure,Rates -benchtime 4000x,cmd/middletier,rates)
	$(call measure,Memory -benchtime 1x,cmd/middletier,memory)
	$(call measure,Start -benchtime 10x,cmd/middletier,start)
	$(call measure,Growth -benchtime 4000x,cmd/middletier,growth)
	$(call measure,Sidecar -benchtime 10000x,cmd/middletier,sidecar)
	go tool benchstat -col /route -ignore /round sidecar.out
	$(call measure,Exchange -benchtime 1000x,internal/obo,exchange)
	@$(MAKE) --no-print-directory bench-table

bench-table: ## Print the table at the end of make bench again; with UPDATE=-update, write it and the plot into docs/.
	@go run ./internal/testkit/benchcheck $(UPDATE) $(addsuffix .out,$(MEASURED))

scaling: ## Simulate up to 200 replicas in virtual time; see docs/scaling.md.
	go test -tags slow -run '^TestScaling$$' -v -timeout 60m ./internal/scaling

fuzz: ## Run every fuzz target for FUZZTIME.
	@set -e; for package in $$(go list ./...); do \
		for target in $$(go test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
			echo "$$package $$target"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$package; \
		done; \
	done

generate: ## Write config.yaml, config.schema.json, directory.schema.json, docs/configuration.md, docs/directory.md, docs/errors.md, the tables of README and docs/migrating.md, and the picture of the imports from the code.
	go test ./cmd/middletier -run '^Test(Schema|Reference|DirectorySchema|DirectoryReference|Example|Readme|Migrating|Architecture)IsCurrent$$' -update
	go test ./internal/api -run '^TestErrorsPageIsCurrent$$' -update
