//go:build unix

package writer

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/statesync/statesync/seqlock"
	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/internal/access"
	"github.com/statesync/statesync/shm/internal/layout"
	"github.com/statesync/statesync/shm/shmtest"
	"golang.org/x/sys/unix"
)

// Users that are not root. The first is what the kernel shows for an owner
// that it can't name.
const (
	unmapped = 65534 // how an unmapped user looks in a user namespace
	someone  = 12345
	another  = 12346
)

// kinds are the errors that a child can tell its parent of.
var kinds = map[string]error{
	"no region":  shm.ErrNoRegion,
	"untrusted":  shm.ErrUntrusted,
	"permission": fs.ErrPermission,
	"corrupt":    shm.ErrCorrupt,
	"sealed":     ErrSealed,
}

// kindOf words an error as a name from kinds.
func kindOf(err error) string {
	for name, kind := range kinds {
		if errors.Is(err, kind) {
			return name
		}
	}
	return fmt.Sprint(err)
}

func init() {
	// read: for each line "DIR [OWNER]" it opens a region, and says what it got.
	roles["read"] = func([]string) error {
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			dir, owner, _ := strings.Cut(lines.Text(), " ")
			var trust shm.Trust
			if uid, err := strconv.Atoi(owner); err == nil {
				trust.Owners = []int{uid}
			}
			r, err := shm.Open(dir, trust)
			if err != nil {
				fmt.Println(kindOf(err))
				continue
			}
			g, _, err := readProofs(r, nil)
			if err != nil {
				return err
			}
			fmt.Println("generation", g)
		}
		return nil
	}
	// overwrite DIR: says what comes of each way to write a region.
	roles["overwrite"] = func(args []string) error {
		r, err := shm.Open(args[0], shm.Trust{})
		if err != nil {
			return err
		}
		_, err = os.OpenFile(r.Path(), os.O_RDWR, 0)
		fmt.Println("open:", kindOf(err))
		file, err := os.Open(r.Path())
		if err != nil {
			return err
		}
		_, err = unix.Mmap(int(file.Fd()), 0, layout.SlotsAt, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		fmt.Println("map:", kindOf(err))
		l, err := mapped(r.Path())
		if err != nil {
			return err
		}
		err = unix.Mprotect(seqlock.BytesOf(l.Words), unix.PROT_READ|unix.PROT_WRITE)
		fmt.Println("make writable:", kindOf(err))
		_, err = try(args[0])
		fmt.Println("own:", kindOf(err))
		return nil
	}
}

// place is a region, whole and trusted, made by root in a directory of root's.
type place struct {
	parent, dir, file string
}

func newPlace(t *testing.T) place {
	t.Helper()
	parent := filepath.Join(openTemp(t), "parent")
	must(t, os.Mkdir(parent, 0o755))
	p := place{parent: parent, dir: filepath.Join(parent, "region")}
	w := created(t, p.dir, small(), 3)
	p.file = w.Path()
	must(t, w.Close())
	return p
}

// chown gives paths away.
func chown(uid int, paths ...string) (err error) {
	for _, path := range paths {
		err = errors.Join(err, os.Chown(path, uid, uid))
	}
	return err
}

// replaced puts something else at the path of the region's file, which is
// moved to the side.
func (p place) replaced(put func(aside string) error) error {
	aside := p.file + ".aside"
	return errors.Join(os.Rename(p.file, aside), put(aside))
}

func TestTrust(t *testing.T) {
	needRoot(t)
	for name, c := range map[string]struct {
		change func(p place) error
		owners []int
		want   error
		words  []string
	}{
		"as it is made": {change: func(place) error { return nil }},

		// Modes.
		"directory 0775":   {change: func(p place) error { return os.Chmod(p.dir, 0o775) }, want: shm.ErrUntrusted, words: []string{"mode 0775"}},
		"directory 0757":   {change: func(p place) error { return os.Chmod(p.dir, 0o757) }, want: shm.ErrUntrusted},
		"directory sticky": {change: func(p place) error { return os.Chmod(p.dir, 0o777|fs.ModeSticky) }, want: shm.ErrUntrusted},
		"file 0664":        {change: func(p place) error { return os.Chmod(p.file, 0o664) }, want: shm.ErrUntrusted, words: []string{"mode 0664", shm.FileName}},
		"file 0646":        {change: func(p place) error { return os.Chmod(p.file, 0o646) }, want: shm.ErrUntrusted},
		"file 0600":        {change: func(p place) error { return os.Chmod(p.file, 0o600) }},
		"open directory of an owner": {
			change: func(p place) error { return errors.Join(chown(someone, p.dir, p.file), os.Chmod(p.dir, 0o775)) },
			owners: []int{someone}, want: shm.ErrUntrusted,
		},
		"open file of an owner": {
			change: func(p place) error { return errors.Join(chown(someone, p.dir, p.file), os.Chmod(p.file, 0o666)) },
			owners: []int{someone}, want: shm.ErrUntrusted,
		},

		// Kinds of directories.
		"directory is a symlink": {
			change: func(p place) error {
				return errors.Join(os.Rename(p.dir, p.dir+"2"), os.Symlink(p.dir+"2", p.dir))
			},
			want: shm.ErrUntrusted, words: []string{"not a directory"},
		},
		"directory is a dangling symlink": {
			change: func(p place) error { return errors.Join(os.RemoveAll(p.dir), os.Symlink(p.dir+"2", p.dir)) },
			want:   shm.ErrUntrusted,
		},
		"directory is a file": {
			change: func(p place) error { return errors.Join(os.RemoveAll(p.dir), os.WriteFile(p.dir, nil, 0o644)) },
			want:   shm.ErrUntrusted,
		},
		"directory is a FIFO": {
			change: func(p place) error { return errors.Join(os.RemoveAll(p.dir), unix.Mkfifo(p.dir, 0o644)) },
			want:   shm.ErrUntrusted,
		},
		"no directory": {change: func(p place) error { return os.RemoveAll(p.dir) }, want: shm.ErrNoRegion},

		// Kinds of files.
		"no file": {change: func(p place) error { return os.Remove(p.file) }, want: shm.ErrNoRegion},
		"file is a symlink": {
			change: func(p place) error {
				return p.replaced(func(aside string) error { return os.Symlink(aside, p.file) })
			},
			want: shm.ErrUntrusted,
		},
		"file is a FIFO": {
			change: func(p place) error {
				return p.replaced(func(string) error { return unix.Mkfifo(p.file, 0o644) })
			},
			want: shm.ErrUntrusted, words: []string{"not a regular file"},
		},
		"file is a socket": {
			change: func(p place) error {
				return p.replaced(func(string) error { return unix.Mknod(p.file, unix.S_IFSOCK|0o644, 0) })
			},
			want: shm.ErrUntrusted,
		},
		"file is a directory": {
			change: func(p place) error {
				return p.replaced(func(string) error { return os.Mkdir(p.file, 0o755) })
			},
			want: shm.ErrUntrusted,
		},
		"file is a hard link": {
			change: func(p place) error { return os.Link(p.file, p.file+".2") },
			want:   shm.ErrUntrusted, words: []string{"2 names"},
		},

		// Owners.
		"another user's file in root's directory": {
			change: func(p place) error { return chown(someone, p.file) },
			want:   shm.ErrUntrusted, words: []string{strconv.Itoa(someone)},
		},
		"an owner's file in root's directory": {
			change: func(p place) error { return chown(someone, p.file) }, owners: []int{another, someone},
		},
		"a user that root let in": {change: func(p place) error { return chown(someone, p.dir, p.file) }},
		"root's file where root let a user in": {
			change: func(p place) error { return chown(someone, p.dir) },
		},
		"a second user's file where root let a user in": {
			change: func(p place) error { return errors.Join(chown(someone, p.dir), chown(another, p.file)) },
			want:   shm.ErrUntrusted,
		},
		"another user's in his own": {
			change: func(p place) error { return chown(someone, p.parent, p.dir, p.file) },
			want:   shm.ErrUntrusted, words: []string{strconv.Itoa(someone)},
		},
		"an owner's in another user's": {
			change: func(p place) error { return chown(someone, p.parent, p.dir, p.file) }, owners: []int{someone},
		},
		"another owner's in another user's": {
			change: func(p place) error { return chown(someone, p.parent, p.dir, p.file) },
			owners: []int{another}, want: shm.ErrUntrusted,
		},
		"another user's in a sticky directory": {
			change: func(p place) error {
				return errors.Join(chown(someone, p.dir, p.file), os.Chmod(p.parent, 0o777|fs.ModeSticky))
			},
			want: shm.ErrUntrusted, words: []string{"other than root"},
		},
		"another user's in a group's directory": {
			change: func(p place) error { return errors.Join(chown(someone, p.dir, p.file), os.Chmod(p.parent, 0o775)) },
			want:   shm.ErrUntrusted,
		},
		"root's in a sticky directory": {
			change: func(p place) error { return os.Chmod(p.parent, 0o777|fs.ModeSticky) },
		},
		"an unmapped user's": {
			change: func(p place) error { return chown(unmapped, p.dir, p.file) },
			want:   shm.ErrUntrusted, words: []string{"65534"},
		},
		"unmapped, by option": {
			change: func(p place) error { return chown(unmapped, p.dir, p.file) }, owners: []int{unmapped},
		},
		"an unmapped user's file in root's directory": {
			change: func(p place) error { return chown(unmapped, p.file) }, want: shm.ErrUntrusted,
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			must(t, c.change(p))
			r, err := shm.Open(p.dir, shm.Trust{Owners: c.owners})
			if c.want != nil {
				wantError(t, err, c.want, append(c.words, p.dir)...)
				if advice := regexp.MustCompile(`--|statesync |statesyncd|STATESYNC|chmod`).FindString(err.Error()); advice != "" {
					t.Errorf("the error has %q, and is to have facts only: %v", advice, err)
				}
				return
			}
			must(t, err)
			wantGeneration(t, r, 3)
		})
	}
}

// A slash at the end makes the kernel follow a link all the same.
func TestLinkWithASlash(t *testing.T) {
	base := t.TempDir()
	dir := filepath.Join(base, "region")
	created(t, dir, small(), 1)
	link := filepath.Join(base, "link")
	must(t, os.Symlink(dir, link))
	for _, path := range []string{link, link + "/", link + "//", link + "/."} {
		if _, err := shm.Open(path, shm.Trust{}); !errors.Is(err, shm.ErrUntrusted) {
			t.Errorf("Open(%q) says %v", path, err)
		}
	}
	for _, path := range []string{dir + "/", filepath.Join(base, "x") + "/../region"} {
		r, err := shm.Open(path, shm.Trust{})
		if err != nil {
			t.Errorf("Open(%q) says %v", path, err)
			continue
		}
		if r.Replaced() {
			t.Errorf("%s counts as replaced", path)
		}
	}
}

// The owner of a link on the way decides where it leads, also if another link
// leads through it.
func TestLinksOnTheWay(t *testing.T) {
	needRoot(t)
	base := t.TempDir()
	must(t, os.Chmod(base, 0o755))
	for _, name := range []string{"roots", "theirs"} {
		must(t, os.Mkdir(filepath.Join(base, name), 0o755))
	}
	created(t, filepath.Join(base, "roots", "region"), small(), 1)
	link := func(target, name string, owner int) {
		must(t, os.Symlink(target, filepath.Join(base, name)))
		must(t, os.Lchown(filepath.Join(base, name), owner, owner))
	}
	link("roots", "good", 0)
	link(base+"/roots", "far", 0)
	link("theirs/../good/.", "round", 0)
	link("roots", "bad", someone)
	link("bad", "nested", 0)
	link(base+"/theirs/../bad", "deep", 0)
	link("loop", "loop", 0)
	for name, c := range map[string]struct {
		owners []int
		want   error
	}{
		"good": {}, "far": {}, "round": {},
		"bad":                      {want: shm.ErrUntrusted},
		"nested":                   {want: shm.ErrUntrusted},
		"deep":                     {want: shm.ErrUntrusted},
		"loop":                     {want: shm.ErrUntrusted},
		"theirs":                   {want: shm.ErrNoRegion},
		"none":                     {want: shm.ErrNoRegion},
		"deep, of an owner":        {owners: []int{someone}},
		"nested, of another owner": {owners: []int{another}, want: shm.ErrUntrusted},
	} {
		word, _, _ := strings.Cut(name, ",")
		dir := filepath.Join(base, word, "region")
		r, err := shm.Open(dir, shm.Trust{Owners: c.owners})
		if c.want != nil {
			wantError(t, err, c.want, dir)
			if c.want == shm.ErrUntrusted && c.owners == nil {
				if _, err := Own(t.Context(), dir, small()); !errors.Is(err, shm.ErrUntrusted) {
					t.Errorf("%s: a writer says %v", name, err)
				}
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		wantGeneration(t, r, 1)
	}
}

// Another user can in no way write root's region.
func TestOthersOnlyRead(t *testing.T) {
	needRoot(t)
	p := newPlace(t)
	said, err := shmtest.StartAs(t, someone, "overwrite", nil, p.dir).End()
	must(t, err)
	if want := "open: permission\nmap: permission\nmake writable: permission\nown: untrusted"; said != want {
		t.Errorf("uid %d says %q, and %q was expected", someone, said, want)
	}
}

// Which owners a reader trusts depends on its user.
func TestTrustOfOthers(t *testing.T) {
	needRoot(t)
	readers := map[uint32]*child{someone: shmtest.StartAs(t, someone, "read", nil), unmapped: shmtest.StartAs(t, unmapped, "read", nil)}
	for name, c := range map[string]struct {
		change func(p place) error
		uid    uint32
		owner  string
		want   string
	}{
		"root's to someone":          {change: func(place) error { return nil }, uid: someone, want: "generation 3"},
		"root's to an unmapped user": {change: func(place) error { return nil }, uid: unmapped, want: "generation 3"},
		"its own anywhere": {
			change: func(p place) error {
				return errors.Join(chown(someone, p.dir, p.file), os.Chmod(p.parent, 0o777|fs.ModeSticky))
			},
			uid: someone, want: "generation 3",
		},
		"its own in another's": {
			change: func(p place) error { return errors.Join(chown(someone, p.dir, p.file), chown(another, p.parent)) },
			uid:    someone, want: "generation 3",
		},
		"its own file in another's directory": {
			change: func(p place) error { return errors.Join(chown(another, p.parent, p.dir), chown(someone, p.file)) },
			uid:    someone, want: "untrusted",
		},
		"another's in a sticky directory": {
			change: func(p place) error {
				return errors.Join(chown(another, p.dir, p.file), os.Chmod(p.parent, 0o777|fs.ModeSticky))
			},
			uid: someone, want: "untrusted",
		},
		"a user that root let in": {
			change: func(p place) error { return chown(another, p.dir, p.file) }, uid: someone, want: "generation 3",
		},
		"unmapped to unmapped": {
			change: func(p place) error { return chown(unmapped, p.dir, p.file) }, uid: unmapped, want: "untrusted",
		},
		"an unmapped user's file to unmapped": {
			change: func(p place) error { return chown(unmapped, p.file) }, uid: unmapped, want: "untrusted",
		},
		"unmapped to unmapped by option": {
			change: func(p place) error { return chown(unmapped, p.dir, p.file) }, uid: unmapped, owner: "65534", want: "generation 3",
		},
		"a file for a group": {
			change: func(p place) error { return errors.Join(os.Chmod(p.file, 0o640), os.Chown(p.file, 0, another)) },
			uid:    someone, want: "permission",
		},
		"a directory for a group": {
			change: func(p place) error { return errors.Join(os.Chmod(p.dir, 0o750), os.Chown(p.dir, 0, another)) },
			uid:    someone, want: "permission",
		},
		"a group's member": {
			change: func(p place) error {
				return errors.Join(os.Chmod(p.file, 0o640), os.Chown(p.file, 0, someone),
					os.Chmod(p.dir, 0o750), os.Chown(p.dir, 0, someone))
			},
			uid: someone, want: "generation 3",
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			must(t, c.change(p))
			readers[c.uid].Say(p.dir + " " + c.owner)
			if said := readers[c.uid].Line(); said != c.want {
				t.Errorf("uid %d says %q, and %q was expected", c.uid, said, c.want)
			}
		})
	}
}

// A daemon that is not root makes, keeps and replaces a region in the
// directory that root gave it.
func TestWriterWithoutRoot(t *testing.T) {
	needRoot(t)
	for name, prepare := range map[string]func(dir string) error{
		"an empty directory": func(string) error { return nil },
		"its own region, locked away": func(dir string) error {
			path := filepath.Join(dir, shm.FileName)
			return errors.Join(os.WriteFile(path, make([]byte, layout.SlotsAt), 0o400), chown(someone, path))
		},
		"root's region": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, shm.FileName), make([]byte, layout.SlotsAt), 0o644)
		},
		"root's leftover": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, access.TempName), nil, 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(openTemp(t), "region")
			must(t, os.Mkdir(dir, 0o755))
			must(t, errors.Join(chown(someone, dir), prepare(dir)))
			if said, err := shmtest.StartAs(t, someone, "replace", nil, dir).End(); err != nil {
				t.Fatal(said)
			}
			wantGeneration(t, open(t, dir), 6)
		})
	}
}

func init() {
	// replace DIR: makes a region, publishes, continues after a restart, and
	// replaces it.
	roles["replace"] = func(args []string) error {
		w, err := try(args[0])
		if err != nil {
			return err
		}
		if err := w.Attach(); err == nil {
			return errors.New("it could be attached")
		}
		if err := w.Create(1, proofs(1, 5)); err != nil {
			return err
		}
		if err := errors.Join(w.Publish(2, proofs(2, 5)), w.Close()); err != nil {
			return err
		}
		if w, err = try(args[0]); err != nil {
			return err
		}
		return errors.Join(w.Attach(), w.Publish(3, proofs(3, 5)), w.Create(6, proofs(6, 5)), w.Close())
	}
}
