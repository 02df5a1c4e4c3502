//go:build unix

package client_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/statesync/statesync/client"
	"github.com/statesync/statesync/client/clienttest"
	"github.com/statesync/statesync/shm/shmtest"
)

// logged collects what a client logs.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(line)
}

// option has a client log here.
func (l *logged) option() client.Option {
	return client.WithLogger(slog.New(slog.NewTextHandler(l, nil)))
}

// count is how many lines have all words.
func (l *logged) count(words ...string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
line:
	for line := range strings.Lines(l.text.String()) {
		for _, word := range words {
			if !strings.Contains(line, word) {
				continue line
			}
		}
		n++
	}
	return n
}

// want fails the test unless in time there is just one line with all words.
func (l *logged) want(t *testing.T, words ...string) {
	t.Helper()
	eventually(t, "there is a line with "+strings.Join(words, ", "), func() bool { return l.count(words...) > 0 })
	want(t, "the number of lines with "+strings.Join(words, ", "), l.count(words...), 1)
}

func TestLogSaysEachProblemOnce(t *testing.T) {
	t.Parallel()
	var log logged
	r := clienttest.New(t)
	r.Publish(configs{"a": number{1}, "b": number{1}})
	c := r.Client(log.option())
	client.Bind[number](c, "a")
	client.BindKey(c, "b", "N", 0)
	for range 3 { // the same cause with other content
		r.Publish(configs{"a": configs{"N": "x", "more": r.Generation()}, "b": number{1}})
	}
	log.want(t, "WARN", "a value is rejected", "config=a")
	r.Set("a", number{2})
	log.want(t, "INFO", "accepted again", "config=a")
	r.Delete("b")
	log.want(t, "WARN", "a config is removed", "config=b", "key=N")
	r.Set("b", number{2})
	log.want(t, "INFO", "accepted again", "config=b")
	want(t, "the number of lines", log.count("statesync"), 4)
}

func TestLogOfAPanicInAHook(t *testing.T) {
	t.Parallel()
	var log logged
	r := clienttest.New(t)
	c := r.Client(log.option())
	client.Bind(c, "a", client.Options[number]{OnChange: func(client.Changed[number]) { panic("out of luck") }})
	for n := range 3 {
		r.Set("a", number{uint64(n)})
	}
	log.want(t, "WARN", "a hook panicked", "hook=OnChange", "config=a", "out of luck", "log_test.go")
}

func TestLogOfAHookThatReturnsAgain(t *testing.T) {
	t.Parallel()
	var log logged
	r := clienttest.New(t)
	c := r.Client(log.option())
	client.Bind(c, "a", client.Options[number]{OnChange: func(change client.Changed[number]) {
		if change.New.N%2 == 1 {
			panic("out of luck")
		}
	}})
	for n := range uint64(4) {
		r.Set("a", number{n})
	}
	eventually(t, "each panic is logged", func() bool { return log.count("WARN", "a hook panicked", "config=a") == 2 })
	log.want(t, "INFO", "a hook returns again", "hook=OnChange", "config=a")
}

func TestLogOfASilentDaemon(t *testing.T) {
	t.Parallel()
	var log logged
	r := clienttest.New(t)
	r.Set("a", number{1})
	c := r.Client(log.option())
	b := client.Bind[number](c, "a")
	r.StopDaemon()
	log.want(t, "WARN", "the daemon is silent", "region="+r.Dir())
	r.Set("a", number{2})
	log.want(t, "INFO", "the daemon is alive again")
	want(t, "Get", b.Get().N, 2)
}

func TestLogOfARegionThatIsUntrusted(t *testing.T) {
	t.Parallel()
	var log logged
	dir := regionIn(t)
	p := created(t, dir, 1, numbered(1))
	must(t, os.Chmod(p.Path(), 0o666))
	open(t, dir, client.Lazy(), log.option())
	log.want(t, "WARN", "the region is unusable", "chmod")
	must(t, os.Chmod(p.Path(), 0o600))
	log.want(t, "INFO", "the region is readable")
}

// Daemon and application may start together: only what lasts is said.
func TestLogOfNoRegion(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes more than 10 s")
	}
	var log logged
	dir := regionIn(t)
	must(t, os.WriteFile(filepath.Join(filepath.Dir(dir), "other"), nil, 0o600))
	began := time.Now()
	open(t, dir, client.Lazy(), log.option())
	log.want(t, "WARN", "no region", "region="+dir, "other")
	if time.Since(began) < 10*time.Second {
		t.Errorf("it was said after %v", time.Since(began))
	}
	created(t, dir, 1, numbered(1))
	log.want(t, "INFO", "the region is readable")
}

func TestLogOfAnotherClientsSnapshot(t *testing.T) {
	t.Parallel()
	var log logged
	r := clienttest.New(t)
	r.Set("a", number{1})
	c, other := r.Client(log.option()), r.Client()
	b := client.Bind[number](c, "a")
	for range 3 {
		want(t, "In", b.In(other.Snapshot()).N, 1)
	}
	log.want(t, "WARN", "another client's snapshot", "config=a")
	_, err := b.Lookup(other.Snapshot())
	wantError(t, err, err, "another client")
}

// The log's handler is code of the application.
func TestLogHandlerThatBlocksOrPanics(t *testing.T) {
	t.Parallel()
	leave := make(chan struct{})
	for name, handle := range map[string]func(){
		"blocks": func() { <-leave }, "panics": func() { panic("out of luck") },
	} {
		p := created(t, regionIn(t), 1, numbered(1))
		c := open(t, p.dir(), client.WithLogger(slog.New(handler{slog.DiscardHandler, handle})))
		b := client.Bind[number](c, "a")
		for n := range uint64(shmtest.Times(1000, 300)) {
			must(t, p.publish(configs{"a": configs{"N": fmt.Sprint("wrong ", n)}}))
			if n%100 == 0 {
				eventually(t, "it is rejected, a handler "+name, func() bool { return b.Err() != nil })
				must(t, p.publish(numbered(n)))
				eventually(t, "it is accepted, a handler "+name, func() bool { return b.Get().N == n })
			}
		}
	}
	close(leave)
}

// handler is a slog.Handler that is enabled and calls a function.
type handler struct {
	slog.Handler
	handle func()
}

func (h handler) Enabled(context.Context, slog.Level) bool { return true }

func (h handler) Handle(context.Context, slog.Record) error {
	h.handle()
	return nil
}
