package api

import (
	"log/slog"
	"net/http/httptest"
	"testing"
)

func TestPanicCanBeReadByListedOrigins(t *testing.T) {
	s := New(Config{
		MaxBodySize: 1 << 20, MaxHeaderSize: 64 << 10, // no validator: a call that needs it panics
		CORS: CORS{Origins: []string{"https://spa.example"}}, Log: slog.New(slog.DiscardHandler), Telemetry: newTelemetry(t),
	})
	r := httptest.NewRequest("GET", "/api/todo/items", nil)
	r.Header.Set("Authorization", "Bearer token")
	r.Header.Set("Origin", "https://spa.example")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if w.Code != 500 || w.Header().Get("Access-Control-Allow-Origin") != "https://spa.example" || w.Header().Get("Vary") != "Origin" {
		t.Errorf("got %d %v", w.Code, w.Header())
	}
}
