package main

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/statesync/statesync/client"
	"github.com/statesync/statesync/examples/metrics"
)

// Service has the bindings of its configs, which are made once, and its state.
type Service struct {
	client     *client.Client
	matchmaker *client.Binding[Matchmaker]
	crossplay  *client.KeyBinding[bool]
	limiter    atomic.Pointer[limiter] // made anew when the config changes

	mu      sync.Mutex // guards what follows
	waiting []Ticket   // the oldest first
}

// Ticket is a player that waits for a match.
type Ticket struct {
	Player   string  `json:"player"`
	Platform string  `json:"platform"`
	Pool     string  `json:"pool"`
	Elo      int     `json:"elo"`
	Ping     float64 `json:"ping"`  // in milliseconds
	Party    int     `json:"party"` // how many friends come along
	joined   time.Time
}

// Answer is what POST /match returns.
type Answer struct {
	Generation uint64   `json:"generation"` // of the configuration
	Score      float64  `json:"score"`
	Players    []string `json:"players,omitempty"`  // of the match, if there is one
	MaxWait    string   `json:"max_wait,omitempty"` // for a match, if there is none
}

// newService returns when the hooks have been called with what is configured now.
func newService(ctx context.Context, c *client.Client) *Service {
	s := &Service{client: c}
	s.matchmaker = client.Bind(c, "matchmaker", client.Options[Matchmaker]{
		Default:  defaultMatchmaker(),
		Validate: (*Matchmaker).validate,
		Strict:   true,
		Required: true,
	})
	s.crossplay = client.BindKey(c, "flags", "crossplay", false)

	// OnChange is called for configs and not for the default, so the limiter of the
	// default is made first.
	s.limiter.Store(newLimiter(&defaultLimits))
	client.Bind(c, "limits", client.Options[Limits]{
		Default:  defaultLimits,
		Validate: (*Limits).validate,
		Strict:   true,
		OnChange: func(change client.Changed[Limits]) { s.limiter.Store(newLimiter(change.New)) },
	})
	_ = c.Ready(ctx) // waits for the hooks; /readyz returns the error
	return s
}

func (s *Service) routes() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics.NewCollector(s.client))
	mux := http.NewServeMux()
	mux.Handle("POST /match", s.limit(s.withSnapshot(s.join)))
	mux.Handle("GET /match", s.limit(s.withSnapshot(s.list)))
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {}) // the process answers
	mux.HandleFunc("GET /readyz", s.ready)
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /debug/config", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.client.Bindings()) })
	return mux
}

// withSnapshot takes one snapshot for each request: everything that the request
// reads through its context is of one generation, even if a change comes meanwhile.
func (s *Service) withSnapshot(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		next(w, r.WithContext(client.NewContext(r.Context(), s.client.Snapshot())))
	}
}

// limiter admits so many requests at once. A change replaces it: requests that the
// old one admitted go back there.
type limiter struct {
	slots      chan struct{}
	retryAfter string
}

func newLimiter(l *Limits) *limiter {
	return &limiter{make(chan struct{}, l.Concurrent), strconv.Itoa(int(l.RetryAfter.Seconds()))}
}

func (s *Service) limit(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		l := s.limiter.Load()
		select {
		case l.slots <- struct{}{}:
			defer func() { <-l.slots }()
			next(w, r)
		default:
			w.Header().Set("Retry-After", l.retryAfter)
			http.Error(w, "too many requests at once", http.StatusServiceUnavailable)
		}
	}
}

// join is POST /match: a player enters a pool, and the last one that it takes
// completes the match.
func (s *Service) join(w http.ResponseWriter, r *http.Request) {
	t := Ticket{joined: time.Now()}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4<<10)).Decode(&t); err != nil || t.Player == "" {
		http.Error(w, "the body must be a JSON object with a player", http.StatusBadRequest)
		return
	}
	snapshot := client.FromContext(r.Context())
	m := s.matchmaker.In(snapshot)
	i := slices.IndexFunc(m.Pools, func(p Pool) bool { return p.Name == t.Pool })
	if i < 0 {
		http.Error(w, "there is no pool "+strconv.Quote(t.Pool), http.StatusNotFound)
		return
	}
	answer := Answer{Generation: snapshot.Generation(), Score: m.score(t)}
	answer.Players = s.match(t, m.Pools[i].Size, m.MaxWait, s.crossplay.In(snapshot))
	if answer.Players == nil {
		answer.MaxWait = m.MaxWait.String()
	}
	writeJSON(w, answer)
}

// match adds a ticket, and returns the players of the match that it completes.
func (s *Service) match(t Ticket, size int, maxWait time.Duration, crossplay bool) (players []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = slices.DeleteFunc(s.waiting, func(o Ticket) bool { return o.Player == t.Player || time.Since(o.joined) > maxWait })
	s.waiting = append(s.waiting, t)
	for _, o := range s.waiting {
		if o.Pool == t.Pool && (crossplay || o.Platform == t.Platform) {
			players = append(players, o.Player)
		}
	}
	if len(players) < size {
		return nil
	}
	players = players[:size]
	s.waiting = slices.DeleteFunc(s.waiting, func(o Ticket) bool { return slices.Contains(players, o.Player) })
	return players
}

// list is GET /match: how many players wait in each pool.
func (s *Service) list(w http.ResponseWriter, r *http.Request) {
	waiting := make(map[string]int)
	for _, p := range s.matchmaker.In(client.FromContext(r.Context())).Pools {
		waiting[p.Name] = 0
	}
	s.mu.Lock()
	for _, t := range s.waiting {
		waiting[t.Pool]++
	}
	s.mu.Unlock()
	writeJSON(w, waiting)
}

// ready is GET /readyz. It fails while a value is rejected or a required config is
// missing, and says why. One wrong value then takes every instance out of its load
// balancer: a service that should keep serving with its last good values logs the
// error here, answers 200, and has an alert on statesync_client_rejected.
func (s *Service) ready(w http.ResponseWriter, r *http.Request) {
	if err := s.client.Ready(r.Context()); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	}
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // fails if the caller has hung up
}
