package redistier

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"net"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"middletier/internal/failure"
)

// Notice is what one replica sends the others through Redis: what was forgotten,
// for them to forget as well.
type Notice struct {
	What Forgotten
	Keys []Key // with TheseTokens: theirs; with AllOfUser: the user's own
}

// Forgotten is what a notice is about.
type Forgotten byte

// What a notice may be about.
const (
	TheseTokens Forgotten = 't'
	AllOfUser   Forgotten = 'o'
	Everything  Forgotten = 'a'
)

// maxNoticeKeys bounds the keys in one message: a sign-out has a key for each API.
const maxNoticeKeys = 1024

// replicaID names a process to itself, which hears its own notices too.
type replicaID [16]byte

func newReplicaID() (id replicaID) {
	_, _ = rand.Read(id[:]) // it never fails
	return id
}

// encode writes a notice of from.
func (n Notice) encode(from replicaID) []byte {
	b := append(from[:], byte(n.What))
	for _, key := range n.Keys {
		b = append(b, key[:]...)
	}
	return b
}

// decodeNotice reads what encode wrote, and nothing else.
func decodeNotice(b []byte) (n Notice, from replicaID, ok bool) {
	if len(b) < len(from)+1 {
		return Notice{}, from, false
	}
	from, n.What, b = replicaID(b), Forgotten(b[len(from)]), b[len(from)+1:]
	if len(b)%len(Key{}) != 0 || len(b) > maxNoticeKeys*len(Key{}) {
		return Notice{}, from, false
	}
	for key := range slices.Chunk(b, len(Key{})) {
		n.Keys = append(n.Keys, Key(key))
	}
	switch n.What {
	case TheseTokens:
		ok = len(n.Keys) > 0
	case AllOfUser:
		ok = len(n.Keys) == 1
	case Everything:
		ok = len(n.Keys) == 0
	}
	return n, from, ok
}

// channel is where notices go. They are sealed: nobody else can write one.
func (s *Redis) channel() string { return s.prefix + "forgotten" }

var errNotPublished = failure.New("Redis did not pass it on")

// Publish implements Tier. A replica that does not listen at the moment never hears of it.
// Many keys are sent in several messages.
func (s *Redis) Publish(ctx context.Context, n Notice) error {
	if len(n.Keys) <= maxNoticeKeys {
		return s.publish(ctx, n)
	}
	var err error
	for keys := range slices.Chunk(n.Keys, maxNoticeKeys) {
		err = cmp.Or(s.publish(ctx, Notice{n.What, keys}), err)
	}
	return err
}

func (s *Redis) publish(ctx context.Context, n Notice) error {
	sealed := s.sealer.seal(s.channel(), n.encode(s.id))
	refused, ok := do(ctx, s, write, func(ctx context.Context) (error, error) {
		err := s.client.Publish(ctx, s.channel(), sealed).Err()
		if isRefusal(err) {
			return err, nil
		}
		return nil, err
	})
	if refused != nil {
		s.breaker.failed.Add(1)
		s.log.Warn("Redis does not pass on to other replicas what was forgotten", "error", failure.Of(refused))
	}
	if !ok || refused != nil {
		return errNotPublished
	}
	return nil
}

// isRefusal reports whether Redis does not allow notices or does not know them: all else
// works, and trying again does not help. Other replies, such as LOADING, pass.
func isRefusal(err error) bool {
	return redis.HasErrorPrefix(err, "NOPERM") || redis.HasErrorPrefix(err, "unknown command")
}

const (
	// listenPause is between two attempts to listen.
	listenPause = time.Second

	// listenSilence is how long nothing may come before Redis is asked whether it is
	// there, and then before the connection is given up.
	listenSilence = 15 * time.Second
)

// listening marks the context of a connection to listen on.
type listening struct{}

// listen calls heard with what other replicas have forgotten, until ctx ends.
func (s *Redis) listen(ctx context.Context, heard func(Notice)) {
	ctx = context.WithValue(ctx, listening{}, true)
	refused := false
	for ctx.Err() == nil {
		err := safely(func() error {
			return s.listenOnce(ctx, func(n Notice) {
				refused = false
				heard(n)
				// What this replica was just writing may have come to Redis after the other one looked.
				s.enqueue(func(ctx context.Context) { s.removeNoted(ctx, n) })
			})
		})
		if errors.Is(err, errRedisPanic) {
			s.breaker.failed.Add(1)
		}
		if isRefusal(err) && !refused { // other failures are logged by the breaker
			refused = true
			s.log.Warn("Redis does not let us hear what other replicas forget", "error", failure.Of(err))
		}
		select {
		case <-ctx.Done():
		case <-time.After(listenPause):
		}
	}
}

// listenOnce is listen with one connection, until that ends.
func (s *Redis) listenOnce(ctx context.Context, heard func(Notice)) error {
	subscription := s.client.Subscribe(ctx, s.channel())
	stop := context.AfterFunc(ctx, func() { _ = subscription.Close() }) // ends the wait
	defer stop()
	defer subscription.Close()
	for asked := false; ; {
		message, err := subscription.ReceiveTimeout(ctx, listenSilence)
		var silent net.Error
		switch {
		case errors.As(err, &silent) && silent.Timeout() && !asked:
			asked, err = true, subscription.Ping(ctx)
		case err == nil:
			asked = false
		}
		if err != nil {
			return err
		}
		if m, ok := message.(*redis.Message); ok {
			if n, ok := s.read(m.Payload); ok {
				heard(n)
			}
		}
	}
}

// read opens a message. ok is false for our own and for what is not a notice.
func (s *Redis) read(message string) (n Notice, ok bool) {
	b, ok := s.sealer.open(s.channel(), []byte(message))
	if !ok {
		return Notice{}, false
	}
	n, from, ok := decodeNotice(b)
	return n, ok && from != s.id
}
