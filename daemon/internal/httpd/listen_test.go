//go:build unix

package httpd

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestListen(t *testing.T) {
	now, cancel := context.WithCancel(context.Background())
	cancel()
	tcp, err := Listen(now, "127.0.0.1:0", "--flag")
	if err != nil {
		t.Fatal(err)
	}
	taken := tcp.Addr().String()
	if _, err := Listen(now, taken, "--flag"); !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "--flag") {
		t.Error(err)
	}
	// It is waited for.
	got := make(chan error, 1)
	go func() {
		l, err := Listen(context.Background(), taken, "--flag")
		if err == nil {
			err = l.Close()
		}
		got <- err
	}()
	tcp.Close()
	if err := <-got; err != nil {
		t.Error(err)
	}
	if _, err := Listen(context.Background(), "192.0.2.1:1", "--flag"); err == nil || errors.Is(err, syscall.EADDRINUSE) { // an address that this host does not have
		t.Error(err)
	}
}

func TestListenOnASocket(t *testing.T) {
	now, cancel := context.WithCancel(context.Background())
	cancel()
	path := filepath.Join(t.TempDir(), "s")
	l, err := Listen(now, "unix:"+path, "--flag")
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(path); err != nil || info.Mode().Perm() != socketMode {
		t.Error(info, err)
	}
	if _, err := Listen(now, "unix:"+path, "--flag"); !errors.Is(err, syscall.EADDRINUSE) {
		t.Error(err)
	}
	// A listener that was killed leaves its file.
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	if l, err = Listen(now, "unix:"+path, "--flag"); err != nil {
		t.Fatal(err)
	}
	l.Close()
	// Listen removes no file that is not a socket.
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(now, "unix:"+path, "--flag"); !errors.Is(err, syscall.EADDRINUSE) {
		t.Error(err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Error(err)
	}
}

func TestCheckAddress(t *testing.T) {
	const example = "127.0.0.1:17471"
	for _, address := range []string{example, ":80", "0.0.0.0:17471", "[::1]:17471", "localhost:http", "unix:/run/x.sock", "unix:x"} {
		if err := CheckAddress(address, example); err != nil {
			t.Error(err)
		}
	}
	for _, address := range []string{"", "x", "17471", "127.0.0.1", "127.0.0.1:", "::1:17471", "127.0.0.1:99999", ":-1", ":no-such-service", "unix:", "unix:@abstract", "unix:" + strings.Repeat("x", 200)} {
		if err := CheckAddress(address, example); err == nil || !strings.Contains(err.Error(), "socket") && !strings.Contains(err.Error(), example) {
			t.Errorf("%q: %v", address, err)
		}
	}
}
