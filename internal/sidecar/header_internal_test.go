package sidecar

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"
)

// The answer is the one that package json would write.
func TestHeaderIsWrittenAsJSON(t *testing.T) {
	for _, token := range []string{
		"", "eyJ0eXAiOiJKV1Qi.eyJh_Q-.c2ln", "opaque~+/==", "a b", `quo"te`, `back\slash`, "<&>", "tab\t", "\u00fc\u2028", "not UTF-8: \xff",
		strings.Repeat("x", 2*maxPooledBody),
	} {
		for _, key := range []string{"", "k1"} {
			want, err := json.Marshal(struct {
				AuthorizationHeader   string `json:"authorizationHeader"`
				LongRunningSessionKey string `json:"longRunningSessionKey,omitempty"`
			}{"Bearer " + token, key})
			if err != nil {
				t.Fatal(err)
			}
			if got := string(appendHeader(nil, token, key)); got != string(want)+"\n" {
				t.Errorf("%.40q: got %.200s, want %.200s", token, got, want)
			}
		}
	}
}

// Every byte is written as package json writes it, wherever it is in a word or after the last.
func TestEveryByteOfATokenIsWrittenAsJSON(t *testing.T) {
	for char := range 256 {
		for length := 1; length < 18; length++ {
			for place := range length {
				token := []byte(strings.Repeat("a", length))
				token[place] = byte(char)
				want, err := json.Marshal(string(token))
				if err != nil {
					t.Fatal(err)
				}
				if got := `"` + string(appendToken(nil, string(token))) + `"`; got != string(want) {
					t.Fatalf("%q: got %s, want %s", token, got, want)
				}
			}
		}
	}
}

// failing is an answer that cannot be written.
type failing struct{ *httptest.ResponseRecorder }

func (failing) Write([]byte) (int, error) { return 0, errors.New("the caller left") }

// What was written to a buffer is erased before it is used again, and a buffer that HTTP/2 may
// still be reading is not.
func TestNoTokenStaysInABuffer(t *testing.T) {
	for _, row := range []struct {
		name   string
		writer http.ResponseWriter
		erased bool
	}{
		{"a written answer", httptest.NewRecorder(), true},
		{"an answer that failed", failing{httptest.NewRecorder()}, false},
	} {
		var used []byte
		c := echo.New().NewContext(httptest.NewRequest("GET", "/", nil), row.writer)
		err := respond(c, func(body []byte) ([]byte, error) {
			used = append(body, "secret"...)
			return used, nil
		})
		if (err == nil) != row.erased {
			t.Errorf("%s: got %v", row.name, err)
		}
		if got := string(used) != "secret"; got != row.erased {
			t.Errorf("%s: the buffer holds %q", row.name, used)
		}
	}
}

// Answers have a length and are not sent in chunks, whether net/http adds the length or not, over
// HTTP/1.1 and HTTP/2.
func TestAnswersHaveALength(t *testing.T) {
	router := echo.New()
	router.GET("/:size", func(c echo.Context) error {
		size, err := strconv.Atoi(c.Param("size"))
		if err != nil {
			return err
		}
		return respondBody(c, make([]byte, size))
	})
	for _, http2 := range []bool{false, true} {
		server := httptest.NewUnstartedServer(router)
		server.EnableHTTP2 = http2
		server.StartTLS()
		defer server.Close()
		for _, size := range []int{1, maxUnsent - 1, maxUnsent, maxUnsent + 1, 4 << 10, 100 << 10} {
			resp, err := server.Client().Get(fmt.Sprintf("%s/%d", server.URL, size))
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close() // it was read to its end
			if err != nil || len(body) != size || resp.ContentLength != int64(size) || resp.TransferEncoding != nil || resp.ProtoAtLeast(2, 0) != http2 {
				t.Errorf("%s, %d bytes: got %d, Content-Length %d, Transfer-Encoding %v, %v",
					resp.Proto, size, len(body), resp.ContentLength, resp.TransferEncoding, err)
			}
		}
	}
}
