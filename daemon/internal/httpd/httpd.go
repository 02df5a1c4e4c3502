//go:build unix

// Package httpd is what the daemon's HTTP servers have in common: they are read-only,
// and treat every client as hostile. Headers and bodies are bounded (8 KiB, none), and
// so are the time for each of them and the connections (64).
package httpd

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Bounds of what a client can ask for.
const (
	maxHeader = 8 << 10 // bytes; net/http reads up to 4 KiB more

	// RequestTimeout is how long a client may take to ask.
	RequestTimeout = 5 * time.Second

	answerTimeout = 10 * time.Second
	idleTimeout   = 10 * time.Second
	stopTimeout   = time.Second // for answers under way when the server ends
)

// Server answers GET and HEAD requests.
type Server struct {
	http http.Server
	open connections
}

// New makes a server for routes by their whole path: nothing is redirected or
// cleaned. Errors that clients cause are logged as debug only.
func New(routes map[string]http.Handler, log *slog.Logger) *Server {
	s := &Server{}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	s.http = http.Server{
		Handler:           guarded(routes),
		Protocols:         protocols,
		ReadHeaderTimeout: RequestTimeout,
		ReadTimeout:       RequestTimeout,
		WriteTimeout:      answerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ConnState:         s.open.changed,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	return s
}

// Serve answers on a listener, which it closes, until the context ends. It
// returns nil then, and an error if it could not continue. It is called once.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
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

// guarded routes what may pass.
func guarded(routes map[string]http.Handler) http.Handler {
	known := make([]string, 0, len(routes))
	for path := range routes {
		known = append(known, path)
	}
	slices.Sort(known)
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
			http.Error(w, "there are "+strings.Join(known, ", "), http.StatusNotFound)
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
