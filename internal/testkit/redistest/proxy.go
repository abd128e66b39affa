package redistest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Proxy forwards between a client and a server until the test ends. On demand it gives
// wrong answers.
type Proxy struct {
	listener net.Listener
	server   string

	mu    sync.Mutex // guards the rest
	wrong map[string]string
	asked map[string]int
	conns map[net.Conn]bool
}

// NewProxy returns a proxy of server.
func NewProxy(t testing.TB, server *Server) *Proxy { return NewProxyOf(t, server.Addr()) }

// NewProxyOf returns a proxy of the server at an address.
func NewProxyOf(t testing.TB, address string) *Proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{listener: listener, server: address, asked: map[string]int{}, conns: map[net.Conn]bool{}}
	var group sync.WaitGroup
	group.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			p.mu.Lock()
			p.conns[conn] = true
			p.mu.Unlock()
			group.Go(func() { p.serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		p.Break()
		group.Wait()
	})
	return p
}

// Addr is the proxy's address on loopback.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Answer has the proxy send these bytes in place of the server's answer to commands
// of these names, "*" for all. Without names the server answers all. Connections end.
func (p *Proxy) Answer(bytes string, commands ...string) {
	p.mu.Lock()
	p.wrong = map[string]string{}
	for _, name := range commands {
		p.wrong[strings.ToLower(name)] = bytes
	}
	p.mu.Unlock()
	p.Break()
}

// Asked returns how often a command came.
func (p *Proxy) Asked(command string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked[strings.ToLower(command)]
}

// Break ends all connections.
func (p *Proxy) Break() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.conns {
		_ = conn.Close() // it may have ended
	}
	clear(p.conns)
}

// serve passes commands on, one by one, and answers as they come.
func (p *Proxy) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", p.server)
	if err != nil {
		return
	}
	defer server.Close()
	go func() {
		_, _ = io.Copy(client, server) // until one of them ends
		_ = client.Close()
	}()
	commands := bufio.NewReader(client)
	for {
		name, command, err := readCommand(commands)
		if err != nil {
			return
		}
		p.mu.Lock()
		p.asked[name]++
		answer, wrong := p.wrong[name]
		if !wrong {
			answer, wrong = p.wrong["*"]
		}
		p.mu.Unlock()
		if wrong {
			_, err = io.WriteString(client, answer)
			if strings.HasSuffix(answer, CutOff) {
				return
			}
		} else {
			_, err = io.WriteString(server, command)
		}
		if err != nil {
			return
		}
	}
}

// CutOff at the end of an answer ends the connection.
const CutOff = "\x00"

// readCommand reads a command: an array of strings. It returns its name, and all of
// it.
func readCommand(r *bufio.Reader) (name, command string, err error) {
	number := func(kind byte) (int, error) {
		line, err := r.ReadString('\n')
		if err != nil {
			return 0, err
		}
		command += line
		if line[0] != kind {
			return 0, fmt.Errorf("not a command: %q", line)
		}
		return strconv.Atoi(strings.TrimSpace(line[1:]))
	}
	n, err := number('*')
	for i := 0; i < n && err == nil; i++ {
		var length int
		if length, err = number('$'); err != nil {
			break
		}
		word := make([]byte, length+2)
		_, err = io.ReadFull(r, word)
		command += string(word)
		if i == 0 {
			name = strings.ToLower(string(word[:length]))
		}
	}
	return name, command, err
}
