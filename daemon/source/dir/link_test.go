package dir

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/daemon/source"
)

func TestLinks(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	put(t, outside, "secret.yaml", "secret: 1")
	for _, test := range []struct {
		link, target string
		want         string // an error's part, or empty for success
	}{
		{"in.yaml", "a.yaml", ""},
		{"in.yaml", "./team/b.yaml", ""},
		{"team/in.yaml", "../a.yaml", ""},
		{"team/in.yaml", "b.yaml", ""},
		{"team/in.yaml", ".././../a.yaml", "leads out"},
		{"in.yaml", ".hidden/c.yaml", ""},
		{"out.yaml", outside + "/secret.yaml", "leads out"},
		{"out.yaml", "../" + filepath.Base(outside) + "/secret.yaml", "leads out"},
		{"team/out.yaml", "../../x.yaml", "leads out"},
		{"out.yaml", "team/../../x.yaml", "leads out"},
		{"out.yaml", "team/../a.yaml", "leads out"},
		{"out", outside, "leads out"},
		{"out", "..", "leads out"},
		{"out", ".", "the source itself"},
		{"team/out", "..", "the source itself"},
		{"dir", "team", "a directory"},
		{"dir/", "team/", "a directory"},
		{"chain.yaml", "in2.yaml", "another symlink"},
		{"by.yaml", "door/secret.yaml", "passes another symlink"},
		{"by.yaml", "a.yaml/x", "passes another symlink or a file"},
		{"none.yaml", "none/x.yaml", "does not exist"},
		{"none.yaml", "none.yaml.txt", "does not exist"},
		{"self.yaml", "self.yaml", "another symlink"},
		{"pipe.yaml", ".hidden/pipe", "a named pipe"},
		{"deep.yaml", strings.Repeat("d/", maxDepth) + "x.yaml", "does not exist"},
		{"deep.yaml", strings.Repeat("d/", maxDepth+1) + "x.yaml", "nested more than 64"},
	} {
		root := t.TempDir()
		put(t, root, "a.yaml", "a: 1")
		put(t, root, "team/b.yaml", "b: 1")
		put(t, root, ".hidden/c.yaml", "c: 1")
		must(t, unix.Mkfifo(filepath.Join(root, ".hidden", "pipe"), 0o644))
		must(t, os.Symlink(outside, filepath.Join(root, ".door")))
		must(t, os.Symlink("a.yaml", filepath.Join(root, ".in2.yaml")))
		target := strings.NewReplacer("door", ".door", "in2", ".in2").Replace(test.target)
		must(t, os.Symlink(target, filepath.Join(root, test.link)))
		snap, err := fetch(open(t, root, source.Options{NoWatch: true}))
		switch {
		case test.want == "":
			must(t, err)
			if data := contents(snap)[test.link]; len(data) != 4 {
				t.Errorf("%s to %s holds %q", test.link, test.target, data)
			}
		case err == nil || !strings.Contains(err.Error(), test.want) ||
			!strings.Contains(err.Error(), filepath.Join(root, test.link)) || !strings.Contains(err.Error(), target):
			t.Errorf("%s to %s: %v, %v; want an error with %q", test.link, test.target, snap, err, test.want)
		}
	}
}

// A file that a link leads to counts as arrived whole like any other.
func TestLinkToWhatArrivedWhole(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	link, target := filepath.Join(root, "team/in.yaml"), filepath.Join(root, ".hidden/c")
	must(t, os.MkdirAll(filepath.Dir(link), 0o755))
	must(t, os.Symlink("../.hidden/c", link))
	must(t, os.Mkdir(filepath.Dir(target), 0o755))
	for made := lstat(t, link).ctime; ; {
		must(t, os.WriteFile(target, []byte("c: 1"), 0o644))
		if lstat(t, target).ctime > made {
			break
		}
	}
	s := open(t, root, source.Options{Quiet: time.Hour, MaxWait: time.Millisecond})
	if _, err := fetch(s); !errors.Is(err, source.ErrUnstable) {
		t.Fatalf("just written: %v", err)
	}
	s.watch.mu.Lock()
	s.watch.arrived[target] = arrival{lstat(t, target), time.Now().Add(-settleRename)}
	s.watch.mu.Unlock()
	wantFiles(t, read(t, s), map[string]string{"team/in.yaml": "c: 1"})
}

// A directory of the tree that keeps turning into a symlink leads nowhere else.
func TestLinkSwappedInUnderTheScan(t *testing.T) {
	t.Parallel()
	outside, root := t.TempDir(), t.TempDir()
	put(t, outside, "b.yaml", "stolen: 1")
	put(t, root, "team/b.yaml", "b: 1")
	must(t, os.Symlink(outside, filepath.Join(root, ".link")))
	s := open(t, root, source.Options{MaxWait: time.Millisecond})
	stop, done := make(chan struct{}), make(chan error)
	go func() {
		var err error
		for err == nil {
			select {
			case <-stop:
				done <- nil
				return
			default:
				err = unix.Renameat2(unix.AT_FDCWD, filepath.Join(root, "team"), unix.AT_FDCWD, filepath.Join(root, ".link"), unix.RENAME_EXCHANGE)
			}
		}
		done <- err
	}()
	for range 100 {
		if snap, err := fetch(s); err == nil {
			wantFiles(t, snap, map[string]string{"team/b.yaml": "b: 1"})
		}
	}
	close(stop)
	if err := <-done; errors.Is(err, unix.EINVAL) {
		t.Skip("the file system cannot exchange names")
	} else {
		must(t, err)
	}
}
