package server

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/statesync/statesync/bench/peers/process"
)

// StartAgent starts an HTTP agent as one finds on a host: AppConfig's, or
// Consul's. Address is its base URL, without a slash at the end.
//
//	GET  /config/NAME              the config, with an ETag
//	GET  /config/NAME?wait=30s     the same, but with If-None-Match only when it
//	                               has changed; 304 when it has not by then
//	PUT  /config/NAME              how it learns of a change
func StartAgent(ctx context.Context) (*process.Process, error) {
	return process.Start(ctx, agentPart)
}

// maxWait bounds a long poll, and maxConfig a config in bytes.
const (
	maxWait   = time.Minute
	maxConfig = 16 << 20
)

var agentPart = process.Register("agent", func(ctx context.Context, _ []string, _ *bufio.Reader, out io.Writer) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	a := &agent{configs: map[string]served{}, changed: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /config/{name}", a.get)
	mux.HandleFunc("PUT /config/{name}", a.put)
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	defer context.AfterFunc(ctx, func() { _ = s.Close() })()
	if err := process.Ready(out, "http://"+l.Addr().String()); err != nil {
		return err
	}
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
})

// agent holds configs, and wakes all requests that wait for a change of any.
type agent struct {
	mu      sync.Mutex
	configs map[string]served
	changed chan struct{}
}

type served struct {
	content []byte
	etag    string
}

func (a *agent) look(name string) (c served, ok bool, changed <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	c, ok = a.configs[name]
	return c, ok, a.changed
}

func (a *agent) get(w http.ResponseWriter, r *http.Request) {
	var until <-chan time.Time
	if text := r.URL.Query().Get("wait"); text != "" {
		wait, err := time.ParseDuration(text)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		until = time.After(min(wait, maxWait))
	}
	for {
		c, ok, changed := a.look(r.PathValue("name"))
		switch {
		case !ok:
			http.NotFound(w, r)
			return
		case r.Header.Get("If-None-Match") != c.etag:
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("ETag", c.etag)
			_, _ = w.Write(c.content)
			return
		case until == nil:
			w.WriteHeader(http.StatusNotModified)
			return
		}
		select {
		case <-changed:
		case <-until:
			until = nil
		case <-r.Context().Done():
			return
		}
	}
}

func (a *agent) put(w http.ResponseWriter, r *http.Request) {
	content, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxConfig))
	if err != nil {
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	name := r.PathValue("name")
	version := 1
	if old, ok := a.configs[name]; ok {
		version, _ = strconv.Atoi(old.etag[1 : len(old.etag)-1])
		version++
	}
	a.configs[name] = served{content, `"` + strconv.Itoa(version) + `"`}
	close(a.changed)
	a.changed = make(chan struct{})
	w.WriteHeader(http.StatusNoContent)
}
