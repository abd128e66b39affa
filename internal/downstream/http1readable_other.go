//go:build !unix

package downstream

import "net"

// canPoll says that readable does not work: http.Transport sends all requests.
const canPoll = false

type readable struct{}

func (*readable) of(net.Conn) {}
func (*readable) now() bool   { return false }
