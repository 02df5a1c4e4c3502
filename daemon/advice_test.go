//go:build unix

package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/daemon/headroom"
	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/writer"
)

// The advice fits the error, and only known errors get any.
func TestAdvice(t *testing.T) {
	o := Options{Region: "/r/x/", Writer: writer.Options{Group: 7}}
	for _, c := range []struct {
		err  error
		want string
	}{
		{writer.ErrLocked, "another --region"},
		{writer.ErrSealed, "chattr -a /r/x/" + shm.FileName + " as root"},
		{&os.PathError{Op: "seal", Path: "/r/x", Err: unix.EPERM}, "--seal takes CAP_LINUX_IMMUTABLE"},
		{&os.PathError{Op: "mkdir", Path: "/r/x", Err: unix.EACCES}, "install -d -m 0755 /r && install -d -m 0700"},
		{&os.PathError{Op: "open", Path: "/r", Err: unix.ENOENT}, "install -d"},
		{&os.PathError{Op: "open", Path: "/r/x", Err: unix.EACCES}, "as the owner of the region"},
		{&os.PathError{Op: "chgrp", Path: "/r/x", Err: unix.EPERM}, "the group 7, or choose another --region-group"},
		{&shm.UntrustedError{Path: "/r/x", Owner: 5}, "run the daemon as that user"},
		{&shm.UntrustedError{Path: "/r/x/lock", Owner: 5}, "remove it"},
		{&shm.UntrustedError{Path: "/r/x", Owner: -1, Mode: 0o777}, "chmod go-w"},
		{&shm.UntrustedError{Path: "/r/x/lock", Owner: -1, Mode: 0o644}, "chmod 0600"},
		{fmt.Errorf("%w: %w", writer.ErrNoSpace, unix.ENOSPC), "make the file system larger"},
		{fmt.Errorf("%w: %w", writer.ErrNoSpace, headroom.ErrFull), "raise its limit, or lower --slots"},
		{writer.ErrNoSpace, ""},
		{errors.New("other"), ""},
	} {
		err := o.advise(fmt.Errorf("what: %w", c.err))
		fact, advice, _ := strings.Cut(err.Error(), "; ")
		if fact != "what: "+c.err.Error() || !strings.Contains(advice, c.want) || (c.want == "") != (advice == "") {
			t.Errorf("%v: the advice is %q, and %q was expected", c.err, advice, c.want)
		}
		if !errors.Is(err, c.err) {
			t.Errorf("%v does not match %v", err, c.err)
		}
	}
}

// The errors that the writer returns at a start get their advice.
func TestAdviceAtStart(t *testing.T) {
	s := newSetup(t)
	s.put("a.yaml", "x: 1\n")
	region := s.opt.Region
	for name, c := range map[string]struct {
		prepare func() error
		want    string
	}{
		"an open directory": {func() error { return errors.Join(os.Mkdir(region, 0o755), os.Chmod(region, 0o777)) }, "chmod go-w"},
		"a lock that others can lock": {func() error {
			return errors.Join(os.Mkdir(region, 0o755), os.WriteFile(filepath.Join(region, "lock"), nil, 0o644))
		}, "chmod 0600"},
		"a file": {func() error { return os.WriteFile(region, nil, 0o644) }, "remove it"},
	} {
		if err := errors.Join(os.RemoveAll(region), c.prepare()); err != nil {
			t.Fatal(err)
		}
		if err := New(s.opt).Run(context.Background()); !errors.Is(err, shm.ErrUntrusted) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: the daemon ended with: %v", name, err)
		}
	}
}

// Two names with one hash cannot be in one image. That is a fault of the named
// file, and not of the region.
func TestNamesOfOneHashAreInvalid(t *testing.T) {
	const twin, other = "4MTONSvf-and-the-rest-is-equal--9F1kbK78--up-to-the-end-of-names",
		"CAm8Pwfn-and-the-rest-is-equal--KjHK3uNc--up-to-the-end-of-names"
	s := newSetup(t)
	s.put(twin+".yaml", "x: 1\n")
	s.put(other+".yaml", "x: 1\n")
	if err := s.once(); !errors.Is(err, ErrRefused) {
		t.Fatalf("it ended with: %v", err)
	}
	line := s.logs("refused")
	if line["reason"] != string(ReasonInvalid) || line["file"] != other+".yaml" || !strings.Contains(fmt.Sprint(line["what"]), twin) {
		t.Errorf("the refusal is %v", line)
	}
}
