//go:build unix

package admin

import (
	"context"
	"net"

	"github.com/statesync/statesync/daemon/internal/httpd"
)

// DefaultAddress is where a daemon listens by default: for processes of this host
// only. Every port of Prometheus' own range, 9100 to 9999, is taken by an exporter;
// this port is neither assigned by IANA nor in the range from which Linux takes
// ports for outgoing connections.
const DefaultAddress = "127.0.0.1:17471"

// CheckAddress says what is wrong with the form of an address: HOST:PORT, where
// an empty host is every address of this machine, or unix:PATH.
func CheckAddress(address string) error { return httpd.CheckAddress(address, DefaultAddress) }

// Listen listens on an address that passed CheckAddress. While another process listens
// there, Listen tries again until the context ends, at least once. The file of a unix
// socket without a listener is replaced.
func Listen(ctx context.Context, address string) (net.Listener, error) {
	return httpd.Listen(ctx, address, "--listen")
}
