//go:build unix

package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/statesync/statesync/client"
	"github.com/statesync/statesync/client/clienttest"
	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/shmtest"
)

func TestOpenWithoutRegionIsAnError(t *testing.T) {
	t.Parallel()
	empty := filepath.Join(t.TempDir(), "empty")
	must(t, os.Mkdir(empty, 0o700))
	for _, dir := range []string{filepath.Join(empty, "nowhere"), empty} {
		c, err := client.Open(dir)
		wantError(t, err, client.ErrNoRegion, dir, "statesyncd")
		if c != nil {
			t.Error("there is a client all the same")
		}
	}
}

func TestOpenWaitsForARegionToAppear(t *testing.T) {
	t.Parallel()
	for name, option := range map[string]client.Option{
		"Wait":        client.Wait(patience),
		"WaitContext": client.WaitContext(t.Context()),
	} {
		t.Run(name, func(t *testing.T) {
			dir := regionIn(t)
			opened := make(chan *client.Client, 1)
			go func() {
				c, err := client.Open(dir, option)
				if err != nil {
					t.Error(err)
				}
				opened <- c
			}()
			select {
			case <-opened:
				t.Fatal("Open returned before there was a region")
			case <-time.After(30 * time.Millisecond):
			}
			created(t, dir, 7, numbered(7))
			c := inTime(t, "Open saw the region", opened)
			if c == nil {
				t.FailNow()
			}
			defer c.Close()
			want(t, "the generation", c.Snapshot().Generation(), 7)
		})
	}
}

func TestOpenWaitsNoLongerThanItWasTold(t *testing.T) {
	t.Parallel()
	dir := regionIn(t)
	_, err := client.Open(dir, client.Wait(20*time.Millisecond))
	wantError(t, err, client.ErrNoRegion, dir)
	wantError(t, err, context.DeadlineExceeded)

	reason := errors.New("the service is shutting down")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(reason)
	_, err = client.Open(dir, client.WaitContext(ctx))
	wantError(t, err, client.ErrNoRegion, dir)
	wantError(t, err, reason)

	// If there is a region, Open does not wait.
	created(t, dir, 1, numbered(1))
	c, err := client.Open(dir, client.WaitContext(ctx))
	must(t, err)
	must(t, c.Close())
}

func TestOpenWaitsAndIsLazyThen(t *testing.T) {
	t.Parallel()
	c := open(t, regionIn(t), client.Lazy(), client.Wait(20*time.Millisecond))
	_, err := c.Get("a")
	wantError(t, err, client.ErrNoRegion)
}

// What waits is also a region that is there and can't be used yet.
func TestOpenWaitsForADamagedRegionToBeReplaced(t *testing.T) {
	t.Parallel()
	dir := regionIn(t)
	p := created(t, dir, 1, numbered(1))
	must(t, os.Truncate(p.Path(), 100))
	opened := async(func() error {
		c, err := client.Open(dir, client.Wait(patience))
		if err == nil {
			want(t, "the generation", c.Snapshot().Generation(), 2)
			err = c.Close()
		}
		return err
	})
	must(t, p.create(2, numbered(2)))
	must(t, inTime(t, "Open saw the region", opened))
}

func TestLazyServesDefaultsAndFollowsARegionThatAppears(t *testing.T) {
	t.Parallel()
	dir := regionIn(t)
	c := open(t, dir, client.Lazy())
	zero := client.Bind[number](c, "a")
	b := client.Bind(c, "a", client.Options[number]{Default: number{42}})
	k := client.BindKey(c, "a", "N", 43)
	before := c.Snapshot()
	want(t, "Get without a default", *zero.Get(), number{})
	want(t, "Get", *b.Get(), number{42})
	want(t, "In", *b.In(before), number{42})
	want(t, "KeyBinding.Get", k.Get(), 43)
	want(t, "KeyBinding.In", k.In(before), 43)
	wantError(t, b.Err(), client.ErrNoRegion, "config a")
	wantError(t, k.Err(), client.ErrNoRegion, "config a", "key N")
	_, err := b.Lookup(before)
	wantError(t, err, client.ErrNoRegion)
	for _, name := range []string{"a", "never bound"} {
		_, err = c.Get(name)
		wantError(t, err, client.ErrNoRegion, name)
	}
	want(t, "the generation", before.Generation(), 0)
	want(t, "the region's id", before.RegionID(), "")
	stats := c.Stats()
	wantError(t, stats.Err, client.ErrNoRegion)
	want(t, "DaemonAlive", stats.DaemonAlive, false)

	p := created(t, dir, 7, numbered(7))
	eventually(t, "the bindings follow", func() bool { return b.Get().N == 7 && k.Get() == 7 && zero.Get().N == 7 })
	must(t, errors.Join(b.Err(), k.Err()))
	want(t, "the region's id", c.Snapshot().RegionID(), p.ID().String())
	must(t, c.Stats().Err)
	// What was there before is still what it was.
	want(t, "In of a snapshot without a region", *b.In(before), number{42})
	_, err = before.Get("a")
	wantError(t, err, client.ErrNoRegion)
}

func TestOpenFindsTheRegionInTheEnvironment(t *testing.T) {
	dir := regionIn(t)
	t.Setenv(client.EnvRegion, dir)
	_, err := client.Open("")
	wantError(t, err, client.ErrNoRegion, dir)
	created(t, dir, 5, numbered(5))
	want(t, "the generation", open(t, "").Snapshot().Generation(), 5)

	// A path that is given wins.
	other := regionIn(t)
	created(t, other, 6, numbered(6))
	want(t, "the generation", open(t, other).Snapshot().Generation(), 6)

	t.Setenv(client.EnvRegion, "")
	if _, err := client.Open(""); err != nil && !strings.Contains(err.Error(), shm.DefaultDir) {
		t.Errorf("the error does not name %s: %v", shm.DefaultDir, err)
	}
}

func TestOpenRefusesAnOwnerListThatIsNone(t *testing.T) {
	dir := regionIn(t)
	created(t, dir, 1, numbered(1))
	for _, list := range []string{"root", "-1", "1,,2", "1;2", "4294967296", " ", "0x10"} {
		t.Setenv(client.EnvOwner, list)
		if _, err := client.Open(dir); err == nil || !strings.Contains(err.Error(), client.EnvOwner) {
			t.Errorf("%s=%q: %v", client.EnvOwner, list, err)
		}
	}
	for _, list := range []string{"", "0", "1, 12345 ,65534"} {
		t.Setenv(client.EnvOwner, list)
		if c, err := client.Open(dir); err != nil {
			t.Errorf("%s=%q: %v", client.EnvOwner, list, err)
		} else {
			must(t, c.Close())
		}
	}
}

func TestOpenRefusesWhatOthersCouldHaveWritten(t *testing.T) {
	t.Parallel()
	dir := regionIn(t)
	p := created(t, dir, 1, numbered(1))
	must(t, os.Chmod(p.Path(), 0o666))
	_, err := client.Open(dir)
	wantError(t, err, client.ErrUntrusted, p.Path(), "chmod go-w")
	must(t, os.Chmod(p.Path(), 0o600))

	must(t, os.Chmod(dir, 0o770))
	_, err = client.Open(dir)
	wantError(t, err, client.ErrUntrusted, dir, "chmod go-w")

	link := filepath.Join(filepath.Dir(dir), "link")
	must(t, os.Symlink(dir, link))
	_, err = client.Open(link)
	wantError(t, err, client.ErrUntrusted, link)

	// A lazy client says so in Stats, and follows when it is repaired.
	lazy := open(t, dir, client.Lazy())
	b := client.Bind(lazy, "a", client.Options[number]{Default: number{42}})
	want(t, "Get", *b.Get(), number{42})
	wantError(t, lazy.Stats().Err, client.ErrUntrusted, "chmod go-w")
	must(t, os.Chmod(dir, 0o700))
	eventually(t, "the binding follows", func() bool { return b.Get().N == 1 })
}

func TestOpenTrustsAnOwnerThatIsNamed(t *testing.T) {
	needRoot(t)
	const stranger = 12345
	dir := regionIn(t)
	p := created(t, dir, 1, numbered(1))
	must(t, errors.Join(os.Chown(dir, stranger, -1), os.Chown(p.Path(), stranger, -1)))
	must(t, os.Chmod(filepath.Dir(dir), 0o777)) // any user could have made the region
	_, err := client.Open(dir)
	wantError(t, err, client.ErrUntrusted, client.EnvOwner+"=12345", "client.WithOwner(12345)")
	_, err = client.Open(dir, client.WithOwner(stranger+1))
	wantError(t, err, client.ErrUntrusted)

	open(t, dir, client.WithOwner(stranger))
	open(t, dir, client.WithOwner(1), client.WithOwner(stranger))
	t.Setenv(client.EnvOwner, "1, 12345")
	open(t, dir)
	open(t, dir, client.WithOwner(2))
	t.Setenv(client.EnvOwner, "1")
	open(t, dir, client.WithOwner(stranger))
}

func init() {
	roles["open"] = func(args []string) error {
		c, err := client.Open(args[0])
		switch {
		case errors.Is(err, fs.ErrPermission):
			fmt.Println("permission:", err)
		case err != nil:
			fmt.Println("another error:", err)
		default:
			fmt.Println("generation", c.Snapshot().Generation())
			return c.Close()
		}
		return nil
	}
}

func TestOpenSaysThatAUserMayNotRead(t *testing.T) {
	needRoot(t)
	t.Parallel()
	dir := regionIn(t)
	must(t, os.Chmod(filepath.Dir(dir), 0o755))
	p := created(t, dir, 1, numbered(1))
	for name, access := range map[string]struct{ dir, file fs.FileMode }{
		"directory": {0o700, 0o600}, "file": {0o755, 0o600}, "neither": {0o755, 0o644},
	} {
		must(t, errors.Join(os.Chmod(dir, access.dir), os.Chmod(p.Path(), access.file)))
		c := shmtest.StartAs(t, 4321, "open", nil, dir)
		line := c.Line()
		c.Finish()
		if name == "neither" {
			want(t, "an allowed user says", line, "generation 1")
		} else if !strings.HasPrefix(line, "permission:") || !strings.Contains(line, dir) {
			t.Errorf("the %s is not readable, and the user is told: %s", name, line)
		}
	}
}

// The places of these are in docs/FORMAT.md.
const (
	versionAt   = 0x08
	hotAt       = 0x80
	heartbeatAt = 0x2000 + 4*8
	tableAt     = 0x1000
	slotsAt     = 0x8000
)

func TestOpenRefusesALayoutThatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	dir := regionIn(t)
	p := created(t, dir, 1, numbered(1))
	patch(t, p.Path(), versionAt, 2)
	_, err := client.Open(dir)
	wantError(t, err, client.ErrLayout, p.Path(), "version 2")
	wantError(t, open(t, dir, client.Lazy()).Stats().Err, client.ErrLayout)
}

func TestOpenRefusesADamagedRegion(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(path string) error{
		"empty":     func(path string) error { return os.Truncate(path, 0) },
		"short":     func(path string) error { return os.Truncate(path, slotsAt+100) },
		"long":      func(path string) error { return os.Truncate(path, 1<<30) },
		"noise":     func(path string) error { return os.WriteFile(path, bytes.Repeat([]byte{0xa5}, slotsAt+4<<16), 0o600) },
		"zero":      func(path string) error { return os.WriteFile(path, make([]byte, slotsAt+4<<16), 0o600) },
		"zero slot": func(path string) error { return zero(path, slotsAt+1<<16, 1<<16) },
		"zero hot":  func(path string) error { return zero(path, hotAt, 8) },
		"wrong hot": func(path string) error { return zero(path, hotAt+1, 1) },
		// Whole, and of another generation.
		"stale slot": func(path string) error { return copyInside(path, slotsAt, slotsAt+slotSize, slotSize) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := regionIn(t)
			p := created(t, dir, 256, numbered(256))
			p.next(t, numbered(257)) // in slot 1; its hot word is 0x202
			must(t, damage(p.Path()))
			c, err := client.Open(dir)
			if err == nil {
				must(t, c.Close())
			}
			wantError(t, err, client.ErrCorrupt, p.Path())
		})
	}
}

// zero overwrites a part of a file.
func zero(path string, from, length int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(make([]byte, length), from)
	return errors.Join(err, f.Close())
}

// copyInside copies one part of a file over another.
func copyInside(path string, from, to, length int64) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	part := make([]byte, length)
	_, err = f.ReadAt(part, from)
	if err == nil {
		_, err = f.WriteAt(part, to)
	}
	return errors.Join(err, f.Close())
}

// A region with nothing in it yet is a region.
func TestOpenAnEmptyRegion(t *testing.T) {
	t.Parallel()
	c := clienttest.New(t).Client()
	_, err := c.Get("a")
	wantError(t, err, client.ErrNotFound, "config a", "generation 1")
}
