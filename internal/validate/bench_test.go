package validate_test

import (
	"io"
	"log/slog"
	"strings"
	"testing"

	"middletier/internal/testkit/tokentest"
	"middletier/internal/validate"
)

// What a caller costs that comes for the first time.
func BenchmarkValidateNewToken(b *testing.B) {
	v := start(b)
	tokens := make([]string, 4096)
	for i := range tokens {
		tokens[i] = userDraft().Token(claim("uti", serial()))
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if i%len(tokens) == 0 { // none of them may be known
			b.StopTimer()
			v = start(b)
			b.StartTimer()
		}
		if _, err := v.Validate(b.Context(), tokens[i%len(tokens)]); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

// What a caller costs that returns.
func BenchmarkValidateKnownToken(b *testing.B) {
	v := start(b)
	for name, token := range map[string]string{
		"1KB":  userDraft().Token(),
		"18KB": userDraft().Token(tokentest.Length(18_003)),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(token)))
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					if _, err := v.Validate(b.Context(), token); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

// What it costs to refuse: with a bad signature, which is the dearest, and
// without looking at one.
func BenchmarkValidateRefusedToken(b *testing.B) {
	v := start(b, func(c *validate.Config) { c.Log = slog.New(slog.NewTextHandler(io.Discard, nil)) })
	for name, token := range map[string]string{
		"forged":    userDraft().Token(flip(0)),
		"expired":   userDraft().Token(claim("exp", 1)),
		"malformed": strings.Repeat("A", validate.MaxTokenSize),
		"nested":    userDraft().Token(tokentest.EditClaims(tokentest.Appended(`"x":` + tokentest.Nested(9000)))),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Validate(b.Context(), token); err == nil {
					b.Fatal("accepted")
				}
			}
		})
	}
}
