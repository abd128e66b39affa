// Package nginxtest runs nginx for tests.
package nginxtest

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"middletier/internal/testkit/tooltest"
)

const patience = 20 * time.Second // with nginx, which starts within milliseconds

// Start runs nginx with servers, in the language of its configuration, and returns when
// it listens on address. files are written beside the configuration, by their names.
func Start(t testing.TB, address, servers string, files map[string][]byte) {
	t.Helper()
	binary := tooltest.Find(t, "nginx", "nginx-light")
	dir := t.TempDir()
	write := func(name string, content []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range files {
		write(name, content)
	}
	write("nginx.conf", []byte(`
daemon off;
worker_processes 1;
error_log stderr crit;
pid nginx.pid;
events {}
http {
	access_log off;
	client_body_temp_path body;
	proxy_temp_path proxy;
	fastcgi_temp_path fastcgi;
	uwsgi_temp_path uwsgi;
	scgi_temp_path scgi;
`+servers+"}\n"))
	log := &bytes.Buffer{} // read when nginx has ended
	cmd := exec.Command(binary, "-p", dir, "-c", "nginx.conf", "-e", "stderr")
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it stops its workers
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if conn, err := net.Dial("tcp", address); err == nil {
			_ = conn.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("nginx does not listen")
		}
	}
}
