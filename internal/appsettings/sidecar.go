package appsettings

import (
	"strings"

	"middletier/internal/config"
)

// Values of server.sidecarAddress and server.address.
const (
	auto = "auto"
	off  = "off"
)

// implySidecar turns the sidecar listener on, and the public one off, if a file of .NET or
// the environment has a section Sidecar: it is the configuration of Microsoft's sidecar.
// What server says of either listener stays.
func (t *translation) implySidecar() {
	section, ok := t.root.Get("Sidecar")
	if !ok || !section.IsMapping() || !isOfNET(section) || t.serverText("sidecarAddress") != "" {
		return
	}
	server := t.root.Mapping("Server", section)
	server.AddText("sidecarAddress", auto, section)
	server.AddText("address", off, section)
}

// isOfNET reports whether v, or a value below it, is from a JSON file or the environment.
func isOfNET(v config.Tree) bool {
	if v.Source() != config.YAML {
		return true
	}
	for child := range v.All() {
		if isOfNET(child) {
			return true
		}
	}
	return false
}

// serverText returns the text of a key of server.
func (t *translation) serverText(name string) string {
	v, ok := t.root.Get("Server", name)
	if !ok {
		return ""
	}
	text, _ := v.Text()
	return text
}

// hasSidecar reports whether there is a sidecar listener.
func (t *translation) hasSidecar() bool {
	address := t.serverText("sidecarAddress")
	return address != "" && !strings.EqualFold(address, off)
}

// hasPublic reports whether there is a public listener.
func (t *translation) hasPublic() bool { return !strings.EqualFold(t.serverText("address"), off) }

// listenAt takes where ASP.NET would listen as the address of the sidecar listener, if that
// is auto. The first key of the table that is set decides.
func listenAt(parse func(string) (string, error)) func(*translation, config.Tree) {
	return func(t *translation, v config.Tree) {
		text, ok := textOf(v)
		switch {
		case !ok:
			return
		case t.listens:
		case !strings.EqualFold(t.serverText("sidecarAddress"), auto):
			warning := noEffectOfURLs
			if !t.hasSidecar() {
				warning += ", or for a sidecar Server__SidecarAddress=auto"
			}
			v.Warn(warning)
		default:
			t.listens = true
			address, err := parse(text)
			if err != nil {
				v.Refuse(err.Error())
				return
			}
			sidecar, _ := t.root.Get("Server", "sidecarAddress") // it is auto
			sidecar.Remove()
			t.root.Mapping("Server", v).AddText("sidecarAddress", address, v)
		}
		v.Remove()
	}
}

// scopesOfSidecar takes AzureAd:Scopes, a text or a list, as sidecar.scopes. Its form with
// Read and Write says nothing to Microsoft's sidecar.
func (t *translation) scopesOfSidecar(v config.Tree) {
	_, hasRead := v.Get("Read")
	_, hasWrite := v.Get("Write")
	if hasRead || hasWrite {
		return
	}
	sidecar := t.root.Mapping("Sidecar", v)
	if list, ok := sidecar.Get("scopes"); ok && !list.IsBlank() {
		v.Warn("is ignored: sidecar.scopes says this here")
		return
	}
	for _, scope := range texts(v) {
		sidecar.AddItem("scopes", v).SetText(scope)
	}
}

// texts returns the words of a text, or of all texts of a list.
func texts(v config.Tree) []string {
	if text, ok := v.Text(); ok {
		return strings.Fields(text)
	}
	var all []string
	for child := range v.All() {
		all = append(all, texts(child)...)
	}
	return all
}
