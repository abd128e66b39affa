package redistier

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"middletier/internal/testkit/redistest"
)

// wrongAnswers are what Redis never answers to what it is asked here.
var wrongAnswers = map[string]string{
	"a string of 2^63 bytes":           "$9223372036854775807\r\n",
	"a string of 2^40 bytes":           "$1099511627776\r\n",
	"a string of more than 2^63 bytes": "$99999999999999999999999\r\n",
	"a string of -2 bytes":             "$-2\r\n",
	"an array of 2^63":                 "*9223372036854775807\r\n",
	"an array of 2^31":                 "*2147483648\r\n",
	"an array of 2^40 in an array":     "*2\r\n*1099511627776\r\n",
	"a map of 2^40":                    "%1099511627776\r\n",
	"a map of 2^63":                    "%9223372036854775807\r\n",
	"a set of 2^40":                    "~1099511627776\r\n",
	"a push of 2^40":                   ">1099511627776\r\n",
	"an attribute of 2^40":             "|1099511627776\r\n",
	"an attribute without end":         strings.Repeat("|1\r\n", 100_000),
	"a verbatim string of 2^40":        "=1099511627776\r\n",
	"an error of 2^40":                 "!1099511627776\r\n",
	"an empty array":                   "*0\r\n",
	"an empty push":                    ">0\r\n",
	"an empty map":                     "%0\r\n",
	"an array of nothing":              "*-1\r\n",
	"nothing":                          "_\r\n",
	"an integer":                       ":1\r\n",
	"an array of an integer":           "*1\r\n:1\r\n",
	"a short array":                    "*1\r\n$7\r\nmessage\r\n",
	"a message of a number":            "*3\r\n$7\r\nmessage\r\n$1\r\nx\r\n*1\r\n:1\r\n",
	"a message from nowhere":           "*3\r\n$7\r\nmessage\r\n:1\r\n:2\r\n",
	"a subscription without count":     "*3\r\n$9\r\nsubscribe\r\n$1\r\nx\r\n$1\r\ny\r\n",
	"a pong of a number":               "*2\r\n$4\r\npong\r\n:1\r\n",
	"arrays in arrays":                 strings.Repeat("*1\r\n", 100_000),
	"a map with an array for a key":    "%1\r\n*1\r\n:1\r\n:1\r\n",
	"a status":                         "+OK\r\n",
	"an error":                         "-ERR no\r\n",
	"an error without text":            "-\r\n",
	"a truth":                          "#t\r\n",
	"a number that is none":            ":x\r\n",
	"a large number":                   "(" + strings.Repeat("9", 1<<20) + "\r\n",
	"a line without end":               "+" + strings.Repeat("x", 1<<20),
	"another protocol":                 "HTTP/1.1 400 Bad Request\r\n\r\n",
	"garbage":                          "\x00\x01\x02\xff\xfe\r\n\r\n$",
	"too little":                       "$100\r\nshort" + redistest.CutOff,
	"the end":                          redistest.CutOff,
	"nothing for long":                 "",
}

// Whatever is answered, the process goes on and does not ask for more memory than
// there is.
func TestWrongAnswersOfRedis(t *testing.T) { giveWrongAnswers(t, "*", "subscribe") }

// giveWrongAnswers gives every wrong answer to each of the commands, and then good
// ones.
func giveWrongAnswers(t *testing.T, commands ...string) {
	proxy := redistest.NewProxy(t, redistest.Start(t))
	for name, bytes := range wrongAnswers {
		for _, command := range commands {
			proxy.Answer(bytes, command)
			useRedis(t, proxy.Addr(), name+" to "+command)
		}
	}
	proxy.Answer("")
	if !useRedis(t, proxy.Addr(), "the server's own answers") {
		t.Error("a Redis that is good again is not used")
	}
}

// useRedis asks Redis everything once and reports whether all went well.
func useRedis(t *testing.T, address, what string) bool {
	t.Helper()
	timeout := 20 * time.Millisecond
	if strings.HasPrefix(what, "the server's") {
		timeout = 10 * time.Second // the machine may be busy
	}
	s, err := New(Config{
		URL: "redis://" + address, KeyPrefix: "p:", EncryptionKeys: []string{"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="},
		Timeout: timeout, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.client.Close()
	key, owner := Key{1}, Key{2}
	ok := true
	for _, ask := range []func(ctx context.Context) bool{
		func(ctx context.Context) bool {
			value, _ := s.Lock(ctx, key, owner, time.Second)
			s.unlock(ctx, key, value)
			return value != ""
		},
		func(ctx context.Context) bool {
			held, up := s.Get(ctx, key, owner)
			s.put(ctx, key, owner, held.Generation, []byte("entry"), time.Minute)
			return up
		},
		func(ctx context.Context) bool {
			held, up := s.Get(ctx, key, owner)
			return up && string(held.Entry) == "entry"
		},
		func(ctx context.Context) bool { return s.probe(ctx) == nil },
		func(ctx context.Context) bool { return s.Publish(ctx, Notice{What: Everything}) == nil },
		func(ctx context.Context) bool { return s.Forget(ctx, owner, Notice{AllOfUser, []Key{owner}}) == nil },
		func(ctx context.Context) bool { return s.Forget(ctx, owner, Notice{What: Everything}) == nil },
		func(ctx context.Context) bool {
			ctx, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
			defer cancel()
			s.listen(ctx, func(Notice) {})
			return true
		},
	} {
		s.breaker.close()
		ok = ask(t.Context()) && ok
	}
	return ok
}

// A sentinel is asked in goroutines of the client library's own.
func TestWrongAnswersOfASentinel(t *testing.T) {
	giveWrongAnswersOfASentinel(t, "sentinel", "subscribe")
}

func giveWrongAnswersOfASentinel(t *testing.T, commands ...string) {
	address, query, _ := strings.Cut(strings.TrimPrefix(redistest.StartSentinel(t).URL(), "redis://"), "?")
	proxy := redistest.NewProxyOf(t, address)
	for name, bytes := range wrongAnswers {
		for _, command := range commands {
			proxy.Answer(bytes, command)
			useRedis(t, proxy.Addr()+"?"+query, name+" to "+command)
		}
	}
	for _, message := range []string{"", "main", "main 127.0.0.1 1", "main 127.0.0.1 1 127.0.0.1"} {
		subscribed := "*3\r\n$9\r\nsubscribe\r\n$14\r\n+switch-master\r\n:1\r\n"
		proxy.Answer(subscribed+fmt.Sprintf("*3\r\n$7\r\nmessage\r\n$14\r\n+switch-master\r\n$%d\r\n%s\r\n", len(message), message), "subscribe")
		useRedis(t, proxy.Addr()+"?"+query, "message "+message)
	}
	proxy.Answer("")
	if !useRedis(t, proxy.Addr()+"?"+query, "the server's own answers") {
		t.Error("a sentinel that is good again is not used")
	}
}

// What Redis may answer passes, whole or in pieces.
func TestRepliesThatPass(t *testing.T) {
	for _, reply := range []string{
		"+OK\r\n", "-ERR no\r\n", ":1\r\n", "$0\r\n\r\n", "$5\r\nhello\r\n", "$-1\r\n", "*-1\r\n", "*0\r\n", "_\r\n", "#t\r\n", ",1.5\r\n",
		"(12345678901234567890\r\n", "=7\r\ntxt:abc\r\n", "!3\r\nERR\r\n", "~1\r\n:1\r\n", ">2\r\n+a\r\n+b\r\n", "|1\r\n+a\r\n+b\r\n:1\r\n",
		"*2\r\n$1\r\n0\r\n*0\r\n", "*2\r\n*1\r\n:1\r\n%1\r\n+a\r\n*2\r\n:1\r\n:2\r\n", "$1048576\r\n" + strings.Repeat("x", 1<<20) + "\r\n",
		"*16384\r\n" + strings.Repeat("*3\r\n:1\r\n:2\r\n$1\r\nx\r\n", 16384),
		"$5\r\n*1\r\n:\r\n", "+OK\r\n+OK\r\n", "-" + strings.Repeat("x", 10_000) + "\r\n",
	} {
		for _, size := range []int{1, 2, 3, 7, 1 << 30} {
			var c replyCheck
			for rest := []byte(reply); len(rest) > 0; {
				n := min(size, len(rest))
				if err := c.feed(rest[:n]); err != nil {
					t.Fatalf("%.40q in pieces of %d: got %v", reply, size, err)
				}
				rest = rest[n:]
			}
			if c.kind != 0 || c.skip != 0 || len(c.pending) != 0 {
				t.Errorf("%.40q in pieces of %d: more is expected", reply, size)
			}
		}
	}
}

// What announces too much is refused as soon as it does.
func TestRepliesThatDoNotPass(t *testing.T) {
	for reply, want := range map[string]error{
		"$1048577\r\n": errReplyLimit, "=1048577\r\n": errReplyLimit, "!1048577\r\n": errReplyLimit, "$9223372036854775807\r\n": errReplyLimit,
		"*131073\r\n": errReplyLimit, "~131073\r\n": errReplyLimit, ">131073\r\n": errReplyLimit, "%65537\r\n": errReplyLimit, "|65537\r\n": errReplyLimit,
		"*2\r\n*131071\r\n": errReplyLimit, strings.Repeat("*1\r\n", 17): errReplyLimit, "%9223372036854775807\r\n": errReplyLimit,
		"*9223372036854775808\r\n": errReplyLimit, "(" + strings.Repeat("1", 513): errReplyLimit, "$" + strings.Repeat("0", 513): errReplyLimit,
		"+" + strings.Repeat("x", 65537): errReplyLimit, "$-2\r\n": errReplyForm, "$\r\n": errReplyForm, "$x\r\n": errReplyForm, "HTTP/1.1 200\r\n": errReplyForm,
		"\r\n": errReplyForm, "$+5\r\n+": nil,
	} {
		var c replyCheck
		if err := c.feed([]byte(reply)); !errors.Is(err, want) {
			t.Errorf("%.40q: got %v, want %v", reply, err, want)
		}
	}
	strings16 := "*17\r\n" + strings.Repeat("$1048576\r\n"+strings.Repeat("x", 1<<20)+"\r\n", 16) + "$1\r\n"
	var c replyCheck
	if err := c.feed([]byte(strings16)); !errors.Is(err, errReplyLimit) {
		t.Errorf("17 strings of 1 MiB: got %v, want %v", err, errReplyLimit)
	}
	for _, kind := range []string{"+", "-"} {
		var c replyCheck
		if err := c.feed([]byte("*1024\r\n" + strings.Repeat(kind+strings.Repeat("x", 64_000)+"\r\n", 1024))); !errors.Is(err, errReplyLimit) {
			t.Errorf("1024 lines of 64 KB that begin with %s: got %v, want %v", kind, err, errReplyLimit)
		}
	}
}

// However it comes in pieces, what is decided of a stream is the same, and no more
// than its limits is ever announced by what has passed.
func FuzzReplyCheck(f *testing.F) {
	for _, bytes := range wrongAnswers {
		f.Add([]byte(bytes[:min(len(bytes), 200)]), uint8(3), true)
	}
	f.Add([]byte("*2\r\n$1\r\n0\r\n*1\r\n$3\r\nabc\r\n+OK\r\n"), uint8(1), false)
	f.Add([]byte("|1\r\n+a\r\n+b\r\n%1\r\n+k\r\n:1\r\n"), uint8(2), true)
	f.Fuzz(func(t *testing.T, stream []byte, size uint8, sentinel bool) {
		var whole, pieces replyCheck
		if sentinel {
			for _, c := range []*replyCheck{&whole, &pieces} {
				c.sentinel = &sentinelCheck{}
				c.sentinel.subscribed.Store(size%2 == 0)
				c.sentinel.address.Store(size%3 == 0)
			}
		}
		want := whole.feed(stream)
		conn := &checkedConn{Conn: &piecemeal{rest: stream, size: int(size%8) + 1}, check: pieces}
		_, got := io.Copy(io.Discard, struct{ io.Reader }{conn})
		if !errors.Is(got, want) {
			t.Fatalf("in pieces of %d: got %v, want %v", size%8+1, got, want)
		}
		for _, c := range []*replyCheck{&whole, &conn.check} {
			if c.skip > maxReplyString+2 || len(c.pending) > maxReplyDepth || len(c.line) > maxNumberLine {
				t.Fatalf("%d bytes of a string, %d arrays, %d bytes of a line are let pass", c.skip, len(c.pending), len(c.line))
			}
		}
	})
}

// piecemeal is a connection that gives a few bytes at a time.
type piecemeal struct {
	net.Conn
	rest []byte
	size int
}

func (p *piecemeal) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.rest[:min(p.size, len(p.rest))])
	p.rest = p.rest[n:]
	return n, nil
}
