package redistier

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
	"sync/atomic"

	"middletier/internal/failure"
)

// What is accepted of Redis. The client library allocates what a length announces
// before anything of that length has come, and out-of-memory ends the process.
const (
	maxReplyString   = 1 << 20  // bytes; our own values have at most maxSealed
	maxReplyElements = 1 << 17  // of all arrays and maps of one reply together
	maxReplySize     = 16 << 20 // bytes of all strings and lines of one reply together
	maxReplyDepth    = 16       // arrays in arrays; COMMAND has 8
	maxReplyLine     = 64 << 10 // bytes, of an error for example
	maxNumberLine    = 512      // bytes, of a number or a length
)

var (
	errReplyForm  = failure.New("what came from Redis is not its protocol")
	errReplyLimit = failure.New("what came from Redis is larger than anything it is asked for")
	errReplyShape = failure.New("what came from a Redis sentinel is not an answer to what it was asked")
)

// replyCheck follows what a Redis server sends (the protocol RESP2 and RESP3,
// https://redis.io/docs/latest/develop/reference/protocol-spec/) as it arrives, in
// pieces of any length, and refuses lengths that are too large.
type replyCheck struct {
	kind     byte   // of the line that is being read; 0: between two
	line     []byte // as much as matters of it, without the kind
	length   int    // of the line
	skip     int    // bytes of a string that are still to come, its line end included
	pending  []int  // elements that are still to come, of each array that is open
	elements int    // announced by the reply so far
	size     int    // of its strings and lines so far

	sentinel *sentinelCheck // nil: the server is none
}

// feed takes what has just arrived. After an error the connection is of no use.
func (c *replyCheck) feed(b []byte) error {
	for len(b) > 0 {
		switch {
		case c.skip > 0:
			n := min(c.skip, len(b))
			c.noteText(b[:n])
			c.skip, b = c.skip-n, b[n:]
			if c.skip == 0 {
				if err := c.endValue(); err != nil {
					return err
				}
			}
		case c.kind == 0:
			c.kind, c.line, c.length = b[0], c.line[:0], 0
			b = b[1:]
		default:
			part, rest, ended := bytes.Cut(b, []byte{'\n'})
			if err := c.addLine(part); err != nil {
				return err
			}
			if b = rest; !ended {
				continue
			}
			if err := c.endLine(); err != nil {
				return err
			}
		}
	}
	return nil
}

// addLine takes a part of a line.
func (c *replyCheck) addLine(part []byte) error {
	c.length += len(part)
	limit := maxNumberLine
	if c.kind == '+' || c.kind == '-' {
		limit = maxReplyLine
	}
	if c.length > limit {
		return errReplyLimit
	}
	c.line = append(c.line, part[:min(len(part), maxNumberLine-len(c.line))]...)
	return nil
}

// endLine looks at a line that is complete.
func (c *replyCheck) endLine() error {
	kind, line := c.kind, bytes.TrimSuffix(c.line, []byte{'\r'})
	c.kind = 0
	switch kind {
	case '+', '-', ':', '_', ',', '#', '(':
		if c.size += c.length; c.size > maxReplySize {
			return errReplyLimit
		}
		c.note(kind)
		c.noteText(line)
		return c.endValue()
	case '$', '=', '!', '*', '~', '>', '%', '|':
	default:
		return errReplyForm
	}
	n, err := strconv.Atoi(string(line))
	switch {
	case errors.Is(err, strconv.ErrRange):
		return errReplyLimit
	case err != nil, n < -1:
		return errReplyForm
	case n == -1: // nil, as RESP2 writes it
		c.note('_')
		return c.endValue()
	}
	c.note(kind)
	if kind == '$' || kind == '=' || kind == '!' {
		if c.size += min(n, maxReplyString); n > maxReplyString || c.size > maxReplySize {
			return errReplyLimit
		}
		c.skip = n + 2
		return nil
	}
	return c.open(kind, n)
}

// open begins an array of a kind, or a map of n pairs.
func (c *replyCheck) open(kind byte, n int) error {
	n = min(n, maxReplyElements+1)
	if kind == '%' || kind == '|' {
		n *= 2
	}
	if c.elements += n; c.elements > maxReplyElements || len(c.pending) == maxReplyDepth {
		return errReplyLimit
	}
	if kind == '|' {
		n++ // an attribute stands before what it is about
	}
	if n == 0 {
		return c.endValue()
	}
	c.pending = append(c.pending, n)
	return nil
}

// endValue notes that a value is complete, and with it perhaps the arrays in which
// it is the last.
func (c *replyCheck) endValue() error {
	for i := len(c.pending) - 1; i >= 0; i-- {
		if c.pending[i]--; c.pending[i] > 0 {
			return nil
		}
		c.pending = c.pending[:i]
	}
	c.elements, c.size = 0, 0
	if c.sentinel == nil {
		return nil
	}
	return c.sentinel.end()
}

// note tells what a sentinel's value is of. Values in arrays in arrays do not matter.
func (c *replyCheck) note(kind byte) {
	if c.sentinel != nil && len(c.pending) < 2 {
		c.sentinel.kinds, c.sentinel.texts = append(c.sentinel.kinds, kind), append(c.sentinel.texts, nil)
	}
}

// noteText tells a part of the text of a value that was noted.
func (c *replyCheck) noteText(part []byte) {
	if c.sentinel != nil && len(c.pending) < 2 {
		text := &c.sentinel.texts[len(c.sentinel.texts)-1]
		*text = append(*text, part[:min(len(part), maxSentinelText-len(*text))]...)
	}
}

// sentinelCheck looks at what a sentinel sends. The client library takes two answers
// for granted in goroutines of its own, where a panic ends the process: the address
// of a server, and messages (go-redis v9.23.0, sentinel.go and pubsub.go).
type sentinelCheck struct {
	subscribed atomic.Bool // from now on what comes are messages
	address    atomic.Bool // the next reply is an address

	kinds []byte   // of the reply, and of its elements where it is an array
	texts [][]byte // of each, as much as matters
}

// maxSentinelText is more than two names, two addresses and two ports.
const maxSentinelText = 1024

// sent notes what goes to the sentinel.
func (s *sentinelCheck) sent(command []byte) {
	if bytes.Contains(command, []byte("get-master-addr-by-name")) {
		s.address.Store(true)
	}
	if bytes.Contains(command, []byte("+switch-master")) {
		s.subscribed.Store(true)
	}
}

// end looks at a reply that is complete.
func (s *sentinelCheck) end() error {
	ok := s.isReadable()
	s.address.Store(false)
	s.kinds, s.texts = s.kinds[:0], s.texts[:0]
	if !ok {
		return errReplyShape
	}
	return nil
}

// isReadable reports whether the client library can read the reply.
func (s *sentinelCheck) isReadable() bool {
	isText := func(i int) bool { return i < len(s.kinds) && (s.kinds[i] == '$' || s.kinds[i] == '+') }
	text := func(i int) string { return strings.TrimRight(string(s.texts[i]), "\r\n") }
	switch reply := s.kinds[0]; {
	case reply == '|', reply == '>' && !s.subscribed.Load():
		return false
	case reply != '*' && reply != '>':
		return true // it is no array, and an error where one is wanted
	case s.address.Load():
		return len(s.kinds) == 3 && isText(1) && isText(2)
	case !s.subscribed.Load():
		return true
	case !isText(1):
		return false
	}
	switch text(1) {
	case "message":
		return isText(2) && isText(3) && (text(2) != "+switch-master" || strings.Count(text(3), " ") >= 4)
	case "pong":
		return isText(2)
	case "subscribe":
		return isText(2) && len(s.kinds) > 3 && s.kinds[3] == ':'
	}
	return false
}
