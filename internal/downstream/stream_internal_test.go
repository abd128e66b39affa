package downstream

import (
	"net/http"
	"testing"
)

func TestRequestsForStreams(t *testing.T) {
	for _, row := range []struct {
		name, value string
		want        bool
	}{
		{"Accept", "text/event-stream", true},
		{"Accept", "application/json, text/event-stream", true},
		{"Accept", "application/json;a=\"x,y\" , Text/Event-Stream; charset=utf-8;q=0.1", true},
		{"Accept", "text/event-stream;q=0", false},
		{"Accept", "application/json, text/event-stream; Q=0.000, */*", false},
		{"Accept", "text/event-stream;q=many", false},
		{"Accept", "*/*", false},
		{"Accept", "text/*", false},
		{"Accept", "text/event-streams", false},
		{"Accept", "application/json;a=\", text/event-stream\"", false},
		{"Accept", "application/json;a=\"\\\", text/event-stream,\"", false},
		{"Accept", "", false},
		{"Content-Type", "application/grpc", true},
		{"Content-Type", "application/grpc+proto", true},
		{"Content-Type", "Application/gRPC-Web-Text", true},
		{"Content-Type", "application/grpc; charset=x", true},
		{"Content-Type", "application/grpcs", false},
		{"Content-Type", "application/json", false},
		{"Content-Type", "text/event-stream", false}, // of an upload
	} {
		if got := wantsStream(http.Header{row.name: {row.value}}); got != row.want {
			t.Errorf("%s: %s: got %v, want %v", row.name, row.value, got, row.want)
		}
	}
	if !wantsStream(http.Header{"Accept": {"application/json", "text/event-stream"}}) {
		t.Error("the second of two lines is not read")
	}
}
