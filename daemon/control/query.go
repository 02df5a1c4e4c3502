//go:build unix

package control

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"github.com/statesync/statesync/daemon"
	"github.com/statesync/statesync/daemon/headroom"
	"github.com/statesync/statesync/daemon/internal/httpd"
	"github.com/statesync/statesync/daemon/plan"
)

// Daemon is what the socket answers for, such as a *daemon.Daemon.
type Daemon interface {
	State() *daemon.State
	Do(ctx context.Context, r daemon.Request) (daemon.Reply, error)
}

// Options are what a server knows of its daemon's settings.
type Options struct {
	Region  string      // the region's directory
	Mode    fs.FileMode // of the region
	Group   int         // of the region; -1: as it is
	Version string      // of the daemon
	// Control is the directory of the control socket, which exists and which no reader's
	// mount has; empty: there is no such socket. The members of ControlGroup may command
	// beside root and the daemon's user; -1: no others.
	Control      string
	ControlGroup int
	Log          *slog.Logger
}

// maxWhys is how many answers that read files or the history are made at the same time.
const maxWhys = 1

type server struct {
	daemon  Daemon
	version string
	control string // the path of the control socket
	whys    chan struct{}
}

// Serve keeps the query socket in the region's directory and the control socket in its
// own, and answers there, until the context ends.
func Serve(ctx context.Context, d Daemon, o Options) error {
	s := &server{daemon: d, version: o.Version, whys: make(chan struct{}, maxWhys)}
	look := s.looks()
	query := socket{dir: o.Region, name: SocketName, mode: socketMode(o.Mode), group: o.Group, log: o.Log, lost: "statesync why, layers, log and diff do not work"}
	queries := httpd.New(httpd.Options{Get: look, Prefer: operator, Log: o.Log})
	if o.Control == "" {
		return queries.Serve(ctx, query.listen())
	}
	s.control = filepath.Join(o.Control, ControlName)
	mode := fs.FileMode(0o600)
	if o.ControlGroup >= 0 {
		mode = 0o660
	}
	command := socket{dir: o.Control, name: ControlName, mode: mode, group: o.ControlGroup, log: o.Log, lost: "rollback, pin and override do not work"}
	door := &door{group: o.ControlGroup}
	var serving sync.WaitGroup
	var failed error
	serving.Go(func() {
		failed = httpd.New(httpd.Options{
			Get: look, Post: s.commands(), MaxBody: maxCommand, ConnContext: door.connected, Log: o.Log,
		}).Serve(ctx, command.listen())
	})
	err := queries.Serve(ctx, query.listen())
	serving.Wait()
	return errors.Join(err, failed)
}

// looks are the routes that change nothing.
func (s *server) looks() httpd.Routes {
	return httpd.Routes{
		"/v1/status":  answer(func(*http.Request) (any, error) { return s.status(), nil }),
		"/v1/layers":  answer(func(*http.Request) (any, error) { return layers(s.daemon.State()), nil }),
		"/v1/why":     answer(s.one(s.why)),
		"/v1/log":     answer(s.one(s.log)),
		"/v1/show":    answer(s.one(s.show)),
		"/v1/diff":    answer(s.one(s.diff)),
		"/v1/audit":   answer(s.one(s.audit)),
		"/v1/floors":  answer(s.one(s.floors)),
		"/v1/openapi": http.HandlerFunc(openAPI),
	}
}

func (s *server) status() Status {
	d := s.daemon.State()
	problems := make([]Problem, len(d.Findings))
	for i, f := range d.Findings {
		problems[i] = Problem(f)
	}
	status := Status{
		Version: s.version, Generation: d.Generation, Revision: d.Revision, Digest: d.Digest(), Configs: d.Configs, Bytes: d.Bytes,
		Published: instant(d.Published), Ready: d.Ready, Fresh: d.Fresh, Converged: d.Converged, Held: d.Held,
		BehindSince: instant(d.Behind), PlanningSince: instant(d.Planning), Problem: d.Problem, Problems: problems, ProblemsFound: d.Found, Alarm: d.Alarm, Layers: layers(d),
		Overrides: make([]Override, len(d.Overrides)), Control: s.control,
		History: History{d.History.Records, d.History.Oldest, d.History.Newest, d.History.Bytes, d.History.FileBytes},
	}
	if p := d.Pin; p != nil {
		status.Pin = &Pin{p.Act, p.Generation, p.Rollback, p.Time, p.By, p.Why}
	}
	for i, o := range d.Overrides {
		status.Overrides[i] = Override{
			Act: o.Act, Config: o.Config, Key: o.Key, Value: o.Value, Time: o.Time, Until: o.Until,
			Suspended: d.Pin != nil && o.Act < d.Pin.Act, By: o.By, Why: o.Why,
		}
	}
	if w := d.Waiting; w != nil {
		status.Waiting = &Waiting{w.Revision, w.Digest(), changes(w.Changes)}
	}
	return status
}

func changes(c daemon.Changes) Changes { return Changes{c.Added, c.Changed, c.Removed, c.Names} }

func layers(d *daemon.State) []Layer {
	all := make([]Layer, len(d.Layers))
	for i, l := range d.Layers {
		all[i] = Layer{
			Name: l.Name, Source: l.Source, Version: l.Version, Meta: l.Meta, Newest: l.Newest, Good: instant(l.Good), Looked: instant(l.Looked),
			Looks: l.Looks, Failed: l.Failed, Problem: l.Problem,
		}
	}
	return all
}

// instant is a time for JSON, nil for never.
func instant(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC().Truncate(time.Millisecond)
	return &t
}

// refusal is an answer that is not 200.
type refusal struct {
	code int
	what string
}

func (r *refusal) Error() string { return r.what }

func (s *server) why(r *http.Request) (any, error) {
	query := r.URL.Query()
	w := Why{Config: query.Get("config"), Key: query.Get("key")}
	if w.Config == "" {
		return nil, &refusal{http.StatusBadRequest, "config is missing: /v1/why?config=NAME&key=KEY"}
	}
	d := s.daemon.State()
	if text := query.Get("generation"); text != "" {
		return s.whyThen(r, &w, text)
	}
	var ok bool
	if w.Since, ok = d.Changed(w.Config); !ok {
		return nil, &refusal{http.StatusNotFound, "there is no config " + w.Config}
	}
	w.Generation = d.Generation
	origins, err := d.Why(w.Config, w.Key)
	switch {
	case errors.Is(err, daemon.ErrUnknownOrigin):
		return nil, &refusal{http.StatusConflict, err.Error()}
	case errors.Is(err, headroom.ErrFull):
		return nil, err
	case err != nil:
		return nil, &refusal{http.StatusNotFound, err.Error()}
	}
	for _, o := range origins {
		if o.Layer == "" { // there is only one
			o.Layer = d.Layers[0].Name
		}
		w.Origins = append(w.Origins, originOf(o))
	}
	return w, nil
}

func originOf(o plan.Origin) Origin {
	return Origin{
		Layer: o.Layer, Version: o.Version, File: o.File, Line: o.Line, Column: o.Column,
		Value: o.Value, Deleted: o.Deleted, Opaque: o.Opaque, Schema: o.SchemaFile, Commit: o.Commit,
	}
}

// whyThen answers for an earlier generation.
func (s *server) whyThen(r *http.Request, w *Why, generation string) (any, error) {
	past, err := s.past(r)
	if err != nil {
		return nil, err
	}
	if w.Generation, err = number(generation, 0); err != nil {
		return nil, err
	}
	origins, err := past.Why(r.Context(), w.Generation, w.Config, w.Key)
	if err != nil {
		return nil, &refusal{http.StatusNotFound, err.Error()}
	}
	for _, o := range origins {
		w.Origins = append(w.Origins, originOf(o))
	}
	return w, nil
}

// one has a question answered when no other is that reads files or the history.
func (s *server) one(ask func(*http.Request) (any, error)) func(*http.Request) (any, error) {
	return func(r *http.Request) (any, error) {
		select {
		case s.whys <- struct{}{}:
			defer func() { <-s.whys }()
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
		return ask(r)
	}
}

// answer answers in JSON: what it was asked for, or {"error": …}.
func answer(ask func(*http.Request) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := ask(r)
		code := http.StatusOK
		if err != nil {
			code = http.StatusServiceUnavailable
			var refused *refusal
			if errors.As(err, &refused) {
				code = refused.code
			}
			body = map[string]string{"error": err.Error()}
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(body) // it fails only if the client has gone
	})
}
