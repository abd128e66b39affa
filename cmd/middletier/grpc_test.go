package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	grpccodes "google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"middletier/internal/config"
)

// gRPC libraries cannot read a problem document: they get a gRPC status in the
// headers of an answer without a body. The log has the problem.
func TestErrorsForCallersByGRPC(t *testing.T) {
	w := newWorld(t, func(f *file) {
		f.Server.H2C, f.Server.MaxBodySize = true, 1000
	})
	w.api.Close() // unreachable
	alice, bob := w.alice(), w.bob()
	client := protocolClients(t)["HTTP/2.0"]
	for _, row := range []struct {
		name, contentType, path, token, body string
		answered, status, message            string
		kind, level                          string
		challenge                            bool
	}{
		{"no token", "application/grpc", "/api/todo/todo.List/Add", "", "", "application/grpc", "16", "The request has no bearer token.", "missing-token", "INFO", true},
		{"a bad token", "application/grpc+proto", "/api/todo/todo.List/Add", "none", "", "application/grpc", "16", "The token is malformed.", "invalid-token", "INFO", true},
		{"no scope", "application/grpc", "/api/todo/todo.List/Add", bob, "", "application/grpc", "7", "The token holds none of the scopes or app permissions that the request needs.", "insufficient-scope", "INFO", true},
		{"an unknown API", "application/grpc", "/api/none/todo.List/Add", alice, "", "application/grpc", "12", "No downstream API of that name is configured.", "unknown-api", "INFO", false},
		{"no route", "application/grpc", "/todo.List/Add", alice, "", "application/grpc", "12", "There is nothing at this path.", "not-found", "INFO", false},
		{"too large", "application/grpc", "/api/todo/todo.List/Add", alice, strings.Repeat("x", 1001), "application/grpc", "8", "The request body is larger than this service accepts.", "body-too-large", "INFO", false},
		{"unreachable", "application/grpc", "/api/todo/todo.List/Add", alice, "", "application/grpc", "14", "The downstream API could not be reached, or closed the connection.", "downstream-unreachable", "ERROR", false},
		{"gRPC-Web", "application/grpc-web+proto", "/api/todo/todo.List/Add", "", "", "application/grpc-web", "16", "The request has no bearer token.", "missing-token", "INFO", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			req, err := http.NewRequest("POST", w.url+row.path, strings.NewReader(row.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", row.contentType)
			if row.token != "" {
				req.Header.Set("Authorization", "Bearer "+row.token)
			}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			h := resp.Header
			if resp.StatusCode != 200 || h.Get("Content-Type") != row.answered || h.Get("Grpc-Status") != row.status ||
				h.Get("Grpc-Message") != row.message {
				t.Errorf("got %d with %v, want %s with status %s, %q", resp.StatusCode, h, row.answered, row.status, row.message)
			}
			if len(body) > 0 || h.Get("X-Request-Id") == "" || row.challenge != (h.Get("Www-Authenticate") != "") {
				t.Errorf("got body %q, headers %v", body, h)
			}
			eventually(t, func() bool { // the line comes after the answer
				return slices.ContainsFunc(w.log.lines(t), func(line map[string]any) bool {
					return line["requestId"] == h.Get("X-Request-Id") && line["problem"] == row.kind && line["status"] == 200.0 &&
						line["level"] == row.level
				})
			}, func() string { return fmt.Sprintf("want a line with %s at level %s: %s", row.kind, row.level, w.log) })
		})
	}
}

// grpcCalls are made by grpc-go through the service.
type grpcCalls struct {
	*testing.T
	api  *grpcAPI
	conn *grpc.ClientConn
	ctx  context.Context // with alice's token
}

// newGRPCCalls puts the service in front of an API of gRPC. The one of them has TLS,
// the other none.
func newGRPCCalls(t *testing.T, secureAPI bool) *grpcCalls {
	t.Helper()
	api := newGRPCAPI(t, secureAPI)
	w := newWorld(t, api.inFront, func(f *file) {
		f.Server.MaxBodySize = config.Size(1000)
		if f.Server.H2C = secureAPI; !secureAPI {
			f.Server.TLS = writePair(t, t.TempDir(), "server")
		}
	})
	security := insecure.NewCredentials()
	if !secureAPI {
		security = credentials.NewTLS(&tls.Config{InsecureSkipVerify: true})
	}
	_, address, _ := strings.Cut(w.url, "://")
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(security))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return &grpcCalls{t, api, conn, metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+w.alice())}
}

// add makes the unary call.
func (g *grpcCalls) add(ctx context.Context, api, what string, options ...grpc.CallOption) (string, error) {
	out := &wrapperspb.StringValue{}
	err := g.conn.Invoke(ctx, "/api/"+api+"/todo.List/Add", text(what), out, options...)
	return out.Value, err
}

// open begins a stream and sends messages.
func (g *grpcCalls) open(ctx context.Context, method string, messages ...string) grpc.ClientStream {
	g.Helper()
	stream, err := g.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/api/todo/todo.List/"+method)
	if err != nil {
		g.Fatal(err)
	}
	for _, message := range messages {
		if err := stream.SendMsg(text(message)); err != nil {
			g.Fatal(err)
		}
	}
	return stream
}

// receive wants these messages, and then an end with code.
func (g *grpcCalls) receive(stream grpc.ClientStream, code grpccodes.Code, messages ...string) {
	g.Helper()
	for _, want := range messages {
		in := &wrapperspb.StringValue{}
		if err := stream.RecvMsg(in); err != nil || in.Value != want {
			g.Fatalf("got %q, %v, want %q", in.Value, err, want)
		}
	}
	err := stream.RecvMsg(&wrapperspb.StringValue{})
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if status.Code(err) != code {
		g.Errorf("got the end %v, want %s", err, code)
	}
}

// left wants the API to see that the caller of method is gone.
func (g *grpcCalls) left(method string) {
	g.Helper()
	select {
	case got := <-g.api.cancelled:
		if got != method {
			g.Errorf("the caller of %s left, want of %s", got, method)
		}
	case <-g.ctx.Done():
		g.Errorf("the API does not see that the caller of %s left", method)
	}
}

// All kinds of calls, and all ways in which they end, with grpc-go as client and
// server.
func TestGRPC(t *testing.T) {
	for name, secureAPI := range map[string]bool{"TLS to the API": true, "TLS from the caller": false} {
		t.Run(name, func(t *testing.T) {
			g := newGRPCCalls(t, secureAPI)
			if got, err := g.add(g.ctx, "todo", "milk"); err != nil || got != "added milk" {
				t.Errorf("unary: got %q, %v", got, err)
			}
			g.streams()
			g.ends()
			g.refusals()
		})
	}
}

func (g *grpcCalls) streams() {
	up := g.open(g.ctx, "Collect", "a", "b")
	if err := up.CloseSend(); err != nil {
		g.Fatal(err)
	}
	g.receive(up, grpccodes.OK, "a b")

	down := g.open(g.ctx, "Count", "3")
	if err := down.CloseSend(); err != nil {
		g.Fatal(err)
	}
	g.receive(down, grpccodes.OK, "1", "2", "3")
	if got := down.Trailer().Get("counted"); !slices.Equal(got, []string{"3"}) {
		g.Errorf("got trailers %v, want counted: 3", down.Trailer())
	}

	both := g.open(g.ctx, "Talk")
	for _, message := range []string{"hello", "how are you"} { // each answered before the next
		if err := both.SendMsg(text(message)); err != nil {
			g.Fatal(err)
		}
		in := &wrapperspb.StringValue{}
		if err := both.RecvMsg(in); err != nil || in.Value != "you said "+message {
			g.Fatalf("got %q, %v", in.Value, err)
		}
	}
	if err := both.CloseSend(); err != nil {
		g.Fatal(err)
	}
	g.receive(both, grpccodes.OK)
}

// ends are those that come before both sides have said all.
func (g *grpcCalls) ends() {
	g.receive(g.open(g.ctx, "Collect", "a", "enough"), grpccodes.OK, "a") // its sender stays open
	g.receive(g.open(g.ctx, "Talk", "bye"), grpccodes.OK, "you said bye")

	ctx, cancel := context.WithCancel(g.ctx)
	stream := g.open(ctx, "Count", "-1")
	if err := stream.CloseSend(); err != nil {
		g.Fatal(err)
	}
	if err := stream.RecvMsg(&wrapperspb.StringValue{}); err != nil {
		g.Fatal(err)
	}
	cancel()
	g.receive(stream, grpccodes.Canceled)
	g.left("Count")

	ctx, cancel = context.WithTimeout(g.ctx, 300*time.Millisecond)
	defer cancel()
	if _, err := g.add(laterForTheAPI{ctx}, "todo", "everything"); status.Code(err) != grpccodes.DeadlineExceeded {
		g.Errorf("got %v, want %s", err, grpccodes.DeadlineExceeded)
	}
	g.left("Add")

	_, err := g.add(g.ctx, "todo", "nothing")
	refusal := status.Convert(err)
	if refusal.Code() != grpccodes.FailedPrecondition || refusal.Message() != "nothing is not – 100 % – enough" ||
		len(refusal.Details()) != 1 {
		g.Errorf("the API's own error: got %v with details %v", err, refusal.Details())
	}
}

// laterForTheAPI is a context whose deadline, which the API receives, is a minute later than its
// end: otherwise the API may end the call just before the caller does, by the same deadline.
type laterForTheAPI struct{ context.Context }

func (c laterForTheAPI) Deadline() (time.Time, bool) {
	deadline, ok := c.Context.Deadline()
	return deadline.Add(time.Minute), ok
}

// refusals are errors of the service.
func (g *grpcCalls) refusals() {
	for _, row := range []struct {
		ctx             context.Context
		api, what       string
		code            grpccodes.Code
		message, header string
	}{
		{g.Context(), "todo", "milk", grpccodes.Unauthenticated, "The request has no bearer token.", "www-authenticate"},
		{g.ctx, "todo", strings.Repeat("x", 1001), grpccodes.ResourceExhausted, "The request body is larger than this service accepts.", "x-request-id"},
		{g.ctx, "none", "milk", grpccodes.Unimplemented, "No downstream API of that name is configured.", "x-request-id"},
		{g.ctx, "gone", "milk", grpccodes.Unavailable, "The downstream API could not be reached, or closed the connection.", "x-request-id"},
	} {
		var trailer metadata.MD
		_, err := g.add(row.ctx, row.api, row.what, grpc.Trailer(&trailer))
		if got := status.Convert(err); got.Code() != row.code || got.Message() != row.message || len(trailer.Get(row.header)) != 1 {
			g.Errorf("%s: got %v with %v, want %s, %q and %s", row.api, err, trailer, row.code, row.message, row.header)
		}
	}
	large := g.open(g.ctx, "Talk", strings.Repeat("x", 600), strings.Repeat("x", 600)) // more than is accepted, while it is open
	if err := large.RecvMsg(&wrapperspb.StringValue{}); err == nil {
		err = large.RecvMsg(&wrapperspb.StringValue{})
		if err == nil {
			g.Error("a stream beyond the limit is not ended")
		}
	}
}
