package mockidp

import (
	"encoding/json"
	"fmt"
	"net/http"
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

func (a answer) write(w http.ResponseWriter) {
	for name, value := range a.header {
		w.Header().Set(name, value)
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body) // a client that left does not need it
}
