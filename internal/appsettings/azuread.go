package appsettings

import (
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"middletier/internal/config"
)

// drop removes a value that says what is so anyway.
func drop(_ *translation, v config.Tree) { v.Remove() }

// textOf returns the text of v, without white space around it. It refuses v if it is not
// a text.
func textOf(v config.Tree) (string, bool) {
	text, ok := v.Text()
	if !ok {
		v.Refuse("expected a string")
	}
	return strings.TrimSpace(text), ok
}

// moveKeys moves all keys of v to the mapping to, which is called name in mistakes, and
// removes v.
func moveKeys(v, to config.Tree, name string) {
	for child := range v.All() {
		if !child.Move(to, child.Name()) {
			child.Refuse("stands in " + name + " too: delete one of the two")
		}
	}
	v.Remove()
}

// entraID moves the keys of a section to AzureAd.
func (t *translation) entraID(v config.Tree) {
	if !v.IsMapping() {
		v.Refuse("expected a mapping")
		return
	}
	azure := t.root.Mapping("AzureAd", v)
	moveKeys(v, azure, "AzureAd")
	list, ok := azure.Get("ClientCredentials")
	t.hasCredentials = ok && !list.IsBlank()
}

// authority maps a URL of the form INSTANCE/TENANT or INSTANCE/TENANT/v2.0.
func (t *translation) authority(v config.Tree) {
	text, ok := textOf(v)
	if !ok {
		return
	}
	azure := v.Parent()
	instance, tenant, problem := splitAuthority(text)
	switch {
	case problem != "":
		v.Refuse(problem)
	case contradicts(azure, "Instance", instance, sameURL):
		v.Refuse("contradicts instance: delete one of the two")
	case tenant != "" && contradicts(azure, "TenantId", tenant, strings.EqualFold):
		v.Refuse("contradicts tenantId: delete one of the two")
	default:
		azure.AddText("instance", instance, v)
		if tenant != "" {
			azure.AddText("tenantId", tenant, v)
		}
		v.Remove()
	}
}

// externalHost is what the host names of External ID end with. Their tenant follows from
// the name.
const externalHost = ".ciamlogin.com"

func splitAuthority(text string) (instance, tenant, problem string) {
	const form = "must be a URL such as https://login.microsoftonline.com/TENANT or …/TENANT/v2.0"
	u, err := url.Parse(text)
	if err != nil || u.Scheme == "" || u.Host == "" || u.User != nil || u.Fragment != "" {
		return "", "", form
	}
	host := strings.ToLower(u.Hostname())
	tenant = strings.Trim(u.Path, "/")
	if strings.EqualFold(tenant, "v2.0") {
		tenant = ""
	} else if cut := len(tenant) - len("/v2.0"); cut > 0 && strings.EqualFold(tenant[cut:], "/v2.0") {
		tenant = strings.TrimRight(tenant[:cut], "/")
	}
	switch {
	case strings.HasSuffix(host, ".b2clogin.com") || strings.HasPrefix(strings.ToLower(tenant), "tfp/"):
		return "", "", noB2C
	case u.RawQuery != "":
		return "", "", "has a query, which would change what is asked of the identity provider"
	case strings.Contains(tenant, "/"):
		return "", "", form
	case tenant == "" && !strings.HasSuffix(host, externalHost):
		return "", "", "names no tenant: " + form
	}
	return u.Scheme + "://" + u.Host + "/", tenant, ""
}

// contradicts reports whether the mapping v has another value of that name.
func contradicts(v config.Tree, name, value string, equal func(a, b string) bool) bool {
	other, ok := v.Get(name)
	if !ok || other.IsBlank() {
		return false
	}
	text, isText := other.Text()
	return !isText || !equal(strings.TrimSpace(text), value)
}

func sameURL(a, b string) bool {
	return strings.EqualFold(strings.TrimRight(a, "/"), strings.TrimRight(b, "/"))
}

// clouds are the instances of MSAL's AzureCloudInstance, by name and number.
var clouds = map[string]string{
	"azurepublic": "https://login.microsoftonline.com/", "1": "https://login.microsoftonline.com/",
	"azurechina": "https://login.partner.microsoftonline.cn/", "2": "https://login.partner.microsoftonline.cn/",
	"azureusgovernment": "https://login.microsoftonline.us/", "4": "https://login.microsoftonline.us/",
}

func (t *translation) cloud(v config.Tree) {
	text, ok := textOf(v)
	if !ok || isOneOf(v, "None, 0") {
		v.Remove()
		return
	}
	instance, known := clouds[strings.ToLower(text)]
	given, has := v.Parent().Get("Instance")
	switch {
	case !known:
		v.Refuse("must be AzurePublic, AzureChina or AzureUsGovernment; for another cloud, set instance")
	case has && !given.IsBlank():
		v.Warn("is ignored: instance says this here")
		v.Remove()
	default:
		v.Parent().AddText("instance", instance, v)
		v.Remove()
	}
}

// audiences warns in a file of .NET, for which the key has no effect.
func (t *translation) audiences(v config.Tree) {
	if v.Source() == config.JSON {
		v.Warn("is obeyed here, though Microsoft.Identity.Web does not read it: this widens what is accepted")
	}
}

func (t *translation) audience(v config.Tree) {
	if text, ok := textOf(v); ok {
		t.addAudience(text, v)
		v.Remove()
	}
}

func (t *translation) validAudiences(v config.Tree) {
	for item := range v.Items() {
		if _, ok := item.Text(); !ok {
			v.Refuse("expected a list of texts")
			return
		}
	}
	if !v.IsList() {
		v.Refuse("expected a list: .NET ignores any other value")
		return
	}
	for item := range v.All() {
		text, _ := item.Text() // checked above
		t.addAudience(text, v)
	}
	v.Remove()
}

// addAudience adds a text to azureAd.audiences unless it is there.
func (t *translation) addAudience(text string, from config.Tree) {
	azure, ok := t.root.Get("AzureAd")
	if !ok || text == "" {
		return
	}
	if list, ok := azure.Get("audiences"); ok {
		for item := range list.Items() {
			if there, _ := item.Text(); there == text {
				return
			}
		}
		if !list.IsList() && !list.IsBlank() {
			return // a mistake that is reported later
		}
	}
	azure.AddItem("audiences", from).SetText(text)
}

var number = regexp.MustCompile(`^-?[0-9.]+$`)

func (t *translation) clockSkew(v config.Tree) {
	text, ok := textOf(v)
	switch {
	case !ok:
	case number.MatchString(text):
		v.Refuse("a number without a unit means days in .NET; write 00:05:00 or 5m")
	case !v.Move(t.root.Mapping("AzureAd", v), "clockSkew"):
		v.Refuse("stands in clockSkew too: delete one of the two")
	}
}

// acl refuses what would let everybody in. It leaves the key where it has an effect.
func (t *translation) acl(v config.Tree) {
	clients, ok := v.Parent().Get("allowedClients")
	switch {
	case !ok || clients.IsBlank():
		v.RefuseUnsupported(aclText)
	case !t.hasSidecar():
		v.Warn(aclOnSidecar)
		v.Remove()
	}
}

// noACL warns in a file of .NET, whose other versions have another default.
func (t *translation) noACL(v config.Tree) {
	if v.Source() != config.YAML {
		v.Warn(noACLText)
		v.Remove()
	}
}

// sessionPath moves a path of the web application to the session's keys, if there are
// sessions.
func sessionPath(name string) func(*translation, config.Tree) {
	return func(t *translation, v config.Tree) {
		text, ok := textOf(v)
		switch {
		case !ok:
		case !strings.HasPrefix(text, "/"):
			v.Refuse("must begin with a slash: .NET answers 500 otherwise")
		case !t.hasSessions():
			v.Warn("is session." + name + " here, and has no effect without session.enabled: true")
			v.Remove()
		case !v.Move(t.root.Mapping("Session", v), name):
			v.Refuse("stands in session." + name + " too: delete one of the two")
		}
	}
}

// hasSessions reports whether users sign in here.
func (t *translation) hasSessions() bool {
	enabled, ok := t.root.Get("Session", "enabled")
	return ok && isOneOf(enabled, "true")
}

// rules shows the access rules for AzureAd:Scopes and AzureAd:AppPermissions. Either may be
// a text or a list for all requests, or have the parts Read and Write. Where there is a
// sidecar listener, the scopes are what it requires too.
func (t *translation) rules(v config.Tree) {
	scopes, hasScopes := v.Parent().Get("Scopes")
	permissions, hasPermissions := v.Parent().Get("AppPermissions")
	if hasScopes && t.hasSidecar() {
		t.scopesOfSidecar(scopes)
	}
	switch {
	case t.hasPublic():
		v.Warn("access rules of each API say this here: " + rulesFor(scopes, permissions))
	case hasPermissions:
		permissions.Warn(noRulesOnSidecar)
	}
	v.Remove()
	for _, name := range []string{"Scopes", "AppPermissions"} { // the other one is in the same rules
		if twin, ok := v.Parent().Get(name); ok {
			twin.Remove()
		}
	}
}

// rulesFor writes the key access, in one line of YAML.
func rulesFor(scopes, permissions config.Tree) string {
	reading := rule("methods: [GET, HEAD]", allowed(scopes, "Read"), allowed(permissions, "Read"))
	writing := rule("", allowed(scopes, "Write"), allowed(permissions, "Write"))
	switch {
	case reading == "" || strings.TrimPrefix(reading, "{methods: [GET, HEAD], ") == strings.TrimPrefix(writing, "{"):
		return "access: [" + writing + "]"
	case writing == "":
		return "access: [" + reading + "]"
	}
	return "access: [" + reading + ", " + writing + "]"
}

// rule writes a rule, or nothing if it would allow nobody.
func rule(methods string, scopes, permissions []string) string {
	if len(scopes)+len(permissions) == 0 {
		return ""
	}
	var parts []string
	if methods != "" {
		parts = append(parts, methods)
	}
	if len(scopes) > 0 {
		parts = append(parts, "scopes: ["+strings.Join(scopes, ", ")+"]")
	}
	if len(permissions) > 0 {
		parts = append(parts, "appPermissions: ["+strings.Join(permissions, ", ")+"]")
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// allowed returns the names that allow reading or writing. What allows writing allows
// reading too.
func allowed(v config.Tree, part string) []string {
	if v == (config.Tree{}) {
		return nil
	}
	read, hasRead := v.Get("Read")
	write, hasWrite := v.Get("Write")
	if !hasRead && !hasWrite {
		return words(v)
	}
	var names []string
	if hasRead && part == "Read" {
		names = words(read)
	}
	if hasWrite {
		names = append(names, words(write)...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// plain is a text that YAML reads without quotes.
var plain = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._/-]*$`)

func quoteUnlessPlain(text string) string {
	if plain.MatchString(text) {
		return text
	}
	return strconv.Quote(text)
}

// words is texts, with quotes around those that need them in YAML.
func words(v config.Tree) []string {
	all := texts(v)
	for i, word := range all {
		all[i] = quoteUnlessPlain(word)
	}
	return all
}
