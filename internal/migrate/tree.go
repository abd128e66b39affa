package migrate

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"middletier/internal/config"
)

// FromTree writes a configuration that was read and has this program's keys. path is the
// file that it is from, notes say what could not be carried over. file returns the path of
// a file with a secret by its name.
func FromTree(path string, tree config.Tree, notes []string, file func(name string) string) Result {
	m := mover{file: file}
	if credentials, found := tree.Get("azureAd", "clientCredentials"); found {
		for credential := range credentials.Items() {
			m.moveSecrets(credential)
		}
	}
	fields := m.fieldsOf(tree)
	head := []string{"Made from " + filepath.Base(path) + ". docs/configuration.md explains all keys."}
	if len(m.files) > 0 {
		head = append(head, "The paths of files are relative to the folder in which middletier is started.")
	}
	notes = slices.Concat(notes, m.notes)
	return Result{Config: write(append([]field{{comment: withNotes(head, notes)}}, fields...)), Files: m.files, Notes: notes}
}

// withNotes adds to a comment what was not carried over.
func withNotes(comment, notes []string) []string {
	if len(notes) > 0 {
		comment = append(comment, "", "Not carried over, or different here:")
	}
	for _, note := range notes {
		comment = append(comment, "- "+note)
	}
	return comment
}

// mover moves secrets out of a configuration.
type mover struct {
	file  func(name string) string
	files []File
	notes []string
}

// secretFiles are the keys of a credential that hold a secret, and the keys that name a
// file with it.
var secretFiles = []struct {
	key, fileKey, file, what string
	decode                   func(string) []byte // nil for what cannot be a file
}{
	{"clientSecret", "clientSecretFile", "client-secret", "the client secret", func(text string) []byte { return []byte(text) }},
	{"certificatePassword", "certificatePasswordFile", "certificate-password", "the certificate's password", func(text string) []byte { return []byte(text) }},
	{"base64EncodedValue", "certificateDiskPath", "client-certificate", "the certificate with its key", decodeBase64},
}

// encodedCertificate is the sourceType of a certificate in the configuration itself.
const encodedCertificate = "Base64Encoded"

// moveSecrets moves the secrets of an entry of clientCredentials into files.
func (m *mover) moveSecrets(entry config.Tree) {
	kind, hasKind := entry.Get("sourceType")
	for _, s := range secretFiles {
		value, found := entry.Get(s.key)
		if !found {
			continue
		}
		text, _ := value.Text()
		content := s.decode(text)
		if len(content) == 0 {
			continue
		}
		name := s.file
		if s.key == "base64EncodedValue" {
			if hasKind && !isText(kind, "", encodedCertificate) {
				continue // it has no effect there
			}
			name += extensionOf(content)
			if hasKind {
				kind.SetText("Path")
			}
		}
		if earlier, found := entry.Get(s.fileKey); found && !earlier.IsBlank() {
			m.notes = append(m.notes, earlier.Key()+" is left out: "+s.key+" stands beside it.")
			earlier.Remove()
		}
		entry.AddText(s.fileKey, m.add(name, content, s.what), value)
		value.Remove()
	}
}

// isText reports whether v is one of texts, in any case.
func isText(v config.Tree, texts ...string) bool {
	text, ok := v.Text()
	return ok && slices.ContainsFunc(texts, func(t string) bool { return strings.EqualFold(strings.TrimSpace(text), t) })
}

func decodeBase64(text string) []byte {
	content, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil {
		return nil // check says so
	}
	return content
}

func extensionOf(certificate []byte) string {
	if bytes.Contains(certificate, []byte("-----BEGIN")) {
		return ".pem"
	}
	return ".pfx"
}

// add adds a file, with a number in its name from the second on.
func (m *mover) add(name string, content []byte, what string) string {
	extension := filepath.Ext(name)
	path := m.file(name)
	isTaken := func(f File) bool { return f.Path == path }
	for n := 2; slices.ContainsFunc(m.files, isTaken); n++ {
		path = m.file(fmt.Sprintf("%s-%d%s", strings.TrimSuffix(name, extension), n, extension))
	}
	m.files = append(m.files, File{path, content, what})
	return path
}

// fieldsOf returns the keys of t with their values. Secrets are left out.
func (m *mover) fieldsOf(t config.Tree) []field {
	var fields []field
	for child := range t.All() {
		f := field{name: child.Name()}
		text, isText := child.Text()
		switch {
		case child.IsEmpty() && child.IsList(): // not the default
			f.texts = []string{}
		case child.IsEmpty():
			continue
		case child.IsSecret():
			m.leaveOut(child)
			continue
		case isText:
			f.text = text
		case child.IsList():
			f.texts, f.entries = m.itemsOf(child)
		default:
			f.fields = m.fieldsOf(child)
		}
		if !isText && f.fields == nil && f.texts == nil && f.entries == nil {
			continue
		}
		fields = append(fields, f)
	}
	return fields
}

// leaveOut notes where a secret belongs that the configuration may not hold.
func (m *mover) leaveOut(secret config.Tree) {
	m.notes = append(m.notes, secret.Key()+" is a secret: set it in the environment, as "+variableOf(secret.Key())+".")
}

// itemsOf returns the items of a list of texts, or of a list of entries. Secrets are left
// out.
func (m *mover) itemsOf(list config.Tree) (texts []string, entries [][]field) {
	for item := range list.All() {
		if item.IsSecret() {
			m.leaveOut(item)
		} else if text, isText := item.Text(); isText {
			texts = append(texts, text)
		} else if entry := m.fieldsOf(item); entry != nil {
			entries = append(entries, entry)
		}
	}
	return texts, entries
}

// variableOf returns the environment variable that sets a key.
func variableOf(key string) string {
	return strings.NewReplacer(".", "__", "[", "__", "]", "").Replace(key)
}
