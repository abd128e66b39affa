//go:build !unix

package redistest

// Freeze skips the test: only Unix can stop a process and let it run again.
func (s *Server) Freeze() { s.t.Skip("no process can be frozen here") }

// Thaw is for a server that Freeze stopped.
func (s *Server) Thaw() {}
