package credential

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// What the tags of Config say, from which the schema and the documents are made, is what
// the table of kinds says.
func TestConfigHasTheKeysOfEveryKind(t *testing.T) {
	sourceType, _ := reflect.TypeFor[Config]().FieldByName("SourceType")
	listed := strings.Split(sourceType.Tag.Get("enum"), ",")
	slices.Sort(listed)
	if known := slices.Sorted(maps.Keys(kinds)); !slices.Equal(listed, known) {
		t.Errorf("sourceType lists %q, and the kinds are %q", listed, known)
	}
	keys := Config{}.keys()
	for name, kind := range kinds {
		for _, key := range slices.Concat(kind.oneOf, kind.all) {
			if !slices.Contains(keys[key].kinds, name) {
				t.Errorf("%s needs %s, which belongs to %q", name, key, keys[key].kinds)
			}
		}
	}
	for key, of := range keys {
		for _, name := range of.kinds {
			if _, known := kinds[name]; !known {
				t.Errorf("%s belongs to %s, which is no kind", key, name)
			}
		}
	}
}
