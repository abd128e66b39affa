package mockidp

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// answer is a response that is not sent yet, so that it can be recorded first.
type answer struct {
	status  int
	header  map[string]string
	body    []byte
	refusal *refusal // what body says, if it is an error
}

func jsonAnswer(status int, body any) answer {
	data, err := json.Marshal(body)
	if err != nil {
		panic(fmt.Sprintf("mockidp: encode an answer: %v", err)) // only maps and strings of ours
	}
	header := map[string]string{"Content-Type": "application/json; charset=utf-8"}
	return answer{status: status, header: header, body: data}
}

func notFound(*http.Request) answer {
	return answer{status: http.StatusNotFound}
}

// identify adds the answer's own id, and that of the request where the client asks for it
// with return-client-request-id, as its libraries do to find a request in Entra's logs.
func (a *answer) identify(r *http.Request) {
	if a.header == nil {
		a.header = map[string]string{}
	}
	if a.header["X-Ms-Request-Id"] == "" {
		a.header["X-Ms-Request-Id"] = newGUID()
	}
	id := r.Header.Get("client-request-id")
	if strings.EqualFold(r.Header.Get("return-client-request-id"), "true") && guid.MatchString(id) {
		a.header["Client-Request-Id"] = id
	}
}

func (a answer) write(w http.ResponseWriter) {
	for name, value := range a.header {
		w.Header().Set(name, value)
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body) // a client that left does not need it
}
