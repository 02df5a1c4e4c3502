//go:build unix

// Package httpd is what the daemon's HTTP servers have in common: they treat every client
// as hostile. Headers and bodies are bounded (8 KiB, and none but for a route that takes
// one), and so are the time for each of them and the connections (64).
package httpd

import (
	"context"
	"errors"
	"log/slog"
	"maps"
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

	answerTimeout = 30 * time.Second
	idleTimeout   = 10 * time.Second
	stopTimeout   = time.Second // for answers under way when the server ends
)

// Routes are handlers by their whole path: nothing is redirected or cleaned.
type Routes map[string]http.Handler

// Options are what a server answers.
type Options struct {
	Get  Routes // for GET and HEAD; these have no body
	Post Routes // for POST, whose body has at most MaxBody bytes
	// MaxBody is the limit in bytes of the body of a POST.
	MaxBody int64
	// ConnContext, if not nil, is that of http.Server: it may add to the context of a
	// connection's requests.
	ConnContext func(context.Context, net.Conn) context.Context
	// Prefer, if not nil, reports whether a client is let in although all connections are
	// being answered: one that it does not prefer makes room.
	Prefer func(net.Conn) bool
	// Refused, if not nil, is told of the requests that come to no route.
	Refused func(code int, why string)
	Log     *slog.Logger
}

// Server answers the requests of its routes.
type Server struct {
	http http.Server
	open connections
}

// New makes a server. Errors that clients cause are logged as debug only.
func New(o Options) *Server {
	s := &Server{open: connections{prefer: o.Prefer}}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	s.http = http.Server{
		Handler:           guarded(&o),
		Protocols:         protocols,
		ReadHeaderTimeout: RequestTimeout,
		ReadTimeout:       RequestTimeout,
		WriteTimeout:      answerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ConnState:         s.open.changed,
		ErrorLog:          slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
	}
	s.http.ConnContext = o.ConnContext
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
func guarded(o *Options) http.Handler {
	known := slices.Sorted(maps.Keys(o.Get))
	for _, path := range slices.Sorted(maps.Keys(o.Post)) {
		known = append(known, "POST "+path)
	}
	refuse := func(w http.ResponseWriter, code int, why string) {
		if o.Refused != nil {
			o.Refused(code, why)
		}
		Refuse(w, code, why)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Cache-Control", "no-store")
		header.Set("X-Content-Type-Options", "nosniff")
		looks := r.Method == http.MethodGet || r.Method == http.MethodHead
		get, post := o.Get[r.URL.Path], o.Post[r.URL.Path]
		switch {
		case get == nil && post == nil:
			refuse(w, http.StatusNotFound, "there are "+strings.Join(known, ", "))
		case post != nil && r.Method == http.MethodPost:
			if r.ContentLength > o.MaxBody {
				refuse(w, http.StatusRequestEntityTooLarge, "the body is too long")
				return
			}
			r.Body = http.MaxBytesReader(w, r.Body, o.MaxBody)
			post.ServeHTTP(w, r)
		case post != nil:
			header.Set("Allow", http.MethodPost)
			refuse(w, http.StatusMethodNotAllowed, "this is asked with POST")
		case !looks:
			header.Set("Allow", "GET, HEAD")
			refuse(w, http.StatusMethodNotAllowed, "only GET and HEAD are answered here")
		case r.ContentLength != 0 || len(r.TransferEncoding) > 0:
			refuse(w, http.StatusRequestEntityTooLarge, "no request here has a body")
		default:
			get.ServeHTTP(w, r)
		}
	})
}

// Refuse answers, and ends the connection, so that a body that may follow is not
// read.
func Refuse(w http.ResponseWriter, code int, why string) {
	w.Header().Set("Connection", "close")
	http.Error(w, why, code)
}
