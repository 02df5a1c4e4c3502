//go:build linux

package campaign

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	metaFor = flag.Duration("metamorphic.for", time.Second, "how long new scripts are made")
	metaOps = flag.Int("metamorphic.ops", 25, "operations of a script")
)

const (
	metaDir = "testdata/metamorphic"
	// metaWorkers run scripts side by side: most of the time they wait.
	metaWorkers = 8
	// reduceFor bounds how long a failing script is made shorter.
	reduceFor = time.Minute
)

// metaFew are the workers of a short run, each of which finishes the script that it has
// begun.
var metaFew = 3

// TestMetamorphic runs random scripts of operations on the source, the daemon, the
// region and its readers, each in settings that must not affect the result. It
// compares what the readers see with a model of a few variables; see metaModel. A
// script that fails is made shorter and kept.
func TestMetamorphic(t *testing.T) {
	first := *campaignSeed // of the first script
	var scripts, ops, compared, differences atomic.Int64
	var failing sync.Map                                      // seed to failed
	build(t, "github.com/statesync/statesync/cmd/statesyncd") // before the time runs
	until := time.Now().Add(*metaFor)
	settings := metaSettings
	if testing.Short() { // those of remote sources run one of the kept scripts
		settings = slices.DeleteFunc(slices.Clone(settings), func(s metaSetting) bool { return s.remote != nil })
	}
	var next atomic.Uint64
	var workers sync.WaitGroup
	count := metaWorkers
	if *metaFor <= time.Second {
		count = metaFew
	}
	for range count {
		workers.Go(func() {
			for time.Now().Before(until) && differences.Load() == 0 {
				seed := first + next.Add(1) - 1
				script := generate(seed, *metaOps)
				for _, s := range settings {
					n, err := runScript(t, s, script, patience)
					compared.Add(int64(n))
					ops.Add(int64(len(script)))
					if err != nil {
						differences.Add(1)
						failing.Store(seed, failed{s, script, err})
						break
					}
				}
				scripts.Add(1)
			}
		})
	}
	workers.Wait()
	failing.Range(func(seed, value any) bool {
		f := value.(failed)
		t.Errorf("seed %d: %v", seed, f.err)
		f.keep(t, fmt.Sprintf("seed-%d", seed))
		return true
	})
	report(t, "nothing that happens to daemon, source or region shows a reader what was never published, or an older state",
		fmt.Sprintf("%d scripts from seed %d, each in %d settings, %d operations, %d observations compared with the model",
			scripts.Load(), first, len(settings), ops.Load(), compared.Load()),
		fmt.Sprintf("%d differences", differences.Load()))
}

// failed is a script that failed.
type failed struct {
	setting metaSetting
	script  []metaOp
	err     error
}

// keep makes the script shorter for as long as it still fails, and keeps it.
func (f failed) keep(t *testing.T, name string) {
	tries := 0
	short := reduce(f.script, time.Now().Add(reduceFor), func(ops []metaOp) bool {
		tries++
		_, err := runScript(t, f.setting, ops, 5*time.Second)
		if err != nil {
			f.err = err
		}
		return err != nil
	})
	path := filepath.Join(metaDir, name+".script")
	first, _, _ := strings.Cut(f.err.Error(), "\n")
	text := fmt.Sprintf("# Failed in the setting %s: %s\n%s", f.setting.name, first, scriptText(short))
	ok(t, os.MkdirAll(metaDir, 0o755))
	ok(t, os.WriteFile(path, []byte(text), 0o644))
	t.Logf("%d operations were reduced to %d in %d runs, in %s:\n%s", len(f.script), len(short), tries, path, text)
}

// TestMetamorphicScripts runs the scripts that were kept.
func TestMetamorphicScripts(t *testing.T) {
	paths, err := filepath.Glob(filepath.Join(metaDir, "*.script"))
	ok(t, err)
	if len(paths) == 0 {
		t.Error("there are no scripts")
	}
	for _, path := range paths {
		for _, s := range metaSettings {
			t.Run(strings.TrimSuffix(filepath.Base(path), ".script")+"/"+s.name, func(t *testing.T) {
				if testing.Short() && s.remote != nil && !strings.HasSuffix(path, "/broken.script") {
					t.Skip("one script is enough with -short")
				}
				t.Parallel()
				text, err := os.ReadFile(path)
				ok(t, err)
				compared, err := runScript(t, s, parseScript(string(text)), patience)
				if err != nil {
					t.Error(err)
				}
				if compared == 0 {
					t.Error("nothing was compared")
				}
			})
		}
	}
}
