//go:build slow

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// trustingBrowser is a browser that does not warn of the platform's certificate.
func trustingBrowser(t *testing.T) *browser {
	t.Helper()
	return newBrowser(t, chromedp.Flag("ignore-certificate-errors", true))
}

// await waits until a script's expression is true, over navigations.
func (b *browser) await(expression string) {
	b.t.Helper()
	var lastErr error
	eventually(b.t, func() bool {
		var holds bool
		holds, lastErr = chromedp.Run(b.ctx, chromedp.Evaluate[bool]("Boolean("+expression+")"))
		return holds && lastErr == nil
	}, func() string {
		b.mu.Lock()
		defer b.mu.Unlock()
		return fmt.Sprintf("%s is not true; %v; requests %q, complaints %q", expression, lastErr, b.requests, b.complaints)
	})
}

// awaitText waits until an element shows a text.
func (b *browser) awaitText(selector, text string) {
	b.t.Helper()
	b.await(fmt.Sprintf(`document.querySelector(%q)?.innerText.includes(%q)`, selector, text))
}

// click clicks an element once it is there to be seen.
func (b *browser) click(selector string) {
	b.t.Helper()
	b.do(chromedp.WaitVisible(chromedp.CSS(selector)), chromedp.Click(chromedp.CSS(selector)))
}

// shoot writes a picture of the page to the folder that the environment names, to be looked at.
func (b *browser) shoot(name string) {
	if folder := os.Getenv("MIDDLETIER_TEST_SCREENSHOTS"); folder != "" {
		if err := os.WriteFile(filepath.Join(folder, name+".png"), ask(b, chromedp.FullScreenshot(100)), 0o644); err != nil {
			b.t.Fatal(err)
		}
	}
}

// chooseUser clicks a user on the platform's page, and waits for the demo's.
func (b *browser) chooseUser(name string) {
	b.t.Helper()
	b.awaitText("ul.users", name+"@contoso.example")
	ask(b, chromedp.Evaluate[any](fmt.Sprintf(
		`[...document.querySelectorAll("ul.users button")].find(b => b.innerText.includes("%s@")).click()`, name)))
	b.awaitText("#user", name+"@contoso.example")
}

// openDemo shows the page to a user who is signed in.
func (b *browser) openDemo(d *demoProcess, user string) {
	b.t.Helper()
	b.do(chromedp.EmulateViewport(1280, 1000), chromedp.Navigate(d.url+"/"))
	b.click("#sign-in")
	b.chooseUser(user)
}

// unexpected returns the complaints of the browser but for the answers that were to be
// refused: the browser reports each.
func (b *browser) unexpected() (complaints []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.complaints {
		refused := strings.HasSuffix(c, "/api/todo/items") || strings.HasSuffix(c, "/bff/user?slide=false") // nobody has a session
		if !strings.Contains(c, "Failed to load resource: the server responded with a status of") || !refused {
			complaints = append(complaints, c)
		}
	}
	return complaints
}

// hosts returns where requests of the browser went.
func (b *browser) hosts() map[string]bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	hosts := map[string]bool{}
	for _, url := range b.requests {
		if strings.HasPrefix(url, "data:") {
			continue
		}
		_, rest, _ := strings.Cut(url, "://")
		host, _, _ := strings.Cut(rest, "/")
		hosts[host] = true
	}
	return hosts
}

// A user signs in, lists, adds and deletes items, reloads, and signs out.
func TestSlowDemoPageSignsInAndCallsTheAPI(t *testing.T) {
	d := startDemo(t)
	b := trustingBrowser(t)
	b.openDemo(d, "alice")
	b.awaitText("#no-items", "The list is empty.")
	b.awaitText("#drawing", "Issued")
	b.shoot("signed-in")
	b.do(chromedp.SendKeys(chromedp.CSS("#title"), "buy milk"))
	b.click("#add button")
	b.awaitText("#items", "buy milk")
	b.awaitText("#drawing", "The API's token is in memory")
	b.shoot("added")
	for claim, want := range map[string][2]string{
		"aud": {"the middle tier", "the ToDo API"}, "azp": {"this page", "the middle tier"}, "name": {"alice", "alice"},
	} {
		row := ask(b, chromedp.Evaluate[string](fmt.Sprintf(`document.querySelector('tr[data-claim="%s"]').innerText`, claim)))
		if !strings.Contains(row, want[0]) || !strings.Contains(row, want[1]) || strings.Contains(row, "changed") != (want[0] != want[1]) {
			t.Errorf("claim %s: got %q, want %q", claim, row, want)
		}
	}
	b.do(chromedp.Reload())
	b.awaitText("#user", "alice@contoso.example")
	b.awaitText("#items", "buy milk")
	b.click("#items button")
	b.awaitText("#no-items", "The list is empty.")
	b.signInBesides(d, "bob")
	b.click("#sign-out") // without the question which of them signs out
	b.await(`document.querySelector("#sign-in")?.offsetParent`)
	b.shoot("signed-out")
	if complaints := b.unexpected(); len(complaints) > 0 {
		t.Errorf("complaints: %q", complaints)
	}
	checkHosts(t, b, d)
}

// signInBesides signs another user in with the same browser, as a second tab of the page does,
// and returns to the first user's page.
func (b *browser) signInBesides(d *demoProcess, name string) {
	b.t.Helper()
	first := ask(b, chromedp.Evaluate[string](`document.querySelector("#user").innerText`))
	stored := ask(b, chromedp.Evaluate[string](`JSON.stringify(sessionStorage)`))
	ask(b, chromedp.Evaluate[any](`sessionStorage.clear()`))
	b.openDemo(d, name)
	ask(b, chromedp.Evaluate[any](`sessionStorage.clear(), Object.assign(sessionStorage, `+stored+`), null`))
	b.do(chromedp.Reload())
	b.awaitText("#user", first)
}

// checkHosts checks that the browser asked the demo and its platform only.
func checkHosts(t *testing.T, b *browser, d *demoProcess) {
	t.Helper()
	hosts := b.hosts()
	delete(hosts, d.host)
	delete(hosts, strings.TrimPrefix(d.platform(), "https://"))
	if len(hosts) > 0 {
		t.Errorf("the browser asked %v", hosts)
	}
}

// demoPicture is the README's picture of the page.
const demoPicture = "docs/demo.png"

const (
	pictureWidth = 1200
	maxPicture   = 200 << 10 // bytes
)

// reduce returns a picture with the 256 most frequent colors of another one: it is small.
func reduce(shown image.Image) *image.Paletted {
	counts := map[color.Color]int{}
	bounds := shown.Bounds()
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			counts[shown.At(x, y)]++
		}
	}
	palette := slices.SortedFunc(maps.Keys(counts), func(a, b color.Color) int { return counts[b] - counts[a] })
	reduced := image.NewPaletted(bounds, palette[:min(256, len(palette))])
	draw.Draw(reduced, bounds, shown, bounds.Min, draw.Src)
	return reduced
}

// With -update, the test makes the README's picture anew; without, it checks the one that is
// there. Two pictures of one page are never the same.
func TestSlowDemoPagePicture(t *testing.T) {
	path := filepath.Join("../..", demoPicture)
	if *update {
		d := startDemo(t)
		b := trustingBrowser(t)
		b.openDemo(d, "alice")
		for _, title := range []string{"buy milk", "call Bob"} {
			b.do(chromedp.SendKeys(chromedp.CSS("#title"), title))
			b.click("#add button")
			b.awaitText("#items", title)
		}
		b.await(`document.querySelectorAll("#calls button").length === 5`)
		b.click(`#calls li:last-child button`) // the first call, with the exchange
		b.awaitText("#drawing", "Issued")
		b.do(chromedp.EmulateViewport(pictureWidth, 1130))
		b.await(`document.getAnimations().every(a => a.playState === "finished")`)
		ask(b, chromedp.Evaluate[any](`document.activeElement.blur(), scrollTo(0, 0)`))
		shown, err := png.Decode(bytes.NewReader(ask(b, chromedp.CaptureScreenshot())))
		if err != nil {
			t.Fatal(err)
		}
		var small bytes.Buffer
		if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&small, reduce(shown)); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, small.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if config, err := png.DecodeConfig(bytes.NewReader(content)); err != nil || config.Width != pictureWidth || len(content) > maxPicture {
		t.Errorf("%s: got %d bytes, %+v, %v; want a PNG of at most %d bytes, %d wide",
			demoPicture, len(content), config, err, maxPicture, pictureWidth)
	}
}

// Each button shows what its case is about, and afterwards everything works.
func TestSlowDemoPageCases(t *testing.T) {
	d := startDemo(t)
	b := trustingBrowser(t)
	b.openDemo(d, "alice")
	for _, row := range []struct{ name, result, drawing string }{
		{"expired-token", "401 invalid-token", "The token has expired."},
		{"missing-scope", "403 insufficient-scope", "Refused"},
		{"step-up", "401 claims-challenge", "interaction_required"},
		{"consent-withdrawn", "403 consent-required", "AADSTS65001"},
		{"provider-away", "503 identity-provider-unavailable", "No answer"},
		{"rejected-token", "502 downstream-rejected-token", "invalid_token"},
		{"daemon-call", "200", "client credentials"},
	} {
		b.click(`[data-case="` + row.name + `"]`)
		b.awaitText(`[data-result="`+row.name+`"]`, row.result)
		b.awaitText("#drawing", row.drawing)
		b.shoot(row.name)
		if _, problem, refused := strings.Cut(row.result, " "); refused {
			link := ask(b, chromedp.Evaluate[string](`document.getElementById("problem-link").href`))
			if link != d.url+"/problems/"+problem {
				t.Errorf("%s: leads to %s", row.name, link)
			}
		}
		b.click("#list")
		b.awaitText("#call", "200")
	}
	// The link beside a result leads to its own call, not to the last one.
	b.click(`[data-result="expired-token"] a`)
	b.awaitText("#call", "401 invalid-token")
	if complaints := b.unexpected(); len(complaints) > 0 {
		t.Errorf("complaints: %q", complaints)
	}
}

// A signed-in user answers the claims challenge, and the call succeeds.
func TestSlowDemoPageStepsUp(t *testing.T) {
	d := startDemo(t)
	b := trustingBrowser(t)
	b.openDemo(d, "bob")
	b.awaitText("#no-items", "empty")
	b.click(`[data-case="step-up"]`)
	b.awaitText("#drawing", "with the proof c1")
	b.click("#prove")
	b.awaitText("button.other", "Cancel")
	b.click("button.other")
	b.awaitText("#account-error", "canceled")
	b.awaitText("#no-items", "empty") // the user is still signed in
	b.click("#list")
	b.awaitText("#call", "200") // and the page's token is not refused
	b.click(`[data-case="step-up"]`)
	b.click(`[data-result="step-up"] a`) // now the page's URL has a fragment
	b.click("#prove")
	b.awaitText("button.main", "Prove it is me")
	b.shoot("prove")
	b.click("button.main")
	b.awaitText(`[data-result="step-up"]`, "200")
	b.awaitText(`tr[data-claim="acrs"]`, "c1")
	b.shoot("proven")
	if complaints := b.unexpected(); len(complaints) > 0 {
		t.Errorf("complaints: %q", complaints)
	}
}

// signInSession signs a user in with the page's second way.
func (b *browser) signInSession(d *demoProcess, name string) {
	b.t.Helper()
	b.do(chromedp.EmulateViewport(1280, 1000), chromedp.Navigate(d.url+"/"))
	b.click("#session-sign-in")
	b.awaitText("ul.users", name+"@contoso.example")
	ask(b, chromedp.Evaluate[any](fmt.Sprintf(
		`[...document.querySelectorAll("ul.users button")].find(b => b.innerText.includes("%s@")).click()`, name)))
	b.awaitText("#session-user", name+"@contoso.example")
}

// The page's second way to sign in leaves it nothing to read. Its calls are shown like those with a token, and the
// step-up and both sign-outs work.
func TestSlowDemoPageWithASession(t *testing.T) {
	d := startDemo(t)
	b := trustingBrowser(t)
	b.signInSession(d, "alice")
	b.awaitText("#session-holds", "no token")
	if got := ask(b, chromedp.Evaluate[string](`document.cookie`)); got != "" {
		t.Errorf("the page reads the cookies %q", got)
	}
	b.awaitText("#msal-holds", "nobody is signed in")
	b.click("#session-call")
	b.awaitText("#session-result", "200: the API has 0 items of yours.")
	b.awaitText("#drawing", "GET /bff/api/todo/items, with the session's cookie")
	b.awaitText("#tokens-text", "The browser sent a cookie and no token.")
	b.shoot("session")
	b.click("#session-step-up")
	b.awaitText("#session-result", "401 claims-challenge")
	b.click("#session-prove")
	b.awaitText("button.main", "Prove it is me")
	b.click("button.main")
	b.awaitText("#session-result", "200: the API has 0 items of yours.")
	b.awaitText("#token-table", "c1")

	// Side by side, with the other way: the platform asks nobody again.
	b.click("#sign-in")
	b.chooseUser("alice")
	b.awaitText("#msal-holds", "AccessToken")
	b.awaitText("#session-user", "alice@contoso.example")
	b.shoot("both")
	b.click("#session-sign-out")
	b.await(`document.querySelector("#session-sign-in")?.offsetParent`)
	b.awaitText("#user", "alice@contoso.example") // whose tokens are good until they expire
	b.click("#list")
	b.awaitText("#call", "200")

	// A sign-out of the other way is one at the platform, which tells the middle tier.
	b.signInSession(d, "alice")
	b.awaitText("#user", "alice@contoso.example")
	b.click("#sign-out")
	b.await(`document.querySelector("#sign-in")?.offsetParent`)
	b.await(`document.querySelector("#session-sign-in")?.offsetParent`)
	if complaints := b.unexpected(); len(complaints) > 0 {
		t.Errorf("complaints: %q", complaints)
	}
	checkHosts(t, b, d)
}

// emulateDark makes the browser prefer dark colors.
func emulateDark() chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		dark := []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}}
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: dark})
		return err
	})
}

// The page works at a phone's width, in the dark, and nothing scrolls sideways: before and
// after the sign-in, with a refused call, with all claims, and with titles that have no spaces.
func TestSlowDemoPageOnAPhone(t *testing.T) {
	d := startDemo(t)
	b := trustingBrowser(t)
	fits := func(when string) {
		t.Helper()
		b.shoot("phone-" + when)
		if width := ask(b, chromedp.Evaluate[int](`document.documentElement.scrollWidth`)); width > 375 {
			t.Errorf("%s the page is %d wide, want 375", when, width)
		}
	}
	b.do(chromedp.EmulateViewport(375, 667), emulateDark(), chromedp.Navigate(d.url+"/"))
	b.await(`document.querySelector("#sign-in").offsetParent`)
	fits("before")
	b.click("#sign-in")
	b.chooseUser("alice")
	b.do(chromedp.SendKeys(chromedp.CSS("#title"), strings.Repeat("W", 200)))
	b.click("#add button")
	b.awaitText("#items", "WWW")
	b.click("#flow summary")
	fits("signed-in")
	b.click(`[data-case="step-up"]`)
	b.awaitText("#problem", "claims-challenge")
	b.await(`document.querySelector("#prove")`)
	fits("refused")
}

// With the keyboard alone a user signs in, adds an item and causes a case. Focus can be seen,
// and what happened is said in a live region.
func TestSlowDemoPageWithTheKeyboard(t *testing.T) {
	d := startDemo(t)
	b := trustingBrowser(t)
	b.do(chromedp.Navigate(d.url + "/"))
	b.await(`document.querySelector("#sign-in").offsetParent`)
	tabTo := func(selector string) {
		t.Helper()
		for range 40 {
			b.do(chromedp.KeyEvent(kb.Tab))
			if ask(b, chromedp.Evaluate[bool](fmt.Sprintf(`document.activeElement.matches(%q)`, selector))) {
				const visible = `(s => s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 2)(getComputedStyle(document.activeElement))`
				if !ask(b, chromedp.Evaluate[bool](visible)) {
					t.Errorf("the focus of %s cannot be seen", selector)
				}
				return
			}
		}
		t.Fatalf("the keyboard does not reach %s", selector)
	}
	tabTo("#sign-in")
	b.do(chromedp.KeyEvent(kb.Enter))
	b.awaitText("ul.users", "bob@contoso.example")
	tabTo("ul.users li:nth-child(2) button")
	b.do(chromedp.KeyEvent(kb.Enter))
	b.awaitText("#user", "bob@contoso.example")
	b.awaitText("#no-items", "empty")
	tabTo("#title")
	b.do(chromedp.KeyEvent("tea"), chromedp.KeyEvent(kb.Enter))
	b.awaitText("#items", "tea")
	b.await(`document.activeElement.id === "title"`)
	tabTo(`#items button[aria-label="Delete tea"]`)
	b.do(chromedp.KeyEvent(" "))
	b.awaitText("#no-items", "empty")
	b.await(`document.activeElement.id === "title"`) // the button is gone
	tabTo(`[data-case="missing-scope"]`)
	b.do(chromedp.KeyEvent(kb.Enter))
	b.awaitText("#drawing", "Refused")
	b.await(`document.querySelector("[role=status]").textContent === "POST /api/todo/items: 403 insufficient-scope" ||
		document.querySelector("[role=status]").textContent.startsWith("POST /api/todo/items: 403 insufficient-scope, ")`)
	tabTo(`[data-result="missing-scope"] a`)
	b.do(chromedp.KeyEvent(kb.Enter))
	b.await(`document.activeElement.id === "flow"`)
	tabTo("#problem-link")
	tabTo("#calls button")
	b.do(chromedp.KeyEvent(kb.Enter))
	b.await(`document.activeElement.id === "call"`)
}

// The browser trusts nothing here. The page says what will come, the user clicks through
// Chromium's warning as the page says, and then everything works.
func TestSlowDemoPageThroughTheWarning(t *testing.T) {
	d := startDemo(t)
	b := newBrowser(t)
	b.do(chromedp.Navigate(d.url + "/"))
	b.await(`document.querySelector("#sign-in").offsetParent`)
	text := ask(b, chromedp.Text(chromedp.CSS("#signed-out")))
	b.click("#sign-in")
	b.await(`document.querySelector("#details-button")`)
	for _, selector := range []string{"#details-button", "#proceed-link"} {
		b.await(fmt.Sprintf(`document.querySelector(%q)?.offsetParent`, selector))
		if label := ask(b, chromedp.Text(chromedp.CSS(selector))); !strings.Contains(text, strings.TrimSpace(label)) {
			t.Errorf("the browser shows %q, and the page said %q", label, text)
		}
		b.shoot("warning" + selector)
		b.do(chromedp.Click(chromedp.CSS(selector)))
	}
	b.chooseUser("alice")
	b.awaitText("#no-items", "The list is empty.")
	b.do(chromedp.SendKeys(chromedp.CSS("#title"), "buy milk"))
	b.click("#add button")
	b.awaitText("#items", "buy milk")
	for _, complaint := range b.unexpected() {
		t.Errorf("complaint: %s", complaint)
	}
}

// Text of others stays text: titles, claims, paths, and errors of the platform.
func TestSlowDemoPageShowsHostileTextAsText(t *testing.T) {
	d := startDemo(t)
	b := trustingBrowser(t)
	const script = `<img src=x onerror="window.hacked=1"><script>window.hacked=1</script></script>`
	b.openDemo(d, "alice")
	b.do(chromedp.SendKeys(chromedp.CSS("#title"), script))
	b.click("#add button")
	b.awaitText("#items", script)
	claims, err := json.Marshal(map[string]any{"claims": map[string]any{
		"aud": script, "name": script, "scp": script, "</script><script>window.hacked=1</script>": script, "exp": 1e300, "iat": []string{script},
	}})
	if err != nil {
		t.Fatal(err)
	}
	signed, err := runScript(t, t.TempDir(), fmt.Sprintf("curl -sk %s/mock/tokens -d '%s'", d.platform(), claims))
	var token struct {
		Value string `json:"access_token"`
	}
	if err != nil || json.Unmarshal([]byte(signed), &token) != nil || token.Value == "" {
		t.Fatalf("%v: %s", err, signed)
	}
	d.read("GET", "/api/todo/%3Cscript%3Ewindow.hacked=1%3C/script%3E", "", "Authorization: Bearer "+token.Value)
	b.awaitText("#call", "<script>")
	b.awaitText("#token-table", "<img src=x")
	fault, err := json.Marshal(map[string]any{
		"flow": "on_behalf_of", "times": 1, "error": "interaction_required", "suberror": script, "description": script,
	})
	if err != nil {
		t.Fatal(err)
	}
	output, err := runScript(t, t.TempDir(), fmt.Sprintf("curl -sk %s/mock/faults -d '%s'", d.platform(), fault))
	if err != nil || output != "" {
		t.Fatalf("%v: %s", err, output)
	}
	d.read("GET", "/api/todo/items", "", "Authorization: Bearer "+d.preset("bob"))
	b.awaitText("#drawing", "<img src=x")
	if ask(b, chromedp.Evaluate[bool](`window.hacked !== undefined || document.querySelector("main img, main script") !== null`)) {
		t.Error("a text became a part of the page")
	}
	if complaints := b.unexpected(); len(complaints) > 0 {
		t.Errorf("complaints: %q", complaints)
	}
}

// When the demo starts again on its port, the open page says so meanwhile, and continues. The
// sign-in was at another platform.
func TestSlowDemoPageOutlivesTheDemo(t *testing.T) {
	port := freePorts(t, 1)[0]
	d := startDemoAt(t, port)
	b := trustingBrowser(t)
	b.openDemo(d, "alice")
	b.awaitText("#no-items", "empty")
	if err := d.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	<-d.ended
	b.awaitText("#gone", "does not answer")
	b.click("#list")
	b.awaitText("#todo-error", "does not answer")
	startDemoAt(t, port)
	b.await(`document.querySelector("#gone").hidden`)
	b.do(chromedp.Reload())
	b.await(`document.querySelector("#sign-in").offsetParent`)
	b.click("#sign-in")
	b.chooseUser("bob")
	b.awaitText("#no-items", "empty")
}

// A page of another origin reads nothing and presses nothing.
func TestSlowDemoPageIsClosedToOtherPages(t *testing.T) {
	d := startDemo(t)
	b := trustingBrowser(t)
	d.press("expired-token")
	b.do(chromedp.Navigate(newSite(t)))
	for _, call := range []string{
		`fetch(%q + "/demo/flow").then(() => "read", () => "refused")`,
		`fetch(%q + "/demo/flow", {mode: "no-cors"}).then(r => r.text()).then(t => t ? "read" : "refused", () => "refused")`,
		`new Promise(done => {
			const s = new EventSource(%q + "/demo/flow")
			s.onmessage = () => done("read")
			s.onerror = () => done("refused")
		})`,
		`fetch(%q + "/demo/cases/daemon-call", {method: "POST", body: "{}", headers: {"Content-Type": "application/json"}})
			.then(() => "read", () => "refused")`,
		`fetch(%q + "/demo/cases/daemon-call", {method: "POST", body: "{}", mode: "no-cors"})
			.then(r => r.text()).then(t => t ? "read" : "refused", () => "refused")`,
	} {
		if got := ask(b, chromedp.Evaluate[string](fmt.Sprintf(call, d.url), chromedp.EvalAwaitPromise)); got != "refused" {
			t.Errorf("%s: got %s", call, got)
		}
	}
}
