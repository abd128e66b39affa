package downstream

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strings"
)

// WebSocket makes a call a WebSocket handshake (RFC 6455). If the API accepts it, Forward
// returns when the WebSocket has ended. Any other answer is passed on as an ordinary one.
type WebSocket struct {
	// Context ends the WebSocket: with the *CloseError in its cause, else with GoingAway.
	Context context.Context
	// Accepted is called when the API has accepted, before the caller reads of it.
	Accepted func()
	// Sent is how many bytes the caller got by the end, without those of the handshake.
	Sent int64
}

// CloseError is why this service ends a WebSocket. Both sides get it in a Close frame.
type CloseError struct {
	Code   uint16 // RFC 6455, section 7.4.1
	Reason string // at most 123 bytes
}

func (e *CloseError) Error() string {
	return fmt.Sprintf("the WebSocket was closed with code %d: %s", e.Code, e.Reason)
}

// The codes of a CloseError.
const (
	CloseGoingAway       = 1001
	ClosePolicyViolation = 1008
)

// GoingAway ends a WebSocket because the service stops.
var GoingAway = &CloseError{CloseGoingAway, "the service stops"}

// closeErrorOf returns why a WebSocket ends whose context has ended with cause.
func closeErrorOf(cause error) *CloseError {
	var e *CloseError
	if errors.As(cause, &e) {
		return e
	}
	return GoingAway
}

// noteConn notes the connection of each attempt of a handshake: the body of a response has no
// deadlines.
func (c *call) noteConn(info httptrace.GotConnInfo) { c.conn = info.Conn }

// askForUpgrade makes a request to the API a handshake, or an answer its acceptance.
func askForUpgrade(h http.Header) {
	h["Connection"] = []string{"Upgrade"}
	h["Upgrade"] = []string{"websocket"}
}

// isUpgrade reports whether a request to an API is a handshake.
func isUpgrade(h http.Header) bool { return h["Upgrade"] != nil }

// isAccepted reports whether the API has switched to the WebSocket that the call asks for.
func (c *call) isAccepted(resp *http.Response) bool {
	return c.WebSocket != nil && c.conn != nil && resp.StatusCode == http.StatusSwitchingProtocols &&
		strings.EqualFold(resp.Header.Get("Upgrade"), "websocket")
}

// startRelay passes the API's acceptance to the caller, and what both send until one of them
// or the context of the WebSocket ends. It closes both connections. The error is for the log:
// why the WebSocket ended otherwise than by the two.
func (c *Client) startRelay(call *call, resp *http.Response) error {
	call.deadline.stop()
	w := call.response.ResponseWriter
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		_ = resp.Body.Close() // the error of Hijack says more
		return fmt.Errorf("the caller's connection cannot become a WebSocket: %w", err)
	}
	early := make([]byte, buffered.Reader.Buffered())
	_, _ = buffered.Reader.Read(early) // it has as many
	call.upgraded = true
	stripHopByHop(resp.Header)
	c.stripResponse(resp.Header)
	answer := w.Header()
	for name, values := range resp.Header {
		answer[name] = slices.Concat(answer[name], values) // other answers may share the list
	}
	askForUpgrade(answer)
	call.WebSocket.Accepted()
	r := &relay{callerConn: conn, apiConn: call.conn}
	r.fromCaller = flow{from: conn, to: call.conn, masked: true}
	r.fromAPI = flow{from: resp.Body, to: conn} // begins with what net/http has read
	accepted := http.Response{StatusCode: http.StatusSwitchingProtocols, ProtoMajor: 1, ProtoMinor: 1, Header: answer}
	if err = accepted.Write(buffered.Writer); err == nil {
		err = buffered.Writer.Flush()
	}
	if err != nil {
		r.abort()
		return fmt.Errorf("the caller left: %w", err)
	}
	err = r.run(call.WebSocket.Context, early)
	call.WebSocket.Sent = r.fromAPI.sent
	var broken *brokenError
	if errors.As(err, &broken) && broken.api && call.Truncated != nil {
		*call.Truncated = err
	}
	return err
}
