//go:build unix

package admin

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/statesync/statesync/daemon"
)

// Bounds of what a client can ask for.
const (
	maxConnections = 64
	maxHeader      = 8 << 10 // bytes; net/http reads up to 4 KiB more
	maxCollections = 4       // of metrics at the same time
	requestTimeout = 5 * time.Second
	answerTimeout  = 10 * time.Second
	idleTimeout    = 10 * time.Second
	stopTimeout    = time.Second // for answers under way when the server ends
)

// Daemon is what a server reports on, such as a *daemon.Daemon.
type Daemon interface {
	Stats() daemon.Stats
	Digest() string
}

// Options are what a server knows of its daemon's settings.
type Options struct {
	Region   string        // the region's directory
	Slots    int           // of the region
	MaxImage int64         // bytes
	LockWait time.Duration // for which a start may wait
	MaxAge   time.Duration // after which the source is not fresh
	Version  string        // of the daemon
	Log      *slog.Logger
}

// Server answers for one daemon.
type Server struct {
	opt     Options
	daemon  Daemon
	began   time.Time
	metrics *metrics
	http    http.Server
	open    connections
	remote  bool // any user of the host, or of the network, can connect
}

// New makes a server. It opens nothing.
func New(d Daemon, o Options) *Server {
	s := &Server{opt: o, daemon: d, began: time.Now()}
	s.metrics = newMetrics(s)
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	s.http = http.Server{
		Handler:           s.handler(),
		Protocols:         protocols,
		ReadHeaderTimeout: requestTimeout,
		ReadTimeout:       requestTimeout,
		WriteTimeout:      answerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ConnState:         s.open.changed,
		// Errors that clients cause are of no use to an operator.
		ErrorLog: slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
	}
	return s
}

// Published is for daemon.Hooks.
func (s *Server) Published(took time.Duration) { s.metrics.took.Observe(took.Seconds()) }

// Serve answers on a listener, which it closes, until the context ends. It
// returns nil then, and an error if it could not continue. It is called once.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	s.remote = l.Addr().Network() != "unix"
	ended := make(chan error, 1)
	go func() { ended <- s.http.Serve(l) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	// The context of the work has ended; the answers under way have their own.
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	err := s.http.Shutdown(stop)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.http.Close()
	}
	if served := <-ended; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// handler routes by the path as it is: nothing is redirected or cleaned.
func (s *Server) handler() http.Handler {
	routes := map[string]http.Handler{
		"/metrics": s.metrics.handler(s.opt.Log),
		"/livez":   s.answer(func(h health) bool { return h.Live.OK }),
		"/readyz":  s.answer(func(h health) bool { return h.Ready.OK }),
		"/healthz": s.answer(func(h health) bool { return h.Live.OK && h.Ready.OK && h.Fresh.OK }),
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Cache-Control", "no-store")
		header.Set("X-Content-Type-Options", "nosniff")
		route := routes[r.URL.Path]
		switch {
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			header.Set("Allow", "GET, HEAD")
			refuse(w, http.StatusMethodNotAllowed, "only GET and HEAD are answered here")
		case r.ContentLength != 0 || len(r.TransferEncoding) > 0:
			refuse(w, http.StatusRequestEntityTooLarge, "no request here has a body")
		case route == nil:
			http.Error(w, "there are /metrics, /livez, /readyz and /healthz", http.StatusNotFound)
		default:
			route.ServeHTTP(w, r)
		}
	})
}

// refuse answers, and ends the connection, so that a body that may follow is not
// read.
func refuse(w http.ResponseWriter, code int, why string) {
	w.Header().Set("Connection", "close")
	http.Error(w, why, code)
}
