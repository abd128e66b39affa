package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"

	"middletier/internal/obo"
	"middletier/internal/telemetry"
)

// growthCallers is how many users have a token of their own that they call with. To sign more
// would take too long.
const growthCallers = 100_000

// BenchmarkGrowth measures what a request costs, and what the process holds, by how many users
// have a token for the API in memory. The processes fill their caches themselves, before they
// listen. Then the users call in turn, over HTTP: all of them, except in the last row, where
// growthCallers of a million call, each once. Their own tokens are new to the service then, as
// those of a million users in turn would be: it remembers 131,072 that it has verified. So this
// row has the cost of a signature's check in each request.
func BenchmarkGrowth(b *testing.B) {
	platform, secret := startBenchPlatform(b)
	api := httptest.NewServer(http.HandlerFunc(answerBench))
	b.Cleanup(api.Close)
	requests := benchRequests(platform, growthCallers)
	var tokens strings.Builder
	for _, request := range requests {
		_, token, _ := bytes.Cut(bytes.TrimSpace(request), []byte("Bearer "))
		fmt.Fprintf(&tokens, "%s\n", token)
	}
	callers := benchFile(b, "callers", tokens.String())
	fixed := platform.UserToken(benchUser(0), "middletier", "todo") // as large as those that the others send

	servers := []*benchServer{startBenchServer(b, platform.CAPEM(), "pooled", api.URL, fixed)}
	sizes := []int{1, 1000, 100_000, 1_000_000}
	for _, users := range sizes {
		more := ""
		if users > growthCallers {
			more = "tokenCache: {maxSize: 4GiB}" // the default has no room for so many
		}
		s := startBenchServer(b, platform.CAPEM(), "grown",
			benchConfig(b, platform.URL(), secret, api.URL, "", more), callers, fixed, strconv.Itoa(users))
		s.name = strconv.Itoa(users)
		servers = append(servers, s)
	}
	// Only now, because the service closes connections that were idle for long, as the first
	// ones would be while the last cache is filled.
	for i, s := range servers {
		users := benchUsers
		if i > 0 {
			users = sizes[i-1]
		}
		s.connect(b, requests[:min(users, growthCallers)])
		s.warmUp(b, growthWarmUp(users))
	}
	largest := servers[len(servers)-1]
	takeTurns(b, platform, "users", servers, besideProxies)
	if sent := largest.next.Load(); sent > growthCallers {
		b.Fatalf("%d requests of %d callers: some called twice; -benchtime must be at most %dx",
			sent, growthCallers, (growthCallers-benchWarmUp)/benchRounds-1)
	}
}

// growthWarmUp is how many requests warm a server up: one of each user, unless that would
// leave nobody who has not called.
func growthWarmUp(users int) int {
	if users > growthCallers {
		return benchWarmUp
	}
	return max(benchWarmUp, users)
}

// grown is the service whose token cache was filled before. Its arguments are the configuration
// file, a file with the tokens of users who will call, the token that everyone gets, and how
// many users have one. Afterwards it gets no more.
func grown() error {
	f, doc, err := configFlag{Config: []string{os.Args[1]}}.load(nil)
	if err != nil {
		return err
	}
	users, err := strconv.Atoi(os.Args[4])
	if err != nil {
		return err
	}
	queue := telemetry.NewLogQueue(f.Logging.Format, os.Stdout)
	defer queue.Close()
	log, level := telemetry.NewLog(f.Logging.Level, f.Logging.Format, queue)
	platform := &grantingPlatform{rest: newProviderTransport(f.AzureAd.MaxConcurrentExchanges), token: os.Args[3]}
	ctx := context.Background()
	p, err := build(ctx, f, platform, log)
	if err != nil {
		return err
	}
	if err := p.fill(ctx, os.Args[2], users); err != nil {
		return err
	}
	platform.closed.Store(true)
	debug.FreeOSMemory() // what it took to fill the cache
	listeners, err := p.listenAll(f.Server, doc, level, log)
	if err != nil {
		return err
	}
	return serve(ctx, f.Server, p, listeners, log)
}

// fill gets tokens for the API for so many users. The first ones are those whose tokens the file
// has, a line each.
func (p *program) fill(ctx context.Context, file string, users int) error {
	text, err := os.Open(file)
	if err != nil {
		return err
	}
	defer text.Close()
	tokens := make(chan string)
	var group errgroup.Group
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() error {
			var failed error
			for token := range tokens {
				if failed == nil { // else the reader would wait
					_, failed = p.cache.OnBehalfOf(ctx, memoryAssertion(token, token[len(token)-16:]), []string{"api://todo/.default"}, obo.Challenge{})
				}
			}
			return failed
		})
	}
	lines := bufio.NewScanner(text)
	for n := range users {
		token := fmt.Sprint("the token of user ", n+1_000_000) // of one who never calls
		if n < growthCallers && lines.Scan() {
			token = lines.Text()
		}
		tokens <- token
	}
	close(tokens)
	return errors.Join(group.Wait(), lines.Err())
}

// grantingPlatform is the identity platform, except that it gives everyone the same token at
// once, until it is closed.
type grantingPlatform struct {
	rest   http.RoundTripper
	token  string
	closed atomic.Bool
}

func (g *grantingPlatform) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodPost {
		return g.rest.RoundTrip(r)
	}
	if g.closed.Load() {
		return nil, errors.New("there are no more tokens: one was not in memory")
	}
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Request: r,
		Body: io.NopCloser(strings.NewReader(fmt.Sprintf(`{"token_type":"Bearer","expires_in":86400,"access_token":%q}`, g.token))),
	}, nil
}
