package config_test

import (
	"testing"
	"time"

	"middletier/internal/config"
)

type shown struct {
	Service shownService         `yaml:"service" doc:"The service."`
	Peers   map[string]shownPeer `yaml:"peers" doc:"The peers." yours:"north"`
}

type shownService struct {
	Name    string            `yaml:"name" doc:"Its name." yours:"0123"`
	Address string            `yaml:"address" doc:"Where it listens." details:"This is left out."`
	Wait    time.Duration     `yaml:"wait" doc:"How long it waits before it does what has so long a sentence that it goes on in a second line of its own."`
	Format  string            `yaml:"format" doc:"What it writes." enum:"json,text"`
	Words   []string          `yaml:"words"`
	Labels  map[string]string `yaml:"labels" doc:"Labels."`
	Proofs  []shownProof      `yaml:"proofs" doc:"Proofs."`
	Guests  []shownGuest      `yaml:"guests" doc:"Guests, of which there are none." example:"[]"`
}

type shownGuest struct {
	Name string `yaml:"name" doc:"The name."`
}

type shownProof struct {
	Kind   string      `yaml:"kind" enum:"secret,file" doc:"Its kind."`
	Secret string      `yaml:"secret" only:"secret" secret:"true" doc:"The secret."`
	Path   string      `yaml:"path" only:"file" doc:"The file, whose name is here so long that its comment has no room beside it in one line." example:"/a/rather/long/path/to/it"`
	Size   config.Size `yaml:"size" doc:"Its size." yours:"1KiB"`
}

type shownPeer struct {
	Limit int         `yaml:"limit" doc:"Its limit."`
	Rules []shownRule `yaml:"rules" doc:"Rules."`
}

func (p *shownPeer) SetDefaults() { p.Limit = 7 }

type shownRule struct {
	Paths []string `yaml:"paths" doc:"Paths." example:"[\"/**\"] | [/a]"`
	Who   string   `yaml:"who" doc:"Who." example:"anybody"`
}

const wantExample = `service:                          # The service.
  name: 0123                      # (yours) Its name.
  address: ":80"                  # Where it listens.
  wait: 1m30s                     # How long it waits before it does what has so long a sentence that it goes on in a second line
                                  # of its own.
  format: json                    # What it writes: json or text.
  words: [a, "true", "", "x y"]
  labels: {a: "1"}                # Labels.
  proofs:                         # Proofs.
    - kind: secret                # Its kind.
      # secret: ""                # The secret.
      size: 1KiB                  # (yours) Its size.
    # - kind: file
    #   # The file, whose name is here so long that its comment has no room beside it in one line.
    #   path: /a/rather/long/path/to/it
    #   size: 1KiB
  guests: []                      # Guests, of which there are none.

peers:                            # The peers.
  north:                          # (yours)
    limit: 7                      # Its limit.
    rules:                        # Rules.
      - paths: ["/**"]            # Paths.
        who: anybody              # Who.
      - paths: [/a]
`

func TestExampleShowsEveryKey(t *testing.T) {
	root := shown{Service: shownService{
		Address: ":80", Wait: 90 * time.Second, Format: "json",
		Words: []string{"a", "true", "", "x y"}, Labels: map[string]string{"a": "1"},
	}}
	got := config.Example(&root)
	if got != wantExample {
		t.Errorf("got\n%s\nwant\n%s", got, wantExample)
	}
	doc, err := config.Parse("config.yaml", []byte(got), config.Input{}, &shown{})
	if err != nil || doc.Err() != nil {
		t.Errorf("the example is not read: %v %v", err, doc.Err())
	}
}

func TestTableShowsTheKeysAskedFor(t *testing.T) {
	root := shown{Service: shownService{Wait: time.Minute}}
	got, err := config.Table(&root,
		"service.wait", "peers.NAME.limit", "peers.NAME.rules", "peers.NAME.rules[].who", "service.proofs[].secret")
	const want = "| key | default | |\n|---|---|---|\n" +
		"| `service.wait` | `1m` | How long it waits before it does what has so long a sentence " +
		"that it goes on in a second line of its own. |\n" +
		"| `peers.NAME.limit` | `7` | Its limit. |\n" +
		"| `peers.NAME.rules` | | Rules. |\n" +
		"| `peers.NAME.rules[].who` | | Who. |\n" +
		"| `service.proofs[].secret` | | The secret. |\n"
	if err != nil || got != want {
		t.Errorf("got\n%s%v\nwant\n%s", got, err, want)
	}
	unknown := []string{
		"", "services.wait", "service.wait.more", "peers.limit", "peers.NAME", "service.proofs.secret", "peers.NAME.rules[]",
	}
	for _, path := range unknown {
		if got, err := config.Table(&root, path); err == nil {
			t.Errorf("Table(%q): got %q, want an error", path, got)
		}
	}
}
