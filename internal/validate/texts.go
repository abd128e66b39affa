package validate

import (
	"strings"
	"sync"
)

// maxTexts bounds how many texts identities share. Tokens of thousands of tenants have
// about as many. Longer ones than maxText are no names, and are not shared.
const (
	maxTexts = 1 << 14
	maxText  = 256
)

// texts are what many verified tokens have in common, such as the names of scopes. Identities
// that share them take less memory, of which the processor's caches hold more, and have fewer
// objects for the garbage collector to mark.
type texts struct {
	mu    sync.Mutex
	known map[string]string // guarded by mu
}

// share gives id the shared texts in place of its own. Its own are joined to one object.
func (t *texts) share(id *identity) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, text := range []*string{&id.issuer, &id.audience, &id.version, &id.tenant, &id.client, &id.parent} {
		*text = t.shared(*text)
	}
	for _, list := range [][]string{id.scopes, id.roles} {
		for i := range list {
			list[i] = t.shared(list[i])
		}
	}
	own := id.object + id.subject + id.name
	id.object, own = own[:len(id.object)], own[len(id.object):]
	id.subject, id.name = own[:len(id.subject)], own[len(id.subject):]
}

// shared returns the text that is shared in place of text, or text itself beyond the bounds.
// t.mu is held.
func (t *texts) shared(text string) string {
	if known, ok := t.known[text]; ok {
		return known
	}
	if len(t.known) >= maxTexts || len(text) > maxText {
		return text
	}
	text = strings.Clone(text)
	t.known[text] = text
	return text
}
