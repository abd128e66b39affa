package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"

	"middletier/internal/mockidp"
	"middletier/internal/todo"
)

// mockCommand runs the embedded identity platform alone, for integration tests of other
// programs.
type mockCommand struct {
	Address     string   `help:"The address on which the platform listens, with TLS." default:"127.0.0.1:9443"`
	CAOut       string   `name:"ca-out" help:"The file to which the CA certificate is written, in PEM; clients must trust it, such as through SSL_CERT_FILE." default:"ca.pem"`
	Host        []string `help:"A name by which others reach the platform, such as in a container network; may be repeated. Its metadata and tokens use the first." placeholder:"NAME"`
	Directory   string   `help:"A file with tenants, users, apps and grants, in YAML or JSON (docs/directory.md); default: one tenant with Alice, Bob and a client of each kind (directory.yaml)." placeholder:"FILE"`
	State       string   `help:"A directory, made if there is none, that keeps the CA, the signing keys, the key of refresh tokens and consents, so that clients notice no restart; it holds private keys. Default: each start makes new ones." placeholder:"DIR"`
	TodoAddress string   `help:"The address on which the protected ToDo API is served too, over HTTP, for the app that is called todo; default: it is not served." placeholder:"HOST:PORT"`
}

// mockSecret is the client secret of every registration that has one. It is no secret:
// tests may contain it.
const mockSecret = "mock-secret"

func (c mockCommand) run(ctx context.Context, std streams) error {
	directory, err := c.directory()
	if err != nil {
		return err
	}
	api, err := todoApp(directory)
	if err != nil && c.TodoAddress != "" {
		return fmt.Errorf("--todo-address: %w", err)
	}
	platform, err := c.platform(directory)
	if err != nil {
		return err
	}
	defer platform.Close()
	if c.Directory == "" {
		addPresets(platform)
	}
	// Before it listens, so that every client that can connect finds the file.
	if err := os.WriteFile(c.CAOut, platform.CAPEM(), 0o644); err != nil {
		return fmt.Errorf("--ca-out: %w", err)
	}
	if err := platform.Start(c.Address, c.Host...); err != nil {
		return fmt.Errorf("--address: %w", err)
	}
	todoURL := "not served; --todo-address serves it"
	if c.TodoAddress != "" {
		log := slog.New(slog.NewTextHandler(std.err, nil))
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: platform.CertPool()}}
		url, closeTodo, err := todoServer{c.TodoAddress, platform, api, transport, unobserved, log}.start(ctx)
		if err != nil {
			return fmt.Errorf("--todo-address: %w", err)
		}
		defer closeTodo()
		todoURL = url
	}
	if c.Directory != "" {
		c.printDirectory(std.out, platform.URL(), todoURL, directory)
	} else {
		c.print(std.out, platform.URL(), todoURL)
	}
	<-ctx.Done()
	return nil
}

func (c mockCommand) directory() (mockidp.Directory, error) {
	if c.Directory == "" {
		return demoDirectory(mockSecret), nil
	}
	return mockidp.ReadDirectory(c.Directory)
}

func (c mockCommand) platform(directory mockidp.Directory) (*mockidp.Server, error) {
	if c.State == "" {
		return mockidp.New(directory)
	}
	platform, err := mockidp.Open(directory, c.State)
	if err != nil {
		return nil, fmt.Errorf("--state: %w", err)
	}
	return platform, nil
}

// todoApp returns the registration of the ToDo API.
func todoApp(directory mockidp.Directory) (mockidp.App, error) {
	for _, app := range directory.Apps {
		if strings.EqualFold(app.Name, "todo") {
			return app, nil
		}
	}
	return mockidp.App{}, errors.New("the directory has no app with the name todo")
}

// maxListed limits how much of a directory is printed.
const maxListed = 20

// printDirectory prints the addresses, what the directory holds, and commands to try.
func (c mockCommand) printDirectory(w io.Writer, platform, todoURL string, directory mockidp.Directory) {
	var text strings.Builder
	list := func(n int, line func(i int) string) {
		for i := range min(n, maxListed) {
			text.WriteString("  " + line(i) + "\n")
		}
		if n > maxListed {
			fmt.Fprintf(&text, "  … and %d more\n", n-maxListed)
		}
	}
	list(len(directory.Tenants), func(i int) string {
		return "tenant        " + directory.Tenants[i].ID + " " + directory.Tenants[i].Domain
	})
	list(len(directory.Users), func(i int) string {
		user := directory.Users[i]
		return "user          " + user.Name + ", " + user.ObjectID + ", " + user.Username
	})
	list(len(directory.Apps), func(i int) string {
		app := directory.Apps[i]
		return "app           " + strings.Join(append([]string{app.Name, app.ClientID}, app.IDURIs...), ", ")
	})
	call := "curl -s --cacert " + c.CAOut
	_, _ = fmt.Fprintf(w, `The identity platform is ready, with the directory of %s.

  instance      %s/
%s  ToDo API      %s
  certificate   %s (SSL_CERT_FILE)

Try, in another terminal:

`, c.Directory, platform, text.String(), todoURL, c.CAOut)
	if len(directory.Users) > 0 && len(directory.Grants) > 0 {
		// Quoted: shells read some characters of names, and zsh the question mark.
		address := platform + "/mock/tokens/" + url.PathEscape(directory.Users[0].Name)
		_, _ = fmt.Fprintf(w, "# An access token of a user, and one that has expired.\n%s '%s'\n%[1]s '%[2]s?exp=-5m'\n\n", call, address)
	}
	_, _ = fmt.Fprintf(w, "# The requests that the platform received.\n%s %s/mock/requests\n\nCtrl-C stops it.\n", call, platform)
}

// print prints the addresses and commands to try. The commands use the URL by which the
// platform names itself, which may resolve in its own network only.
func (c mockCommand) print(w io.Writer, platform, todoURL string) {
	call := "curl -s --cacert " + c.CAOut + " " + platform
	_, _ = fmt.Fprintf(w, `The identity platform is ready.

  instance      %s/
  tenant        %s
  middle tier   %s, secret %s, api://%[3]s
  ToDo API      %[5]s, api://todo, %s
  scopes        %s; app permissions %s
  certificate   %s (SSL_CERT_FILE)

Try, in another terminal:

# Access tokens for the middle tier: of Alice, who may write, of Bob, who may read, and of a daemon.
%[10]s/mock/tokens/alice
%[10]s/mock/tokens/bob
%[10]s/mock/tokens/daemon

# A token with any claims, signed without a check.
%[10]s/mock/tokens -d '{"claims": {"iss": "%[1]s/%[2]s/v2.0", "aud": "someone-else", "exp": 4102444800}}'

# A token for an application, by client credentials.
%[10]s/%[2]s/oauth2/v2.0/token -d grant_type=client_credentials -d client_id=%[3]s -d client_secret=%[4]s -d scope=api://todo/.default

# The next on-behalf-of exchange needs the user; then no more faults.
%[10]s/mock/faults -d '{"flow": "on_behalf_of", "times": 1, "error": "interaction_required", "error_codes": [50076]}'
%[10]s/mock/faults -X DELETE

# The requests that the platform received.
%[10]s/mock/requests

Ctrl-C stops it.
`, platform, demoTenant, demoMiddleTier, mockSecret, demoToDo, todoURL,
		strings.Join(todo.Scopes, ", "), strings.Join(todo.AppPermissions, ", "), c.CAOut, call)
}

// unobserved is for an API that nobody watches.
func unobserved(api http.Handler) http.Handler { return api }
