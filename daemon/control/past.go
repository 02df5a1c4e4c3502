//go:build unix

package control

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"

	"github.com/statesync/statesync/daemon"
	"github.com/statesync/statesync/daemon/diff"
	"github.com/statesync/statesync/daemon/history"
	"github.com/statesync/statesync/shm/image"
)

// past is the daemon's history, with what was just published.
func (s *server) past(r *http.Request) (*daemon.Past, error) {
	past := s.daemon.State().Past()
	if past == nil {
		return nil, &refusal{http.StatusServiceUnavailable, "the daemon is starting"}
	}
	past.Await(r.Context())
	return past, nil
}

// number is a decimal number of a query; other if there is none.
func number(text string, other uint64) (uint64, error) {
	if text == "" {
		return other, nil
	}
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		return 0, &refusal{http.StatusBadRequest, fmt.Sprintf("%q is not a number", text)}
	}
	return n, nil
}

// missing is the answer to a question about what is not there.
func missing(err error) error {
	if errors.Is(err, history.ErrNotKept) || errors.Is(err, history.ErrPurged) || errors.Is(err, image.ErrNotFound) {
		return &refusal{http.StatusNotFound, err.Error()}
	}
	return err
}

func (s *server) log(r *http.Request) (any, error) {
	past, err := s.past(r)
	if err != nil {
		return nil, err
	}
	query := r.URL.Query()
	before, err := number(query.Get("before"), 0)
	if err != nil {
		return nil, err
	}
	limit, err := number(query.Get("limit"), 0)
	if err != nil {
		return nil, err
	}
	records, err := past.Log(history.Query{Before: before, Limit: int(min(limit, 1000)), Config: query.Get("config"), Key: query.Get("key")})
	if err != nil {
		return nil, missing(err)
	}
	answer := make([]Record, len(records))
	for i, rec := range records {
		if answer[i], _, err = s.record(past, rec); err != nil {
			return nil, err
		}
	}
	return answer, nil
}

// record is a record for JSON, and what it changed.
func (s *server) record(past *daemon.Past, rec history.Record) (Record, []history.Change, error) {
	changed, err := past.Changes(rec.Generation)
	if err != nil {
		return Record{}, nil, missing(err)
	}
	d := s.daemon.State()
	r := Record{
		Generation: rec.Generation, Time: rec.Time, Revision: rec.Revision, Digest: history.DigestText(rec.Content), Layers: []RecordLayer{},
		Changes: Changes{Added: rec.Added, Changed: rec.Changed, Removed: rec.Removed, Names: diff.Names(changed, func(c history.Change) string { return c.Name })},
		Act:     rec.Act, Command: rec.Command, Why: rec.Why, By: rec.By,
		Live: d.Generation == rec.Generation, Pinned: d.Pin != nil && d.Pin.Generation == rec.Generation,
	}
	for _, l := range rec.Layers {
		r.Layers = append(r.Layers, RecordLayer(l))
	}
	return r, changed, nil
}

func (s *server) show(r *http.Request) (any, error) {
	past, err := s.past(r)
	if err != nil {
		return nil, err
	}
	query := r.URL.Query()
	g, err := number(query.Get("generation"), 0)
	if err != nil {
		return nil, err
	}
	if g == 0 {
		g = s.daemon.State().Generation
	}
	rec, err := past.Get(g)
	if err != nil {
		return nil, missing(err)
	}
	shown := Show{}
	var changed []history.Change
	if shown.Record, changed, err = s.record(past, rec); err != nil {
		return nil, err
	}
	if name := query.Get("config"); name != "" {
		section, err := past.Config(g, name)
		if err != nil {
			return nil, missing(err)
		}
		shown.Config = &Config{Name: name, Kind: section.Kind().String(), Content: section.Content()}
		return shown, nil
	}
	for _, c := range changed {
		what := diff.Changed
		switch {
		case c.Before.Purged || c.After.Purged:
			what = diff.Purged
		case c.Before.Name == "":
			what = diff.Added
		case c.After.Name == "":
			what = diff.Removed
		}
		shown.Changed = append(shown.Changed, ConfigChange{c.Name, what})
	}
	refs, err := past.Configs(g)
	if err != nil {
		return nil, missing(err)
	}
	for _, ref := range refs {
		shown.Configs = append(shown.Configs, ref.Name)
	}
	return shown, nil
}

func (s *server) diff(r *http.Request) (any, error) {
	past, err := s.past(r)
	if err != nil {
		return nil, err
	}
	query, d := r.URL.Query(), s.daemon.State()
	if query.Get("to") == Next {
		if d.Waiting == nil {
			return &diff.Diff{Configs: []diff.Config{}}, nil
		}
		return d.Waiting.Diff(query.Get("config")), nil
	}
	generation := func(text, other string) (uint64, error) {
		if text == "" {
			text = other
		}
		switch text {
		case Live:
			return d.Generation, nil
		case Previous:
			rec, err := past.Older(d.Generation)
			return rec.Generation, missing(err)
		}
		return number(text, 0)
	}
	from, err := generation(query.Get("from"), Previous)
	if err != nil {
		return nil, err
	}
	to, err := generation(query.Get("to"), Live)
	if err != nil {
		return nil, err
	}
	between, err := past.Between(from, to, query.Get("config"))
	if err != nil {
		return nil, missing(err)
	}
	between.From, between.To = from, to
	return between, nil
}

func (s *server) audit(r *http.Request) (any, error) {
	past, err := s.past(r)
	if err != nil {
		return nil, err
	}
	before, err := number(r.URL.Query().Get("before"), 0)
	if err != nil {
		return nil, err
	}
	limit, err := number(r.URL.Query().Get("limit"), 100)
	if err != nil {
		return nil, err
	}
	entries, err := past.Audit(before, int(min(limit, 1000)))
	if entries == nil {
		entries = []history.Entry{}
	}
	return entries, err
}

func (s *server) floors(r *http.Request) (any, error) {
	past, err := s.past(r)
	if err != nil {
		return nil, err
	}
	kept, err := past.Floors()
	if err != nil {
		return nil, err
	}
	floors := make([]Floor, 0, len(kept))
	for _, source := range slices.Sorted(maps.Keys(kept)) {
		f := Floor{Source: source, Layers: []string{}, State: kept[source].State, Time: kept[source].Time, Act: kept[source].Act}
		for _, l := range s.daemon.State().Layers {
			if l.Floor == source {
				f.Layers = append(f.Layers, l.Name)
			}
		}
		floors = append(floors, f)
	}
	return floors, nil
}
