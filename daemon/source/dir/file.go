package dir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/daemon/internal/plain"
	"github.com/statesync/statesync/daemon/source"
)

// inode says which file it is, whatever its name.
type inode struct{ dev, ino uint64 }

// stamp is what stat tells of a file's state. Two equal stamps are the same
// content, as far as stat can tell.
type stamp struct {
	inode
	size         int64 // bytes
	mtime, ctime int64 // ns since 1970, by the file system's clock
}

func stampOf(st *unix.Stat_t) stamp {
	return stamp{
		inode: inode{dev: widen(st.Dev), ino: st.Ino},
		size:  st.Size,
		mtime: st.Mtim.Nano(),
		ctime: st.Ctim.Nano(),
	}
}

func widen[T int32 | uint64](v T) uint64 { return uint64(v) }

// wholePages reports whether a file may be in the middle of a single write, which
// nothing tells of before it ends: until then its size is that of the pages that have
// been written, or 0. Pages have at least 4 KiB.
func (s stamp) wholePages() bool { return s.size%4096 == 0 }

// racyWindow is git's rule: a file that changed so shortly before it was read may
// change once more without another timestamp, so it is read again next time. Two
// seconds is the coarsest timestamp in use.
const racyWindow = 2 * time.Second

// age is how long ago the file changed; negative when the clocks disagree.
func (s stamp) age(now time.Time) time.Duration {
	return time.Duration(now.UnixNano() - s.ctime)
}

// rest remembers since when a stamp has been seen to stay the same.
type rest struct {
	stamp
	since time.Time
}

// rested reports whether what s describes has not been touched for the time quiet.
func (r *rest) rested(s stamp, now time.Time, quiet time.Duration) bool {
	return s.age(now) >= quiet || r.stayed(s, now, quiet)
}

// stayed is rested without trust in the file system's clock, which may be ahead of
// ours: two looks that far apart must show the same.
func (r *rest) stayed(s stamp, now time.Time, quiet time.Duration) bool {
	if r.stamp != s {
		r.stamp, r.since = s, now
	}
	return now.Sub(r.since) >= quiet
}

// content is what is known of one file, kept from one Fetch to the next.
type content struct {
	file  *source.File
	stamp stamp
	racy  bool   // stamp may be shared by a later state
	round uint64 // the content check that compared it last
	rest  rest
}

var (
	errVanished = errors.New("vanished or was replaced")
	errChanged  = errors.New("changed while it was read")
)

// load brings c up to the regular file name in the directory fd, which stat has
// just seen as want. The *File stays the same one when the bytes do.
func (c *content) load(fd int, name, path string, want stamp, round uint64) error {
	began := time.Now()
	file, err := openAt(fd, name, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return err
	}
	defer closeFd(file)
	before, mode, err := fstat(file)
	if err != nil {
		return err
	}
	if before != want || mode != unix.S_IFREG {
		return errVanished
	}

	same := false
	if c.file != nil && int64(len(c.file.Data)) == before.size {
		if same, err = equal(file, c.file.Data); err != nil {
			return err
		}
	}
	var data []byte
	if !same {
		data = make([]byte, before.size)
		if err := readFull(file, data, 0); err != nil {
			return err
		}
	}
	after, _, err := fstat(file)
	if err != nil {
		return err
	}
	if after != before {
		return errChanged
	}

	if !same {
		c.file = source.NewFile(path, data)
	}
	c.stamp, c.round = before, round
	c.racy = before.age(began) < racyWindow
	return nil
}

// equal compares a file with what it held before, without holding it a second
// time.
func equal(file int, data []byte) (bool, error) {
	chunk := make([]byte, min(len(data), 32<<10))
	for off := 0; off < len(data); {
		buf := chunk[:min(len(chunk), len(data)-off)]
		if err := readFull(file, buf, int64(off)); err != nil {
			return false, err
		}
		if string(buf) != string(data[off:off+len(buf)]) {
			return false, nil
		}
		off += len(buf)
	}
	return true, nil
}

// readFull fills buf from the offset off. A file that has become shorter is one
// that changed.
func readFull(file int, buf []byte, off int64) error {
	for len(buf) > 0 {
		n, err := retry(func() (int, error) { return unix.Pread(file, buf, off) })
		if err != nil {
			return err
		}
		if n == 0 {
			return errChanged
		}
		buf, off = buf[n:], off+int64(n)
	}
	return nil
}

// openAt opens name in the directory fd, and never follows a symlink.
func openAt(fd int, name string, flags int) (int, error) {
	return retry(func() (int, error) {
		return unix.Openat(fd, name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
}

// lstatAt describes name in the directory fd, and never follows a symlink. The
// mode is the type alone.
func lstatAt(fd int, name string) (stamp, uint32, error) {
	var st unix.Stat_t
	_, err := retry(func() (int, error) {
		return 0, unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	})
	return stampOf(&st), uint32(st.Mode) & unix.S_IFMT, err
}

func fstat(fd int) (stamp, uint32, error) {
	var st unix.Stat_t
	_, err := retry(func() (int, error) { return 0, unix.Fstat(fd, &st) })
	return stampOf(&st), uint32(st.Mode) & unix.S_IFMT, err
}

func readlinkAt(fd int, name string) (string, error) {
	var buf [unix.PathMax]byte
	n, err := retry(func() (int, error) { return unix.Readlinkat(fd, name, buf[:]) })
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

// retry repeats a system call that a signal interrupted; some network file
// systems let that happen.
func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// closeFd drops a descriptor that was only read from: its error says nothing.
func closeFd(fd int) { _ = unix.Close(fd) }

// gone tells the errors that a name gives when it was taken away, or replaced by
// something of another type, after it was listed.
func gone(err error) bool {
	return errors.Is(err, errVanished) || errors.Is(err, unix.ENOENT) ||
		errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ENXIO)
}

// unreadable adds the way out to an error of the file system.
func unreadable(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("cannot be read: %w; let %s, as which this runs, read it", err, me())
	}
	return fmt.Errorf("cannot be read: %w", err)
}

// me names the user of this process.
func me() string {
	uid := strconv.Itoa(os.Geteuid())
	if u, err := user.LookupId(uid); err == nil {
		return "the user " + plain.Line(u.Username, 64)
	}
	return "the user with the number " + uid
}

// typeName is for messages about what cannot be a config file.
func typeName(mode uint32) string {
	switch mode {
	case unix.S_IFIFO:
		return "a named pipe"
	case unix.S_IFSOCK:
		return "a socket"
	case unix.S_IFCHR, unix.S_IFBLK:
		return "a device"
	default:
		return fmt.Sprintf("of type %#o", mode)
	}
}
