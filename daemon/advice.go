//go:build unix

package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/daemon/headroom"
	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/image"
	"github.com/statesync/statesync/shm/writer"
)

// advise adds to an error about the region or memory what an operator of the daemon
// can do about it, in terms of the daemon's flags.
func (o *Options) advise(err error) error {
	dir := filepath.Clean(o.Region)
	var untrusted *shm.UntrustedError
	var path *fs.PathError
	errors.As(err, &path)
	advice := ""
	switch {
	case errors.Is(err, writer.ErrLocked):
		advice = "stop it, or give this daemon another --region"
	case errors.Is(err, writer.ErrSealed):
		advice = fmt.Sprintf("run chattr -a %s as root, or give the daemon CAP_LINUX_IMMUTABLE", filepath.Join(dir, shm.FileName))
	case path != nil && path.Op == "seal":
		advice = "--seal takes CAP_LINUX_IMMUTABLE, and a kernel whose tmpfs has inode flags (6.6)"
	case errors.Is(err, headroom.ErrFull):
		advice = "raise its limit, or lower --slots or the configs' size"
	case errors.As(err, &untrusted):
		advice = adviseTrust(untrusted, dir)
	case path != nil && (path.Op == "mkdir" || path.Op == "open" && errors.Is(err, fs.ErrNotExist)):
		advice = fmt.Sprintf("as root, make the directory with: install -d -m 0755 %s && install -d -m 0700 -o %d %s; "+
			"or choose a --region whose parent this user can write", filepath.Dir(dir), os.Geteuid(), dir)
	case path != nil && path.Op == "chgrp":
		advice = fmt.Sprintf("make the daemon's user a member of the group %d, or choose another --region-group", o.Writer.Group)
	case errors.Is(err, fs.ErrPermission):
		advice = "run the daemon as the owner of the region, or choose another --region"
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT), errors.Is(err, unix.EFBIG):
		advice = "make the file system larger, or the configs smaller"
	case errors.As(err, new(*image.NameError)):
		advice = "rename the file"
	}
	if advice == "" {
		return err
	}
	return fmt.Errorf("%w; %s", err, advice)
}

func adviseTrust(e *shm.UntrustedError, dir string) string {
	switch {
	case e.Owner >= 0 && e.Path == dir:
		return "run the daemon as that user, or choose another --region"
	case e.Mode&0o022 != 0:
		return "remove it, or check its contents and then chmod go-w it"
	case e.Mode != 0:
		return "chmod 0600 it"
	}
	return "remove it, or choose another --region"
}
