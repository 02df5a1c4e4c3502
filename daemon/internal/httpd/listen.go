//go:build unix

package httpd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

const (
	unixScheme = "unix:"
	listenPoll = 200 * time.Millisecond // how often an address that is taken is tried
	socketMode = 0o660                  // its owner and its group may connect
)

// CheckAddress says what is wrong with the form of an address: HOST:PORT, where
// an empty host is every address of this machine, or unix:PATH. example is one that is
// valid.
func CheckAddress(address, example string) error {
	form := "write HOST:PORT such as " + example + ", or unix:PATH"
	if path, ok := strings.CutPrefix(address, unixScheme); ok {
		switch {
		case path == "" || path[0] == '@':
			return fmt.Errorf("%q names no socket file; %s", address, form)
		case len(path) >= len(syscall.RawSockaddrUnix{}.Path):
			return fmt.Errorf("the path of a socket has at most %d bytes, and %q has %d", len(syscall.RawSockaddrUnix{}.Path)-1, path, len(path))
		}
		return nil
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil || port == "" {
		return fmt.Errorf("%q is not a valid address; %s", address, form)
	}
	if _, err := net.LookupPort("tcp", port); err != nil { // in the machine's table of services, not in the network
		return fmt.Errorf("%q is not a port of %q; %s", port, address, form)
	}
	return nil
}

// Listen listens on an address that passed CheckAddress. While another process
// listens there, Listen tries again until the context ends, at least once, and
// then returns the error. Any other error is returned at once. The file of a unix
// socket without a listener is replaced. flag is what sets the address.
func Listen(ctx context.Context, address, flag string) (net.Listener, error) {
	for {
		l, err := listen(address)
		if !errors.Is(err, syscall.EADDRINUSE) {
			return l, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w; stop the process that listens there, or give this daemon another address with %s", err, flag)
		case <-time.After(listenPoll):
		}
	}
}

func listen(address string) (net.Listener, error) {
	path, ok := strings.CutPrefix(address, unixScheme)
	if !ok {
		return net.Listen("tcp", address)
	}
	l, err := net.Listen("unix", path)
	if errors.Is(err, syscall.EADDRINUSE) && abandoned(path) {
		if err := os.Remove(path); err != nil {
			return nil, err
		}
		l, err = net.Listen("unix", path)
	}
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, socketMode); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// abandoned reports whether a path is a unix socket without a listener.
func abandoned(path string) bool {
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Type() != os.ModeSocket {
		return false
	}
	c, err := net.DialTimeout("unix", path, listenPoll)
	if err == nil {
		_ = c.Close() // a listener answers
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}
