//go:build linux

package campaign

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/statesync/statesync/client"
	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/shmtest"
)

var longrunJump = flag.Bool("longrun.jump", false, "have TestLongRunClockJump set the wall clock, which compiles the standard library anew (half a minute)")

func init() { roles["longrun-jump"] = longrunJumped }

// jumpSource is added to package time: the wall clock is ahead by as many
// seconds as a file says.
const jumpSource = `package time

import (
	"sync/atomic"
	"syscall"
	"unsafe"
)

var jump = func() *int64 {
	path, _ := syscall.Getenv("CAMPAIGN_WALL_CLOCK")
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return new(int64)
	}
	data, err := syscall.Mmap(fd, 0, 8, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		return new(int64)
	}
	return (*int64)(unsafe.Pointer(&data[0]))
}()

func jumped() int64 {
	if jump == nil {
		return 0
	}
	return atomic.LoadInt64(jump)
}
`

// jumpOverlay makes time.Now of programs that are built with it obey that file.
// The test must not set the machine's own clock.
func jumpOverlay(t *testing.T) string {
	t.Helper()
	root, err := exec.Command("go", "env", "GOROOT").Output()
	ok(t, err)
	library := filepath.Join(strings.TrimSpace(string(root)), "src", "time")
	text, err := os.ReadFile(filepath.Join(library, "time.go"))
	ok(t, err)
	const from = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	if strings.Count(string(text), from) != 1 {
		t.Fatal("this test cannot change time.Now of this version of Go")
	}
	dir := t.TempDir()
	replaced := map[string]string{
		filepath.Join(library, "time.go"): strings.Replace(string(text), from, from+"\tsec += jumped()\n", 1),
		filepath.Join(library, "jump.go"): jumpSource,
	}
	for path, content := range replaced {
		mine := filepath.Join(dir, filepath.Base(path))
		ok(t, os.WriteFile(mine, []byte(content), 0o644))
		replaced[path] = mine
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replaced})
	ok(t, err)
	path := filepath.Join(dir, "overlay.json")
	ok(t, os.WriteFile(path, overlay, 0o644))
	return path
}

// TestLongRunClockJump sets the wall clock of a daemon and of a reader back and
// forth by hours while they work. Their files' times stay as they are, and so
// are of the future, or of long ago.
func TestLongRunClockJump(t *testing.T) {
	if !*longrunJump {
		t.Skip("-longrun.jump is not given")
	}
	overlay := "-overlay=" + jumpOverlay(t)
	command := build(t, "github.com/statesync/statesync/cmd/statesyncd", overlay)
	reader := filepath.Join(t.TempDir(), "reader")
	shmtest.Go(t, "test", "-c", overlay, "-o", reader, ".")
	clock := filepath.Join(t.TempDir(), "clock")
	ok(t, os.WriteFile(clock, make([]byte, 8), 0o644))
	file, err := os.OpenFile(clock, os.O_WRONLY, 0)
	ok(t, err)
	defer file.Close()
	env := append(os.Environ(), "CAMPAIGN_WALL_CLOCK="+clock)

	h := newClockHost(t)
	h.change(1)
	run := func() *process {
		args := h.args(command)
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Env = env
		return start(t, cmd)
	}
	daemon := run()
	cmd := exec.Command(reader, h.region)
	cmd.Env = append(slices.Clone(env), roleEnv+"=longrun-jump")
	lines := start(t, cmd)
	number := 1
	reads := func(what string, jump time.Duration) {
		t.Helper()
		for _, way := range []string{"exact", "following"} {
			for deadline := time.After(patience); ; {
				var n int
				var at int64
				select {
				case line, more := <-lines.Lines:
					if _, err := fmt.Sscanf(line, way+" %d at %d", &n, &at); err != nil && !more {
						t.Fatalf("%s: the reader has ended: %s", what, lines.log())
					}
				case <-deadline:
					t.Fatalf("%s: the reader never came to number %d, %s", what, number, way)
				}
				if n != number {
					continue
				}
				if off := time.Until(time.Unix(at, 0)) - jump; off.Abs() > time.Minute {
					t.Fatalf("%s: the reader's clock is off by %s", what, off)
				}
				break
			}
		}
	}
	reads("at first", 0)
	jumps := []time.Duration{-time.Hour, 0, time.Hour, -time.Hour, -24 * 365 * time.Hour, 24 * 365 * time.Hour, 0}
	for _, jump := range jumps {
		var word [8]byte
		binary.NativeEndian.PutUint64(word[:], uint64(jump/time.Second))
		_, err := file.WriteAt(word[:], 0)
		ok(t, err)
		what := fmt.Sprintf("clock set to %s from now: ", jump)

		number++
		h.change(number)
		reads(what+"a change by rename", jump)
		number++
		ok(t, os.WriteFile(h.file(), fmt.Appendf(nil, `{"number": %d}`, number), 0o644))
		reads(what+"a change in place", jump)
		daemon.kill()
		daemon = run()
		number++
		h.change(number)
		reads(what+"another daemon", jump)
		ok(t, os.Remove(filepath.Join(h.region, shm.FileName)))
		number++
		h.change(number)
		reads(what+"another region", jump)
	}
	_ = lines.finish(t)
	report(t, "a wall clock that jumps, back or forth, keeps no change from its readers",
		fmt.Sprintf("%d jumps of up to a year, %d changes, %d restarts, %d new regions", len(jumps), number, len(jumps), len(jumps)), "nothing")
}

// longrunJumped says which numbers it reads, and when by its own wall clock.
func longrunJumped(ctx context.Context, args []string) error {
	c, err := client.Open(args[0], client.Wait(patience))
	if err != nil {
		return err
	}
	b := client.Bind[endNumber](c, "end")
	exact, following := 0, 0
	for ; ctx.Err() == nil; time.Sleep(time.Millisecond) {
		if n := b.In(c.Snapshot()).Number; n != exact {
			exact = n
			fmt.Println("exact", n, "at", time.Now().Unix())
		}
		if n := b.Get().Number; n != following {
			following = n
			fmt.Println("following", n, "at", time.Now().Unix())
		}
	}
	return c.Close()
}
