package history

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/statesync/statesync/shm/failpoint"
	"github.com/statesync/statesync/shm/shmtest"
)

func init() { roles["writer"] = playWriter }

// crashOptions make a writer prune early.
var crashOptions = Options{Records: 8}

// playWriter does random things with the history in a file, and says a line after each
// call that writes. A seed does the same things each time.
func playWriter(args []string) error {
	seed, err := strconv.ParseUint(args[1], 10, 64)
	if err != nil {
		return err
	}
	w := newWorld(roleTB{}, args[0], seed, crashOptions)
	w.called = func() { fmt.Println("called") }
	for {
		w.step()
	}
}

// roleTB is for a world in a process that runs no test.
type roleTB struct{ testing.TB }

func (roleTB) Helper()        {}
func (roleTB) Cleanup(func()) {}
func (roleTB) Fatal(args ...any) {
	fmt.Println(args...)
	os.Exit(1)
}

// crash is a history whose writer is killed.
type crash struct {
	*testing.T
	binary string
	path   string
	seed   uint64
}

// kill starts a writer and waits for its end. after is how many calls the test lets it do
// before it kills it; with a failpoint, the writer dies by itself. It returns how many
// calls returned.
func (c *crash) kill(point string, after int) (calls int) {
	c.Helper()
	child := shmtest.StartCommand(c, exec.Command(c.binary, c.path, fmt.Sprint(c.seed)), "writer", failpoint.Env+"="+point)
	for {
		line, more := child.Next()
		if !more {
			break
		}
		if line != "called" {
			c.Fatalf("the writer says: %s %s", line, &child.Err)
		}
		calls++
		if point == "" && calls == after {
			shmtest.Must(c, child.Cmd.Process.Kill()) // what it said before that is still read
		}
	}
	var exit *exec.ExitError
	if err := child.Cmd.Wait(); point != "" && (!errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL) {
		c.Fatalf("the writer ended at %s with %v %s", point, err, &child.Err)
	}
	return calls
}

// pseudonyms are the random sums of purged values.
var pseudonyms = regexp.MustCompile(`Sum:[0-9a-f]+ Purged:true`)

// dump is that of a store without what is random.
func (c *crash) dump(s *Store) string {
	c.Helper()
	text, err := dump(s)
	shmtest.Must(c, err)
	return pseudonyms.ReplaceAllString(text, "Purged:true")
}

// compare opens the history after a kill. It has what it had before the call that did not
// return, or what it would have after it.
func (c *crash) compare(calls int) {
	c.Helper()
	s, err := Open(c.path, crashOptions)
	shmtest.Must(c, err)
	defer func() { shmtest.Must(c, s.Close()) }()
	shmtest.Must(c, s.view((*tx).verify))
	got := c.dump(s)
	before, after := c.expected(calls)
	if got != before && got != after {
		c.Errorf("after %d calls of seed %d it has neither\n%s\nnor\n%s", calls, c.seed, firstDifference(got, before), firstDifference(got, after))
	}
	if _, err := os.Stat(s.rewritten()); !errors.Is(err, fs.ErrNotExist) {
		c.Errorf("what a rewrite left behind is still there: %v", err)
	}
	shmtest.Must(c, s.Record(publication(1_000_000, document(c, "new", `{}`))))
}

// expected is what a store has after so many calls, and after one more.
func (c *crash) expected(calls int) (before, after string) {
	c.Helper()
	w := newWorld(c, "", c.seed, crashOptions)
	before = c.dump(w.store)
	n := 0
	w.called = func() {
		switch n++; n {
		case calls:
			before = c.dump(w.store)
		case calls + 1:
			after = c.dump(w.store)
		}
	}
	for n <= calls {
		w.step()
	}
	return before, after
}

// A history whose writer is killed at any point is whole: a call that returned counts, and
// the one that did not counts in full or not at all.
func TestKill(t *testing.T) {
	t.Parallel()
	binary := filepath.Join(t.TempDir(), "writer")
	shmtest.Go(t, "test", "-c", "-tags=failpoints", "-o", binary, ".")
	kills, arrivals := shmtest.Times(6, 3), 1
	if *long {
		kills, arrivals = 1000, 20
	}
	run := func(name string, f func(c *crash)) {
		t.Run(name, func(t *testing.T) { f(&crash{T: t, binary: binary, path: inMemory(t), seed: rand.Uint64()}) })
	}
	points := slices.DeleteFunc(slices.Clone(failpoint.Names), func(name string) bool { return !strings.HasPrefix(name, "history.") })
	for _, point := range points {
		once := point == "history.created" || point == "history.set-aside"
		for n := 1; n == 1 || n <= arrivals && !once; n++ {
			run(fmt.Sprintf("%s/%d", point, n), func(c *crash) {
				if point == "history.set-aside" {
					shmtest.Must(c, os.WriteFile(c.path, make([]byte, 10_000), 0o600))
				}
				c.compare(c.kill(fmt.Sprintf("kill:%s:%d", point, n), 0))
			})
		}
	}
	for range kills {
		run("random", func(c *crash) { c.compare(c.kill("", 1+rand.IntN(60))) })
	}
}
