package tokentest

import (
	"slices"
	"strings"

	"middletier/internal/validate"
)

// Refusal is a good token of a user with one thing changed, for which it must be
// refused.
type Refusal struct {
	Name   string
	Change Change
	Reason validate.Reason
	Says   string // part of the error's words, so that no row is refused for another fault
}

// Refusals are all that can be sent in an HTTP header.
func Refusals() []Refusal {
	return slices.Concat(headerRefusals, keyRefusals, signatureRefusals, jsonRefusals, typeRefusals(), timeRefusals,
		issuerRefusals, audienceRefusals, kindRefusals, spellingRefusals, sizeRefusals)
}

// appForm makes the draft an application's.
func appForm(d *Draft) { d.Claims = d.source.App() }

// rewritten changes the text of a claim.
func rewritten(name string, f func(string) string) Change {
	return func(d *Draft) { d.Claims[name] = f(d.Claims[name].(string)) }
}

func before(prefix string) func(string) string { return func(s string) string { return prefix + s } }

func after(suffix string) func(string) string { return func(s string) string { return s + suffix } }
func becomes(s string) func(string) string    { return func(string) string { return s } }

func replaced(old, new string) func(string) string {
	return func(s string) string { return strings.Replace(s, old, new, 1) }
}

// Nested is an array in so many arrays.
func Nested(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }
