package headroom_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/daemon/headroom"
	"github.com/statesync/statesync/shm/writer"
)

// childEnv names what a process of the test binary does in its cgroup, and the
// region's directory.
const childEnv = "STATESYNC_TEST_CGROUP"

// imageWords is an image of 4 MiB.
const imageWords = 4 << 20 / 8

// inCgroup has a process of its own play a role in a memory cgroup of 64 MiB,
// and returns what it says.
func inCgroup(t *testing.T, role, dir string) (said, cgroup string) {
	t.Helper()
	cgroup = headroom.MemoryCgroup(t)
	cmd := exec.Command(os.Args[0], "-test.run=^TestCgroupChild$", "-test.count=1")
	cmd.Env = append(os.Environ(), childEnv+"="+role+":"+dir)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	err = os.WriteFile(filepath.Join(cgroup, "cgroup.procs"), []byte(strconv.Itoa(cmd.Process.Pid)), 0)
	if err == nil {
		_, err = io.WriteString(stdin, "go\n")
	}
	stdin.Close()
	if err := errors.Join(err, cmd.Wait()); err != nil {
		t.Fatalf("the process in the cgroup: %v: %s", err, &out)
	}
	return out.String(), cgroup
}

// TestCgroupChild is the process that inCgroup starts.
func TestCgroupChild(t *testing.T) {
	role, dir, ok := strings.Cut(os.Getenv(childEnv), ":")
	if !ok {
		t.Skip("runs only in a process of another test")
	}
	if line, _ := bufio.NewReader(os.Stdin).ReadString('\n'); line != "go\n" {
		t.Fatal("not placed into a cgroup")
	}
	if err := map[string]func(string) error{"fill": fill, "republish": republish}[role](dir); err != nil {
		t.Fatal(err)
	}
}

func own(dir string, slots int) (*writer.Writer, error) {
	return writer.Own(context.Background(), dir,
		writer.Options{Slots: slots, MaxImage: imageWords * 8, Group: -1, Room: headroom.ForPages})
}

// fill publishes images of 4 MiB until one is refused, and then a small one.
func fill(dir string) error {
	w, err := own(dir, 32)
	if err != nil {
		return err
	}
	defer w.Close()
	large := [][]uint64{make([]uint64, imageWords)}
	g := uint64(1)
	for err = w.Create(g, large); err == nil && g < 32; {
		g++
		err = w.Publish(g, large)
	}
	fmt.Printf("refused %d: %v\n", g, err)
	if !errors.Is(err, writer.ErrNoSpace) {
		return fmt.Errorf("it does not match ErrNoSpace: %w", err)
	}
	debug.FreeOSMemory() // what Go's heap holds on to may be more than is left
	return w.Publish(g, [][]uint64{make([]uint64, 8)})
}

// A memory cgroup whose 64 MiB are too small has an image refused, and the
// process is not killed.
func TestSmallCgroup(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "region")
	if mem, err := os.MkdirTemp("/dev/shm", "headroom-test-"); err == nil {
		t.Cleanup(func() { _ = os.RemoveAll(mem) })
		dir = filepath.Join(mem, "region")
	}
	said, cgroup := inCgroup(t, "fill", dir)
	var refused int
	if _, err := fmt.Sscanf(said, "refused %d: ", &refused); err != nil || refused < 3 || refused > 17 {
		t.Error(said)
	}
	for _, word := range []string{cgroup, dir} {
		if !strings.Contains(said, word) {
			t.Errorf("the error does not name %q: %s", word, said)
		}
	}
}

// republish leaves less room in the cgroup than an image takes, continues with the
// region, and publishes six images.
func republish(dir string) error {
	image := [][]uint64{make([]uint64, imageWords)}
	if free, limited := headroom.Left(); limited && free > 5<<20 {
		ballast, err := unix.Mmap(-1, 0, int(free-5<<20), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_POPULATE)
		if err != nil {
			return err
		}
		defer func() { _ = unix.Munmap(ballast) }()
	}
	w, err := own(dir, 4)
	if err != nil {
		return err
	}
	defer w.Close()
	if err := w.Attach(); err != nil {
		return err
	}
	for g := uint64(5); g <= 10; g++ {
		if err := w.Publish(g, image); err != nil {
			return err
		}
	}
	return nil
}

// A writer that restarts in a memory cgroup with no room for another image goes
// on in the pages that its slots have.
func TestRestartInSmallCgroup(t *testing.T) {
	mem, err := os.MkdirTemp("/dev/shm", "headroom-test-")
	if err != nil {
		t.Skip("there is no file system in memory: ", err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(mem) })
	dir := filepath.Join(mem, "region")
	w, err := own(dir, 4)
	if err != nil {
		t.Fatal(err)
	}
	image := [][]uint64{make([]uint64, imageWords)}
	for g := uint64(1); g <= 4 && err == nil; g++ {
		if g == 1 {
			err = w.Create(g, image)
		} else {
			err = w.Publish(g, image)
		}
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	inCgroup(t, "republish", dir)
}
