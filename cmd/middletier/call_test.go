package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// outcome is what a process left.
type outcome struct {
	code           int
	stdout, stderr string
}

// runProcess runs the program in a process of its own, to its end.
func runProcess(t *testing.T, environment []string, stdin string, args ...string) outcome {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, self, args...)
	var stdout, stderr bytes.Buffer
	cmd.Env = append(append(os.Environ(), roleVariable+"=middletier"), environment...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return outcome{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// call uses the application's own token, and its output can be piped.
func TestCallSendsWhatItIsTold(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "body.json")
	if err := os.WriteFile(file, []byte("{\n\"from\": \"a file\"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := newStoppedWorld(t)
	environment, path := w.onDisk()
	type seen struct{ method, target, contentType, body string }
	arrived := make(chan seen, 1)
	w.api.handle(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // a broken one differs from what is wanted
		claims := claimsOf(t, r)
		if claims["idtyp"] != "app" || claims["roles"] == nil || claims["azp"] != demoMiddleTier || claims["aud"] != demoToDo {
			t.Errorf("the token's claims are %v, want the application's own for the API", claims)
		}
		arrived <- seen{r.Method, r.RequestURI, r.Header.Get("Content-Type"), string(body)}
		_, _ = io.WriteString(rw, "an answer\n")
	})
	const text = "text/plain; charset=utf-8"
	for _, row := range []struct {
		name  string
		stdin string
		args  []string
		want  seen
	}{
		{"a path", "", []string{"/items"}, seen{"GET", "/base/items", "", ""}},
		{"no slash", "", []string{"items/1"}, seen{"GET", "/base/items/1", "", ""}},
		{"the base", "", []string{""}, seen{"GET", "/base", "", ""}},
		{"a query", "", []string{"/items?a=b&c=%2f../"}, seen{"GET", "/base/items?a=b&c=%2f../", "", ""}},
		{"as it came", "", []string{"/it%65ms|x"}, seen{"GET", "/base/it%65ms|x", "", ""}},
		{"a method", "", []string{"/items/1", "-X", "DELETE"}, seen{"DELETE", "/base/items/1", "", ""}},
		{"a body", "", []string{"/items", "-d", `{"title":"milk"}`}, seen{"POST", "/base/items", "application/json", `{"title":"milk"}`}},
		{"a method and a body", "", []string{"-X", "PUT", "/items/1", "-d", "[1]"}, seen{"PUT", "/base/items/1", "application/json", "[1]"}},
		{"plain text", "", []string{"/items", "-d", "milk"}, seen{"POST", "/base/items", text, "milk"}},
		{"an empty body", "", []string{"/items", "-d", ""}, seen{"POST", "/base/items", text, ""}},
		{"a file", "", []string{"/items", "-d", "@" + file}, seen{"POST", "/base/items", "application/json", "{\n\"from\": \"a file\"}\n"}},
		{"standard input", " [2]\n", []string{"/items", "-d", "-"}, seen{"POST", "/base/items", "application/json", " [2]\n"}},
		{"standard input as curl has it", "3 eggs", []string{"/items", "-d", "@-"}, seen{"POST", "/base/items", text, "3 eggs"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			o := runProcess(t, environment, row.stdin, append([]string{"call", "--config", path, "todo"}, row.args...)...)
			if o.code != 0 || o.stdout != "an answer\n" || o.stderr != "HTTP/1.1 200 OK\n" {
				t.Errorf("got %d, %q, %q, want 0, the answer and the status", o.code, o.stdout, o.stderr)
			}
			select {
			case got := <-arrived:
				if got != row.want {
					t.Errorf("the API got %q, want %q", got, row.want)
				}
			default:
				t.Error("the API got nothing")
			}
		})
	}
	if n := w.idp.Count("on_behalf_of"); n != 0 {
		t.Errorf("%d exchanges on behalf of somebody", n)
	}
}

func TestCallThatFails(t *testing.T) {
	t.Parallel()
	other := newUpstream(t)
	w := newStoppedWorld(t)
	environment, path := w.onDisk()
	answer := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", other.URL)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	for _, row := range []struct {
		name    string
		args    []string
		handler http.HandlerFunc
		want    outcome // the whole of standard output, a part of standard error
	}{
		{"refused", []string{"todo", "/items"}, answer(401, "no\n"), outcome{1, "no\n", "HTTP/1.1 401 Unauthorized\n"}},
		{"broken", []string{"todo", "/items"}, answer(500, ""), outcome{1, "", "HTTP/1.1 500 Internal Server Error\n"}},
		{"redirected", []string{"todo", "/items"}, answer(307, ""), outcome{1, "", "HTTP/1.1 307 Temporary Redirect\n"}},
		{"broken off", []string{"todo", "/items"}, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "half")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}, outcome{1, "half", "cut short"}},
		{"no answer", []string{"todo", "/items"}, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, outcome{1, "", "closed without a whole answer\n"}},
		{"unknown name", []string{"tood", "/items"}, nil, outcome{1, "", "downstreamApis has no \"tood\"; the nearest are: todo\n"}},
		{"dot segments", []string{"todo", "/../admin"}, nil, outcome{1, "", "PATH: the path cannot be forwarded safely\n"}},
		{"encoded slash", []string{"todo", "/a%2fb"}, nil, outcome{1, "", "PATH: "}},
		{"another host", []string{"todo", "//" + strings.TrimPrefix(other.URL, "http://")}, nil, outcome{1, "", "PATH: "}},
		{"another URL", []string{"todo", other.URL}, nil, outcome{1, "", "PATH: "}},
		{"a user", []string{"todo", "@" + strings.TrimPrefix(other.URL, "http://")}, answer(404, ""), outcome{1, "", "HTTP/1.1 404 Not Found\n"}},
		{"a line break in the query", []string{"todo", "/?a\r\nHost: b"}, nil, outcome{1, "", "PATH: "}},
		{"a fragment", []string{"todo", "/?a#b"}, nil, outcome{1, "", "PATH: "}},
		{"no method", []string{"todo", "/", "-X", "G T"}, nil, outcome{1, "", "-X: "}},
		{"no file", []string{"todo", "/", "-d", "@/nonexistent/body"}, nil, outcome{1, "", "-d: open /nonexistent/body"}},
		{"header with a line break", []string{"todo", "/", "-H", "X-A: b\r\nX-C: d"}, nil, outcome{1, "", "-H: "}},
		{"header without a name", []string{"todo", "/", "-H", "b"}, nil, outcome{1, "", "-H: must be 'Name: value'"}},
		{"a token of one's own", []string{"todo", "/", "-H", "authorization: Bearer x"}, nil, outcome{1, "", "-H: Authorization cannot be set: call sets it"}},
		{"a host of one's own", []string{"todo", "/", "-H", "Host: x"}, nil, outcome{1, "", "-H: Host cannot be set: call sets it"}},
		{"no path", []string{"todo"}, nil, outcome{2, "", "middletier call --help"}},
		{"unknown flag", []string{"todo", "/", "--methd", "GET"}, nil, outcome{2, "", "middletier call --help"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			w.api.handle(row.handler)
			before := len(w.api.seen())
			o := runProcess(t, environment, "", append([]string{"call", "--config", path}, row.args...)...)
			if o.code != row.want.code || o.stdout != row.want.stdout || !strings.Contains(o.stderr, row.want.stderr) {
				t.Errorf("got %+v, want %+v", o, row.want)
			}
			if strings.HasPrefix(row.want.stderr, "HTTP/") && o.stderr != row.want.stderr {
				t.Errorf("standard error: got %q, want the status line only", o.stderr)
			}
			if text := o.stdout + o.stderr; strings.Contains(text, "eyJ") || strings.Contains(text, testSecret) {
				t.Errorf("a token or a secret is printed: %s", text)
			}
			if asked := len(w.api.seen()) - before; asked != 0 && row.handler == nil {
				t.Errorf("the API got %d requests, want none", asked)
			}
		})
	}
	if got := other.seen(); len(got) > 0 {
		t.Errorf("another host got %d requests", len(got))
	}
}

func TestCallWithoutAToken(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*file)
		want   string
	}{
		{"wrong secret", func(f *file) { f.AzureAd.ClientCredentials = secretCredential("wrong-secret") }, "no token for api://todo/.default: invalid_client AADSTS7000215: the client secret is wrong"},
		{"no scope", func(f *file) {
			d := f.DownstreamAPIs["todo"]
			d.Scopes, d.Access = []string{"User.Read"}, d.Access[:0]
			f.DownstreamAPIs["todo"] = d
		}, "downstreamApis.todo.appScopes: must be set"},
		{"no URL", func(f *file) {
			f.Server.SidecarAddress = "127.0.0.1:0"
			d := f.DownstreamAPIs["todo"]
			d.BaseURL = ""
			f.DownstreamAPIs["todo"] = d
		}, "downstreamApis.todo.baseUrl: must be set, to call the API"},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newStoppedWorld(t, row.change)
			err := callCommand{Name: "todo", Path: "/"}.call(t.Context(), w.file, w.transport(),
				http.DefaultTransport, streams{nil, io.Discard, io.Discard})
			if err == nil || !strings.HasPrefix(err.Error(), row.want) || strings.Contains(err.Error(), "wrong-secret") {
				t.Errorf("got %v, want %q", err, row.want)
			}
			if len(w.api.seen()) > 0 {
				t.Error("the API is called")
			}
		})
	}
}

// The API gets the headers that the service would set, and its answer is passed
// on before it is whole.
func TestCallStreamsTheAnswer(t *testing.T) {
	w := newStoppedWorld(t, func(f *file) {
		d := f.DownstreamAPIs["todo"]
		d.RequestHeaders.Set = map[string]string{"subscription-key": "abc"}
		f.DownstreamAPIs["todo"] = d
	})
	rest := make(chan struct{})
	w.api.handle(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "first "+r.Header.Get("Subscription-Key"))
		_ = http.NewResponseController(w).Flush()
		<-rest
		_, _ = io.WriteString(w, " second")
	})
	out, in := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- callCommand{Name: "todo", Path: "/"}.call(t.Context(), w.file, w.transport(), http.DefaultTransport, streams{nil, in, io.Discard})
		in.Close()
	}()
	first := make([]byte, len("first abc"))
	if _, err := io.ReadFull(out, first); err != nil || string(first) != "first abc" {
		t.Errorf("got %q, %v, want the first part", first, err)
	}
	close(rest)
	if second, err := io.ReadAll(out); err != nil || string(second) != " second" {
		t.Errorf("got %q, %v, want the second part", second, err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestCallEndsWhenItIsToldTo(t *testing.T) {
	w := newStoppedWorld(t)
	call := func(ctx context.Context, c callCommand, stdin io.Reader) error {
		return c.call(ctx, w.file, w.transport(), http.DefaultTransport, streams{stdin, io.Discard, io.Discard})
	}
	ctx, cancel := context.WithCancel(t.Context())
	w.api.handle(func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	})
	if err := call(ctx, callCommand{Name: "todo", Path: "/"}, nil); err == nil || !strings.HasSuffix(err.Error(), ": interrupted") {
		t.Errorf("while the API thinks: got %v, want interrupted", err)
	}
	silent, never := io.Pipe()
	defer never.Close()
	dash := "-"
	if err := call(ctx, callCommand{Name: "todo", Path: "/", Data: &dash}, silent); !errors.Is(err, context.Canceled) {
		t.Errorf("while standard input is open: got %v, want canceled", err)
	}
}

// The API's timeout ends when its answer begins. The rest may take longer.
func TestCallGivesTheAPIItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out, status bytes.Buffer
		call := func(answer roundTrip) error {
			req := httptest.NewRequestWithContext(t.Context(), "GET", "http://todo.contoso.example/", nil)
			req.RequestURI = "" // it is a client's
			return send(req, newClient(answer), time.Minute, streams{nil, &out, &status})
		}
		start := time.Now()
		err := call(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		if took := time.Since(start); took != time.Minute || err == nil || err.Error() != "todo.contoso.example: "+errNoAnswer.Error() {
			t.Errorf("a silent API: got %v after %s, want %v after 1m", err, took, errNoAnswer)
		}
		err = call(func(r *http.Request) (*http.Response, error) {
			body := readerFunc(func(p []byte) (int, error) {
				time.Sleep(time.Hour)
				return copy(p, "late"), cmp.Or(r.Context().Err(), io.EOF)
			})
			return &http.Response{Proto: "HTTP/2.0", Status: "200 \x1b[1mOK", StatusCode: 200, Body: io.NopCloser(body)}, nil
		})
		if err != nil || out.String() != "late" || status.String() != "HTTP/2.0 200  [1mOK\n" {
			t.Errorf("a slow answer: got %q, %q, %v, want all of it", out.String(), status.String(), err)
		}
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
