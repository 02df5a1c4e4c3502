//go:build linux

package campaign

import (
	"flag"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/statesync/statesync/client"
)

var memorySizes = flag.Int("memory.sizes", 3, "how many sizes of a full file system are tried; 140 are all")

func memoryCmd(path string, args ...string) *exec.Cmd { return exec.Command(path, args...) }

// Revisions grow on a file system that is too small for them, and has one page more
// in each run, so that each allocation fails once. The
// revision is refused with the reason, the daemon lives, and readers keep what they
// have. With room again the same revision is published without intervention.
func TestMemoryFullFileSystem(t *testing.T) {
	const (
		all       = 140
		revisions = 7
		step      = 10 << 10 // bytes of payload in each config, at most, that a revision has more
	)
	refusals, publications, without := 0, 0, 0
	var slowest time.Duration
	for i := range min(*memorySizes, all) {
		pages := 1 + i*all/min(*memorySizes, all)
		t.Run(fmt.Sprintf("%d pages", pages), func(t *testing.T) {
			mount := memoryTmpfs(t, pages)
			h := newMemoryHost(t, mount, "--slots=3", "--max-image=256KiB")
			if i%2 == 1 {
				h.state = filepath.Join(mount, "state") // takes pages away
			}
			h.start()
			h.reader = memoryRead(t, h.region)
			good := 0
			for round := range revisions {
				before := 0
				if round > 0 {
					before = h.refusals()
					h.publish(round * step)
				}
				refused := h.refuses(before)
				if !refused {
					good = h.number
					publications++
					continue
				}
				refusals++
				for _, word := range []string{"reason=no_space", "make the file system larger, or the configs smaller", mount} {
					if !strings.Contains(h.daemon.log(), word) {
						t.Errorf("the log does not say %q:\n%s", word, h.daemon.log())
					}
				}
				if good == 0 {
					without++
					h.reader.tells("before the first publication", "no-region")
				} else {
					h.reader.sees("after a refusal", good)
					memoryProblem(t, h.region, "make the file system larger")
				}
				memoryResize(t, mount, 4*all)
				began := time.Now()
				h.reader.sees("with room again", h.number)
				slowest = max(slowest, time.Since(began))
				good = h.number
				memoryProblem(t, h.region, "")
				h.alive()
				memoryResize(t, mount, pages)
			}
			memoryResize(t, mount, 4*all)
			h.publish(100)
			h.reader.sees("at the end", h.number)
			h.reader.end()
			h.stop()
		})
	}
	report(t, "a full file system refuses a revision and harms neither daemon nor readers",
		fmt.Sprintf("%d sizes of a tmpfs; %d revisions published, %d refused, %d of them the first one", min(*memorySizes, all), publications, refusals, without),
		fmt.Sprintf("nothing; with room again the revision was read within %v", slowest.Round(time.Millisecond)))
	if refusals == 0 || publications == 0 {
		t.Error("the file systems were none of the right size")
	}
}

// memoryProblem waits until the region's status has a problem with a word in
// it, or none.
func memoryProblem(t testing.TB, region, word string) {
	t.Helper()
	var problem string
	await(t, fmt.Sprintf("the status to say %q", word), func() bool {
		c, err := client.Open(region)
		if err != nil {
			return false
		}
		problem = c.Stats().Problem
		ok(t, c.Close())
		return strings.Contains(problem, word) && (word != "" || problem == "")
	})
}
