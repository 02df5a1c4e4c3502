package bundle

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/statesync/statesync/daemon/internal/plain"
	"github.com/statesync/statesync/daemon/source"
)

const (
	defaultInterval = 30 * time.Second
	maxMirrors      = 16
	// toldEvery is how often a problem of a mirror is told that others make up for, at
	// most, and sameEvery how often the same one.
	toldEvery = time.Minute
	sameEvery = time.Hour
)

// Errors of a look, to be matched with errors.Is.
var (
	// ErrExpired is the error of a bundle whose time is over.
	ErrExpired = errors.New("expired")
	// ErrForked is the error of one sequence that was signed for two contents.
	ErrForked = errors.New("FORKED")
)

// Keys of Snapshot.Meta.
const (
	keySigners   = "signers"
	keyExpires   = "expires"
	keyNotBefore = "not-before"
	keyArchive   = "archive"
	keyMirror    = "mirror" // that the archive is from
)

// Scheme is the scheme of signed bundles, "bundle:URL".
var Scheme = source.Scheme{
	Name:    "bundle",
	Address: "URL",
	Options: []source.OptionDoc{
		{Name: "mirror", What: "another URL of the same note; may be repeated", Repeat: true},
		{Name: "keys", What: "the file of the signers' public keys, one a line (required)"},
		{Name: "origin", What: "what the bundle must be of (default: what the first one is of)"},
		{Name: "threshold", What: "how many signers of different names must have signed (default 1)"},
	},
	Check: func(spec source.Spec) error {
		_, err := parse(spec)
		return err
	},
	Identity: func(spec source.Spec) string {
		if origin := spec.Options["origin"]; origin != "" {
			return "bundle:origin=" + origin
		}
		return "bundle:" + spec.Address
	},
	Interval: func(source.Spec) time.Duration { return defaultInterval },
	Floor:    func(source.Spec) source.FloorKind { return source.BundleFloor },
	Open:     Open,
}

// remote is what a spec names.
type remote struct {
	urls      []string // of the note
	keys      string   // an absolute path
	origin    string   // "": the first one
	threshold int
}

// parse reads a spec. The error is the end of a sentence that begins with the source.
func parse(spec source.Spec) (*remote, error) {
	r := &remote{urls: append([]string{spec.Address}, spec.Repeated["mirror"]...), origin: spec.Options["origin"], threshold: 1}
	if spec.Address == "" {
		return nil, errors.New("names no bundle; write bundle:URL, such as bundle:https://example.com/prod/bundle.note")
	}
	if len(r.urls) > maxMirrors {
		return nil, fmt.Errorf("has %d mirrors, and the limit is %d", len(r.urls)-1, maxMirrors-1)
	}
	for i, u := range r.urls {
		err := CheckURL(u)
		if err == nil && slices.Contains(r.urls[:i], u) {
			err = errors.New("has the same URL twice; remove one")
		}
		if err != nil && i > 0 {
			err = fmt.Errorf("has a mirror that %w", err)
		}
		if err != nil {
			return nil, err
		}
	}
	if text, ok := spec.Options["threshold"]; ok {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxKeys {
			return nil, fmt.Errorf("has threshold=%s; give a number from 1 to %d", plain.Quote(text), maxKeys)
		}
		r.threshold = n
	}
	if _, ok := spec.Options["origin"]; ok {
		if err := CheckOrigin(r.origin); err != nil {
			return nil, err
		}
	}
	if spec.Options["keys"] == "" {
		return nil, errors.New("has no keys=FILE, the file of the signers' public keys")
	}
	var err error
	if r.keys, err = filepath.Abs(spec.Options["keys"]); err != nil {
		return nil, fmt.Errorf("has keys=%s: %w", plain.Quote(spec.Options["keys"]), err)
	}
	return r, nil
}

// mirror is one place of the note.
type mirror struct {
	url, name string // name is for messages
	msg       []byte // the note as it was got last
	tag       string // its ETag
}

// bundleSource is the source "bundle:URL".
type bundleSource struct {
	opt    source.Options
	remote *remote
	now    func() time.Time

	mu     sync.Mutex
	closed bool
	client *Client // nil before the first Fetch

	// The rest belongs to the goroutine that calls Fetch.
	mirrors []*mirror
	newest  *source.Snapshot
	live    *Signed       // what newest is of
	seen    time.Time     // the last time seen
	refused source.Digest // of an archive that cannot be unpacked
	why     error
	recheck bool
	told    time.Time // when Options.OnWatchError was called
	what    string    // with which text
}

// Open returns the bundle of a spec that passed Scheme.Check as a source. It touches
// neither the network nor the disk: that is for Fetch. Close may be called from any
// goroutine, and more than once.
func Open(spec source.Spec, o source.Options) (source.Source, error) {
	r, err := parse(spec)
	if err != nil {
		return nil, fmt.Errorf("source %s %w", plain.Quote(spec.Text), err)
	}
	s := &bundleSource{opt: o.WithDefaults(), remote: r, now: time.Now}
	for _, u := range r.urls {
		s.mirrors = append(s.mirrors, &mirror{url: u, name: "bundle:" + plain.Text(u)})
	}
	return s, nil
}

// Hint returns nil: a bundle is polled.
func (s *bundleSource) Hint() <-chan struct{} { return nil }

// Recheck makes the next Fetch get everything, whatever the servers say. It belongs to the
// goroutine that calls Fetch.
func (s *bundleSource) Recheck() { s.recheck = true }

// Close closes the idle connections. It waits for no Fetch.
func (s *bundleSource) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.client != nil {
		s.client.Close()
	}
	return nil
}

// prepare makes the client.
func (s *bundleSource) prepare() (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return fs.ErrClosed
	case s.client == nil:
		s.client, err = NewClient()
	}
	if s.recheck {
		s.recheck, s.refused, s.why = false, source.Digest{}, nil
		for _, m := range s.mirrors {
			m.tag = ""
		}
	}
	return err
}

// Fetch asks every mirror for its note, and gets the archive of the newest one if it is
// not the one that is in use.
func (s *bundleSource) Fetch(ctx context.Context, have *source.Snapshot) (*source.Snapshot, error) {
	if err := s.prepare(); err != nil {
		return nil, s.named(err)
	}
	keys, err := ReadKeys(s.remote.keys)
	if err == nil && keys.Signers() < s.remote.threshold {
		err = fmt.Errorf("%s has the keys of fewer signers than threshold=%d needs", plain.Text(s.remote.keys), s.remote.threshold)
	}
	if err != nil {
		return nil, s.named(fmt.Errorf("the keys: %w", err))
	}
	f, text, err := s.floor()
	if err != nil {
		return nil, s.named(err)
	}
	clock := f.clock(s.now())
	offers, problems := s.ask(ctx, keys, &f, clock)
	if err := ctx.Err(); err != nil {
		return nil, s.named(err)
	}
	best, err := choose(offers, &f, clock)
	if best == nil {
		if err == nil && s.live != nil && !clock.Before(s.live.Expires) {
			problems = append(problems, s.named(expired(&s.live.Note)))
		}
		return nil, errors.Join(append(problems, err)...)
	}
	snapshot, late, err := s.take(ctx, best, have)
	if err != nil {
		return nil, err
	}
	if err := s.accept(&best.Note, text, clock); err != nil {
		return nil, s.named(err)
	}
	s.newest, s.live = snapshot, best.Signed
	s.tell(append(problems, late...))
	return snapshot, nil
}

// named begins an error with the source.
func (s *bundleSource) named(err error) error { return s.mirrors[0].fail(err) }

// fail begins an error with the mirror.
func (m *mirror) fail(err error) error { return fmt.Errorf("%s: %w", m.name, err) }

// floor returns what was accepted last, and as what it is stored. Its time is the last one
// seen, stored or not.
func (s *bundleSource) floor() (f floor, text string, err error) {
	if text, err = s.opt.Floor.Get(); err != nil {
		return f, "", fmt.Errorf("which bundle was accepted last cannot be read: %w", err)
	}
	if f, err = parseFloor(text); err != nil {
		return f, "", fmt.Errorf("which bundle was accepted last is stored as %s: %w", plain.Quote(text), err)
	}
	if text == "" { // an operator may have dropped it
		s.seen = time.Time{}
	}
	if s.seen.After(f.seen) {
		f.seen = s.seen
	}
	return f, text, nil
}

// offer is a note that a mirror has, and that could be accepted.
type offer struct {
	*Signed
	from *mirror
}

// ask gets the notes of all mirrors at once, and returns those that pass every check that
// is about one of them, and what is wrong with the others.
func (s *bundleSource) ask(ctx context.Context, keys *Keys, f *floor, clock time.Time) (offers []*offer, problems []error) {
	errs := make([]error, len(s.mirrors))
	var all sync.WaitGroup
	for i, m := range s.mirrors {
		all.Go(func() {
			msg, tag, err := s.client.Note(ctx, m.url, m.tag)
			if err == nil {
				m.msg, m.tag = msg, tag
			} else if !errors.Is(err, errUnchanged) {
				errs[i] = err
			}
		})
	}
	all.Wait()
	for i, m := range s.mirrors {
		var signed *Signed
		err := errs[i]
		if err == nil {
			signed, err = s.check(m.msg, keys, f, clock)
		}
		if err != nil {
			problems = append(problems, m.fail(err))
			continue
		}
		offers = append(offers, &offer{signed, m})
	}
	return offers, problems
}

// check checks a note by itself.
func (s *bundleSource) check(msg []byte, keys *Keys, f *floor, clock time.Time) (*Signed, error) {
	signed, err := keys.Open(msg, s.remote.threshold)
	if err != nil {
		return nil, fmt.Errorf("the note %w", err)
	}
	origin, since := s.remote.origin, "origin= is"
	if origin == "" {
		origin, since = f.origin, "the first one was of"
	}
	switch {
	case origin != "" && signed.Origin != origin:
		return nil, fmt.Errorf("the note is of %s, and %s %s", signed.Origin, since, origin)
	case f.origin != "" && signed.Origin != f.origin:
		return nil, fmt.Errorf("the note is of %s, and a bundle of %s was accepted before", signed.Origin, f.origin)
	case signed.Sequence < f.sequence:
		return nil, fmt.Errorf("the note has the sequence %d, and %d was accepted: the server is stale, or somewhere an old bundle is replayed",
			signed.Sequence, f.sequence)
	case clock.Before(signed.NotBefore):
		return nil, fmt.Errorf("the note of sequence %d is not valid before %s, and it is %s; look at the clocks of this host and of the signer",
			signed.Sequence, signed.NotBefore.Format(time.RFC3339), clock.Format(time.RFC3339))
	}
	return signed, nil
}

// choose returns the offer with the highest sequence, and of several the one that expires
// last; nil if that one cannot be accepted, or if there is none. The error names the
// mirror.
func choose(offers []*offer, f *floor, clock time.Time) (best *offer, err error) {
	for _, o := range offers {
		if best == nil || o.Sequence > best.Sequence || o.Sequence == best.Sequence && o.Expires.After(best.Expires) {
			best = o
		}
	}
	if best == nil {
		return nil, nil
	}
	for _, o := range offers {
		switch {
		case o.Origin != best.Origin: // neither origin= nor a floor says which is right
			return nil, o.from.fail(fmt.Errorf("the note is of %s, and that of %s is of %s; give origin=", o.Origin, best.from.name, best.Origin))
		case o.Sequence == best.Sequence && o.Archive != best.Archive:
			return nil, o.from.fail(forked(&o.Note, &best.Archive, "of "+best.from.name))
		}
	}
	switch {
	case best.Sequence == f.sequence && best.Archive != f.archive:
		return nil, best.from.fail(forked(&best.Note, &f.archive, "that was accepted"))
	case !clock.Before(best.Expires):
		return nil, best.from.fail(expired(&best.Note))
	}
	return best, nil
}

func forked(n *Note, other fmt.Stringer, of string) error {
	return fmt.Errorf("%w: sequence %d is signed for the archive %s here, and the one %s is %s; a signer made two, or a key was stolen: "+
		"find out which, and sign what is right with a higher sequence", ErrForked, n.Sequence, n.Archive, of, other)
}

func expired(n *Note) error {
	return fmt.Errorf("sequence %d %w at %s; it stays in use if it is, and nothing new comes until a note that expires later is signed",
		n.Sequence, ErrExpired, n.Expires.Format(time.RFC3339))
}

// take makes a snapshot of an offer. It returns what was wrong with mirrors that others
// made up for.
func (s *bundleSource) take(ctx context.Context, o *offer, have *source.Snapshot) (snapshot *source.Snapshot, late []error, err error) {
	if have == nil {
		have = s.newest
	}
	var files []*source.File
	var from string
	if s.live != nil && s.live.Archive == o.Archive {
		files, from = slices.Clone(s.newest.Files), s.newest.Meta[keyMirror]
	} else if files, from, late, err = s.get(ctx, o); err != nil {
		return nil, nil, err
	}
	name := fmt.Sprintf("%s#%d", o.Origin, o.Sequence)
	snapshot = source.NewSnapshot(files, have, func(source.Digest) string { return name })
	meta := map[string]string{
		keySigners: strings.Join(o.Signers, ", "), keyExpires: o.Expires.Format(time.RFC3339), keyNotBefore: o.NotBefore.Format(time.RFC3339),
		keyArchive: "sha256:" + o.Archive.String(), keyMirror: from,
	}
	switch {
	case snapshot != have:
		snapshot.Meta = meta
	case !maps.Equal(have.Meta, meta): // it was signed again
		again := *have
		again.Meta = meta
		snapshot = &again
	}
	return snapshot, late, nil
}

// get gets and unpacks the archive of an offer, first from the mirror that has the offer.
func (s *bundleSource) get(ctx context.Context, o *offer) (files []*source.File, from string, late []error, err error) {
	if s.why != nil && s.refused == o.Archive {
		return nil, "", nil, s.why
	}
	if most := s.opt.MaxTotal + overhead*int64(s.opt.MaxFiles); o.Size > most {
		return nil, "", nil, o.from.fail(fmt.Errorf("the archive of sequence %d has %d bytes, and the limit is %d; make it smaller, or raise --max-image",
			o.Sequence, o.Size, most))
	}
	if err := s.opt.Room(o.Size); err != nil {
		return nil, "", nil, o.from.fail(err)
	}
	order := append([]*mirror{o.from}, slices.DeleteFunc(slices.Clone(s.mirrors), func(m *mirror) bool { return m == o.from })...)
	for _, m := range order {
		archive, err := s.client.Archive(ctx, m.url, &o.Note)
		if err != nil {
			late = append(late, m.fail(err))
			if ctx.Err() != nil {
				break
			}
			continue
		}
		files, err := Unpack(archive, s.opt)
		if err == nil {
			return files, m.url, late, nil
		}
		var file *source.FileError
		if !errors.As(err, &file) { // each of them names its place
			err = m.fail(err)
		}
		if room := (*roomError)(nil); !errors.As(err, &room) {
			s.refused, s.why = o.Archive, err
		}
		return nil, "", nil, err
	}
	return nil, "", nil, errors.Join(late...)
}

// accept stores the floor of a note that is about to become a snapshot.
func (s *bundleSource) accept(n *Note, text string, clock time.Time) error {
	stored, _ := parseFloor(text) // floor has read it
	next := floor{n.Origin, n.Sequence, n.Archive, clock}
	s.seen = clock
	same := stored.origin == next.origin && stored.sequence == next.sequence && stored.archive == next.archive
	if same && !stored.worth(clock) {
		return nil
	}
	err := s.opt.Floor.Raise(text, next.String())
	if err != nil && !same {
		return fmt.Errorf("sequence %d is held back until it can be stored as the last accepted one: %w", n.Sequence, err)
	}
	return nil // the time is stored at a later look
}

// tell tells what is wrong with mirrors that others make up for.
func (s *bundleSource) tell(problems []error) {
	if len(problems) == 0 {
		return
	}
	err := errors.Join(problems...)
	since := s.now().Sub(s.told)
	if since < toldEvery && since >= 0 && !s.told.IsZero() || err.Error() == s.what && since < sameEvery {
		return
	}
	s.told, s.what = s.now(), err.Error()
	s.opt.OnWatchError(err)
}
