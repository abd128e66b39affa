package appsettings

import (
	"regexp"
	"slices"
	"strings"

	"middletier/internal/config"
)

// placeholder is what Microsoft's samples and templates have in place of values, such as
// "Enter_the_Client_Id_Here", "[Enter the Client Id …]", "<client-id>" and "YOUR_CLIENT_ID".
var placeholder = regexp.MustCompile(`(?i)enter_the_|enter_your_|^\s*\[\s*(enter|copy|paste|insert|your)\b` +
	`|^\s*<[^<>]+>\s*$|^\s*\{[^{}]+\}\s*$|^\s*enter (the|your|here)\b` +
	`|^\s*your[ _-]?(client|tenant|app|application|directory|secret|api|scope|domain)\b|^\s*YOUR_` +
	`|00000000-0000-0000-0000-000000000000|^11111111-1111-1111-11111111111111111$`)

// partPlaceholder is a placeholder in a part of a URL or a scope, where < and { are never
// meant.
var partPlaceholder = regexp.MustCompile(`://\S*[<{\[]`)

// address matches an IPv6 address in a URL, which is no placeholder.
var address = regexp.MustCompile(`://\[[0-9a-fA-F]*:[0-9a-fA-F:.]+(%25[A-Za-z0-9._-]+)?\]`)

// isPlaceholder reports whether a text is a placeholder, or has one in it.
func isPlaceholder(text string) bool {
	return placeholder.MatchString(text) || partPlaceholder.MatchString(address.ReplaceAllString(text, "://"))
}

const isSample = "is a placeholder of a sample; here belongs "

// PlaceholderProblem says what belongs in a key, such as azureAd.clientId, whose value is
// from elsewhere than the configuration, if the value is a placeholder of a sample.
// Otherwise it returns "".
func PlaceholderProblem(key, value string) string {
	if !isPlaceholder(value) {
		return ""
	}
	levels := strings.Split(strings.NewReplacer("[", ".", "]", "").Replace(key), ".")
	for _, k := range keys {
		if k.belongs != "" && slices.EqualFunc(k.path, levels, matches) {
			return isSample + k.belongs
		}
	}
	return ""
}

// refusePlaceholder refuses v if it, or one of its items, is a placeholder, and reports
// whether it did. The value is not quoted: it may be a secret.
func refusePlaceholder(v config.Tree, belongs string) bool {
	text, ok := v.Text()
	switch {
	case !ok:
		refused := false
		for child := range v.All() {
			if _, ok := child.Text(); ok && refusePlaceholder(child, belongs) {
				refused = true
			}
		}
		return refused
	case !isPlaceholder(text):
		return false
	case v.IsKnown():
		v.Report(isSample + belongs)
	default:
		v.Refuse(isSample + belongs)
	}
	return true
}
