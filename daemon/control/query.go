//go:build unix

package control

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"time"

	"github.com/statesync/statesync/daemon"
	"github.com/statesync/statesync/daemon/headroom"
	"github.com/statesync/statesync/daemon/internal/httpd"
)

// Daemon is what the socket answers for, such as a *daemon.Daemon.
type Daemon interface {
	State() *daemon.State
}

// Status answers /v1/status. What never happened is null.
type Status struct {
	Version       string     `json:"version"` // of the daemon
	Generation    uint64     `json:"generation"`
	Revision      string     `json:"revision"`
	Digest        string     `json:"digest"`
	Configs       int        `json:"configs"`
	Bytes         int        `json:"bytes"`
	Published     *time.Time `json:"published"`
	Ready         bool       `json:"ready"`
	Fresh         bool       `json:"fresh"`
	Converged     bool       `json:"converged"`
	Held          bool       `json:"held"`
	BehindSince   *time.Time `json:"behind_since"`
	PlanningSince *time.Time `json:"planning_since"`
	Problem       string     `json:"problem"`
	Problems      []Problem  `json:"problems"`       // the first 100 of each cause
	ProblemsFound int        `json:"problems_found"` // all of them
	Alarm         string     `json:"alarm"`
	Layers        []Layer    `json:"layers"`
}

// Problem is one reason why a newer revision is not published.
type Problem struct {
	Reason  string `json:"reason"`
	Layer   string `json:"layer"`
	File    string `json:"file"`
	Line    int    `json:"line"`   // 0: the whole file
	Column  int    `json:"column"` // 0: not known
	Key     string `json:"key"`
	Message string `json:"message"`
}

// Layer is one source in the answers to /v1/status and /v1/layers.
type Layer struct {
	Name    string     `json:"name"`
	Source  string     `json:"source"`
	Version string     `json:"version"` // in use
	Newest  string     `json:"newest"`  // what the source has, where that is not in use
	Good    *time.Time `json:"last_good"`
	Looked  *time.Time `json:"last_looked"`
	Looks   uint64     `json:"looks"`
	Failed  uint64     `json:"looks_failed"`
	Problem string     `json:"problem"`
}

// Why answers /v1/why.
type Why struct {
	Config     string   `json:"config"`
	Key        string   `json:"key"`
	Generation uint64   `json:"generation"`
	Since      uint64   `json:"since_generation"` // in which the config last changed
	Origins    []Origin `json:"origins"`          // the winner first
}

// Origin is what one layer says of a value.
type Origin struct {
	Layer   string `json:"layer"`
	Version string `json:"version"` // of the layer
	File    string `json:"file"`
	Line    int    `json:"line"` // 0: the whole file
	Column  int    `json:"column"`
	Value   string `json:"value"` // canonical JSON; empty for an opaque config and for what is deleted
	Deleted bool   `json:"deleted"`
	Opaque  bool   `json:"opaque"`
	Schema  string `json:"schema"` // the file of the schema that checked the config
}

// Options are what a server knows of its daemon's settings.
type Options struct {
	Region  string      // the region's directory
	Mode    fs.FileMode // of the region
	Group   int         // of the region; -1: as it is
	Version string      // of the daemon
	Log     *slog.Logger
}

// maxWhys is how many origins are found at the same time: that reads files anew.
const maxWhys = 1

type server struct {
	daemon  Daemon
	version string
	whys    chan struct{}
}

// Serve keeps the query socket in the region's directory, and answers there, until the
// context ends.
func Serve(ctx context.Context, d Daemon, o Options) error {
	s := &server{daemon: d, version: o.Version, whys: make(chan struct{}, maxWhys)}
	routes := map[string]http.Handler{
		"/v1/status": answer(func(*http.Request) (any, error) { return s.status(), nil }),
		"/v1/layers": answer(func(*http.Request) (any, error) { return layers(s.daemon.State()), nil }),
		"/v1/why":    answer(s.why),
	}
	return httpd.New(routes, o.Log).Serve(ctx, listen(o.Region, o.Mode, o.Group, o.Log))
}

func (s *server) status() Status {
	d := s.daemon.State()
	problems := make([]Problem, len(d.Findings))
	for i, f := range d.Findings {
		problems[i] = Problem(f)
	}
	return Status{
		Version: s.version, Generation: d.Generation, Revision: d.Revision, Digest: d.Digest(), Configs: d.Configs, Bytes: d.Bytes,
		Published: instant(d.Published), Ready: d.Ready, Fresh: d.Fresh, Converged: d.Converged, Held: d.Held,
		BehindSince: instant(d.Behind), PlanningSince: instant(d.Planning), Problem: d.Problem, Problems: problems, ProblemsFound: d.Found, Alarm: d.Alarm, Layers: layers(d),
	}
}

func layers(d *daemon.State) []Layer {
	all := make([]Layer, len(d.Layers))
	for i, l := range d.Layers {
		all[i] = Layer{
			Name: l.Name, Source: l.Source, Version: l.Version, Newest: l.Newest, Good: instant(l.Good), Looked: instant(l.Looked),
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
	select {
	case s.whys <- struct{}{}:
		defer func() { <-s.whys }()
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	d := s.daemon.State()
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
		w.Origins = append(w.Origins, Origin{
			Layer: o.Layer, Version: o.Version, File: o.File, Line: o.Line, Column: o.Column,
			Value: o.Value, Deleted: o.Deleted, Opaque: o.Opaque, Schema: o.SchemaFile,
		})
	}
	return w, nil
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
