//go:build slow

package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// trustingBrowser is a browser that does not warn of the platform's certificate.
func trustingBrowser(t *testing.T) *browser {
	return newBrowser(t, chromedp.Flag("ignore-certificate-errors", true))
}

// pageText returns the text of an element of the page, as a person sees it.
func (b *browser) pageText(selector string) string {
	b.t.Helper()
	return ask(b, chromedp.Evaluate[string](fmt.Sprintf(`document.querySelector(%q)?.innerText ?? ""`, selector)))
}

// awaitPage waits until a script's expression is true.
func (b *browser) awaitPage(expression string) {
	b.t.Helper()
	ask(b, chromedp.Poll[bool](expression))
}

func TestSlowDemoPageCases(t *testing.T) {
	d := startDemo(t)
	b := trustingBrowser(t)
	b.do(chromedp.EmulateViewport(1280, 1000), chromedp.Navigate(d.url+"/"))
	b.awaitPage(`!document.getElementById("signed-out").hidden`)
	shot := func(name string) {
		if dir := os.Getenv("SHOTS"); dir != "" {
			_ = os.WriteFile(dir+"/"+name+".png", ask(b, chromedp.FullScreenshot(100)), 0o644)
		}
	}
	shot("start")
	for _, row := range []struct{ name, result, drawing string }{
		{"expired-token", "401 invalid-token", "The token has expired."},
		{"missing-scope", "403 insufficient-scope", "Refused"},
		{"step-up", "401 claims-challenge", "interaction_required"},
		{"consent-withdrawn", "403 consent-required", "AADSTS65001"},
		{"provider-away", "503 identity-provider-unavailable", "No answer"},
		{"rejected-token", "502 downstream-rejected-token", "invalid_token"},
		{"daemon-call", "200", "client credentials"},
	} {
		b.do(chromedp.Click(chromedp.CSS(`[data-case="` + row.name + `"]`)))
		b.awaitPage(fmt.Sprintf(`document.querySelector('[data-result="%s"]').innerText.startsWith(%q)`, row.name, row.result))
		b.awaitPage(fmt.Sprintf(`document.getElementById("drawing").innerText.includes(%q)`, row.drawing))
		shot(row.name)
		if strings.HasPrefix(row.result, "200") {
			continue
		}
	}
	t.Logf("%q", b.complaints)
}
