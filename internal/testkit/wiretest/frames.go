package wiretest

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"middletier/internal/testkit/certtest"
)

// Server is an API that sends and receives HTTP/2 frames over TLS.
type Server struct {
	URL   string
	Roots *x509.CertPool
	Pings atomic.Bool // answer is also called for pings, without a stream

	mu    sync.Mutex
	conns []*Conn
}

// Conn is a connection to a Server. Only answer uses it, or a goroutine that holds Busy.
type Conn struct {
	Busy sync.Mutex // held except while a frame is awaited; guards all but seen

	*http2.Framer
	Number    int // the first is 1
	Streams   map[uint32]*Stream
	Processed uint32        // the highest stream with a response
	out       *bufio.Writer // flushed after each frame that was read: a response arrives as a whole

	encoder *hpack.Encoder
	block   bytes.Buffer

	mu   sync.Mutex
	seen []string // method and path of each request
}

// Stream is what has been received of a request.
type Stream struct {
	ID      uint32
	Fields  map[string]string
	Trailer map[string]string
	Body    []byte
	Ended   bool // by the client
}

// What returns the method and the path.
func (s *Stream) What() string { return s.Fields[":method"] + " " + s.Fields[":path"] }

// ServeFrames starts a Server with the certificate of httptest. answer is called after
// each frame of a request, and reports whether the connection stays open.
func ServeFrames(t testing.TB, answer func(c *Conn, s *Stream) bool) *Server {
	t.Helper()
	certificate := certtest.Loopback()
	server := &Server{Roots: certificate.Pool()}
	config := &tls.Config{Certificates: certificate.TLS(), NextProtos: []string{"h2"}}
	server.URL = "https://" + Serve(t, config, func(conn net.Conn) {
		server.add(conn).serve(conn, server.Pings.Load(), answer)
	})
	return server
}

func (s *Server) add(conn net.Conn) *Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := bufio.NewWriter(conn)
	c := &Conn{Framer: http2.NewFramer(out, conn), out: out, Number: len(s.conns) + 1, Streams: map[uint32]*Stream{}}
	c.encoder = hpack.NewEncoder(&c.block)
	s.conns = append(s.conns, c)
	return c
}

// Requests returns the requests of each connection that had some.
func (s *Server) Requests() (all [][]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		c.mu.Lock()
		if len(c.seen) > 0 {
			all = append(all, slices.Clone(c.seen))
		}
		c.mu.Unlock()
	}
	return all
}

// Count returns how often a request arrived.
func (s *Server) Count(what string) (n int) {
	for _, seen := range s.Requests() {
		for _, w := range seen {
			if w == what {
				n++
			}
		}
	}
	return n
}

// serve reads frames. An error of reading or writing ends the connection.
func (c *Conn) serve(conn net.Conn, pings bool, answer func(c *Conn, s *Stream) bool) {
	if _, err := io.ReadFull(conn, make([]byte, len(http2.ClientPreface))); err != nil {
		return
	}
	c.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.MaxHeaderListSize = 1 << 20
	c.Busy.Lock()
	defer c.Busy.Unlock()
	defer c.Flush()
	_ = c.WriteSettings()
	for {
		c.Flush()
		c.Busy.Unlock()
		frame, err := c.ReadFrame()
		c.Busy.Lock()
		if err != nil {
			return
		}
		var stream *Stream
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				_ = c.WriteSettingsAck()
			}
			continue
		case *http2.PingFrame:
			if !f.IsAck() {
				_ = c.WritePing(true, f.Data)
			}
			if !pings {
				continue
			}
		case *http2.MetaHeadersFrame:
			stream = c.headers(f)
		case *http2.DataFrame:
			if stream = c.Streams[f.StreamID]; stream == nil {
				continue
			}
			stream.Body = append(stream.Body, f.Data()...)
			stream.Ended = f.StreamEnded()
			if n := uint32(len(f.Data())); n > 0 {
				_ = c.WriteWindowUpdate(0, n)
				_ = c.WriteWindowUpdate(f.StreamID, n)
			}
		default:
			continue
		}
		if !answer(c, stream) {
			return
		}
	}
}

// headers handles a request's headers, or trailers.
func (c *Conn) headers(f *http2.MetaHeadersFrame) *Stream {
	fields := map[string]string{}
	for _, field := range f.Fields {
		fields[field.Name] = field.Value
	}
	if stream, ok := c.Streams[f.StreamID]; ok {
		stream.Trailer, stream.Ended = fields, true
		return stream
	}
	stream := &Stream{ID: f.StreamID, Fields: fields, Ended: f.StreamEnded()}
	c.Streams[f.StreamID] = stream
	c.mu.Lock()
	c.seen = append(c.seen, stream.What())
	c.mu.Unlock()
	return stream
}

// Reply responds to a stream with 200, the length of the request's body and its trailer.
func (c *Conn) Reply(s *Stream) {
	c.Open(s)
	_ = c.WriteData(s.ID, true, fmt.Appendf(nil, "%d bytes, trailer %q", len(s.Body), s.Trailer["x-trailer"]))
	delete(c.Streams, s.ID)
	c.Processed = max(c.Processed, s.ID)
	c.Flush()
}

// Open begins a response of 200 with these headers, each a name and a value.
func (c *Conn) Open(s *Stream, headers ...string) {
	c.block.Reset()
	_ = c.encoder.WriteField(hpack.HeaderField{Name: ":status", Value: "200"})
	for i := 0; i < len(headers); i += 2 {
		_ = c.encoder.WriteField(hpack.HeaderField{Name: headers[i], Value: headers[i+1]})
	}
	_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: s.ID, BlockFragment: c.block.Bytes(), EndHeaders: true})
}

// Reset resets a stream, and ignores what still comes of it.
func (c *Conn) Reset(s *Stream, code http2.ErrCode) {
	_ = c.WriteRSTStream(s.ID, code)
	delete(c.Streams, s.ID)
}

// Flush sends what was written since the last frame was read. An error shows when the
// next frame is read.
func (c *Conn) Flush() { _ = c.out.Flush() }

// HeaderBlock encodes the fields of a request, by name and value, without a state that others
// would need (RFC 7541).
func HeaderBlock(fields [][2]string) []byte {
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	encoder.SetMaxDynamicTableSize(0)
	for _, field := range fields {
		_ = encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}) // to memory
	}
	return block.Bytes()
}
