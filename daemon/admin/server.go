//go:build unix

package admin

import (
	"context"
	"log/slog"
	"net"
	"time"

	"github.com/statesync/statesync/daemon"
	"github.com/statesync/statesync/daemon/internal/httpd"
)

// maxCollections is how many collections of metrics there are at the same time.
const maxCollections = 4

// Daemon is what a server reports on, such as a *daemon.Daemon.
type Daemon interface {
	State() *daemon.State
}

// Options are what a server knows of its daemon's settings.
type Options struct {
	Region   string        // the region's directory
	Slots    int           // of the region
	MaxImage int64         // bytes
	LockWait time.Duration // for which a start may wait
	MaxAge   time.Duration // after which the source is not fresh
	Version  string        // of the daemon
	// Webhook is how many requests of the webhook were accepted and refused; nil: there is
	// no webhook.
	Webhook func() (accepted, refused uint64)
	Log     *slog.Logger
}

// Server answers for one daemon.
type Server struct {
	opt     Options
	daemon  Daemon
	began   time.Time
	metrics *metrics
	http    *httpd.Server
	remote  bool // any user of the host, or of the network, can connect
}

// New makes a server. It opens nothing.
func New(d Daemon, o Options) *Server {
	s := &Server{opt: o, daemon: d, began: time.Now()}
	s.metrics = newMetrics(s)
	s.http = httpd.New(httpd.Options{Log: o.Log, Get: httpd.Routes{
		"/metrics": s.metrics.handler(o.Log),
		"/livez":   s.answer(func(h health) bool { return h.Live.OK }),
		"/readyz":  s.answer(func(h health) bool { return h.Ready.OK }),
		"/healthz": s.answer(func(h health) bool { return h.Live.OK && h.Ready.OK && h.Fresh.OK && !h.overdue }),
	}})
	return s
}

// Serve answers on a listener, which it closes, until the context ends. It
// returns nil then, and an error if it could not continue. It is called once.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	s.remote = l.Addr().Network() != "unix"
	return s.http.Serve(ctx, l)
}
