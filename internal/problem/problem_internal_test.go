package problem

import (
	"strings"
	"testing"

	"middletier/internal/validate"
)

// An error_description is sent in quotes and without escapes (RFC 6750, section 3).
func TestSentencesAboutTokensCanBeSentInAChallenge(t *testing.T) {
	said := map[string]validate.Reason{}
	for reason, sentence := range tokenDetails {
		if i := strings.IndexFunc(sentence, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }); i >= 0 {
			t.Errorf("%s: %q holds %q", reason, sentence, sentence[i:])
		}
		if other, taken := said[sentence]; taken || !strings.HasSuffix(sentence, ".") {
			t.Errorf("%s: got %q, the same as for %q, or not a sentence", reason, sentence, other)
		}
		said[sentence] = reason
	}
}
