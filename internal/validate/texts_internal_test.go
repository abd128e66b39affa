package validate

import (
	"reflect"
	"strconv"
	"strings"
	"testing"
	"unsafe"
)

// newTestIdentity returns an identity whose texts nothing else has.
func newTestIdentity(user string) *identity {
	text := func(s string) string { return strings.Clone(s) }
	return &identity{
		issuer: text("https://login.example/t/v2.0"), audience: text("api://a"), version: text("2.0"), tenant: text("t"), client: text("c"),
		object: text("object " + user), subject: text("subject " + user), name: text("name " + user), parent: text("p"),
		scopes: []string{text("ToDoList.Read"), text("ToDoList.ReadWrite")}, roles: []string{text("Reader")},
	}
}

// sharedTexts are the texts of an identity that others may have too.
func sharedTexts(id *identity) []string {
	texts := []string{id.issuer, id.audience, id.version, id.tenant, id.client, id.parent}
	return append(append(texts, id.scopes...), id.roles...)
}

func TestIdentitiesShareTexts(t *testing.T) {
	c := newIdentityCache()
	one, two := newTestIdentity("1"), newTestIdentity("2")
	for _, id := range []*identity{one, two} {
		c.texts.share(id)
	}
	for i, text := range sharedTexts(one) {
		if unsafe.StringData(text) != unsafe.StringData(sharedTexts(two)[i]) {
			t.Errorf("both identities have a %q of their own", text)
		}
	}
	for user, id := range map[string]*identity{"1": one, "2": two} {
		if want := newTestIdentity(user); !reflect.DeepEqual(id, want) {
			t.Errorf("got %+v, want %+v", id, want)
		}
	}
}

func TestSharedTextsAreBounded(t *testing.T) {
	c := newIdentityCache()
	long := newTestIdentity("1")
	long.tenant = strings.Repeat("t", maxText+1)
	c.texts.share(long)
	if _, ok := c.texts.known[long.tenant]; ok {
		t.Errorf("a text of %d bytes is shared", len(long.tenant))
	}
	for i := range maxTexts + 10 {
		id := newTestIdentity("1")
		id.client = strconv.Itoa(i)
		c.texts.share(id)
		if id.client != strconv.Itoa(i) {
			t.Fatalf("client %d became %q", i, id.client)
		}
	}
	if got := len(c.texts.known); got != maxTexts {
		t.Errorf("%d texts are shared, want %d", got, maxTexts)
	}
}
