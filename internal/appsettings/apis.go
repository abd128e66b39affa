package appsettings

import (
	"strconv"
	"strings"

	"middletier/internal/config"
)

// downstreamAPIs refuses a list, whose APIs .NET would name by their indexes.
func (t *translation) downstreamAPIs(v config.Tree) {
	if v.IsList() {
		v.Refuse("expected a mapping of names to APIs, got a list")
	}
}

// downstreamAPI removes a value without keys, which .NET skips.
func (t *translation) downstreamAPI(v config.Tree) {
	if _, ok := v.Text(); ok && v.Source() != config.YAML {
		v.Warn("is ignored, as in .NET: an API has keys such as BaseUrl and Scopes")
		v.Remove()
	}
}

// graph maps a section at the top to an API of its name. baseURL is its default.
func graph(baseURL string) func(*translation, config.Tree) {
	return func(t *translation, v config.Tree) {
		if !v.IsMapping() {
			v.Refuse("expected a mapping")
			return
		}
		v.Warn("is the API downstreamApis." + v.Name() + " here, at /api/" + v.Name() + "/")
		api := t.root.Mapping("DownstreamApis", v).Mapping(v.Name(), v)
		moveKeys(v, api, api.Key())
		if baseURL != "" {
			api.AddText("BaseUrl", baseURL, v)
		}
	}
}

// scopes splits texts at blanks.
func (t *translation) scopes(v config.Tree) {
	if text, ok := v.Text(); ok {
		v.SetTexts(strings.Fields(text))
		return
	}
	var all []string
	items := 0
	for item := range v.Items() {
		text, ok := item.Text()
		if !ok {
			return
		}
		items++
		all = append(all, strings.Fields(text)...)
	}
	if len(all) > items {
		v.SetTexts(all)
	}
}

func (t *translation) apiTenant(v config.Tree) {
	if _, ok := textOf(v); ok && !v.Move(v.Parent().Parent(), "tenant") {
		v.Refuse("stands in tenant too: delete one of the two")
	}
}

// logLevels are the names of Microsoft.Extensions.Logging's levels, by number.
var logLevels = []string{"trace", "debug", "information", "warning", "error", "critical", "none"}

// levelNames are this program's levels, by .NET's.
var levelNames = map[string]string{
	"trace": "debug", "debug": "debug", "information": "info", "warning": "warn", "error": "error", "critical": "error", "none": "error",
}

func (t *translation) logLevel(v config.Tree) {
	text, ok := textOf(v)
	if !ok {
		return
	}
	if i, err := strconv.Atoi(text); err == nil && i >= 0 && i < len(logLevels) {
		text = logLevels[i]
	}
	level := levelNames[strings.ToLower(text)]
	logging := v.Parent().Parent()
	given, has := logging.Get("level")
	switch {
	case level == "":
		v.Refuse("must be Trace, Debug, Information, Warning, Error, Critical or None")
		return
	case has && !given.IsBlank():
		v.Warn("is ignored: logging.level says this here")
	case strings.EqualFold(text, "none"):
		v.Warn("logging.level is error here: the log cannot be turned off")
		fallthrough
	default:
		logging.AddText("level", level, v)
	}
	v.Remove()
}

// allowedHosts maps "a;b". One * allows any host.
func (t *translation) allowedHosts(v config.Tree) {
	text, ok := textOf(v)
	if !ok {
		return
	}
	var hosts []string
	for host := range strings.SplitSeq(text, ";") {
		switch host = strings.TrimSpace(host); host {
		case "":
		case "*":
			v.Remove()
			return
		default:
			hosts = append(hosts, host)
		}
	}
	v.SetTexts(hosts)
	if !v.Move(t.root.Mapping("Server", v), "allowedHosts") {
		v.Warn("is ignored: server.allowedHosts says this here")
	}
}
