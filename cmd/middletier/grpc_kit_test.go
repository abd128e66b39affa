package main

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"

	"middletier/internal/testkit/certtest"

	"google.golang.org/grpc"
	grpccodes "google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// grpcAPI is an API of gRPC with a method of each kind. Its messages are strings.
type grpcAPI struct {
	baseURL   string
	cancelled chan string // methods whose caller left or was out of time
}

func text(s string) *wrapperspb.StringValue { return wrapperspb.String(s) }

// newGRPCAPI starts one by grpc-go, over TLS with the certificate of httptest, or
// without.
func newGRPCAPI(t *testing.T, secure bool) *grpcAPI {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := &grpcAPI{baseURL: "h2c://" + listener.Addr().String() + "/", cancelled: make(chan string, 10)}
	var options []grpc.ServerOption
	if secure {
		a.baseURL = "https" + strings.TrimPrefix(a.baseURL, "h2c")
		options = append(options, grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: certtest.Loopback().TLS()})))
	}
	server := grpc.NewServer(options...)
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "todo.List", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Add", Handler: a.add}},
		Streams: []grpc.StreamDesc{
			{StreamName: "Collect", Handler: collect, ClientStreams: true},
			{StreamName: "Count", Handler: a.count, ServerStreams: true},
			{StreamName: "Talk", Handler: talk, ClientStreams: true, ServerStreams: true},
		},
	}, a)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Errorf("the API: %v", err)
		}
	})
	return a
}

// add answers what it is asked. It refuses "nothing", and does not come to an end of
// "everything".
func (a *grpcAPI) add(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	in := &wrapperspb.StringValue{}
	if err := decode(in); err != nil {
		return nil, err
	}
	switch in.Value {
	case "nothing":
		refusal, err := status.New(grpccodes.FailedPrecondition, "nothing is not – 100 % – enough").WithDetails(text("a detail"))
		if err != nil {
			return nil, err
		}
		return nil, refusal.Err()
	case "everything":
		if _, ok := ctx.Deadline(); !ok {
			return nil, status.Error(grpccodes.Internal, "the caller's deadline has not arrived")
		}
		<-ctx.Done()
		a.cancelled <- "Add"
		return nil, ctx.Err()
	}
	return text("added " + in.Value), nil
}

// collect answers all that it got. After "enough" it waits for no more.
func collect(_ any, stream grpc.ServerStream) error {
	var all []string
	for {
		in := &wrapperspb.StringValue{}
		err := stream.RecvMsg(in)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if err != nil || in.Value == "enough" {
			return stream.SendMsg(text(strings.Join(all, " ")))
		}
		all = append(all, in.Value)
	}
}

// count sends as many messages as it is asked for. Below zero there is no end.
func (a *grpcAPI) count(_ any, stream grpc.ServerStream) error {
	in := &wrapperspb.StringValue{}
	if err := stream.RecvMsg(in); err != nil {
		return err
	}
	n, err := strconv.Atoi(in.Value)
	if err != nil {
		return status.Error(grpccodes.InvalidArgument, "not a number")
	}
	for i := 1; n < 0 && i == 1 || i <= n; i++ {
		if err := stream.SendMsg(text(strconv.Itoa(i))); err != nil {
			return err
		}
	}
	if n < 0 {
		<-stream.Context().Done()
		a.cancelled <- "Count"
	}
	stream.SetTrailer(metadata.Pairs("counted", in.Value))
	return nil
}

// talk answers each message. After "bye" it ends.
func talk(_ any, stream grpc.ServerStream) error {
	for {
		in := &wrapperspb.StringValue{}
		if err := stream.RecvMsg(in); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := stream.SendMsg(text("you said " + in.Value)); err != nil {
			return err
		}
		if in.Value == "bye" {
			return nil
		}
	}
}

// inFront puts the service in front of the API. There is a second one, which
// cannot be reached.
func (a *grpcAPI) inFront(f *file) {
	d := f.DownstreamAPIs["todo"]
	d.BaseURL = a.baseURL
	f.DownstreamAPIs["todo"] = d
	d.BaseURL = "h2c://127.0.0.1:1/"
	f.DownstreamAPIs["gone"] = d
}
