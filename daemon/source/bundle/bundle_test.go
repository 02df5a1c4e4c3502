package bundle

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/statesync/statesync/daemon/source"
)

func TestFetch(t *testing.T) {
	k, site := newKey(t, "ops@example.com"), newSite(t)
	m := bundled(t, 1, "x: 1\n", k)
	site.put(m)
	w := open(t, source.Options{}, keysOption(keyFile(t, k)), site)
	first := w.sees("example.com/prod#1", "x: 1\n")
	for key, want := range map[string]string{
		keySigners: "ops@example.com", keyExpires: "2026-02-09T12:00:00Z", keyMirror: site.note(), keyArchive: "sha256:" + m.Archive.String(),
	} {
		if first.Meta[key] != want {
			t.Errorf("%s is %q, want %q", key, first.Meta[key], want)
		}
	}
	archive := "GET /prod/" + m.ArchiveName()
	if asked := site.asked(); !slices.Equal(asked, []string{"GET /prod/bundle.note", archive}) {
		t.Errorf("it asked for %v", asked)
	}
	if again := w.sees("example.com/prod#1", "x: 1\n"); again != first {
		t.Error("what is unchanged is another snapshot")
	}
	if asked := site.asked(); !slices.Equal(asked, []string{"GET /prod/bundle.note"}) {
		t.Errorf("of what is unchanged it asked for %v", asked)
	}

	site.put(bundled(t, 3, "x: 2\n", k))
	w.sees("example.com/prod#3", "x: 2\n")
	site.asked()
	site.put(bundled(t, 4, "x: 2\n", k)) // the same archive
	w.sees("example.com/prod#4", "x: 2\n")
	if asked := site.asked(); len(asked) != 1 {
		t.Errorf("of an archive that is there it asked for %v", asked)
	}
	if len(w.told) != 0 {
		t.Errorf("it told %v", w.told)
	}
}

// What is refused leaves what was accepted, and does not stand in the way of what is right.
func TestRefusals(t *testing.T) {
	a, b, unknown := newKey(t, "a@example.com"), newKey(t, "b@example.com"), newKey(t, "unknown@example.com")
	known := keysOption(keyFile(t, a, b))
	next := func(change func(m *made)) func(t *testing.T, s *site) {
		return func(t *testing.T, s *site) {
			m := bundled(t, 6, "x: 6\n", a)
			change(m)
			s.put(m)
		}
	}
	text := func(change func(n *Note)) func(t *testing.T, s *site) {
		return func(t *testing.T, s *site) {
			m := bundled(t, 6, "x: 6\n", a)
			change(&m.Note)
			s.put(m.sign(t, a))
		}
	}
	packed := func(archive []byte) func(t *testing.T, s *site) {
		return func(t *testing.T, s *site) {
			m := bundled(t, 6, "", a)
			m.archive = archive
			m.SetArchive(archive)
			s.put(m.sign(t, a))
		}
	}
	answers := func(answer func(w http.ResponseWriter, q *http.Request) bool) func(t *testing.T, s *site) {
		return func(t *testing.T, s *site) {
			s.put(bundled(t, 6, "x: 6\n", a))
			s.answer(answer)
		}
	}
	ofArchive := func(answer http.HandlerFunc) func(t *testing.T, s *site) {
		return answers(func(w http.ResponseWriter, q *http.Request) bool {
			if !strings.HasSuffix(q.URL.Path, ".tar.gz") {
				return false
			}
			answer(w, q)
			return true
		})
	}
	elsewhere := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(elsewhere.Close)
	for _, test := range []struct {
		name  string
		serve func(t *testing.T, s *site)
		want  string
		is    error
	}{
		// In the order of the checks.
		{"no note", func(_ *testing.T, s *site) { s.set("/prod/bundle.note", nil) }, `answers "404 Not Found"`, source.ErrUnreachable},
		{"an error", answers(func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}), "503", source.ErrUnreachable},
		{"not modified, whatever there is", answers(func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(http.StatusNotModified)
			return true
		}), "", nil}, // what it had is what it has
		{"a large note", answers(func(w http.ResponseWriter, _ *http.Request) bool {
			_, _ = w.Write(make([]byte, MaxNote+1))
			return true
		}), "more than 65536 bytes", source.ErrUnreachable},
		{"a redirect to another host", answers(func(w http.ResponseWriter, q *http.Request) bool {
			http.Redirect(w, q, elsewhere.URL+q.URL.Path, http.StatusFound)
			return true
		}), "redirects to another host", source.ErrUnreachable},
		{"a redirect without end", answers(func(w http.ResponseWriter, q *http.Request) bool {
			http.Redirect(w, q, q.URL.Path, http.StatusFound)
			return true
		}), "redirects more than 3 times", source.ErrUnreachable},
		{"a page of a captive portal", answers(func(w http.ResponseWriter, _ *http.Request) bool {
			_, _ = w.Write([]byte("<html>log in</html>\n"))
			return true
		}), "is not a signed note", nil},
		{"an unknown key", next(func(m *made) { m.sign(t, unknown) }), "none of the known keys", nil},
		{"a changed text", next(func(m *made) { m.msg = []byte(strings.Replace(string(m.msg), "sequence 6", "sequence 9", 1)) }), "was changed", nil},
		{"another origin", text(func(n *Note) { n.Origin = "example.com/test" }), "the note is of example.com/test", nil},
		{"a replay", func(t *testing.T, s *site) { s.put(bundled(t, 4, "x: 4\n", a)) }, "has the sequence 4, and 5 was accepted", nil},
		{"a fork", func(t *testing.T, s *site) { s.put(bundled(t, 5, "x: 6\n", a)) }, "FORKED", ErrForked},
		{"not valid yet", text(func(n *Note) { n.NotBefore = today.Add(time.Second) }), "is not valid before 2026-01-10T12:00:01Z", nil},
		{"expired", text(func(n *Note) { n.Expires = today }), "sequence 6 expired at 2026-01-10T12:00:00Z", ErrExpired},
		{"too large", text(func(n *Note) { n.Size = 1 << 40 }), "has 1099511627776 bytes, and the limit is", nil},
		{"no archive", func(t *testing.T, s *site) {
			m := bundled(t, 6, "x: 6\n", a)
			s.put(m)
			s.set("/prod/"+m.ArchiveName(), nil)
		}, "404", source.ErrUnreachable},
		{"another archive", ofArchive(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(slices.Repeat([]byte("x"), len(bundled(t, 6, "x: 6\n", a).archive)))
		}), "has the SHA-256", source.ErrUnreachable},
		{"a short archive", ofArchive(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("short")) }), "has 5 bytes", source.ErrUnreachable},
		{"an archive without end", ofArchive(func(w http.ResponseWriter, q *http.Request) {
			w.(http.Flusher).Flush() // no Content-Length
			for q.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 1<<10)); err != nil {
					return
				}
			}
		}), "more than", source.ErrUnreachable},
		{"an archive that ends early", ofArchive(func(w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush()
			_, _ = w.Write([]byte("short"))
		}), "ends after 5 bytes", source.ErrUnreachable},
		{"garbage that is signed", packed([]byte("garbage")), "is not a gzip file", nil},
		{"a symlink that is signed", packed(tarred(t, file("b", "1"), member{'2', "a", "b"})), "a: is neither a file", nil},
		{"nothing in it", packed(tarred(t, dirOf("d/"))), "holds no config files", source.ErrEmpty},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.put(bundled(t, 5, "x: 5\n", a))
			floor := &memory{}
			w := open(t, source.Options{Floor: floor}, known, s)
			w.sees("example.com/prod#5", "x: 5\n")
			kept := floor.state
			test.serve(t, s)
			if test.want == "" {
				w.sees("example.com/prod#5", "x: 5\n")
				return
			}
			for range 2 { // no answer is made good by asking again
				err := w.fails(test.want)
				if errors.Is(err, source.ErrUnreachable) != (test.is == source.ErrUnreachable) || test.is != nil && !errors.Is(err, test.is) {
					t.Errorf("the error %v should match %v", err, test.is)
				}
			}
			if floor.state != kept {
				t.Errorf("the floor is %q", floor.state)
			}
			s.answer(nil)
			s.put(bundled(t, 7, "x: 7\n", a))
			w.sees("example.com/prod#7", "x: 7\n")
		})
	}
}

// An archive that cannot be unpacked is not got again at every look.
func TestRefusedArchiveIsGotOnce(t *testing.T) {
	k, s := newKey(t, "a"), newSite(t)
	m := bundled(t, 1, "", k)
	m.archive = []byte("garbage")
	m.SetArchive(m.archive)
	s.put(m.sign(t, k))
	w := open(t, source.Options{}, keysOption(keyFile(t, k)), s)
	w.refuses("not a gzip file")
	s.asked()
	w.refuses("not a gzip file")
	if asked := s.asked(); len(asked) != 1 {
		t.Errorf("it asked for %v", asked)
	}
	w.Recheck()
	w.refuses("not a gzip file")
	if asked := s.asked(); len(asked) != 2 {
		t.Errorf("when it was told to it asked for %v", asked)
	}
}

func TestNotModifiedAtFirst(t *testing.T) {
	k, s := newKey(t, "a"), newSite(t)
	s.answer(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusNotModified); return true })
	open(t, source.Options{}, keysOption(keyFile(t, k)), s).refuses(`answers "304 Not Modified"`)
}

func TestThreshold(t *testing.T) {
	a, a2, b, s := newKey(t, "a"), newKey(t, "a"), newKey(t, "b"), newSite(t)
	file := keyFile(t, a, a2, b)
	w := open(t, source.Options{}, "threshold=2&"+keysOption(file), s)
	m := bundled(t, 1, "x: 1\n", a, a2)
	s.put(m)
	w.refuses("is signed by a, and threshold=2")
	s.put(m.sign(t, a2, b))
	if snapshot := w.sees("example.com/prod#1", "x: 1\n"); snapshot.Meta[keySigners] != "a, b" {
		t.Errorf("it is signed by %q", snapshot.Meta[keySigners])
	}
	writeKeys(t, file, a, a2)
	w.refuses("has the keys of fewer signers than threshold=2 needs")
}

// A 304 hides nothing: the note is checked at each look, by the clock and the keys of then.
func TestExpiryOfWhatIsUnchanged(t *testing.T) {
	k, s := newKey(t, "a"), newSite(t)
	m := bundled(t, 1, "x: 1\n", k)
	s.put(m)
	w := open(t, source.Options{}, keysOption(keyFile(t, k)), s)
	first := w.sees("example.com/prod#1", "x: 1\n")
	w.clock = m.Expires.Add(-time.Second)
	w.sees("example.com/prod#1", "x: 1\n")
	w.clock = m.Expires
	if err := w.fails("sequence 1 expired at 2026-02-09T12:00:00Z"); !errors.Is(err, ErrExpired) {
		t.Errorf("the error %v does not match ErrExpired", err)
	}
	s.answer(func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	})
	if err := w.fails("503", "sequence 1 expired"); !errors.Is(err, ErrExpired) || !errors.Is(err, source.ErrUnreachable) {
		t.Errorf("the error is %v", err)
	}

	// The same sequence is signed again.
	s.answer(nil)
	m.Expires = m.Expires.Add(24 * time.Hour)
	s.put(m.sign(t, k))
	s.asked()
	again := w.sees("example.com/prod#1", "x: 1\n")
	if again == first || again.Meta[keyExpires] != "2026-02-10T12:00:00Z" || again.Files[0] != first.Files[0] || first.Meta[keyExpires] != "2026-02-09T12:00:00Z" {
		t.Errorf("it is %+v after %+v", again, first)
	}
	if asked := s.asked(); len(asked) != 1 {
		t.Errorf("it asked for %v", asked)
	}
}

// Keys are replaced by overlap: first the new one is known, then it signs, then the old
// one is forgotten.
func TestKeyRotation(t *testing.T) {
	old, now, s := newKey(t, "ops"), newKey(t, "ops"), newSite(t)
	file := keyFile(t, old)
	w := open(t, source.Options{}, keysOption(file), s)
	s.put(bundled(t, 1, "x: 1\n", old))
	w.sees("example.com/prod#1", "x: 1\n")
	writeKeys(t, file, old, now)
	w.sees("example.com/prod#1", "x: 1\n")
	s.put(bundled(t, 2, "x: 2\n", now))
	w.sees("example.com/prod#2", "x: 2\n")
	writeKeys(t, file, now)
	w.sees("example.com/prod#2", "x: 2\n")
	s.put(bundled(t, 3, "x: 3\n", old))
	w.refuses("none of the known keys")
	writeKeys(t, file, old) // the key of what is in use is forgotten
	s.put(bundled(t, 2, "x: 2\n", now))
	w.refuses("none of the known keys")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := w.fails("the keys:"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the error is %v", err)
	}
}

// hang keeps a request until its client gives up. It ends no answer, so that none can
// arrive in the last moment.
func hang(q *http.Request) bool {
	<-q.Context().Done()
	panic(http.ErrAbortHandler)
}

// One mirror that is right makes up for all that is wrong with another one.
func TestMirrors(t *testing.T) {
	k := newKey(t, "a")
	file := keyFile(t, k)
	const last = 2 * time.Second // that a mirror is waited for
	for _, test := range []struct {
		name  string
		serve func(t *testing.T, bad *site)
		told  string // empty: nothing
	}{
		{"slow", func(t *testing.T, s *site) {
			s.put(bundled(t, 2, "x: 2\n", k))
			s.answer(func(http.ResponseWriter, *http.Request) bool { time.Sleep(50 * time.Millisecond); return false })
		}, ""},
		{"stale", func(t *testing.T, s *site) { s.put(bundled(t, 1, "x: 1\n", k)) }, ""},
		{"of another sequence that is not valid yet", func(t *testing.T, s *site) {
			m := bundled(t, 3, "x: 3\n", k)
			m.NotBefore = today.Add(time.Hour)
			s.put(m.sign(t, k))
		}, "is not valid before"},
		{"signed with an earlier expiry", func(t *testing.T, s *site) {
			m := bundled(t, 2, "x: 2\n", k)
			m.Expires = today.Add(time.Hour)
			s.put(m.sign(t, k))
		}, ""},
		{"empty", func(*testing.T, *site) {}, "404"},
		{"hanging", func(_ *testing.T, s *site) {
			s.answer(func(_ http.ResponseWriter, q *http.Request) bool { return hang(q) })
		}, "did not answer in full within"},
		{"hanging within the note", func(_ *testing.T, s *site) {
			s.answer(func(w http.ResponseWriter, q *http.Request) bool {
				_, _ = w.Write([]byte("statesync"))
				w.(http.Flusher).Flush()
				return hang(q)
			})
		}, "did not answer in full within"},
		{"truncating the note", func(t *testing.T, s *site) {
			m := bundled(t, 2, "x: 2\n", k)
			s.set("/prod/bundle.note", m.msg[:len(m.msg)-10])
		}, "is not a signed note"},
		{"truncating the archive", func(t *testing.T, s *site) {
			m := bundled(t, 2, "x: 2\n", k)
			m.Expires = m.Expires.Add(time.Hour) // so that it is the one that counts
			m.archive = m.archive[:10]
			s.put(m.sign(t, k))
		}, "has 10 bytes"},
		{"garbage", func(_ *testing.T, s *site) { s.set("/prod/bundle.note", []byte("\x00\xff")) }, "is not a signed note"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			bad, right := newSite(t), newSite(t)
			right.put(bundled(t, 2, "x: 2\n", k))
			test.serve(t, bad)
			w := open(t, source.Options{}, keysOption(file), bad, right)
			if err := w.prepare(); err != nil {
				t.Fatal(err)
			}
			w.client.limit = last
			w.sees("example.com/prod#2", "x: 2\n")
			if len(w.told) > 1 || !strings.Contains(strings.Join(w.told, ""), test.told) || (len(w.told) == 0) != (test.told == "") {
				t.Errorf("it told %q, want %q", w.told, test.told)
			}
		})
	}
}

func TestMirrorThatFallsBehindIsTold(t *testing.T) {
	k, stale, right := newKey(t, "a"), newSite(t), newSite(t)
	w := open(t, source.Options{}, keysOption(keyFile(t, k)), stale, right)
	stale.put(bundled(t, 1, "x: 1\n", k))
	right.put(bundled(t, 2, "x: 2\n", k))
	w.sees("example.com/prod#2", "x: 2\n")
	if len(w.told) != 0 { // nothing is known of it yet
		t.Errorf("it told %q", w.told)
	}
	for range 3 {
		w.sees("example.com/prod#2", "x: 2\n")
		w.clock = w.clock.Add(20 * time.Minute)
	}
	if len(w.told) != 1 || !strings.Contains(w.told[0], stale.note()+": the note has the sequence 1, and 2 was accepted") {
		t.Errorf("it told %q", w.told)
	}
	w.clock = w.clock.Add(time.Minute)
	w.sees("example.com/prod#2", "x: 2\n")
	if len(w.told) != 2 {
		t.Errorf("after an hour it told %d times", len(w.told))
	}
	stale.Close()
	right.Close()
	if err := w.fails(stale.note(), right.note()); !errors.Is(err, source.ErrUnreachable) {
		t.Errorf("the error is %v", err)
	}
}

func TestForks(t *testing.T) {
	k, a, b := newKey(t, "a"), newSite(t), newSite(t)
	w := open(t, source.Options{}, keysOption(keyFile(t, k)), a, b)
	a.put(bundled(t, 1, "x: 1\n", k))
	b.put(bundled(t, 1, "x: one\n", k))
	if err := w.fails("FORKED: sequence 1 is signed"); !errors.Is(err, ErrForked) {
		t.Errorf("the error is %v", err)
	}
	b.put(bundled(t, 1, "x: 1\n", k))
	w.sees("example.com/prod#1", "x: 1\n")
	b.put(bundled(t, 1, "x: one\n", k))
	if err := w.fails("FORKED"); !errors.Is(err, ErrForked) {
		t.Errorf("the error is %v", err)
	}
	a.put(bundled(t, 2, "x: 2\n", k)) // a higher sequence settles it
	w.sees("example.com/prod#2", "x: 2\n")
}

// The sequence is stored before a snapshot exists, and holds after a restart.
func TestFloor(t *testing.T) {
	k, s := newKey(t, "a"), newSite(t)
	floor := &memory{err: errors.New("the disk is full")}
	o := source.Options{Floor: floor}
	options := keysOption(keyFile(t, k))
	old, m := bundled(t, 4, "x: 4\n", k), bundled(t, 5, "x: 5\n", k)
	s.put(m)
	w := open(t, o, options, s)
	w.refuses("sequence 5 is held back until it can be stored", "the disk is full")
	if w.newest != nil {
		t.Error("what could not be stored is a snapshot")
	}
	floor.err = nil
	w.sees("example.com/prod#5", "x: 5\n")
	if want := "example.com/prod 5 " + m.Archive.String() + " 2026-01-10T12:00:00Z"; floor.state != want {
		t.Errorf("the floor is %q, want %q", floor.state, want)
	}

	again := open(t, o, options, s)
	s.put(old)
	again.refuses("has the sequence 4, and 5 was accepted")
	s.put(bundled(t, 5, "x: five\n", k))
	if err := again.fails("FORKED"); !errors.Is(err, ErrForked) {
		t.Errorf("the error is %v", err)
	}
	s.put(m)
	again.sees("example.com/prod#5", "x: 5\n")

	floor.err = errors.New("the disk is full")
	again.clock = again.clock.Add(2 * time.Hour)
	again.sees("example.com/prod#5", "x: 5\n") // the time alone can wait
	s.put(bundled(t, 6, "x: 6\n", k))
	again.refuses("sequence 6 is held back")
	floor.err, floor.state = nil, "0d1f4e0b2c6a0f7be5a0d5f4a3f2b1c0d9e8f7a6"
	again.refuses("is stored as", "has not four fields")
}

// The first origin that was accepted is required from then on.
func TestOrigin(t *testing.T) {
	k, s := newKey(t, "a"), newSite(t)
	file := keysOption(keyFile(t, k))
	floor := &memory{}
	w := open(t, source.Options{Floor: floor}, file, s)
	s.put(bundled(t, 1, "x: 1\n", k))
	w.sees("example.com/prod#1", "x: 1\n")
	other := bundled(t, 2, "x: 2\n", k)
	other.Origin = "example.com/test"
	s.put(other.sign(t, k))
	open(t, source.Options{Floor: floor}, file, s).refuses("the note is of example.com/test, and the first one was of example.com/prod")
	open(t, source.Options{}, file+"&origin=example.com/prod", s).refuses("origin= is example.com/prod")
	open(t, source.Options{}, file+"&origin=example.com/test", s).sees("example.com/test#2", "x: 2\n")
	mirror := newSite(t)
	mirror.put(bundled(t, 2, "x: 2\n", k))
	open(t, source.Options{}, file, s, mirror).refuses("give origin=")
}

// A clock that is set back revives nothing, and one that jumped ahead does no lasting harm.
func TestClock(t *testing.T) {
	k, s := newKey(t, "a"), newSite(t)
	options := keysOption(keyFile(t, k))
	floor := &memory{}
	m := bundled(t, 1, "x: 1\n", k)
	s.put(m)
	w := open(t, source.Options{Floor: floor}, options, s)
	w.clock = m.Expires.Add(-time.Hour)
	w.sees("example.com/prod#1", "x: 1\n")

	w = open(t, source.Options{Floor: floor}, options, s)
	w.clock = m.Expires.Add(-12 * time.Hour) // set back, and the hour is over
	w.sees("example.com/prod#1", "x: 1\n")
	short := bundled(t, 2, "x: 2\n", k)
	short.Expires = m.Expires.Add(-2 * time.Hour) // later than the clock, and over
	s.put(short.sign(t, k))
	w.refuses("sequence 2 expired")

	// The clock jumps ahead within the validity of a long note, and is corrected.
	long := bundled(t, 3, "x: 3\n", k)
	long.Expires = today.AddDate(20, 0, 0)
	s.put(long.sign(t, k))
	w.clock = today.AddDate(10, 0, 0)
	w.sees("example.com/prod#3", "x: 3\n")
	w = open(t, source.Options{Floor: floor}, options, s)
	w.clock = today.Add(time.Hour)
	s.put(bundled(t, 4, "x: 4\n", k)) // for 30 days
	w.sees("example.com/prod#4", "x: 4\n")
	next := bundled(t, 5, "x: 5\n", k)
	next.NotBefore, next.Expires = today.Add(26*time.Hour), today.Add(27*time.Hour)
	s.put(next.sign(t, k))
	w.clock = today.Add(26 * time.Hour) // a day later the jump is forgotten
	w.sees("example.com/prod#5", "x: 5\n")

	// A host that boots without a clock.
	w.clock = time.Unix(0, 0)
	w.refuses("is not valid before", "1970-01-02")
}

// Once an operator has dropped the floor, neither the sequence nor the last time seen
// counts, also for a source that is open.
func TestDroppedFloor(t *testing.T) {
	k, s := newKey(t, "a"), newSite(t)
	floor := &memory{}
	m := bundled(t, 5, "x: 5\n", k)
	s.put(m)
	w := open(t, source.Options{Floor: floor}, keysOption(keyFile(t, k)), s)
	w.clock = m.Expires.Add(-time.Hour)
	w.sees("example.com/prod#5", "x: 5\n")
	w.clock = today
	short := bundled(t, 6, "x: 6\n", k)
	short.Expires = today.Add(time.Hour)
	s.put(short.sign(t, k))
	w.refuses("sequence 6 expired")
	floor.state = ""
	w.sees("example.com/prod#6", "x: 6\n")
	floor.state = ""
	s.put(bundled(t, 1, "x: 1\n", k))
	w.sees("example.com/prod#1", "x: 1\n")
}

func TestFloorText(t *testing.T) {
	f := floor{"example.com/prod", 7, bundled(t, 7, "x", newKey(t, "a")).Archive, today}
	got, err := parseFloor(f.String())
	if err != nil || got != f {
		t.Errorf("%+v is read as %+v, %v", f, got, err)
	}
	for _, bad := range []string{
		"x", " ", f.String() + " ", f.String() + "\n", strings.Replace(f.String(), " 7 ", " 07 ", 1), strings.Replace(f.String(), " 7 ", " 0 ", 1),
		strings.Replace(f.String(), "2026", "x", 1), strings.ToUpper(f.String()), strings.Replace(f.String(), "example.com/prod", "", 1),
	} {
		if got, err := parseFloor(bad); err == nil {
			t.Errorf("%q is read as %+v", bad, got)
		}
	}
}

func TestRedirectOnTheSameHost(t *testing.T) {
	k, s := newKey(t, "a"), newSite(t)
	m := bundled(t, 1, "x: 1\n", k)
	s.put(m)
	s.set("/v1/bundle.note", m.msg)
	s.answer(func(w http.ResponseWriter, q *http.Request) bool {
		if q.URL.Path != "/prod/bundle.note" {
			return false
		}
		http.Redirect(w, q, "/v1/bundle.note", http.StatusFound)
		return true
	})
	open(t, source.Options{}, keysOption(keyFile(t, k)), s).sees("example.com/prod#1", "x: 1\n")
}

func TestServerThatIsNotTrusted(t *testing.T) {
	k, s := newKey(t, "a"), newSite(t)
	s.put(bundled(t, 1, "x: 1\n", k))
	t.Setenv("SSL_CERT_FILE", keyFile(t, k))
	w := open(t, source.Options{}, keysOption(keyFile(t, k)), s)
	w.refuses("has no certificate")
	t.Setenv("SSL_CERT_FILE", "")
	if err := w.fails("certificate"); !errors.Is(err, source.ErrUnreachable) {
		t.Errorf("the error is %v", err)
	}
}

func TestNoRoom(t *testing.T) {
	k, s := newKey(t, "a"), newSite(t)
	s.put(bundled(t, 1, "x: 1\n", k))
	full := errors.New("no room")
	var err error
	w := open(t, source.Options{Room: func(int64) error { return err }}, keysOption(keyFile(t, k)), s)
	err = full
	if got := w.fails("no room"); !errors.Is(got, full) {
		t.Errorf("the error is %v", got)
	}
	err = nil
	w.sees("example.com/prod#1", "x: 1\n")
}

func TestEnds(t *testing.T) {
	k, s := newKey(t, "a"), newSite(t)
	asked := make(chan struct{}, 1)
	s.answer(func(_ http.ResponseWriter, q *http.Request) bool {
		asked <- struct{}{}
		return hang(q)
	})
	w := open(t, source.Options{}, keysOption(keyFile(t, k)), s)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-asked
		cancel()
	}()
	if _, err := w.Fetch(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if err := w.fails("closed"); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("the error is %v", err)
	}
}

func TestSpecs(t *testing.T) {
	schemes := source.Schemes{Scheme}
	for spec, want := range map[string]string{
		"bundle:":                                      "names no bundle",
		"bundle:https://h/x":                           "no keys=FILE",
		"bundle:https://h/x?keys=":                     "no keys=FILE",
		"bundle:http://h/x?keys=k":                     "this host only",
		"bundle:ftp://h/x?keys=k":                      "not of https",
		"bundle:/srv/x?keys=k":                         "not of https",
		"bundle:https:///x?keys=k":                     "without a host",
		"bundle:https://h/?keys=k":                     "names no file",
		"bundle:https://h?keys=k":                      "names no file",
		"bundle:https://a:b@h/x?keys=k":                "not supported",
		"bundle:https://a:b@h:z/x?keys=k":              "cannot be parsed; write",
		"bundle:https://h/x%3Fa=b?keys=k":              "has a ? or a #",
		"bundle:https://h/x?keys=k&mirror=https://h/x": "a mirror that has the same URL",
		"bundle:https://h/x?keys=k&mirror=http://i/x":  "a mirror that has a URL of http",
		"bundle:https://h/x?keys=k&threshold=0":        "threshold=",
		"bundle:https://h/x?keys=k&threshold=x":        "threshold=",
		"bundle:https://h/x?keys=k&origin=":            "has the origin",
		"bundle:https://h/x?keys=k&origin=a b":         "has the origin",
		"bundle:https://h/x?keys=k&keys=l":             "twice",
	} {
		if _, err := schemes.Parse([]string{spec}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: the error is %v, want %q", spec, err, want)
		}
	}
	specs, err := schemes.Parse([]string{
		"bundle:https://h/x?keys=k", "bundle:https://h/x?keys=l&threshold=2", "bundle:https://h/x?keys=k&origin=o", "bundle:https://i/x?keys=k&origin=o",
		"bundle:http://127.0.0.1:1/x?keys=k&interval=1s&mirror=https://h/x&mirror=http://localhost/y",
	})
	if err != nil {
		t.Fatal(err)
	}
	if schemes.Identity(specs[0]) != schemes.Identity(specs[1]) || schemes.Identity(specs[2]) != schemes.Identity(specs[3]) ||
		schemes.Identity(specs[0]) == schemes.Identity(specs[2]) {
		t.Error("the identities are not of the URL, or of origin= if it is given")
	}
	if interval, polls := schemes.Polls(specs[0]); interval != 30*time.Second || !polls || schemes.Floor(specs[0]) != source.BundleFloor {
		t.Errorf("it is polled every %v", interval)
	}
}
