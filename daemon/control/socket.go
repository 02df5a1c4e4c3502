//go:build unix

package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/daemon/internal/pace"
)

// The sockets' names: in the region's directory, and in that of the control socket.
const (
	SocketName  = "query.sock"
	ControlName = "control.sock"
)

// temp is a socket's name until it can be connected to by those that may.
func (s *socket) temp() string { return "." + s.name + ".new" }

// placeInterval is how often the socket is looked for in its place.
const placeInterval = time.Second

// socket listens in a directory that may be replaced. It is a net.Listener that
// accepts from whatever socket is in the directory now.
type socket struct {
	dir   string
	name  string
	mode  fs.FileMode // of the socket
	group int         // -1: as it is
	log   *slog.Logger
	lost  string // what does not work without it

	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
	wait  sync.WaitGroup

	// Of the goroutine that keeps the socket in its place.
	l     *net.UnixListener
	is    fs.FileInfo // the socket that l listens on
	fails string
}

// listen keeps the socket in its directory until Close.
func (s *socket) listen() *socket {
	s.conns, s.done = make(chan net.Conn), make(chan struct{})
	s.wait.Go(s.keep)
	return s
}

// keep makes the socket, and makes it again if it is not in its place.
func (s *socket) keep() {
	look := time.NewTimer(pace.Next(placeInterval))
	defer look.Stop()
	for {
		s.place()
		select {
		case <-s.done:
			if s.inPlace() {
				_ = os.Remove(s.path())
			}
			s.drop()
			return
		case <-look.C:
			look.Reset(pace.Next(placeInterval))
		}
	}
}

func (s *socket) path() string { return filepath.Join(s.dir, s.name) }

// inPlace reports whether clients come to the socket that this process listens on.
func (s *socket) inPlace() bool {
	info, err := os.Lstat(s.path())
	return err == nil && s.is != nil && os.SameFile(info, s.is)
}

// place makes the socket unless it is in its place. A directory that does not exist
// yet, or not any more, is waited for.
func (s *socket) place() {
	if s.inPlace() {
		return
	}
	s.drop()
	err := s.make()
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		if text := err.Error(); text != s.fails {
			s.fails = text
			s.log.Warn("a socket cannot be made: "+s.lost+"; it is tried again, and publishing goes on",
				"socket", s.path(), "error", err)
		}
	case s.fails != "":
		s.fails = ""
		s.log.Info("the socket is there again", "socket", s.path())
	}
}

// make binds a socket under a temporary name, by a handle of the directory, which is
// short however long the path is, and moves it to its place.
func (s *socket) make() error {
	dir, err := os.OpenFile(s.dir, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := ownedAlone(dir); err != nil {
		return err
	}
	temp := inDir(dir, s.temp())
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: temp, Net: "unix"})
	if err != nil {
		return err
	}
	l.SetUnlinkOnClose(false)
	err = os.Chmod(temp, s.mode)
	if err == nil && s.group >= 0 {
		err = os.Lchown(temp, -1, s.group)
	}
	if err == nil {
		err = unix.Renameat(int(dir.Fd()), s.temp(), int(dir.Fd()), s.name)
	}
	var is fs.FileInfo
	if err == nil {
		is, err = os.Lstat(inDir(dir, s.name))
	}
	if err != nil {
		return errors.Join(err, l.Close(), ignoreMissing(os.Remove(temp)))
	}
	s.l, s.is = l, is
	s.wait.Go(func() { s.accept(l) })
	return nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// ownedAlone returns an error unless this user alone can write the directory.
func ownedAlone(dir *os.File) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return err
	}
	if int(st.Uid) != os.Geteuid() || st.Mode&0o022 != 0 {
		return fmt.Errorf("%s: other users could have written it", dir.Name())
	}
	return nil
}

// socketMode lets those connect, which takes the permission to write, that may read
// the region.
func socketMode(region fs.FileMode) fs.FileMode {
	mode := fs.FileMode(0o600)
	if region&0o040 != 0 {
		mode |= 0o060
	}
	if region&0o004 != 0 {
		mode |= 0o006
	}
	return mode
}

// accept hands connections on until the listener is closed.
func (s *socket) accept(l *net.UnixListener) {
	for {
		conn, err := l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // of descriptors, say
			select {
			case <-s.done:
				return
			case <-time.After(100 * time.Millisecond):
			}
			continue
		}
		select {
		case s.conns <- conn:
		case <-s.done:
			_ = conn.Close()
		}
	}
}

// drop ends listening on the socket that is not in its place any more.
func (s *socket) drop() {
	if s.l != nil {
		_ = s.l.Close()
		s.l, s.is = nil, nil
	}
}

// Accept implements net.Listener.
func (s *socket) Accept() (net.Conn, error) {
	select {
	case conn := <-s.conns:
		return conn, nil
	case <-s.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. It removes the socket.
func (s *socket) Close() error {
	s.once.Do(func() { close(s.done) })
	s.wait.Wait()
	return nil
}

// Addr implements net.Listener.
func (s *socket) Addr() net.Addr { return &net.UnixAddr{Name: s.path(), Net: "unix"} }

// dialing is how long a connection may take to be accepted by the kernel.
const dialing = 2 * time.Second

// dial connects to the socket at a path, however long that is.
func dial(ctx context.Context, path string) (*net.UnixConn, error) {
	dir, err := os.OpenFile(filepath.Dir(path), unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	d := net.Dialer{Timeout: dialing}
	c, err := d.DialContext(ctx, "unix", inDir(dir, filepath.Base(path)))
	if err != nil {
		return nil, err
	}
	return c.(*net.UnixConn), nil
}
