package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"middletier/internal/credential"
	"middletier/internal/diagnosis"
	"middletier/internal/downstream"
	"middletier/internal/listener"
	"middletier/internal/obo"
	"middletier/internal/redistier"
	"middletier/internal/validate"
)

// checkCommand reports mistakes in a configuration before it is used.
type checkCommand struct {
	configFlag

	Online bool `help:"Also try the files of server.tls, the identity provider, each credential, Redis and each API. Without it, nothing is sent."`
}

// trialTimeout is the longest time for each trial.
const trialTimeout = 10 * time.Second

func (c checkCommand) run(ctx context.Context, std streams) error {
	f, doc, err := c.load(os.Environ(), checkSite(c.files()), checkRoots(os.Environ()))
	if err != nil {
		printWarnings(std.err, doc)
		return err
	}
	if !c.Online { // the trials read them
		f.warnOfFiles(doc.Warn)
	}
	f.warnOfSID(doc.Warn)
	printWarnings(std.err, doc)
	if !c.Online {
		_, err := fmt.Fprintf(std.out, "%s: no mistakes. "+
			"Use --online to try the TLS files, the provider, the credentials, Redis and the APIs too.\n", c.configFlag)
		return err
	}
	findings := try(ctx, trials(f, http.DefaultTransport.(*http.Transport).Clone(), downstream.NewTransport()))
	return printFindings(std.out, append([]finding{{"configuration", resultOK, c.String()}}, findings...))
}

// result is the result of a trial.
type result string

const (
	resultOK      result = "ok"
	resultWarning result = "warning"
	resultFailed  result = "failed"
	resultSkipped result = "skipped"
)

// finding is one line of the table.
type finding struct {
	what   string
	result result
	detail string
}

// printFindings prints the table. The error counts the failed trials.
func printFindings(out io.Writer, findings []finding) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "WHAT\tRESULT\tDETAIL")
	bad := 0
	for _, f := range findings {
		fmt.Fprintf(table, "%s\t%s\t%s\n", f.what, f.result, diagnosis.Clean(f.detail, 400))
		if f.result == resultFailed {
			bad++
		}
	}
	if err := table.Flush(); err != nil || bad == 0 {
		return err
	}
	return fmt.Errorf("%d of %d failed", bad, len(findings))
}

// trial tries one thing that the service will depend on. run returns a detail
// to print, or an error; a skip if there is nothing to try, a warning for what works, and
// may surprise.
type trial struct {
	what string
	run  func(ctx context.Context) (detail string, err error)
}

// skip is the reason why a trial was not made. It is no failure.
type skip string

func (s skip) Error() string { return string(s) }

// warning is why what was tried may fail later. It is no failure.
type warning string

func (w warning) Error() string { return string(w) }

// try makes all trials at once and returns their findings, in the same order.
func try(ctx context.Context, trials []trial) []finding {
	findings := make([]finding, len(trials))
	var group sync.WaitGroup
	for i, t := range trials {
		group.Go(func() { findings[i] = t.try(ctx) })
	}
	group.Wait()
	return findings
}

func (t trial) try(ctx context.Context) finding {
	ctx, cancel := context.WithTimeout(ctx, trialTimeout)
	defer cancel()
	result := make(chan finding, 1)
	go func() {
		detail, err := t.run(ctx)
		var skipped skip
		var warned warning
		switch {
		case err == nil:
			result <- finding{t.what, resultOK, detail}
		case errors.As(err, &warned):
			result <- finding{t.what, resultWarning, warned.Error()}
		case errors.As(err, &skipped):
			result <- finding{t.what, resultSkipped, skipped.Error()}
		default:
			result <- finding{t.what, resultFailed, strings.TrimPrefix(detail+": ", ": ") + diagnosis.Reason(err)}
		}
	}()
	select {
	case f := <-result:
		return f
	case <-ctx.Done(): // a trial that ignores ctx, such as a read from a dead disk, is abandoned
		return finding{t.what, resultFailed, diagnosis.Reason(ctx.Err())}
	}
}

// trials returns the trials for f. provider connects to the identity provider, and
// sender to the APIs.
func trials(f file, provider, sender http.RoundTripper) []trial {
	names := slices.Sorted(maps.Keys(f.DownstreamAPIs))
	return slices.Concat(
		tlsTrials(f.Server.TLS),
		providerTrials(f, newClient(provider)),
		credentialTrials(f, names, newClient(provider)),
		sessionTrials(f, newClient(provider)),
		facadeTrials(f, names, newClient(provider)),
		redisTrials(f),
		apiTrials(f, names, newClient(sender)),
	)
}

// tlsTrials load the listener's own certificate, as the service would, and check its
// validity, as its callers will.
func tlsTrials(files listener.TLSFiles) []trial {
	if files.CertFile == "" {
		return nil
	}
	return []trial{{"server.tls", func(context.Context) (string, error) {
		pair, key, err := files.Load()
		if err != nil {
			return key, err
		}
		from, to := pair.Leaf.NotBefore.UTC(), pair.Leaf.NotAfter.UTC()
		switch now := time.Now(); {
		case now.Before(from):
			return "certFile", fmt.Errorf("the certificate is not valid before %s", from.Format(time.RFC3339))
		case now.After(to):
			return "certFile", fmt.Errorf("the certificate expired at %s", to.Format(time.RFC3339))
		}
		return "expires at " + to.Format(time.RFC3339), nil
	}}}
}

// redisTrials write and read a key as the service would, with the same timeout. Where there
// are sessions, they also ask whether Redis keeps them.
func redisTrials(f file) []trial {
	c := f.redisConfig()
	if c.URL == "" {
		return nil
	}
	where := "a unix socket"
	if u, err := url.Parse(c.URL); err == nil && u.Host != "" {
		where = u.Host // without user and password
	}
	all := []trial{{"Redis", func(ctx context.Context) (string, error) { return where, c.Probe(ctx) }}}
	if f.Session.Enabled {
		all = append(all, trial{"Redis: eviction", func(ctx context.Context) (string, error) { return tryEviction(ctx, c) }})
	}
	return all
}

// tryEviction returns the policy of a Redis that keeps sessions until they end.
func tryEviction(ctx context.Context, c redistier.Config) (policy string, err error) {
	switch policy, err = c.EvictionPolicy(ctx); {
	case err != nil:
		return "", skip("the policy is not known: " + diagnosis.Reason(err) + ". Sessions need maxmemory-policy noeviction")
	case policy != "noeviction":
		return "", warning("maxmemory-policy is " + policy + ": when its memory is full, Redis evicts sessions, " +
			"and their users must sign in again. Set it to noeviction")
	}
	return policy, nil
}

func providerTrials(f file, client *http.Client) []trial {
	c := f.validateConfig()
	c.Client, c.Log = client, slog.New(slog.DiscardHandler)
	validator := validate.New(c)
	unless := func(err error) error {
		if errors.Is(err, validate.ErrNotPublished) {
			return skip(validate.ErrNotPublished.Error())
		}
		return err
	}
	var all []trial
	for _, version := range []int{2, 1} {
		all = append(all,
			trial{fmt.Sprintf("metadata v%d.0", version), func(ctx context.Context) (string, error) {
				issuer, err := validator.ProbeMetadata(ctx, version)
				if err != nil {
					return "", unless(err)
				}
				return "issuer " + issuer, nil
			}},
			trial{fmt.Sprintf("signing keys v%d.0", version), func(ctx context.Context) (string, error) {
				usable, err := validator.ProbeKeys(ctx, version)
				if err != nil {
					return "", unless(err)
				}
				return fmt.Sprintf("%d that can be used", usable), nil
			}})
	}
	return all
}

// credentialTrials try each credential by itself, and then request a token for each API
// with the credential in use.
func credentialTrials(f file, names []string, client *http.Client) []trial {
	var asks []obo.Request
	for _, name := range names {
		d := f.DownstreamAPIs[name]
		d.Agent = agentKeys{} // the credential is this application's
		if ask, err := f.appTokenRequest(d); err == nil {
			asks = append(asks, ask)
		}
	}
	config := f.oboConfig()
	config.Client = client
	all := credentialTrialsOf("", config, asks)
	var loading sync.Once
	var using *obo.Client
	var loadErr error
	for _, name := range names {
		ask, err := f.appTokenRequest(f.DownstreamAPIs[name])
		what := ": app token"
		if ask.Agent.ID != "" {
			what = ": agent token"
		}
		all = append(all, trial{name + what, func(ctx context.Context) (string, error) {
			if err != nil {
				return "", skip(err.Error() + "; /app and call need it")
			}
			// All trials begin at once and have the same time: the first one's is theirs.
			if loading.Do(func() { using, loadErr = obo.NewClient(ctx, config) }); loadErr != nil {
				return "", skip("no credential can be loaded")
			}
			_, err = using.NewToken(ctx, ask)
			return strings.Join(ask.Scopes, " "), err
		}})
	}
	return all
}

// credentialTrialsOf try each credential of c by itself, with the first request that the
// provider does not refuse for its scope. section is where the file has them.
func credentialTrialsOf(section string, c obo.Config, asks []obo.Request) []trial {
	var all []trial
	for i, entry := range c.Credentials {
		if entry.Skip {
			continue
		}
		all = append(all, trial{fmt.Sprintf("%sclientCredentials[%d]", section, i), func(ctx context.Context) (string, error) {
			alone := c
			alone.Credentials = []credential.Config{entry}
			client, err := obo.NewClient(ctx, alone)
			if err != nil {
				// The only one is the first, whatever its place in the file.
				return entry.SourceType, errors.New(strings.TrimPrefix(err.Error(), "clientCredentials[0]."))
			}
			return entry.SourceType, tryCredential(ctx, client, asks)
		}})
	}
	return all
}

// sessionTrials try the credentials of the web app as those of the service are tried: with an
// application's token, here for the service. Where the web app has none of its own, the
// service's trials show whether they can be loaded, and one more whether the web app's
// registration has them too.
func sessionTrials(f file, client *http.Client) []trial {
	if !f.Session.Enabled {
		return nil
	}
	c := f.sessionOBOConfig()
	c.Client = client
	tenant, known := f.appTenant(downstreamAPI{})
	var asks []obo.Request
	if known {
		asks = []obo.Request{{Tenant: tenant, Scopes: []string{f.ownResource() + "/.default"}}}
	}
	var all []trial
	switch {
	case len(f.Session.ClientCredentials) > 0:
		all = credentialTrialsOf("session.", c, asks)
	case !f.sharesRegistration():
		all = []trial{{"session.clientId: credential", func(ctx context.Context) (string, error) {
			webApp, err := obo.NewClient(ctx, c)
			if err != nil {
				return "", skip("no credential can be loaded")
			}
			return "one of azureAd.clientCredentials", tryCredential(ctx, webApp, asks)
		}}}
	}
	if f.sharesRegistration() {
		all = append(all, trial{"session.clientId", func(context.Context) (string, error) {
			return "", warning("it is azureAd.clientId, so users' tokens are those of an application for itself (AADSTS90009). " +
				"Whether Entra exchanges them cannot be tried without a user: sign in and call an API, or register the web app apart")
		}})
	}
	return all
}

// appTokenRequest returns the request for the token of an application's call to d. The
// error names a missing key.
func (f file) appTokenRequest(d downstreamAPI) (obo.Request, error) {
	scopes := []string{d.appScope()}
	if d.Agent.User != "" {
		scopes = d.Scopes
	}
	if len(scopes) == 0 || scopes[0] == "" {
		return obo.Request{}, errors.New("appScopes: must be set: the resource cannot be derived from scopes")
	}
	tenant, known := f.appTenant(d)
	if !known {
		return obo.Request{}, errors.New("tenant: " + tenantRequired)
	}
	return obo.Request{Agent: d.Agent.agent(), Tenant: tenant, Scopes: scopes}, nil
}

// tryCredential gets a token with it. If the provider refuses the scope, that says
// nothing about the credential, so the next scope is tried.
func tryCredential(ctx context.Context, client *obo.Client, requests []obo.Request) error {
	for _, request := range requests {
		if _, err := client.NewToken(ctx, request); !diagnosis.IsAboutResource(err) {
			return err
		}
	}
	if len(requests) == 0 {
		return skip("loaded, but not tried: no scopes of one resource and a tenant are known")
	}
	return skip("loaded, but not tried: the provider accepts none of the scopes")
}

// apiTrials send a request to each API. Without a token most answer with an error, which
// shows that they are reachable.
func apiTrials(f file, names []string, client *http.Client) []trial {
	var all []trial
	for _, name := range names {
		base := f.DownstreamAPIs[name].BaseURL
		if base == "" { // the sidecar listener gives tokens for it
			continue
		}
		all = append(all, trial{name + ": reachable", func(ctx context.Context) (string, error) {
			req, err := http.NewRequestWithContext(ctx, http.MethodHead, base, nil)
			if err != nil {
				return base, err
			}
			resp, err := client.Do(req)
			if err != nil {
				return base, err
			}
			_ = resp.Body.Close() // only the status is used
			return fmt.Sprintf("%s answers (%d)", base, resp.StatusCode), nil
		}})
	}
	return all
}
